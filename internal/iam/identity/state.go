package identity

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"sekisho/internal/iam/policy"
)

// state is the account at one generation. The entities in it are never
// changed, only replaced.
type state struct {
	account    string
	generation int64
	users      map[string]*User
	groups     map[string]*Group
	roles      map[string]*Role
	profiles   map[string]*InstanceProfile
	policies   map[string]*Policy // by ARN
	devices    map[string]*MFADevice
	passkeys   map[string]*Passkey      // by ID
	providers  map[string]*OIDCProvider // by ARN
	settings   *Settings
	calendars  map[string]*Calendar

	policyNames map[string]string // customer policies: name without case to ARN
	keyOwners   map[string]*User  // by access key ID
	userIDs     map[string]*User
	groupIDs    map[string]*Group
	roleIDs     map[string]*Role
	serials     map[string]*MFADevice
	calendarSet *calendarSet
}

func newState(account string) *state {
	return &state{
		account: account,
		users:   map[string]*User{}, groups: map[string]*Group{}, roles: map[string]*Role{},
		profiles: map[string]*InstanceProfile{}, policies: map[string]*Policy{}, devices: map[string]*MFADevice{},
		passkeys: map[string]*Passkey{}, providers: map[string]*OIDCProvider{}, settings: &Settings{},
		calendars: map[string]*Calendar{}, calendarSet: (*calendarSet)(nil).with("", nil),
		policyNames: map[string]string{}, keyOwners: map[string]*User{},
		userIDs: map[string]*User{}, groupIDs: map[string]*Group{}, roleIDs: map[string]*Role{},
		serials: map[string]*MFADevice{},
	}
}

// remove removes the entity under (kind, key), if it exists.
func (s *state) remove(kind Kind, key string) {
	switch kind {
	case KindUser:
		if u := s.users[key]; u != nil {
			delete(s.users, key)
			// If u was renamed and another user got its old name, its IDs already map to the
			// renamed user.
			for _, k := range u.Keys {
				if s.keyOwners[k.ID] == u {
					delete(s.keyOwners, k.ID)
				}
			}
			if s.userIDs[u.ID] == u {
				delete(s.userIDs, u.ID)
			}
		}
	case KindGroup:
		if g := s.groups[key]; g != nil {
			delete(s.groups, key)
			if s.groupIDs[g.ID] == g {
				delete(s.groupIDs, g.ID)
			}
		}
	case KindRole:
		if r := s.roles[key]; r != nil {
			delete(s.roles, key)
			delete(s.roleIDs, r.ID)
		}
	case KindInstanceProfile:
		delete(s.profiles, key)
	case KindPolicy:
		if arn, ok := s.policyNames[key]; ok {
			delete(s.policyNames, key)
			delete(s.policies, arn)
		}
	case KindMFADevice:
		if m := s.devices[key]; m != nil {
			delete(s.devices, key)
			delete(s.serials, m.Serial)
		}
	case KindPasskey:
		delete(s.passkeys, key)
	case KindOIDCProvider:
		delete(s.providers, "arn:aws:iam::"+s.account+":oidc-provider/"+key)
	case KindSettings:
		s.settings = &Settings{}
	case KindCalendar:
		if s.calendars[key] != nil {
			delete(s.calendars, key)
			s.calendarSet = s.calendarSet.with(key, nil)
		}
	}
}

// put stores e, replacing any entity with the same key.
func (s *state) put(e entity) {
	key := e.key()
	s.remove(e.kind(), key)
	switch e := e.(type) {
	case *User:
		s.users[key] = e
		s.userIDs[e.ID] = e
		for _, k := range e.Keys {
			s.keyOwners[k.ID] = e
		}
	case *Group:
		s.groups[key] = e
		s.groupIDs[e.ID] = e
	case *Role:
		s.roles[key] = e
		s.roleIDs[e.ID] = e
	case *InstanceProfile:
		s.profiles[key] = e
	case *Policy:
		s.policies[e.ARN] = e
		s.policyNames[key] = e.ARN
	case *MFADevice:
		s.devices[key] = e
		s.serials[e.Serial] = e
	case *Passkey:
		s.passkeys[key] = e
	case *OIDCProvider:
		s.providers[e.ARN] = e
	case *Settings:
		s.settings = e
	case *Calendar:
		s.calendars[key] = e
		s.calendarSet = s.calendarSet.with(key, policy.NewCalendar(e.Spans))
	}
}

func (s *state) user(name string) (*User, error) {
	if u := s.users[strings.ToLower(name)]; u != nil && u.Name == name {
		return u, nil
	}
	return nil, notFound("The user with name %s cannot be found.", name)
}

func (s *state) group(name string) (*Group, error) {
	if g := s.groups[strings.ToLower(name)]; g != nil && g.Name == name {
		return g, nil
	}
	return nil, notFound("The group with name %s cannot be found.", name)
}

func (s *state) role(name string) (*Role, error) {
	if r := s.roles[strings.ToLower(name)]; r != nil && r.Name == name {
		return r, nil
	}
	return nil, notFound("The role with name %s cannot be found.", name)
}

func (s *state) profile(name string) (*InstanceProfile, error) {
	if p := s.profiles[strings.ToLower(name)]; p != nil && p.Name == name {
		return p, nil
	}
	return nil, notFound("Instance Profile %s cannot be found.", name)
}

func (s *state) policy(arn string) (*Policy, error) {
	if p := s.policies[arn]; p != nil {
		return p, nil
	}
	return nil, notFound("Policy %s was not found.", arn)
}

func (s *state) device(serial string) (*MFADevice, error) {
	if m := s.serials[serial]; m != nil {
		return m, nil
	}
	return nil, notFound("VirtualMFADevice with serial number %s doesn't exist.", serial)
}

// holder finds a user, group or role.
func (s *state) holder(kind Kind, name string) (entity, *Holder, error) {
	switch kind {
	case KindUser:
		u, err := s.user(name)
		if err != nil {
			return nil, nil, err
		}
		return u, &u.Holder, nil
	case KindGroup:
		g, err := s.group(name)
		if err != nil {
			return nil, nil, err
		}
		return g, &g.Holder, nil
	case KindRole:
		r, err := s.role(name)
		if err != nil {
			return nil, nil, err
		}
		return r, &r.Holder, nil
	case KindInstanceProfile, KindPolicy, KindMFADevice, KindPasskey, KindOIDCProvider, KindSettings, KindCalendar:
	}
	return nil, nil, notFound("A %s cannot have policies.", kind)
}

// groupsOf returns the groups of a user, by name.
func (s *state) groupsOf(u *User) []*Group {
	out := make([]*Group, 0, len(u.Groups))
	for _, id := range u.Groups {
		if g := s.groupIDs[id]; g != nil {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *Group) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// holders calls yield for every user, group and role.
func (s *state) holders(yield func(Kind, *Holder) bool) {
	for _, u := range s.users {
		if !yield(KindUser, &u.Holder) {
			return
		}
	}
	for _, g := range s.groups {
		if !yield(KindGroup, &g.Holder) {
			return
		}
	}
	for _, r := range s.roles {
		if !yield(KindRole, &r.Holder) {
			return
		}
	}
}

// sorted returns the values of m in the order of their keys.
func sorted[T any](m map[string]T) []T {
	out := make([]T, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

package identity

import (
	"context"
	"strings"
	"time"
)

const (
	minMaxSession = time.Hour
	maxMaxSession = 12 * time.Hour
)

// NewRole holds the parameters of CreateRole.
type NewRole struct {
	Path, Name  string
	Description string
	Trust       string        // trust policy document
	MaxSession  time.Duration // zero means one hour
	Boundary    string
	Tags        map[string]string
}

// Create creates a role.
func (roles *Roles) Create(ctx context.Context, n NewRole) (*Role, error) {
	var r *Role
	err := roles.update(ctx, func(t *tx) (err error) {
		r, err = t.newRole(n)
		if err == nil {
			t.put(r)
		}
		return err
	})
	return r, err
}

func (t *tx) newRole(n NewRole) (*Role, error) {
	h, err := t.newHolder(KindRole, "AROA", n.Path, n.Name, n.Tags)
	if err != nil {
		return nil, err
	}
	r := &Role{Holder: h}
	if t.roles[r.key()] != nil {
		return nil, exists("Role with name %s already exists.", n.Name)
	}
	if len(t.roles) >= maxRoles {
		return nil, limit("Cannot exceed quota for RolesPerAccount: %d", maxRoles)
	}
	if r.Boundary, err = t.boundary(n.Boundary); err != nil {
		return nil, err
	}
	if err := r.describe(n.Description, n.MaxSession); err != nil {
		return nil, err
	}
	return r, t.setTrust(r, n.Trust)
}

func (r *Role) describe(description string, maxSession time.Duration) error {
	if maxSession == 0 {
		maxSession = minMaxSession
	}
	if maxSession < minMaxSession || maxSession > maxMaxSession {
		return invalid(
			"1 validation error detected: Value '%d' at 'maxSessionDuration' failed to satisfy constraint: Member must "+
				"have value between 3600 and 43200",
			int(maxSession/time.Second),
		)
	}
	if len([]rune(description)) > 1000 {
		return invalid(
			"1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length " +
				"less than or equal to 1000",
		)
	}
	r.Description, r.MaxSession = description, maxSession
	return nil
}

// Get returns a role by its name, or by its path and name.
func (roles *Roles) Get(ctx context.Context, nameOrPathName string) (*Role, error) {
	return get(ctx, roles.account, func(s *state) (*Role, error) { return s.rolePath(nameOrPathName) })
}

func (s *state) rolePath(nameOrPathName string) (*Role, error) {
	i := strings.LastIndexByte(nameOrPathName, '/')
	r, err := s.role(nameOrPathName[i+1:])
	if err != nil {
		return nil, err
	}
	if i >= 0 && "/"+strings.TrimPrefix(nameOrPathName[:i+1], "/") != r.Path {
		return nil, notFound("The role with name %s cannot be found.", printable(nameOrPathName))
	}
	return r, nil
}

// ByARN returns a role by its ARN.
func (roles *Roles) ByARN(ctx context.Context, arn string) (*Role, error) {
	return get(ctx, roles.account, func(s *state) (*Role, error) {
		if r := s.roles[strings.ToLower(arn[strings.LastIndexByte(arn, '/')+1:])]; r != nil && r.ARN == arn {
			return r, nil
		}
		return nil, notFound("The role %s cannot be found.", printable(arn))
	})
}

// List returns every role, by name.
func (roles *Roles) List(ctx context.Context) ([]*Role, error) {
	return get(ctx, roles.account, func(s *state) ([]*Role, error) { return sorted(s.roles), nil })
}

// Update changes a role's description and longest session.
func (roles *Roles) Update(ctx context.Context, name string, description *string, maxSession time.Duration) error {
	return roles.update(ctx, func(t *tx) error {
		old, err := t.role(name)
		if err != nil {
			return err
		}
		r := edit(old)
		if description == nil {
			description = &old.Description
		}
		if maxSession == 0 {
			maxSession = old.MaxSession
		}
		t.put(r)
		return r.describe(*description, maxSession)
	})
}

// UpdateTrust replaces a role's trust policy.
func (roles *Roles) UpdateTrust(ctx context.Context, name, document string) error {
	return roles.update(ctx, func(t *tx) error {
		old, err := t.role(name)
		if err != nil {
			return err
		}
		r := edit(old)
		t.put(r)
		return t.setTrust(r, document)
	})
}

// Delete removes a role that has no policies and no instance profile.
func (roles *Roles) Delete(ctx context.Context, name string) error {
	return roles.update(ctx, func(t *tx) error {
		r, err := t.role(name)
		if err != nil {
			return err
		}
		for _, p := range t.profiles {
			if p.RoleID == r.ID {
				return inUse("Cannot delete entity, must remove roles from instance profile first.")
			}
		}
		switch {
		case len(r.Attached) > 0:
			return inUse("Cannot delete entity, must detach all policies first.")
		case len(r.Inline) > 0:
			return inUse("Cannot delete entity, must delete policies first.")
		}
		t.drop(r)
		return nil
	})
}

// Create creates an instance profile.
func (profiles *InstanceProfiles) Create(
	ctx context.Context,
	path, name string,
	tags map[string]string,
) (*InstanceProfile, error) {
	var p *InstanceProfile
	err := profiles.update(ctx, func(t *tx) error {
		if err := checkName("instanceProfileName", name, 128); err != nil {
			return err
		}
		path, err := checkPath(path)
		if err != nil {
			return err
		}
		tags, err := mergeTags(nil, tags)
		if err != nil {
			return err
		}
		p = &InstanceProfile{
			Path:    path,
			Name:    name,
			ID:      newEntityID("AIPA"),
			ARN:     profiles.arn("instance-profile", path, name),
			Created: t.now,
			Tags:    tags,
		}
		if t.profiles[p.key()] != nil {
			return exists("Instance Profile %s already exists.", name)
		}
		if len(t.profiles) >= maxProfiles {
			return limit("Cannot exceed quota for InstanceProfilesPerAccount: %d", maxProfiles)
		}
		t.put(p)
		return nil
	})
	return p, err
}

// Get returns an instance profile and its role, which may be nil.
func (profiles *InstanceProfiles) Get(ctx context.Context, name string) (*InstanceProfile, *Role, error) {
	var r *Role
	p, err := get(ctx, profiles.account, func(s *state) (*InstanceProfile, error) {
		p, err := s.profile(name)
		if err == nil {
			r = s.roleIDs[p.RoleID]
		}
		return p, err
	})
	return p, r, err
}

// List returns every instance profile, by name.
func (profiles *InstanceProfiles) List(ctx context.Context) ([]*InstanceProfile, error) {
	return get(ctx, profiles.account, func(s *state) ([]*InstanceProfile, error) { return sorted(s.profiles), nil })
}

// AddRole adds a role to an instance profile without one.
func (profiles *InstanceProfiles) AddRole(ctx context.Context, profile, role string) error {
	return profiles.update(ctx, func(t *tx) error {
		old, err := t.profile(profile)
		if err != nil {
			return err
		}
		r, err := t.role(role)
		if err != nil {
			return err
		}
		if old.RoleID != "" {
			return limit("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		p := edit(old)
		p.RoleID = r.ID
		t.put(p)
		return nil
	})
}

// RemoveRole removes the role from an instance profile.
func (profiles *InstanceProfiles) RemoveRole(ctx context.Context, profile, role string) error {
	return profiles.update(ctx, func(t *tx) error {
		old, err := t.profile(profile)
		if err != nil {
			return err
		}
		r, err := t.role(role)
		if err != nil {
			return err
		}
		if old.RoleID != r.ID {
			return notFound("Role %s in Instance Profile %s cannot be found.", role, profile)
		}
		p := edit(old)
		p.RoleID = ""
		t.put(p)
		return nil
	})
}

// Delete removes an instance profile without a role.
func (profiles *InstanceProfiles) Delete(ctx context.Context, name string) error {
	return profiles.update(ctx, func(t *tx) error {
		p, err := t.profile(name)
		if err != nil {
			return err
		}
		if p.RoleID != "" {
			return inUse("Cannot delete entity, must remove roles from instance profile first.")
		}
		t.drop(p)
		return nil
	})
}

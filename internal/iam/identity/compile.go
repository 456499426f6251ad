package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// maxCompiled bounds the cache of compiled sets. A full cache is emptied and
// refills with the sets in use.
const maxCompiled = 10_000

// compiledSets caches the compiled policies of each principal until one of the
// objects they were compiled from changes.
type compiledSets struct {
	mu   sync.RWMutex
	sets map[setKey]*compiledSet
	// same has the sets by what they were compiled from: principals whose
	// policies come from the same groups share one.
	same map[sourceKey]*policy.Set
}

// sourceKey names the sources of a set.
type sourceKey struct {
	sum       [sha256.Size]byte
	calendars entity
}

type setKey struct {
	id      string // of the user or role
	session string // the session policies
	limited bool   // session policies apply even if there are none
}

type compiledSet struct {
	made       []entity // what it was compiled from, in order
	set        *policy.Set
	err        error
	generation atomic.Int64 // the newest for which it is known to hold
}

// PolicySets compiles the policies that decide on a principal's requests.
type PolicySets struct {
	*account

	compiled compiledSets
}

// Policies returns the compiled policies of a principal. It fails if one of
// them cannot be parsed, so that the caller allows nothing.
func (sets *PolicySets) Policies(ctx context.Context, p *sekisho.Principal) (*policy.Set, error) {
	key, err := keyOf(p)
	if err != nil {
		return nil, err
	}
	if err := sets.fresh(ctx); err != nil {
		return nil, err
	}
	sets.mu.RLock()
	generation := sets.st.generation
	sets.mu.RUnlock()
	sets.compiled.mu.RLock()
	have := sets.compiled.sets[key]
	sets.compiled.mu.RUnlock()
	if have != nil && have.generation.Load() == generation {
		return have.set, have.err
	}
	src, err := get(ctx, sets.account, func(s *state) (*sources, error) {
		generation = s.generation
		return s.sources(p)
	})
	if err != nil {
		return nil, err
	}
	if have != nil && slices.Equal(have.made, src.made) {
		have.generation.Store(generation)
		return have.set, have.err
	}
	c := &compiledSet{made: src.made}
	c.generation.Store(generation)
	sources := src.key()
	sets.compiled.mu.RLock()
	c.set = sets.compiled.same[sources]
	sets.compiled.mu.RUnlock()
	if c.set == nil {
		if in, err := src.parse(); err != nil {
			c.err = err
		} else {
			c.set = policy.Compile(in)
		}
	}
	sets.compiled.mu.Lock()
	defer sets.compiled.mu.Unlock()
	if sets.compiled.sets == nil || len(sets.compiled.sets) >= maxCompiled {
		sets.compiled.sets = map[setKey]*compiledSet{}
	}
	sets.compiled.sets[key] = c
	if c.set != nil {
		if sets.compiled.same == nil || len(sets.compiled.same) >= maxCompiled {
			sets.compiled.same = map[sourceKey]*policy.Set{}
		}
		sets.compiled.same[sources] = c.set
	}
	return c.set, c.err
}

// identityID is the ID of the user or role whose policies bind p.
func identityID(p *sekisho.Principal) string {
	switch p.Type {
	case sekisho.PrincipalUser:
		return p.UserID
	case sekisho.PrincipalAssumedRole:
		id, _, _ := strings.Cut(p.UserID, ":")
		return id
	case sekisho.PrincipalFederatedUser:
		if p.Session != nil {
			return p.Session.SourceUserID
		}
	case sekisho.PrincipalRoot, sekisho.PrincipalAnonymous, sekisho.PrincipalWebIdentity:
	}
	return ""
}

func keyOf(p *sekisho.Principal) (setKey, error) {
	k := setKey{id: identityID(p)}
	if k.id == "" {
		return k, errUnknownKey
	}
	if p.Session != nil && len(p.Session.Policies)+len(p.Session.PolicyARNs) > 0 {
		k.session = strings.Join(p.Session.Policies, "\x00") + "\x01" + strings.Join(p.Session.PolicyARNs, "\x00")
	}
	k.limited = p.Type == sekisho.PrincipalFederatedUser
	return k, nil
}

// sourceText is the text of one policy, and where it is from.
type sourceText struct {
	text string
	id   string // a policy's name or ARN
	kind string // user, group, role, aws-managed, user-managed or none
}

// sources are the texts that bind a principal.
type sources struct {
	made     []entity
	identity []sourceText
	boundary *sourceText
	session  []sourceText
	limited  bool // session policies apply even if there are none

	calendars map[string]*policy.Calendar
}

// key names everything that a set is compiled from.
func (src *sources) key() sourceKey {
	k := sourceKey{calendars: src.made[0]}
	h := sha256.New()
	write := func(part string, texts ...sourceText) {
		fmt.Fprintf(h, "%s %d ", part, len(texts))
		for _, t := range texts {
			fmt.Fprintf(h, "%q %q %d ", t.id, t.kind, len(t.text))
			_, _ = io.WriteString(h, t.text) // a hash accepts everything
		}
	}
	write("identity", src.identity...)
	write("session", src.session...)
	if src.boundary != nil {
		write("boundary", *src.boundary)
	}
	if src.limited {
		write("limited")
	}
	h.Sum(k.sum[:0])
	return k
}

// newSources returns sources without texts. Policies that refer to calendars
// depend on all of them.
func (s *state) newSources() *sources {
	return &sources{made: []entity{s.calendarSet}, calendars: s.calendarSet.byName}
}

func (s *state) sources(p *sekisho.Principal) (*sources, error) {
	id := identityID(p)
	src := s.newSources()
	if u := s.userIDs[id]; u != nil {
		if err := s.userSources(src, u); err != nil {
			return nil, err
		}
	} else if r := s.roleIDs[id]; r != nil {
		if err := s.roleSources(src, r); err != nil {
			return nil, err
		}
	} else {
		return nil, errUnknownKey
	}
	if p.Session != nil {
		for _, text := range p.Session.Policies {
			src.session = append(src.session, sourceText{text: text, id: "SessionPolicy", kind: "none"})
		}
		for _, arn := range p.Session.PolicyARNs {
			t, err := s.managedText(src, arn)
			if err != nil {
				return nil, err
			}
			src.session = append(src.session, t)
		}
	}
	src.limited = p.Type == sekisho.PrincipalFederatedUser
	return src, nil
}

func (s *state) userSources(src *sources, u *User) error {
	src.made = append(src.made, u)
	if err := s.holderSources(src, KindUser, &u.Holder); err != nil {
		return err
	}
	for _, g := range s.groupsOf(u) {
		src.made = append(src.made, g)
		if err := s.holderSources(src, KindGroup, &g.Holder); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) roleSources(src *sources, r *Role) error {
	src.made = append(src.made, r)
	return s.holderSources(src, KindRole, &r.Holder)
}

func (s *state) holderSources(src *sources, kind Kind, h *Holder) error {
	for _, name := range slices.Sorted(maps.Keys(h.Inline)) {
		src.identity = append(src.identity, sourceText{text: h.Inline[name], id: name, kind: string(kind)})
	}
	for _, arn := range h.Attached {
		t, err := s.managedText(src, arn)
		if err != nil {
			return err
		}
		src.identity = append(src.identity, t)
	}
	if h.Boundary != "" {
		t, err := s.managedText(src, h.Boundary)
		if err != nil {
			return err
		}
		src.boundary = &t
	}
	return nil
}

func (s *state) managedText(src *sources, arn string) (sourceText, error) {
	p := s.policies[arn]
	if p == nil {
		return sourceText{}, sekisho.Errorf(sekisho.CodeInternal, "the attached policy %s does not exist", arn)
	}
	src.made = append(src.made, p)
	kind := "user-managed"
	if p.AWSManaged() {
		kind = "aws-managed"
	}
	return sourceText{text: p.Document(), id: p.Name, kind: kind}, nil
}

func (t sourceText) parse() (*policy.Document, error) {
	doc, err := policy.Parse([]byte(t.text))
	if err != nil {
		return nil, sekisho.Errorf(sekisho.CodeInternal, "cannot parse the stored policy %s: %w", t.id, err)
	}
	return doc.WithSource(t.id, t.kind), nil
}

func (src *sources) parse() (in policy.Policies, err error) {
	in.HasSession, in.Calendars = src.limited, src.calendars
	for _, t := range src.identity {
		doc, err := t.parse()
		if err != nil {
			return in, err
		}
		in.Identity = append(in.Identity, doc)
	}
	for _, t := range src.session {
		doc, err := t.parse()
		if err != nil {
			return in, err
		}
		in.Session = append(in.Session, doc)
	}
	if src.boundary != nil {
		if in.Boundary, err = src.boundary.parse(); err != nil {
			return in, err
		}
	}
	return in, nil
}

// TrustSet returns the compiled policies that decide whether p may assume a
// role: its own, and the role's trust policy.
func (sets *PolicySets) TrustSet(ctx context.Context, p *sekisho.Principal, role *Role) (*policy.Set, error) {
	var trust string
	src, err := get(ctx, sets.account, func(s *state) (*sources, error) {
		trust = s.trustText(role)
		return s.sources(p)
	})
	if err != nil {
		return nil, err
	}
	in, err := src.parse()
	if err != nil {
		return nil, err
	}
	if in.Trust, err = (sourceText{text: trust, id: role.Name, kind: "resource"}).parse(); err != nil {
		return nil, err
	}
	return policy.Compile(in), nil
}

// trustPolicies returns the trust policy of a role alone.
func (sets *PolicySets) trustPolicies(ctx context.Context, role *Role) (in policy.Policies, err error) {
	trust, err := get(ctx, sets.account, func(s *state) (string, error) {
		in.Calendars = s.calendarSet.byName
		return s.trustText(role), nil
	})
	if err != nil {
		return in, err
	}
	in.Trust, err = (sourceText{text: trust, id: role.Name, kind: "resource"}).parse()
	return in, err
}

// TrustsService reports whether a role may be assumed by an AWS service.
func (sets *PolicySets) TrustsService(ctx context.Context, role *Role, service string) (bool, error) {
	trust, err := sets.trustPolicies(ctx, role)
	if err != nil {
		return false, err
	}
	keys := policy.NewContext()
	keys.Set("aws:SourceAccount", policy.Single(sets.id))
	keys.Set("aws:CurrentTime", policy.Single(sets.now().UTC().Format("2006-01-02T15:04:05Z")))
	decision := policy.Compile(trust).Evaluate(&policy.Request{
		Action: "sts:AssumeRole", Resource: role.ARN, Context: keys,
		Principal: policy.Principal{Type: policy.TypeService, Service: service},
	})
	return decision.Effect == policy.Allowed, nil
}

package policy

// Kind is the use of a document; Validate's requirements depend on it.
type Kind int

// Kinds of policies.
const (
	KindIdentity Kind = iota
	KindBoundary
	KindSession
	KindResource
	KindTrust
	KindSCP
)

// Request is a request of Principal to perform Action on Resource.
type Request struct {
	Action          string // ssm:StartSession, in any case
	Resource        string // an ARN, or "*" for actions without resource-level support
	Context         *Context
	Principal       Principal
	ResourceAccount string // owner of the resource; "" = the principal's account
}

// Policies are the documents that apply to one principal, and to one resource
// if it has a policy of its own.
type Policies struct {
	// Identity holds the documents of the user and its groups, or of the role.
	Identity []*Document
	// Boundary is the permissions boundary; nil if none is attached, unlike a document that allows
	// nothing.
	Boundary *Document
	// Session are the inline and managed session policies, one of which must allow. They apply if
	// there are any or if HasSession is set.
	Session    []*Document
	HasSession bool
	// Resource is the resource's policy.
	Resource *Document
	// ResourceDecides means that Resource must also allow, whatever the identity policies allow,
	// like the policy of a KMS key.
	ResourceDecides bool
	// Trust is the trust policy of the role to be assumed. Unlike Resource it must always allow,
	// whatever the identity policies allow.
	Trust *Document
	// SCP holds levels of service control policies, root first. Every level
	// must allow.
	SCP [][]*Document
	// Calendars are those of the account, by name in lower case.
	Calendars map[string]*Calendar
}

// Set is compiled Policies. It is immutable and safe for concurrent use.
type Set struct {
	scp      []*scope
	decides  bool // the resource policy must allow
	resource *scope
	trust    *scope
	identity *scope
	boundary *scope
	session  *scope
}

// Compile joins policies and indexes their statements for fast evaluation. A nil document in a
// list counts as an unusable one.
func Compile(p Policies) *Set {
	newScope := func(kind PolicyType, docs []*Document, bounded bool) *scope {
		bound := make([]*Document, len(docs))
		for i, d := range docs {
			bound[i] = d.bind(p.Calendars)
		}
		return newScope(kind, bound, bounded)
	}
	s := &Set{identity: newScope(PolicyIdentity, p.Identity, false)}
	bounded := p.Boundary != nil
	for _, level := range p.SCP {
		s.scp = append(s.scp, newScope(PolicySCP, level, false))
	}
	if p.Resource != nil {
		s.resource = newScope(PolicyResource, []*Document{p.Resource}, bounded)
	}
	if p.ResourceDecides {
		s.decides = true
	}
	if p.Trust != nil {
		s.trust = newScope(PolicyTrust, []*Document{p.Trust}, bounded)
	}
	if bounded {
		s.boundary = newScope(PolicyBoundary, []*Document{p.Boundary}, false)
	}
	if p.HasSession || len(p.Session) > 0 {
		s.session = newScope(PolicySession, p.Session, false)
	}
	return s
}

// scope is the documents of one policy type (one level, for SCPs).
type scope struct {
	kind    PolicyType
	docs    []*Document
	bounded bool // the principal has a permissions boundary
	broken  bool
	allow   index
	deny    index
}

func newScope(kind PolicyType, docs []*Document, bounded bool) *scope {
	sc := &scope{kind: kind, docs: docs, bounded: bounded}
	for _, d := range docs {
		if d.Err() != nil {
			sc.broken = true
			continue
		}
		for _, st := range d.statements {
			if st.deny {
				sc.deny.add(sc, st)
			} else {
				sc.allow.add(sc, st)
			}
		}
	}
	return sc
}

// namesPrincipals reports whether statements of the scope name principals.
func (sc *scope) namesPrincipals() bool {
	return sc.kind == PolicyResource || sc.kind == PolicyTrust
}

// canMatch reports whether a statement has the elements that its scope requires. Other statements
// cannot be saved; they allow nothing.
func (sc *scope) canMatch(st *statement) bool {
	switch {
	case sc.namesPrincipals():
		if !st.who.present {
			return false
		}
	case st.who.present && !st.deny:
		return false
	}
	return st.hasRes || st.deny || sc.kind == PolicyTrust
}

// ignoresResource reports whether a statement applies to every resource.
func (sc *scope) ignoresResource(st *statement) bool {
	return !st.hasRes || sc.kind == PolicyTrust && st.deny
}

// bestOf returns the best grant among posts whose action is known to match.
func (sc *scope) bestOf(posts []post, r *Request, g, limit grant) grant {
	for i := range posts {
		p := &posts[i]
		if p.res != nil {
			if !p.res.match(r.Resource, r.Context) {
				continue
			}
		} else if !sc.matchesResource(p.st, r) {
			continue
		}
		if p.st.notAction && !p.st.matchesAction(r.Action) {
			continue
		}
		if g = max(g, sc.grantOf(p.st, r)); g >= limit {
			return g
		}
	}
	return g
}

// grantOf checks principal and conditions.
func (sc *scope) grantOf(st *statement, r *Request) grant {
	g := grantDirect
	if sc.namesPrincipals() {
		if g = st.who.grant(&r.Principal, st.deny, sc.bounded); g == grantNone {
			return grantNone
		}
	}
	for _, c := range st.conditions {
		if !c.holds(r.Context) {
			return grantNone
		}
	}
	return g
}

func (sc *scope) matchesResource(st *statement, r *Request) bool {
	if sc.ignoresResource(st) {
		return true
	}
	for i := range st.resources {
		if st.resources[i].match(r.Resource, r.Context) {
			return !st.notRes
		}
	}
	return st.notRes
}

func (st *statement) matchesAction(action string) bool {
	for i := range st.actions {
		if st.actions[i].matches(action) {
			return !st.notAction
		}
	}
	return st.notAction
}

// denies reports whether the scope denies explicitly; a nil scope does not.
func (sc *scope) denies(r *Request) bool {
	switch {
	case sc == nil:
		return false
	case sc.broken:
		return true
	case r.Context.changes():
		return sc.bestChanged(r, true) != grantNone
	}
	return sc.deny.best(r, sc, grantAccount) != grantNone
}

// allows returns the best grant of the scope; a nil scope grants nothing.
func (sc *scope) allows(r *Request) grant {
	if sc == nil || sc.broken {
		return grantNone
	}
	if r.Context.changes() {
		return sc.bestChanged(r, false)
	}
	limit := grantDirect
	if !sc.namesPrincipals() {
		limit = grantAccount
	}
	return sc.allow.best(r, sc, limit)
}

// Evaluate decides r.
func (s *Set) Evaluate(r *Request) Decision {
	// Identity policies and boundaries do not apply to the account's root user.
	root := r.Principal.Type == TypeRoot
	for _, sc := range s.scp {
		if sc.denies(r) {
			return Decision{ExplicitDeny, PolicySCP}
		}
	}
	switch {
	case s.resource.denies(r):
		return Decision{ExplicitDeny, PolicyResource}
	case s.trust.denies(r):
		return Decision{ExplicitDeny, PolicyTrust}
	case !root && s.identity.denies(r):
		return Decision{ExplicitDeny, PolicyIdentity}
	case !root && s.boundary.denies(r):
		return Decision{ExplicitDeny, PolicyBoundary}
	case s.session.denies(r):
		return Decision{ExplicitDeny, PolicySession}
	}
	for _, sc := range s.scp {
		if sc.allows(r) == grantNone {
			return Decision{ImplicitDeny, PolicySCP}
		}
	}

	owner, granting := PolicyResource, s.resource
	if s.trust != nil {
		owner, granting = PolicyTrust, s.trust
	}
	level := granting.allows(r)
	if r.Principal.external() {
		if level == grantNone {
			return Decision{ImplicitDeny, owner}
		}
		return Decision{Effect: Allowed}
	}
	cross := r.ResourceAccount != "" && r.ResourceAccount != r.Principal.Account
	if !cross {
		if (s.trust != nil || s.decides) && level == grantNone {
			return Decision{ImplicitDeny, owner}
		}
		if level == grantDirect {
			return Decision{Effect: Allowed}
		}
	}
	switch {
	case !root && (cross || level != grantRole) && s.identity.allows(r) == grantNone:
		return Decision{ImplicitDeny, PolicyIdentity}
	case !root && s.boundary != nil && s.boundary.allows(r) == grantNone:
		return Decision{ImplicitDeny, PolicyBoundary}
	case (s.session != nil || r.Principal.Type == TypeFederatedUser) && s.session.allows(r) == grantNone:
		return Decision{ImplicitDeny, PolicySession}
	case cross && level == grantNone:
		return Decision{ImplicitDeny, owner}
	}
	return Decision{Effect: Allowed}
}

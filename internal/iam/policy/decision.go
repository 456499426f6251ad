package policy

import "strings"

// Effect is the outcome of an evaluation.
type Effect uint8

// Values of Effect. The zero value denies.
const (
	ImplicitDeny Effect = iota // nothing allows it
	ExplicitDeny               // a Deny statement applies
	Allowed
)

// String returns the policy simulator's word for e.
func (e Effect) String() string {
	switch e {
	case Allowed:
		return "allowed"
	case ExplicitDeny:
		return "explicitDeny"
	case ImplicitDeny:
	}
	return "implicitDeny"
}

// PolicyType is a kind of policy as AccessDenied messages name it.
type PolicyType string

// Values of PolicyType.
const (
	PolicyIdentity PolicyType = "identity-based policy"
	PolicyBoundary PolicyType = "permissions boundary"
	PolicySession  PolicyType = "session policy"
	PolicyResource PolicyType = "resource-based policy"
	PolicyTrust    PolicyType = "role trust policy"
	PolicySCP      PolicyType = "service control policy"
	PolicyEndpoint PolicyType = "VPC endpoint policy"
)

// Decision is the outcome of an evaluation and, for a denial, the policy type
// that is reported as its cause. The zero Decision denies.
type Decision struct {
	Effect   Effect
	DeniedBy PolicyType // "" when allowed
}

// Allowed reports whether the request is allowed.
func (d Decision) Allowed() bool { return d.Effect == Allowed }

// Message returns AWS's AccessDenied text; it is empty for an allowed request. If resource is
// empty, the text omits it.
func (d Decision) Message(principalARN, action, resource string) string {
	if d.Effect == Allowed {
		return ""
	}
	by := d.DeniedBy
	if by == "" {
		by = PolicyIdentity
	}
	var b strings.Builder
	b.WriteString("User: " + principalARN + " is not authorized to perform: " + action)
	if resource != "" {
		b.WriteString(" on resource: " + resource)
	}
	if d.Effect == ImplicitDeny {
		b.WriteString(" because no " + string(by) + " allows the " + action + " action")
		return b.String()
	}
	article := "a"
	switch by {
	case PolicyIdentity:
		article = "an"
	case PolicyTrust:
		article = "the"
	case PolicyBoundary, PolicySession, PolicyResource, PolicySCP, PolicyEndpoint:
	}
	b.WriteString(" with an explicit deny in " + article + " " + string(by))
	return b.String()
}

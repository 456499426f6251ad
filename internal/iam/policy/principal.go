package policy

import (
	"fmt"
	"strings"
)

// Types of principals, as in the aws:PrincipalType condition key, and the two that only resource
// and trust policies can name.
const (
	TypeRoot          = "Account"
	TypeUser          = "User"
	TypeAssumedRole   = "AssumedRole"
	TypeFederatedUser = "FederatedUser"
	TypeAnonymous     = "Anonymous"
	TypeService       = "Service"   // an AWS service acting for itself
	TypeFederated     = "Federated" // a caller known to an identity provider only
)

// Principal is the caller, with everything that resource and trust policies can refer to.
type Principal struct {
	Type      string // one of the Type constants
	ARN       string // user, role-session, federated-user or root ARN
	Account   string // 12 digits
	UserID    string // aws:userid: AIDA…, or AROA…:session-name
	RoleARN   string // TypeAssumedRole: the role behind the session
	UserARN   string // TypeFederatedUser: the user who called GetFederationToken
	Service   string // TypeService: ssm.amazonaws.com, …
	Federated string // TypeFederated: provider ARN or host name
}

// external reports whether the caller has no identity-based policies.
func (p *Principal) external() bool {
	return p.Type == TypeService || p.Type == TypeFederated || p.Type == TypeAnonymous
}

// grant says how precisely a statement names the caller. Only resource and trust policies
// distinguish degrees; a match elsewhere is grantDirect.
type grant uint8

const (
	grantNone    grant = iota
	grantAccount       // the caller's account, which delegates to its identity policies
	grantRole          // the role or user behind a session
	grantDirect        // the caller itself, or everybody
)

type principalKind uint8

const (
	principalAny principalKind = iota
	principalAccount
	principalAWS // an ARN or a unique ID
	principalService
	principalFederated
	principalCanonical
)

// PrincipalRef is one entry of a Principal or NotPrincipal element: the key
// (AWS, Service, Federated, CanonicalUser) and the value as written. The lone
// "*" is {AWS, *}.
type PrincipalRef struct {
	Type  string
	Value string
}

type principalEntry struct {
	kind  principalKind
	value string // account ID for principalAccount
	ref   PrincipalRef
}

func compilePrincipal(ref PrincipalRef) principalEntry {
	e := principalEntry{value: ref.Value, ref: ref}
	switch ref.Type {
	case "Service":
		e.kind = principalService
	case "Federated":
		e.kind = principalFederated
	case "CanonicalUser":
		e.kind = principalCanonical
	default:
		e.kind = principalAWS
		if ref.Value == "*" {
			e.kind = principalAny
		} else if acct, ok := accountOf(ref.Value); ok {
			e.kind, e.value = principalAccount, acct
		}
	}
	return e
}

// accountOf returns the account if a principal value names a whole account.
func accountOf(v string) (string, bool) {
	if rest, ok := strings.CutSuffix(v, ":root"); ok && strings.HasPrefix(v, "arn:") {
		if _, after, ok := strings.Cut(rest, ":iam::"); ok {
			v = after
		}
	}
	return v, len(v) == 12 && allDigits(v)
}

func (e *principalEntry) grant(p *Principal) grant {
	switch e.kind {
	case principalAny:
		return grantDirect
	case principalAccount:
		if p.Account == e.value && !p.external() {
			return grantAccount
		}
	case principalAWS:
		switch {
		case p.external():
		case e.value == p.ARN && p.ARN != "":
			return grantDirect
		case e.value == p.UserID && p.UserID != "":
			return grantDirect
		case p.Type == TypeAssumedRole && (e.value == p.RoleARN || e.value == roleID(p.UserID)) && e.value != "":
			return grantRole
		case p.Type == TypeFederatedUser && e.value == p.UserARN && e.value != "":
			return grantRole
		}
	case principalService:
		if p.Type == TypeService && (e.value == p.Service || e.value == "*") {
			return grantDirect
		}
	case principalFederated:
		if p.Type == TypeFederated && (e.value == p.Federated || e.value == "*") {
			return grantDirect
		}
	case principalCanonical:
		// Canonical users exist only in S3 access control lists; no caller is one.
	}
	return grantNone
}

// roleID returns the unique ID of the role in AROA…:session-name.
func roleID(userID string) string {
	id, _, ok := strings.Cut(userID, ":")
	if !ok {
		return ""
	}
	return id
}

// principals is a statement's Principal or NotPrincipal element.
type principals struct {
	present bool
	not     bool
	entries []principalEntry
}

func (ps *principals) best(p *Principal) grant {
	g := grantNone
	for i := range ps.entries {
		g = max(g, ps.entries[i].grant(p))
	}
	return g
}

// grant returns how precisely the element names p. bounded means that p has a permissions boundary:
// a Deny with NotPrincipal then applies to p even if it is listed, as in AWS.
func (ps *principals) grant(p *Principal, deny, bounded bool) grant {
	if !ps.present {
		return grantNone
	}
	g := ps.best(p)
	switch {
	case !ps.not:
		return g
	case !deny && g == grantNone:
		return grantDirect
	case !deny:
		return grantNone
	case bounded, g < grantRole && (g != grantAccount || p.Type != TypeRoot):
		// A listed account exempts its root user, not its other principals.
		return grantDirect
	}
	return grantNone
}

// readPrincipal parses a Principal or NotPrincipal element.
func readPrincipal(n *jsonNode) ([]PrincipalRef, error) {
	if n.kind == jsonString {
		if n.text != "*" {
			return nil, fmt.Errorf("a principal must be \"*\" or an object")
		}
		return []PrincipalRef{{"AWS", "*"}}, nil
	}
	if n.kind != jsonObject {
		return nil, fmt.Errorf("a principal must be \"*\" or an object")
	}
	var refs []PrincipalRef
	for _, m := range n.members {
		switch m.name {
		case "AWS", "Service", "Federated", "CanonicalUser":
		default:
			return nil, fmt.Errorf("unknown kind of principal %q", m.name)
		}
		values, err := readStrings(m.value)
		if err != nil {
			return nil, fmt.Errorf("principal %s: %w", m.name, err)
		}
		for _, v := range values {
			refs = append(refs, PrincipalRef{m.name, v})
		}
	}
	return refs, nil
}

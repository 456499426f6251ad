package sekisho

import "time"

// PrincipalType says what kind of identity signed a request. The values are
// those of the aws:PrincipalType condition key.
type PrincipalType string

// The kinds of principal.
const (
	PrincipalRoot          PrincipalType = "Account"
	PrincipalUser          PrincipalType = "User"
	PrincipalAssumedRole   PrincipalType = "AssumedRole"
	PrincipalFederatedUser PrincipalType = "FederatedUser"
	PrincipalAnonymous     PrincipalType = "Anonymous"
	// PrincipalWebIdentity is known to an identity provider only. It can
	// assume a role that trusts the provider, and nothing else.
	PrincipalWebIdentity PrincipalType = "Federated"
)

// Principal is a verified caller: who signed a request and how strongly.
// Every field is a fact the server established, never a request parameter.
type Principal struct {
	Type    PrincipalType
	Account string // 12 digits

	// ARN names the caller as AWS shows it: arn:aws:iam::ACCT:user/path/name,
	// arn:aws:sts::ACCT:assumed-role/ROLE/SESSION, ….
	ARN string
	// PolicyARN is the value of aws:PrincipalArn: ARN itself, but the role's
	// ARN for an assumed role.
	PolicyARN string
	// UserID is the value of aws:userid: AIDA…, or AROA…:session-name.
	UserID string
	// UserName is the IAM user's name; empty for every other kind.
	UserName string
	// RoleName and RoleSessionName are set for assumed roles.
	RoleName        string
	RoleSessionName string

	// AccessKeyID identifies the credential that was used. Empty for a
	// console cookie session that has not been given one.
	AccessKeyID string
	// TokenIssueTime is when temporary credentials were issued; zero for
	// long-term keys.
	TokenIssueTime time.Time
	// MFATime is when the second factor was shown; zero when it was not.
	MFATime time.Time

	// Tags are the principal's tags; session tags override the role's.
	Tags map[string]string

	// Node is the managed node whose instance-role credentials these are;
	// empty for people.
	Node NodeID
	// NodeProgram is set when the credentials were issued for programs on the
	// node, which any local user may have: they carry the role's permissions,
	// but do not speak for the node's agent. See Agent.
	NodeProgram bool

	// Lease names what the credentials rest on: the user, the key, the
	// password. When one of these goes, so does what was begun with them. Only
	// the directory reads it.
	Lease string

	// Session is what temporary credentials carry with them; nil for
	// long-term keys.
	Session *PrincipalSession
}

// PrincipalSession is what temporary credentials say about themselves.
type PrincipalSession struct {
	Expires time.Time
	// Policies (JSON) and PolicyARNs (managed policies) limit what the
	// identity's own policies allow.
	Policies   []string
	PolicyARNs []string
	// TransitiveTags are the names of the tags that go on to further roles.
	TransitiveTags []string
	SourceIdentity string
	// FederatedProvider is the ARN of the identity provider whose token the
	// chain of credentials began with; empty when it began with a user.
	FederatedProvider string
	// FederatedPerson stands for the provider and the subject of that token. One
	// person has one, whatever role session names they choose.
	FederatedPerson string
	// SourceUserID and SourceAccessKeyID name the long-term identity that the
	// chain of credentials began with. What began with it ends with it.
	SourceUserID      string
	SourceAccessKeyID string
}

// Agent reports whether the caller is the agent of node: it has proved
// possession of the node's key, directly or by credentials that are issued for
// that proof only. Control and data channels, and everything else that an agent
// says about its node, require it.
func (p *Principal) Agent(node NodeID) bool {
	return p != nil && node != "" && p.Node == node && !p.NodeProgram
}

// SessionPrefix is the first part of the IDs of sessions this principal
// starts: the IAM user name or the role-session name.
func (p *Principal) SessionPrefix() string {
	switch p.Type {
	case PrincipalUser:
		return p.UserName
	case PrincipalAssumedRole, PrincipalFederatedUser:
		return p.RoleSessionName
	case PrincipalRoot:
		return "root"
	case PrincipalAnonymous, PrincipalWebIdentity:
	}
	return "anonymous"
}

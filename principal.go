package sekisho

import "time"

// PrincipalType says what kind of identity signed a request. The values are
// those of the aws:PrincipalType condition key.
type PrincipalType string

// Values of PrincipalType.
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

// Principal is a verified caller: who signed a request and how they authenticated. The server
// established every field; none is a request parameter.
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
	// MFATime is when the second factor was verified; zero without one.
	MFATime time.Time

	// Tags are the principal's tags; session tags override the role's.
	Tags map[string]string

	// Node is the managed node whose instance-role credentials these are;
	// empty for people.
	Node NodeID
	// NodeProgram is set if the credentials were issued for programs on the node, which any local
	// user can get: they carry the role's permissions, but cannot be used as the node's agent. See
	// Agent.
	NodeProgram bool

	// Lease identifies what the credentials depend on: the user, the key, the password. When one of
	// these is deleted or changed, sessions started with the credentials end. Only the directory
	// interprets it.
	Lease string

	// Session describes temporary credentials; nil for long-term keys.
	Session *PrincipalSession
}

// PrincipalSession describes temporary credentials.
type PrincipalSession struct {
	Expires time.Time
	// Policies (JSON) and PolicyARNs (managed policies) limit what the
	// identity's own policies allow.
	Policies   []string
	PolicyARNs []string
	// TransitiveTags are the names of the tags that are passed on to further roles.
	TransitiveTags []string
	SourceIdentity string
	// FederatedProvider is the ARN of the identity provider whose token started the chain of
	// credentials; empty if a user started it.
	FederatedProvider string
	// FederatedPerson identifies the provider and the subject of that token. It does not depend on
	// role session names.
	FederatedPerson string
	// SourceUserID and SourceAccessKeyID identify the long-term identity that started the chain of
	// credentials. The whole chain ends with it.
	SourceUserID      string
	SourceAccessKeyID string
}

// Agent reports whether the caller is the agent of node: it has proved possession of the node's
// key, directly or with credentials issued only for that proof. Control and data channels, and
// everything that an agent reports about its node, require it.
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

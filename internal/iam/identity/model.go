package identity

import (
	"slices"
	"strings"
	"time"
)

// Holder is what users, groups and roles have in common: a name, and policies.
type Holder struct {
	Path    string
	Name    string
	ID      string // AIDA…, AGPA… or AROA…
	ARN     string
	Created time.Time

	Inline   map[string]string `json:",omitempty"` // policy name to document
	Attached []string          `json:",omitempty"` // ARNs of managed policies
	Boundary string            `json:",omitempty"` // ARN of a managed policy
	Tags     map[string]string `json:",omitempty"`
}

// User is an IAM user.
type User struct {
	Holder
	Groups []string      `json:",omitempty"` // group IDs
	Keys   []AccessKey   `json:",omitempty"`
	Login  *LoginProfile `json:",omitempty"`
	MFA    []string      `json:",omitempty"` // serial numbers of enabled devices
}

// AccessKey is a long-term credential of a user.
type AccessKey struct {
	ID      string
	Sealed  []byte // the secret, under the keyring
	Active  bool
	Created time.Time
}

// LoginProfile is a user's password.
type LoginProfile struct {
	Hash          string // argon2id, in PHC format
	Created       time.Time
	Changed       time.Time `json:",omitzero"` // zero in passwords from before it was recorded
	ResetRequired bool      `json:",omitempty"`
}

// Group is a set of users who share policies.
type Group struct{ Holder }

// Role is an identity that others assume.
type Role struct {
	Holder
	Description string
	MaxSession  time.Duration
	Trust       string // the trust policy document
	// TrustIDs maps each ARN in the trust policy to the ID of the user or role
	// it named when the policy was saved. A later user or role of the same
	// name is a different principal.
	TrustIDs map[string]string `json:",omitempty"`
}

// InstanceProfile makes a role available to EC2 instances.
type InstanceProfile struct {
	Path    string
	Name    string
	ID      string
	ARN     string
	Created time.Time
	RoleID  string            `json:",omitempty"`
	Tags    map[string]string `json:",omitempty"`
}

// Policy is a managed policy.
type Policy struct {
	Path        string
	Name        string
	ID          string
	ARN         string
	Description string
	Created     time.Time
	Updated     time.Time
	Versions    []PolicyVersion // oldest first
	Default     string          // the version in force
	NextVersion int
	Tags        map[string]string `json:",omitempty"`
}

// PolicyVersion is one of up to five texts of a managed policy.
type PolicyVersion struct {
	ID       string // v1, v2, …
	Document string
	Created  time.Time
}

// AWSManaged reports whether the policy is managed by AWS and so read-only.
func (p *Policy) AWSManaged() bool { return strings.HasPrefix(p.ARN, awsPolicyPrefix) }

// Document returns the text in force.
func (p *Policy) Document() string {
	if v := p.Version(p.Default); v != nil {
		return v.Document
	}
	return ""
}

// Version returns a version by its ID, or nil.
func (p *Policy) Version(id string) *PolicyVersion {
	i := slices.IndexFunc(p.Versions, func(v PolicyVersion) bool { return v.ID == id })
	if i < 0 {
		return nil
	}
	return &p.Versions[i]
}

// MFADevice is a virtual second factor (TOTP).
type MFADevice struct {
	Name     string
	Path     string
	Serial   string // its ARN
	Sealed   []byte // the TOTP seed, under the keyring
	Created  time.Time
	UserID   string            `json:",omitempty"` // empty until enabled
	Enabled  time.Time         `json:",omitzero"`
	LastStep int64             `json:",omitempty"` // the newest time step a code was accepted for: each code works once
	Tags     map[string]string `json:",omitempty"`
}

// entity is anything the directory stores.
type entity interface {
	kind() Kind
	key() string
}

func (u *User) kind() Kind            { return KindUser }
func (u *User) key() string           { return strings.ToLower(u.Name) }
func (g *Group) kind() Kind           { return KindGroup }
func (g *Group) key() string          { return strings.ToLower(g.Name) }
func (r *Role) kind() Kind            { return KindRole }
func (r *Role) key() string           { return strings.ToLower(r.Name) }
func (p *InstanceProfile) kind() Kind { return KindInstanceProfile }
func (p *InstanceProfile) key() string {
	return strings.ToLower(p.Name)
}
func (p *Policy) kind() Kind     { return KindPolicy }
func (p *Policy) key() string    { return strings.ToLower(p.Name) }
func (m *MFADevice) kind() Kind  { return KindMFADevice }
func (m *MFADevice) key() string { return strings.ToLower(m.Name) }

func newEntity(k Kind) entity {
	switch k {
	case KindUser:
		return new(User)
	case KindGroup:
		return new(Group)
	case KindRole:
		return new(Role)
	case KindInstanceProfile:
		return new(InstanceProfile)
	case KindPolicy:
		return new(Policy)
	case KindMFADevice:
		return new(MFADevice)
	case KindPasskey:
		return new(Passkey)
	case KindOIDCProvider:
		return new(OIDCProvider)
	case KindSettings:
		return new(Settings)
	case KindCalendar:
		return new(Calendar)
	}
	return nil
}

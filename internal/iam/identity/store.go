package identity

import (
	"context"
	"time"
)

// Kind says what an [Object] is.
type Kind string

// Kinds of entities.
const (
	KindUser            Kind = "user"
	KindGroup           Kind = "group"
	KindRole            Kind = "role"
	KindInstanceProfile Kind = "instance-profile"
	KindPolicy          Kind = "policy"
	KindMFADevice       Kind = "mfa"
	KindPasskey         Kind = "passkey"
	KindOIDCProvider    Kind = "oidc-provider"
	KindSettings        Kind = "settings" // of the account: one object
	KindCalendar        Kind = "calendar"
)

// Object is one stored entity. (Kind, Key) names it; Key is the name without
// regard to case.
type Object struct {
	Kind    Kind
	Key     string
	Deleted bool
	Body    []byte // JSON; empty if Deleted
}

// Use records when, and for what, a key, role or password was last used.
type Use struct {
	ID      string // access key ID, role ID, or user ID for passwords
	At      time.Time
	Service string
	Region  string
}

// Store keeps the objects of the directory.
type Store interface {
	// Changes returns the objects written after generation since, including deletions, and the
	// newest generation, as a consistent snapshot.
	Changes(ctx context.Context, since int64) (objects []Object, newest int64, err error)
	// Commit writes all the objects as generation base+1 if base is still the newest. It
	// reports whether it did; if not, it writes nothing.
	Commit(ctx context.Context, base int64, objects []Object) (bool, error)
	// Touch stores each use, unless a later one is already stored.
	Touch(ctx context.Context, uses []Use) error
	// LastUses returns the last use of each of ids that has been used.
	LastUses(ctx context.Context, ids []string) (map[string]Use, error)
}

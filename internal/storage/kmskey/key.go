package kmskey

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// State is the state of a key as DescribeKey reports it.
type State string

// Values of State.
const (
	Enabled         State = "Enabled"
	Disabled        State = "Disabled"
	PendingDeletion State = "PendingDeletion"
)

// Key is a symmetric key.
type Key struct {
	ID          string // a UUID
	Description string
	State       State
	CreatedAt   time.Time
	DeletionAt  time.Time // when a key in PendingDeletion is removed; zero otherwise
	Policy      Policy
	Rotates     bool
	RotateEvery time.Duration // between two rotations
	Tags        map[string]string
	Grants      []Grant
	// Generations holds the material, oldest first; the last one encrypts.
	Generations []Generation
}

// Grant allows a principal operations on a key, in addition to the key's policy.
type Grant struct {
	ID            string            `json:"id"`
	Name          string            `json:"name,omitempty"`
	Grantee       string            `json:"grantee"` // ARN
	Retiring      string            `json:"retiring,omitempty"`
	Operations    []string          `json:"operations"`
	ContextEquals map[string]string `json:"contextEquals,omitempty"`
	ContextSubset map[string]string `json:"contextSubset,omitempty"`
	IssuedBy      string            `json:"issuedBy"`
	CreatedAt     time.Time         `json:"createdAt"`
	// Policy expresses the grant as statements of a key policy.
	Policy Policy `json:"policy"`
}

// same reports whether two grants agree in everything that their creator specified.
func (g Grant) same(other Grant) bool {
	return g.Name == other.Name && g.Grantee == other.Grantee && g.Retiring == other.Retiring &&
		slices.Equal(g.Operations, other.Operations) &&
		maps.Equal(g.ContextEquals, other.ContextEquals) && maps.Equal(g.ContextSubset, other.ContextSubset)
}

// Policy is a key policy. Its door interprets it.
type Policy struct {
	Document string
	// Names are the IDs of the users and roles that Document names.
	Names map[string]string
}

// Generation is one generation of a key's material.
type Generation struct {
	MadeAt time.Time
	Sealed []byte // under the keyring, bound to its key and generation
}

// NextRotation is when the material is due to be replaced; zero for a key that
// does not rotate.
func (k *Key) NextRotation() time.Time {
	if !k.Rotates || k.State == PendingDeletion {
		return time.Time{}
	}
	return k.Generations[len(k.Generations)-1].MadeAt.Add(k.RotateEvery)
}

// gone reports whether the key's waiting period has ended.
func (k *Key) gone(now time.Time) bool {
	return k.State == PendingDeletion && !now.Before(k.DeletionAt)
}

// Alias is a name of a key. It begins with "alias/".
type Alias struct {
	Name      string
	KeyID     string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// aliasPrefix begins every alias.
const aliasPrefix = "alias/"

// ValidAlias reports whether name is a valid alias that users can choose.
func ValidAlias(name string) bool {
	rest, ok := strings.CutPrefix(name, aliasPrefix)
	return ok && rest != "" && len(name) <= 256 && !strings.HasPrefix(rest, "aws/") &&
		!slices.ContainsFunc([]byte(rest),
			func(c byte) bool {
				switch {
				case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
					return false
				}
				return strings.IndexByte("/_-", c) < 0
			})
}

// validKeyID reports whether s has the form of a key's ID.
func validKeyID(s string) bool {
	_, err := parseUUID(s)
	return err == nil
}

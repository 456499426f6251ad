package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// A lease lists the objects that credentials depend on, as space-separated
// terms "kind:value". It is valid while all of its terms are. An unknown term
// is invalid.
const (
	termUser     = "user"     // a user's ID
	termKey      = "key"      // an access key, which must be active
	termRole     = "role"     // a role's ID
	termPassword = "password" // USERID/FINGERPRINT of the password that was used
	termPasskey  = "passkey"  // ID of the passkey that was used
	termWeb      = "web"      // ARN of the identity provider
)

func term(kind, value string) string { return kind + ":" + value }

func lease(terms ...string) string { return strings.Join(terms, " ") }

// fingerprint distinguishes successive passwords of a user. It is derived from
// the salted hash and reveals nothing about the password.
func (l *LoginProfile) fingerprint() string {
	sum := sha256.Sum256([]byte("sekisho password fingerprint " + l.Hash))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// signedIn returns the term that a console sign-in added to a lease.
func signedIn(held string) string {
	for t := range strings.FieldsSeq(held) {
		kind, _, _ := strings.Cut(t, ":")
		switch kind {
		case termPassword, termPasskey, termWeb:
			return t
		}
	}
	return ""
}

// lease lists the objects that the credentials of the claims depend on.
func (c *claims) lease() string {
	var terms []string
	switch c.Kind {
	case claimUser, claimFederated:
		terms = append(terms, term(termUser, c.ID))
	case claimRole:
		terms = append(terms, term(termRole, c.ID))
	}
	if c.SourceUser != "" && c.SourceUser != c.ID {
		terms = append(terms, term(termUser, c.SourceUser))
	}
	if c.SourceKey != "" {
		terms = append(terms, term(termKey, c.SourceKey))
	}
	if c.SignedIn != "" {
		terms = append(terms, c.SignedIn)
	}
	return lease(terms...)
}

// stands reports whether a lease is valid.
func (s *state) stands(held string) bool {
	for t := range strings.FieldsSeq(held) {
		kind, value, _ := strings.Cut(t, ":")
		there := false
		switch kind {
		case termUser:
			there = s.userIDs[value] != nil
		case termKey:
			_, k := s.activeKey(value)
			there = k != nil
		case termRole:
			there = s.roleIDs[value] != nil
		case termPassword:
			id, print, _ := strings.Cut(value, "/")
			u := s.userIDs[id]
			there = u != nil && u.Login != nil && u.Login.fingerprint() == print
		case termPasskey:
			k := s.passkeys[value]
			there = k != nil && s.userIDs[k.UserID] != nil
		case termWeb:
			there = s.providers[value] != nil
		}
		if !there {
			return false
		}
	}
	return held != ""
}

// Stands reports whether a principal's lease is valid.
func (creds *Credentials) Stands(ctx context.Context, held string) (bool, error) {
	return get(ctx, creds.account, func(s *state) (bool, error) { return s.stands(held), nil })
}

// Generation counts the writes to the directory. While it does not change, no
// lease becomes invalid.
func (creds *Credentials) Generation(ctx context.Context) (int64, error) {
	return get(ctx, creds.account, func(s *state) (int64, error) { return s.generation, nil })
}

package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"sekisho"
)

// Cost of one password check (RFC 9106 section 4 and OWASP): 64 MiB and two passes.
const (
	argonTime    = 2
	argonMemory  = 64 << 10 // KiB
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32

	hashesAtOnce = 2
	maxPassword  = 128
)

// dummyHash is checked for users that do not exist or have no password, so
// that the answer takes equally long.
const dummyHash = "$argon2id$v=19$m=65536,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// hashPassword returns the PHC string of a password.
func hashPassword(password string) string {
	salt := random(argonSalt)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf(
		"$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version,
		argonMemory,
		argonTime,
		argonThreads,
		b64(salt),
		b64(key),
	)
}

// passwordMatches checks a password against a PHC string. A malformed string,
// or one with an excessive cost, matches nothing.
func passwordMatches(phc, password string) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil ||
		memory < 8 || memory > 1<<20 || time < 1 || time > 16 || threads < 1 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 64 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want))) // at most 64
	return subtle.ConstantTimeCompare(got, want) == 1
}

// characterClass is a class of characters that a policy can require in a password.
type characterClass struct {
	name string
	has  func(r rune) bool
}

var (
	lowercase = characterClass{"a lower-case letter", func(r rune) bool { return 'a' <= r && r <= 'z' }}
	uppercase = characterClass{"an upper-case letter", func(r rune) bool { return 'A' <= r && r <= 'Z' }}
	digit     = characterClass{"a digit", func(r rune) bool { return '0' <= r && r <= '9' }}
	symbol    = characterClass{"a symbol", func(r rune) bool {
		return strings.ContainsRune("!@#$%^&*()_+-=[]{}|'\"`~,.<>/?:;\\ ", r)
	}}
)

// Logins are the passwords of users.
type Logins struct {
	*account

	lockouts *lockouts
	hashing  chan struct{} // bounds how many passwords are hashed at once
}

// checkPassword enforces the account's password policy.
func (logins *Logins) checkPassword(ctx context.Context, user, password string) error {
	p, err := get(ctx, logins.account, func(s *state) (*PasswordPolicy, error) { return s.settings.Passwords, nil })
	if err != nil {
		return err
	}
	if p == nil {
		return checkDefault(user, password)
	}
	return p.accepts(user, password)
}

// checkDefault enforces IAM's default password policy.
func checkDefault(user, password string) error {
	classes := 0
	for _, c := range []characterClass{lowercase, uppercase, digit, symbol} {
		if strings.ContainsFunc(password, c.has) {
			classes++
		}
	}
	if len(password) < 8 || len(password) > maxPassword || classes < 3 || strings.EqualFold(password, user) {
		return weak("it must have 8 to 128 characters of at least three kinds (upper case, lower case, digits, symbols), " +
			"and must differ from the user name")
	}
	return nil
}

func (p *PasswordPolicy) accepts(user, password string) error {
	if len(password) < p.MinimumLength || len(password) > maxPassword {
		return weak(fmt.Sprintf("it must have %d to %d characters", p.MinimumLength, maxPassword))
	}
	if strings.EqualFold(password, user) {
		return weak("it must differ from the user name")
	}
	for _, r := range []struct {
		required bool
		class    characterClass
	}{{p.RequireLowercase, lowercase}, {p.RequireUppercase, uppercase}, {p.RequireNumbers, digit},
		{p.RequireSymbols, symbol}} {
		if r.required && !strings.ContainsFunc(password, r.class.has) {
			return weak("it must have " + r.class.name)
		}
	}
	return nil
}

func weak(why string) error {
	return &sekisho.Error{
		Code: sekisho.CodeInvalid, Err: ErrPasswordPolicy,
		Message: "Password does not conform to the account password policy: " + why + ".",
	}
}

// newPassword returns a random password of 130 bits that the policy accepts.
func newPassword() string {
	text := strings.ToLower(newID("", 26))
	return "Sk1-" + text[:6] + "-" + text[6:12] + "-" + text[12:19] + "-" + text[19:]
}

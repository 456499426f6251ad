package identity

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/safetext"
)

// Quotas of AWS's IAM.
const (
	maxUsers            = 5000
	maxGroups           = 300
	maxRoles            = 1000
	maxProfiles         = 1000
	maxPolicies         = 1500
	maxKeysPerUser      = 2
	maxGroupsPerUser    = 10
	maxMFAPerUser       = 8
	maxAttached         = 10
	maxVersions         = 5
	maxTags             = 50
	maxManagedSize      = 6144
	maxTrustSize        = 2048
	maxSessionPolicy    = 2048
	maxSessionPolicyARN = 10
)

var maxInline = map[Kind]int{KindUser: 2048, KindRole: 10240, KindGroup: 5120}

func notFound(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeNotFound, format, args...)
}

func exists(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeConflict, format, args...)
}

func invalid(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeInvalid, format, args...)
}

func limit(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeLimit, format, args...)
}

func inUse(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeInUse, format, args...)
}

// checkName checks a friendly name; field is the API's name for it.
func checkName(field, name string, most int) error {
	if name == "" {
		return invalid(
			"1 validation error detected: Value '' at '%s' failed to satisfy constraint: Member must have length greater "+
				"than or equal to 1",
			field,
		)
	}
	if len(name) > most {
		return invalid(
			"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less "+
				"than or equal to %d",
			printable(name),
			field,
			most,
		)
	}
	for _, r := range name {
		if !nameRune(r) {
			return invalid(
				"The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
				field,
			)
		}
	}
	return nil
}

func nameRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r < utf8.RuneSelf && strings.ContainsRune("+=,.@_-", r)
}

// maxShown bounds the part of a bad value that an error message quotes.
const maxShown = 200

// printable makes a bad value safe for an error message.
func printable(s string) string { return safetext.Line(s, maxShown) }

// checkPath checks a path and returns it, or "/" if it is empty.
func checkPath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	ok := len(path) <= 512 && path[0] == '/' && path[len(path)-1] == '/'
	for i := range len(path) {
		ok = ok && '!' <= path[i] && path[i] <= '~'
	}
	if !ok {
		return "", invalid(
			"The specified value for path is invalid. It must begin and end with / and contain only alphanumeric " +
				"characters and/or / characters.",
		)
	}
	return path, nil
}

// mergeTags returns have with the tags of set added. Keys are compared without regard to letter
// case; the newer spelling is kept.
func mergeTags(have, set map[string]string) (map[string]string, error) {
	out := map[string]string{}
	folded := map[string]string{}
	for k, v := range have {
		out[k] = v
		folded[strings.ToLower(k)] = k
	}
	seen := map[string]bool{}
	for k, v := range set {
		if err := checkTag(k, v); err != nil {
			return nil, err
		}
		low := strings.ToLower(k)
		if seen[low] {
			return nil, invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[low] = true
		delete(out, folded[low])
		out[k] = v
	}
	if len(out) > maxTags {
		return nil, limit("The number of tags has reached the maximum limit.")
	}
	return out, nil
}

func checkTag(key, value string) error {
	switch {
	case key == "" || utf8.RuneCountInString(key) > 128:
		return invalid(
			"1 validation error detected: Value at 'tags.member.key' failed to satisfy constraint: Member must have length " +
				"between 1 and 128",
		)
	case utf8.RuneCountInString(value) > 256:
		return invalid(
			"1 validation error detected: Value at 'tags.member.value' failed to satisfy constraint: Member must have " +
				"length less than or equal to 256",
		)
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return invalid("Tag keys that begin with aws: are reserved.")
	}
	for _, r := range key + value {
		if !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r) {
			return invalid(
				`1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must satisfy regular ` +
					`expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`,
			)
		}
	}
	return nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: see crypto/rand
	return b
}

// newID returns an identifier of IAM's form: prefix and n characters of
// [A-Z2-7].
func newID(prefix string, n int) string {
	return prefix + base32.StdEncoding.EncodeToString(random(n))[:n]
}

func newEntityID(prefix string) string { return newID(prefix, 17) } // 21 characters in all

// newSecret returns a secret access key: 240 random bits in 40 characters.
func newSecret() string { return base64.StdEncoding.EncodeToString(random(30)) }

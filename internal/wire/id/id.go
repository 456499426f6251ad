// Package id mints and checks the identifiers of Sekisho. Everything random
// comes from crypto/rand.
package id

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"sekisho"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: see crypto/rand
	return b
}

// UUID returns a random (version 4) UUID in its usual text form.
func UUID() string {
	b := random(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// OrderedUUID returns a UUID that begins with the time in milliseconds (version 7). In
// a database, new ones are next to each other.
func OrderedUUID() string {
	b := random(16)
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16|uint64(binary.BigEndian.Uint16(b[6:8])))
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Node returns the ID of a new hybrid node: "mi-" and 17 hexadecimal digits.
func Node() sekisho.NodeID {
	return sekisho.NodeID("mi-" + hex.EncodeToString(random(9))[:17])
}

// Instance returns the ID of a new instance: "i-" and 17 hexadecimal digits.
func Instance() sekisho.NodeID {
	return sekisho.NodeID("i-" + hex.EncodeToString(random(9))[:17])
}

// Association returns the ID of a new association of an instance profile.
func Association() string { return "iip-assoc-" + hex.EncodeToString(random(9))[:17] }

// AccessRequest returns a new ID of a request for just-in-time access.
func AccessRequest() string { return "oi-" + hex.EncodeToString(random(6)) }

// RecordingLink returns the ID of a new link to a recording.
func RecordingLink() string { return "rl-" + hex.EncodeToString(random(8)) }

// ActivationCode returns the secret half of an activation: 20 letters and
// digits, 100 bits.
func ActivationCode() string { return base32Text(13)[:20] }

// Secret returns a bearer secret of 256 random bits, 43 URL-safe characters.
func Secret() string { return base64.RawURLEncoding.EncodeToString(random(32)) }

// maxSessionID is the longest session ID the SSM model allows.
const maxSessionID = 96

// sessionSuffix is the random part of a session ID: the service's newer IDs
// have 26 characters of [a-z0-9] there.
const sessionSuffix = 26

// Session returns a new session ID that begins with prefix, the name of the
// owner. Characters that a session ID cannot hold become hyphens: IDs turn
// into file names on nodes and in archives.
func Session(prefix string) sekisho.SessionID {
	var b strings.Builder
	for _, r := range prefix {
		if b.Len() >= maxSessionID-sessionSuffix-1 {
			break
		}
		if r < 0x80 && sessionByte(byte(r)) {
			b.WriteByte(byte(r))
		} else {
			b.WriteByte('-')
		}
	}
	name := strings.TrimLeft(strings.ReplaceAll(b.String(), "..", "--"), ".-")
	if name == "" {
		name = "session"
	}
	return sekisho.SessionID(name + "-" + base32Text(17)[:sessionSuffix])
}

func base32Text(n int) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random(n)))
}

func sessionByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("._@=,+-", c) >= 0
}

// ValidSession reports whether s can be a session ID: 1 to 96 bytes of
// letters, digits and "._@=,+-", without "..", not beginning with a dot or a
// hyphen. Such an ID is safe as a file name and as an argument.
func ValidSession(s string) bool {
	if s == "" || len(s) > maxSessionID || s[0] == '.' || s[0] == '-' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if !sessionByte(s[i]) {
			return false
		}
	}
	return true
}

// ValidNode reports whether s has the form of a node ID: "mi-" or "i-" and
// 8 or 17 hexadecimal digits.
func ValidNode(s string) bool {
	digits, ok := strings.CutPrefix(s, "mi-")
	if !ok {
		if digits, ok = strings.CutPrefix(s, "i-"); !ok {
			return false
		}
	}
	if len(digits) != 17 && len(digits) != 8 {
		return false
	}
	for i := range len(digits) {
		c := digits[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

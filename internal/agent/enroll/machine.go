package enroll

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"
)

// machine distinguishes machines with copies of the same disk: it contains hashes of the hardware's ID and the
// operating system's ID. An ID that cannot be read is empty.
type machine struct {
	Board string `json:",omitempty"`
	OS    string `json:",omitempty"`
}

// thisMachine returns the machine on which the agent runs.
func thisMachine() machine {
	return machine{Board: named("/sys/class/dmi/id/product_uuid"), OS: named("/etc/machine-id")}
}

// named returns a hash of the ID in a file, so that the ID itself is not disclosed.
func named(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	name := strings.TrimSpace(string(b))
	if err != nil || name == "" {
		return ""
	}
	h := sha256.Sum256([]byte("sekisho machine " + name))
	return hex.EncodeToString(h[:16])
}

// same reports whether all IDs that both have are equal.
func (m machine) same(other machine) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	return !differ(m.Board, other.Board) && !differ(m.OS, other.OS)
}

// fingerprintOn returns the fingerprint that this machine reports if its identity was registered
// with fingerprint on another machine. It is stable, so that an administrator can approve it.
func fingerprintOn(fingerprint string, now machine) string {
	h := sha256.Sum256([]byte(fingerprint + "\n" + now.Board + "\n" + now.OS))
	x := hex.EncodeToString(h[:16])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

package enroll

import (
	"crypto/rand"
	"crypto/rsa"
	"path/filepath"
	"testing"
)

// An identity that was copied to another machine has another fingerprint, the
// same one each time.
func TestCopiedIdentity(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	on := func(m machine) *Vault {
		t.Helper()
		v, err := OpenVault(state, true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		v.machine = m
		return v
	}
	home := machine{Board: "b1", OS: "o1"}
	if err := on(home).saveIdentity(Identity{Node: "mi-0123456789abcdef0", Fingerprint: "print", Key: key}); err != nil {
		t.Fatal(err)
	}
	shown := map[machine]string{}
	for _, m := range []machine{home, {}, {Board: "b1"}, {OS: "o1"}, {Board: "b2", OS: "o1"}, {Board: "b1", OS: "o2"},
		{Board: "b2", OS: "o2"}, {OS: "o2"}} {
		first, err := on(m).Identity()
		if err != nil {
			t.Fatal(err)
		}
		again, err := on(m).Identity()
		if err != nil || again.Fingerprint != first.Fingerprint {
			t.Errorf("%+v shows %q and then %q, %v", m, first.Fingerprint, again.Fingerprint, err)
		}
		other := m.Board == "b2" || m.OS == "o2"
		if (first.Fingerprint != "print") != other {
			t.Errorf("%+v shows %q", m, first.Fingerprint)
		}
		for n, f := range shown {
			if other && f == first.Fingerprint {
				t.Errorf("%+v and %+v have the same fingerprint", m, n)
			}
		}
		shown[m] = first.Fingerprint
	}
}

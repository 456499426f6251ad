package record_test

import (
	"os"
	"testing"

	"sekisho/internal/session/cast"
	"sekisho/internal/session/record"
)

// TestSealOfEncryptedSession: the seal states that the server saw no content,
// so that verification without the key shows it, also after a restart.
func TestSealOfEncryptedSession(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		dir := t.TempDir()
		r := open(t, dir, record.Options{})
		rec := start(t, r, alice)
		ok(t, rec.Marker(cast.EncryptedMarker))
		if restart {
			ok(t, r.Close())
			r = open(t, dir, record.Options{})
			rec = start(t, r, alice)
		}
		_, err := rec.Seal(record.Exit{})
		ok(t, err)
		s, err := record.Verify(os.DirFS(dirOf(t, dir, alice)), r.Keys(), alice)
		if err != nil || !s.Encrypted {
			t.Errorf("restart %v: %+v, %v", restart, s, err)
		}
	}
}

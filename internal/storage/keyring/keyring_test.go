package keyring_test

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"sekisho/internal/storage/keyring"
)

func load(t *testing.T, dir string) *keyring.Ring {
	t.Helper()
	r, err := keyring.Load(dir)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return r
}

func seal(t *testing.T, r *keyring.Ring, purpose, plain, aad string) []byte {
	t.Helper()
	b, err := r.Seal(purpose, []byte(plain), []byte(aad))
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return b
}

func mustOpen(t *testing.T, r *keyring.Ring, purpose string, sealed []byte, aad, want string) {
	t.Helper()
	got, err := r.Open(purpose, sealed, []byte(aad))
	if err != nil || string(got) != want {
		t.Errorf("Open = %q, %v; want %q", got, err, want)
	}
}

func mustRefuse(t *testing.T, r *keyring.Ring, purpose string, sealed []byte, aad string) {
	t.Helper()
	if got, err := r.Open(purpose, sealed, []byte(aad)); err == nil {
		t.Errorf("Open gave %q, want a refusal", got)
	}
}

func TestSealedValuesSurviveARestartAndOpenForTheirPurposeOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sealed := seal(t, load(t, dir), "access-key", "the secret", "AKIA1")
	if bytes.Contains(sealed, []byte("the secret")) {
		t.Error("the plaintext is readable")
	}
	r := load(t, dir)
	mustOpen(t, r, "access-key", sealed, "AKIA1", "the secret")
	mustRefuse(t, r, "totp", sealed, "AKIA1")
	mustRefuse(t, r, "access-key", sealed, "AKIA2")
	mustRefuse(t, load(t, t.TempDir()), "access-key", sealed, "AKIA1")
}

func TestEveryAlteredByteAndEveryTruncationIsRefused(t *testing.T) {
	t.Parallel()
	r := load(t, t.TempDir())
	sealed := seal(t, r, "p", "0123456789", "aad")
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		mustRefuse(t, r, "p", bad, "aad")
		mustRefuse(t, r, "p", sealed[:i], "aad")
	}
	mustRefuse(t, r, "p", append(bytes.Clone(sealed), 0), "aad")
}

func TestRotationKeepsOldValuesReadableAndRetiresTheOldMaster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := load(t, dir)
	oldMaster, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	before := seal(t, r, "p", "before", "")
	signed := r.Sign([]byte("head"))
	if err := r.Rotate(); err != nil {
		t.Fatalf("Rotate: %v", err)
	}
	after := seal(t, r, "p", "after", "")
	if r.Fresh(before) || !r.Fresh(after) {
		t.Errorf("Fresh(before), Fresh(after) = %v, %v; want false, true", r.Fresh(before), r.Fresh(after))
	}
	for _, ring := range []*keyring.Ring{r, load(t, dir)} {
		mustOpen(t, ring, "p", before, "", "before")
		mustOpen(t, ring, "p", after, "", "after")
		if !ed25519.Verify(ring.PublicKey(), []byte("head"), signed) {
			t.Error("a signature from before the rotation does not verify")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "master.key"), oldMaster, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Load(dir); err == nil {
		t.Error("the old master key still opens the keyring")
	}
}

func TestOtherProcessesFollowARotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := load(t, dir), load(t, dir)
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, b, "p", seal(t, a, "p", "x", ""), "", "x")
	if err := b.Rotate(); err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, b, "p", "y", "")
	mustOpen(t, a, "p", sealed, "", "y")
	mustOpen(t, load(t, dir), "p", sealed, "", "y")
}

func TestProcessesCanStartDuringARotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				r, err := keyring.Load(dir)
				if err != nil {
					t.Error(err)
					return
				}
				if err := r.Rotate(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	load(t, dir)
}

func TestAnInterruptedRotationIsCompletedOrDiscarded(t *testing.T) {
	t.Parallel()
	for _, replaced := range []bool{true, false} {
		dir := t.TempDir()
		r := load(t, dir)
		sealed := seal(t, r, "p", "x", "")
		master, ring := filepath.Join(dir, "master.key"), filepath.Join(dir, "keyring.json")
		oldMaster, _ := os.ReadFile(master)
		oldRing, _ := os.ReadFile(ring)
		if err := r.Rotate(); err != nil {
			t.Fatal(err)
		}
		newMaster, _ := os.ReadFile(master)
		write := func(path string, b []byte) {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(master, oldMaster)
		write(master+".next", newMaster)
		if !replaced {
			write(ring, oldRing)
		}
		again := load(t, dir)
		mustOpen(t, again, "p", sealed, "", "x")
		if _, err := os.Stat(master + ".next"); !os.IsNotExist(err) {
			t.Errorf("replaced=%v: master.key.next is still there (%v)", replaced, err)
		}
		if err := again.Rotate(); err != nil {
			t.Errorf("replaced=%v: rotating again: %v", replaced, err)
		}
	}
}

func TestUnsafeOrBrokenFilesAreRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(dir string) error{
		"group may read":  func(d string) error { return os.Chmod(filepath.Join(d, "master.key"), 0o640) },
		"others may read": func(d string) error { return os.Chmod(filepath.Join(d, "master.key"), 0o604) },
		"short master key": func(d string) error {
			return os.WriteFile(filepath.Join(d, "master.key"), make([]byte, 31),
				0o600)
		},
		"long master key": func(d string) error {
			return os.WriteFile(filepath.Join(d, "master.key"), make([]byte, 33),
				0o600)
		},
		"another master key": func(d string) error {
			return os.WriteFile(filepath.Join(d, "master.key"), make([]byte, 32),
				0o600)
		},
		"missing master key": func(d string) error { return os.Remove(filepath.Join(d, "master.key")) },
		"missing keyring":    func(d string) error { return os.Remove(filepath.Join(d, "keyring.json")) },
		"keyring is not JSON": func(d string) error {
			return os.WriteFile(filepath.Join(d, "keyring.json"), []byte("{"),
				0o600)
		},
		"keyring is empty": func(d string) error {
			return os.WriteFile(filepath.Join(d, "keyring.json"), []byte(`{"version":1}`), 0o600)
		},
	} {
		dir := t.TempDir()
		load(t, dir)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Load(dir); err == nil {
			t.Errorf("%s: the keyring was opened", name)
		}
	}
}

func TestTheMasterKeyIsPrivateAndCreatedOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	load(t, dir)
	info, err := os.Stat(filepath.Join(dir, "master.key"))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("master.key: %v, %v", info, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestManyGoroutinesSealOpenAndRotate(t *testing.T) {
	t.Parallel()
	r := load(t, t.TempDir())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				b, err := r.Seal("p", []byte("x"), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := r.Open("p", b, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		if err := r.Rotate(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	r, err := keyring.Load(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	good, err := r.Seal("p", []byte("plain"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add(bytes.Clone(good[:20]))
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := r.Open("p", b, nil); err == nil && !bytes.Equal(b, good) {
			t.Errorf("a forged value opened: %q", plain)
		}
	})
}

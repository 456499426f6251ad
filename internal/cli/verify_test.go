package cli_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/client"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recordtest"
)

func TestVerifySession(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer map[string]any
		out    string
		exit   int
	}{
		"verified": {map[string]any{"SessionId": "alice-1", "Verified": true, "Sealed": true, "KeyFingerprint": "abc"}, "complete and unchanged", 0},
		"changed":  {map[string]any{"SessionId": "alice-1", "Verified": false, "Problem": "line 3\x1b[2J"}, `NOT verified: line 3\x1b[2J`, 3},
		"live":     {map[string]any{"SessionId": "alice-1", "Verified": false, "Live": true}, "still running", 3},
		"silent":   {map[string]any{}, "NOT verified", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, asked, err := run(t, map[string]func(map[string]any) any{
				"VerifySessionRecording": func(map[string]any) any { return tc.answer },
			}, "verify", "alice-1")
			exit, _ := errors.AsType[*client.ExitError](err)
			if (err == nil) != (tc.exit == 0) || err != nil && (exit == nil || exit.Code != tc.exit) || !strings.Contains(out, tc.out) {
				t.Errorf("%q, %v", out, err)
			}
			if got := asked["VerifySessionRecording"]; len(got) != 1 || got[0]["SessionId"] != "alice-1" {
				t.Errorf("asked %v", asked)
			}
		})
	}
}

// TestVerifyBundle verifies without a server.
func TestVerifyBundle(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), t.TempDir()
	keys := filepath.Join(dir, "keys.pem")
	other := filepath.Join(dir, "other.pem")
	bundle := filepath.Join(dir, "bundle.zip")
	recordSession(t, store, keys, bundle)
	recordSession(t, t.TempDir(), other, filepath.Join(dir, "unused.zip"))
	found, err := filepath.Glob(filepath.Join(store, "recordings", "*", "*", "alice-1"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	for _, name := range []string{bundle, found[0]} {
		if out, asked, err := run(t, nil, "verify", name, "--key", keys); err != nil || len(asked) != 0 || !strings.Contains(out, "alice-1 is complete") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		if out, _, err := run(t, nil, "verify", name, "--key", other); err == nil {
			t.Errorf("%s verifies with another's key: %q", name, out)
		}
		if _, asked, err := run(t, nil, "verify", name); err == nil || len(asked) != 0 {
			t.Errorf("%s without keys: %v, asked %v", name, err, asked)
		}
	}
	mainFile := filepath.Join(found[0], record.MainFile)
	text, err := os.ReadFile(mainFile)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(mainFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, nil, "verify", found[0], "--key", keys); err == nil || !strings.Contains(out, "NOT verified") {
		t.Errorf("a forged recording: %q, %v", out, err)
	}
}

// recordSession makes a recording in store, the public key of the recorder,
// and a bundle.
func recordSession(t *testing.T, store, keys, bundle string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := record.Open(store, key, record.Options{Sealer: recordtest.Sealer{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	rec, err := r.Start(record.Header{SessionID: "alice-1", Node: "mi-1", Start: time.Now(), Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Output([]byte("hello\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := rec.Seal(record.Exit{}); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	var zip bytes.Buffer
	if err := r.Export(&zip, sekisho.SessionID("alice-1")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundle, zip.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

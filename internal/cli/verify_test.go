package cli_test

import (
	"bytes"
	"context"
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
	"sekisho/internal/activity/audit"
	"sekisho/internal/client"
	"sekisho/internal/session/evidence"
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
		"verified": {map[string]any{"SessionId": "alice-1", "Verified": true, "Sealed": true, "KeyFingerprint": "abc"},
			"complete and unchanged", 0},
		"changed": {map[string]any{"SessionId": "alice-1", "Verified": false, "Problem": "line 3\x1b[2J"},
			`NOT verified: line 3\x1b[2J`, 3},
		"encrypted": {map[string]any{"SessionId": "alice-1", "Verified": true, "Sealed": true, "Encrypted": true},
			"not visible to the server", 0},
		"live":   {map[string]any{"SessionId": "alice-1", "Verified": false, "Live": true}, "still running", 3},
		"silent": {map[string]any{}, "NOT verified", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, asked, err := run(t, map[string]func(map[string]any) any{
				"VerifySessionRecording": func(map[string]any) any { return tc.answer },
			}, "verify", "alice-1")
			exit, _ := errors.AsType[*client.ExitError](err)
			if (err == nil) != (tc.exit == 0) || err != nil && (exit == nil || exit.Code != tc.exit) ||
				!strings.Contains(out, tc.out) {
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
		if out, asked, err := run(t, nil, "verify", name, "--key", keys); err != nil || len(asked) != 0 ||
			!strings.Contains(out, "alice-1 is complete") {
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
	if out, _, err := run(t, nil, "verify", found[0], "--key", keys); err == nil ||
		!strings.Contains(out, "NOT verified") {
		t.Errorf("a forged recording: %q, %v", out, err)
	}
}

// recordSession creates a recording in store, the public key of the recorder,
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

// TestEvidence fetches a bundle page by page and verifies it without a server.
func TestEvidence(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), t.TempDir()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := record.Open(store, key, record.Options{Sealer: recordtest.Sealer{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rec.Close() }()
	const id = "alice-abcdefghijklmnopqrstuvwxyz"
	s, err := rec.Start(record.Header{SessionID: id, Node: "mi-1", Start: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(record.Exit{}); err != nil {
		t.Fatal(err)
	}
	var made bytes.Buffer
	if err := evidence.Write(t.Context(), &made, rec, oneEvent(t, key, id), id); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	keys, file := filepath.Join(dir, "keys.pem"), filepath.Join(dir, "evidence.zip")
	if err := os.WriteFile(keys, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = run(t, map[string]func(map[string]any) any{"GetSessionEvidence": func(in map[string]any) any {
		from := 0
		if in["BundleId"] == "b" {
			offset, _ := in["StartOffset"].(float64)
			from = int(offset)
		}
		to := min(from+500, made.Len())
		return map[string]any{
			"BundleId":   "b",
			"Data":       made.Bytes()[from:to],
			"NextOffset": to,
			"TotalBytes": made.Len(),
		}
	}}, "evidence", id, "--file", file)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := run(t, nil, "verify", file, "--key", keys)
	if err != nil || !strings.Contains(out, "because of Ops") || !strings.Contains(out, "StartSession") ||
		!strings.Contains(out, "No witness") {
		t.Errorf("%q, %v", out, err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte("SBK2"))
	b[i+200] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err = run(t, nil, "verify", file, "--key", keys)
	exit, _ := errors.AsType[*client.ExitError](err)
	if exit == nil || exit.Code != 3 || !strings.Contains(out, "Problem: session.rec") {
		t.Errorf("%q, %v", out, err)
	}
}

// trailOf is an audit trail of one record.
type trailOf struct {
	record audit.Record
	head   audit.Head
}

func (tr *trailOf) AppendAudit(_ context.Context, b audit.Batch) error {
	if len(b.Records) > 0 {
		tr.record = b.Records[0]
	}
	if len(b.Heads) > 0 {
		tr.head = b.Heads[0]
	}
	return nil
}
func (tr *trailOf) AppendAuditAfter(ctx context.Context, build func(last audit.Record) audit.Batch) error {
	return tr.AppendAudit(ctx, build(tr.record))
}
func (tr *trailOf) AuditIntents(context.Context, int) ([]audit.Intent, error) { return nil, nil }
func (tr *trailOf) LastAudit(context.Context) (audit.Record, error)           { return tr.record, nil }
func (tr *trailOf) AuditAfter(context.Context, int64, int) ([]audit.Record, error) {
	return []audit.Record{tr.record}, nil
}
func (tr *trailOf) AuditHeads(context.Context) ([]audit.Head, error) {
	return []audit.Head{tr.head}, nil
}
func (tr *trailOf) LookupAudit(_ context.Context, q audit.Query) ([]audit.Record, error) {
	if tr.record.Index.Time.After(q.End) {
		return nil, nil
	}
	return []audit.Record{tr.record}, nil
}

func oneEvent(t *testing.T, key ed25519.PrivateKey, id sekisho.SessionID) evidence.Trail {
	t.Helper()
	store := &trailOf{}
	trail := audit.New(store, audit.Config{Signer: key})
	if err := trail.Record(t.Context(), audit.Event{
		EventName: "StartSession", ResponseElements: map[string]any{"sessionId": id}, Reason: "allowed because of Ops",
	}); err != nil {
		t.Fatal(err)
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"sekisho/internal/server"
)

// TestVerifyExitCodes runs verify on intact, damaged and missing data.
func TestVerifyExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := server.New(t.Context(), server.Config{
		DataDir: dir, Account: "123456789012", Region: "us-east-1", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	verify := func(args ...string) (int, string) {
		t.Helper()
		c := command()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetArgs(append([]string{"verify"}, args...))
		err := c.ExecuteContext(t.Context())
		if f, ok := errors.AsType[*findingsError](err); ok {
			return f.code, out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0, out.String()
	}
	if code, out := verify("--data", dir); code != 0 {
		t.Errorf("untouched: exit code %d: %s", code, out)
	}
	if code, _ := verify("--data", t.TempDir()); code != exitUnchecked {
		t.Errorf("no data: exit code %d", code)
	}
	if code, _ := verify("--data", dir, "--witness", filepath.Join(dir, "nosuch")); code != exitUnchecked {
		t.Errorf("no witness: exit code %d", code)
	}
	if err := os.Remove(filepath.Join(dir, "recordings", "ledger.ndjson")); err != nil {
		t.Fatal(err)
	}
	code, out := verify("--data", dir, "--json")
	var found server.Integrity
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != exitFindings {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if len(found.Findings) != 1 || found.Findings[0].Kind != "missing" || found.Findings[0].Where != "ledger" {
		t.Errorf("%+v", found)
	}
}

package sekishoapi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"testing"

	root "sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/evidence"
	"sekisho/internal/session/record"
)

// noTrail is an empty audit trail.
type noTrail struct{}

func (noTrail) AuditAfter(context.Context, int64, int) ([]audit.Record, error) { return nil, nil }
func (noTrail) AuditHeads(context.Context) ([]audit.Head, error)               { return nil, nil }
func (noTrail) LookupAudit(context.Context, audit.Query) ([]audit.Record, error) {
	return nil, nil
}

type evidencePage struct {
	BundleID               string `json:"BundleId"`
	Data                   []byte
	NextOffset, TotalBytes int64
}

func TestEvidencePages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rec := f.start(t, bob)
	noise := make([]byte, 60<<10)
	rand.Read(noise)
	for range 50 {
		if err := rec.Output(noise); err != nil {
			t.Fatal(err)
		}
		rand.Read(noise)
	}
	var p evidencePage
	if _, code := f.call(t, "admin", "GetSessionEvidence", fmt.Sprintf(`{"SessionId":%q}`, bob), &p); code == "" {
		t.Error("a running session has a bundle")
	}
	if _, err := rec.Seal(record.Exit{Reason: "done"}); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for p = (evidencePage{}); ; {
		body := fmt.Sprintf(`{"SessionId":%q,"BundleId":%q,"StartOffset":%d}`, bob, p.BundleID, len(got))
		if status, code := f.call(t, "admin", "GetSessionEvidence", body, &p); status != http.StatusOK {
			t.Fatal(status, code)
		}
		if got = append(got, p.Data...); int64(len(got)) != p.NextOffset {
			t.Fatalf("offset %d after %d bytes", p.NextOffset, len(got))
		}
		if p.NextOffset == p.TotalBytes {
			break
		}
		other := fmt.Sprintf(`{"SessionId":%q,"BundleId":%q}`, alice, p.BundleID)
		if _, code := f.call(t, "admin", "GetSessionEvidence", other, &evidencePage{}); code != "ResourceNotFoundException" {
			t.Errorf("the bundle of another session: %q", code)
		}
	}
	if len(got) < 3<<20 {
		t.Errorf("%d bytes", len(got))
	}
	z, err := zip.NewReader(bytes.NewReader(got), int64(len(got)))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range z.File {
		r, err := file.Open()
		if err == nil {
			_, err = io.Copy(io.Discard, r) // verifies the checksum
		}
		if err != nil {
			t.Errorf("%s: %v", file.Name, err)
		}
	}
	// The trail is empty, so the decision is the only part that may be
	// missing.
	if rep := evidence.Verify(z, f.rec.Keys(), nil); len(rep.Problems) != 1 || rep.Session != bob {
		t.Errorf("%+v", rep.Problems)
	}
	used := fmt.Sprintf(`{"SessionId":%q,"BundleId":%q}`, bob, p.BundleID)
	if _, code := f.call(t, "admin", "GetSessionEvidence", used, &p); code != "ResourceNotFoundException" {
		t.Errorf("a bundle that was fetched: %q", code)
	}
}

func TestEvidencePermissions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys["both"] = allow(
		"sekisho:GetSessionEvidence",
		session+string(alice),
	) + "," + allow(
		"cloudtrail:LookupEvents",
		"*",
	)
	f.keys["half"] = allow("cloudtrail:LookupEvents", "*")
	for key, want := range map[string]string{"both": "", "half": "AccessDeniedException", "alice": "AccessDeniedException",
		"nobody": "AccessDeniedException"} {
		if _, code := f.call(t, key, "GetSessionEvidence", fmt.Sprintf(`{"SessionId":%q}`, alice),
			&evidencePage{}); code != want {
			t.Errorf("%s: %q, want %q", key, code, want)
		}
	}
	if _, code := f.call(t, "both", "GetSessionEvidence", fmt.Sprintf(`{"SessionId":%q}`, bob),
		&evidencePage{}); code != "AccessDeniedException" {
		t.Errorf("another session: %q", code)
	}
}

// TestVerifySaysEncrypted: verify reports when the server saw no content.
func TestVerifySaysEncrypted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.start(t, bob).Marker(cast.EncryptedMarker); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[root.SessionID]bool{alice: false, bob: true} {
		var out struct{ Encrypted bool }
		if status, code := f.call(t, "admin", "VerifySessionRecording", fmt.Sprintf(`{"SessionId":%q}`, id),
			&out); status != http.StatusOK ||
			out.Encrypted != want {
			t.Errorf("%s: %d %s %+v", id, status, code, out)
		}
	}
}

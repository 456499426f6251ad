package server

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/internal/activity/audit"
	"sekisho/internal/store/sqlstore"
)

// expireAll exports all of a stopped server's audit trail that has a head.
func (d *dataDir) expireAll(t *testing.T) {
	t.Helper()
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(d.dir, "sekisho.db"))
	must(t, err)
	s := &Server{ring: d.ring, db: db, cfg: Config{
		Log: slog.New(slog.DiscardHandler), DataDir: d.dir, AuditMaxAge: 24 * time.Hour,
		Now: func() time.Time { return time.Now().Add(48 * time.Hour) },
	}}
	s.trail = audit.New(db.Audit, audit.Config{Signer: d.ring.Signer(), Witness: s.newHead})
	must(t, s.expireAudit(t.Context()))
	for range 3 {
		must(t, s.trail.Record(t.Context(), audit.Event{EventSource: "ssm.amazonaws.com", EventName: "Later"}))
	}
	must(t, errors.Join(s.trail.Close(t.Context()), db.Close()))
}

// TestAuditRetention: old records are exported and removed. The check verifies
// the segments, accepts segments that were moved elsewhere, and distinguishes
// both from deleted records.
func TestAuditRetention(t *testing.T) {
	t.Parallel()
	whole := newDataDir(t, 4)
	whole.expireAll(t)
	segments, err := filepath.Glob(filepath.Join(whole.dir, auditDir, "*"))
	must(t, err)
	if len(segments) == 0 || !strings.HasSuffix(segments[0], segmentSuffix) {
		t.Fatalf("segments: %v", segments)
	}
	rel := func(d *dataDir, i int) string { return filepath.Join(d.dir, auditDir, filepath.Base(segments[i])) }
	for name, tt := range map[string]struct {
		change func(t *testing.T, d *dataDir)
		want   string // kind; "" for no finding
	}{
		"nothing":        {func(*testing.T, *dataDir) {}, ""},
		"exported again": {func(t *testing.T, d *dataDir) { d.expireAll(t) }, ""},
		"moved away":     {func(t *testing.T, d *dataDir) { must(t, os.RemoveAll(filepath.Join(d.dir, auditDir))) }, ""},
		"altered": {func(t *testing.T, d *dataDir) {
			b, err := os.ReadFile(rel(d, 0))
			must(t, err)
			b[len(b)/2] ^= 1
			must(t, os.WriteFile(rel(d, 0), b, 0o600))
		}, "altered"},
		"cut": {func(t *testing.T, d *dataDir) {
			b, err := os.ReadFile(rel(d, 0))
			must(t, err)
			must(t, os.WriteFile(rel(d, 0), b[:len(b)/2], 0o600))
		}, "altered"},
		"records deleted": {func(t *testing.T, d *dataDir) {
			if d.sql(t, `DELETE FROM audit_records WHERE seq = 1 + (SELECT min(seq) FROM audit_records)`) != 1 {
				t.Fatal("no record was deleted")
			}
		}, "missing"},
		"event of the export deleted": {func(t *testing.T, d *dataDir) {
			if d.sql(t, `DELETE FROM audit_records WHERE event_name = $1`, audit.ExportEvent) == 0 {
				t.Fatal("no record was deleted")
			}
		}, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := whole.copy(t)
			tt.change(t, d)
			found, err := d.check(t, false)
			must(t, err)
			kinds := ""
			for _, f := range found.Findings {
				if f.Where == "audit" {
					kinds += f.Kind + " "
				}
			}
			if tt.want == "" && len(found.Findings) > 0 || !strings.Contains(kinds, tt.want) {
				t.Errorf("findings %+v, want %q", found.Findings, tt.want)
			}
		})
	}
}

// TestExportOfDamagedTrail: records that do not verify are not removed.
func TestExportOfDamagedTrail(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 2)
	d.sql(t, `UPDATE audit_records SET body = replace(body, 'alice', 'mallo') WHERE seq = 1`)
	before := d.sql(t, `UPDATE audit_records SET seq = seq`)
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(d.dir, "sekisho.db"))
	must(t, err)
	defer db.Close()
	s := &Server{ring: d.ring, db: db, cfg: Config{
		Log: slog.New(slog.DiscardHandler), DataDir: d.dir, AuditMaxAge: time.Hour,
		Now: func() time.Time { return time.Now().Add(48 * time.Hour) },
	}}
	s.trail = audit.New(db.Audit, audit.Config{Signer: d.ring.Signer(), Witness: s.newHead})
	if err := s.expireAudit(t.Context()); err == nil {
		t.Error("a damaged trail was exported")
	}
	must(t, db.Close())
	if after := d.sql(t, `UPDATE audit_records SET seq = seq`); after != before {
		t.Errorf("%d of %d records are left", after, before)
	}
}

package server

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/session/record"
)

// alter runs a statement on the database in dir.
func alter(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, databaseFile))
	must(t, err)
	_, err = db.ExecContext(t.Context(), statement)
	must(t, errors.Join(err, db.Close()))
}

// private restores the mode of a copied keyring.
func private(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(filepath.Join(dir, filepath.FromSlash(masterKey)), 0o600); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// TestPartsOfSeveralInstallationsAreRefused: the server starts only if
// database, keys and recordings belong to one installation and none is
// missing.
func TestPartsOfSeveralInstallationsAreRefused(t *testing.T) {
	t.Parallel()
	first, second := newDataDir(t, 2), newDataDir(t, 2)
	start := func(t *testing.T, dir string) error {
		t.Helper()
		private(t, dir)
		s, err := New(t.Context(), killConfig(dir))
		if err != nil {
			return err
		}
		s.resume(t.Context())
		return s.Close()
	}
	must(t, start(t, first.dir)) // data of an earlier version, without an ID, which it gets
	swap := func(parts ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, part := range parts {
				from, to := filepath.Join(second.dir, part), filepath.Join(dir, part)
				for _, suffix := range []string{"", "-wal", "-shm"} {
					must(t, os.RemoveAll(to+suffix))
				}
				if part == databaseFile {
					b, err := os.ReadFile(from)
					must(t, err)
					must(t, os.WriteFile(to, b, 0o600))
					continue
				}
				must(t, os.CopyFS(to, os.DirFS(from)))
			}
		}
	}
	lose := func(part string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(dir, part)))
		}
	}
	const other, missing = "another installation", acceptLossFile
	for name, tc := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string // of the error; empty for none
	}{
		"untouched":                           {func(*testing.T, string) {}, ""},
		"another database":                    {swap(databaseFile), other},
		"other keys":                          {swap("keys"), other},
		"other recordings":                    {swap("recordings"), other},
		"another database and its keys":       {swap(databaseFile, "keys"), other},
		"another database and its recordings": {swap(databaseFile, "recordings"), other},
		"other keys and their recordings":     {swap("keys", "recordings"), other},
		"everything of another one":           {swap(databaseFile, "keys", "recordings"), ""},
		"the recordings are missing":          {lose("recordings"), missing},
		"the ledger is missing":               {lose(filepath.Join("recordings", record.LedgerFile)), missing},
		"other keys, of a database without an ID": {func(t *testing.T, dir string) {
			t.Helper()
			alter(t, dir, "DELETE FROM settings WHERE name = 'installation'")
			swap("keys")(t, dir)
			must(t, os.RemoveAll(filepath.Join(dir, "recordings")))
		}, other},
		"the recordings are permanently lost": {func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(dir, "recordings")))
			must(t, os.WriteFile(filepath.Join(dir, acceptLossFile), nil, 0o600))
		}, ""},
		"the objects are missing": {func(t *testing.T, dir string) {
			t.Helper()
			alter(t, dir, "INSERT INTO object_blobs (id, dead) VALUES ('x', false)")
		}, missing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := first.copy(t).dir
			tc.change(t, dir)
			before := listing(t, dir)
			err := start(t, dir)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && listing(t, dir) != before {
				t.Errorf("a refused start changed the files:\n%s\nbefore:\n%s", listing(t, dir), before)
			}
			if err == nil {
				must(t, start(t, dir)) // and again
				if _, err := os.Stat(filepath.Join(dir, acceptLossFile)); !os.IsNotExist(err) {
					t.Errorf("the file of the consent still exists: %v", err)
				}
			}
		})
	}
	keys := first.copy(t)
	swap("keys")(t, keys.dir)
	private(t, keys.dir)
	if _, err := RotateKeys(t.Context(), State{Dir: keys.dir}); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("keys of another installation were rotated: %v", err)
	}
	_, err := VerifyData(t.Context(), State{Dir: keys.dir}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("data with the keys of another installation was verified: %v", err)
	}
}

// TestContinuingSessionsAreNotSealed: recordings are sealed only once it is
// known which sessions continue, whatever requests it.
func TestContinuingSessionsAreNotSealed(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 2)
	d.sql(t, `UPDATE sessions SET status = $1, active = true WHERE id = $2`, string(sekisho.SessionDisconnected),
		string(d.ids[1]))
	s, err := New(t.Context(), killConfig(d.dir))
	must(t, err)
	must(t, s.recoverRecordings(t.Context()))
	for range 2 {
		sum, err := s.recorder.Stat(d.ids[1])
		must(t, err)
		if sum.Sealed {
			t.Fatal("the recording of a session that continues is sealed")
		}
		s.resume(t.Context())
	}
	if !s.relay.Live(d.ids[1]) {
		t.Error("the session was not resumed")
	}
	must(t, s.Close())
}

// TestAuditTrailAndSessionsAreCompared: if the end of the audit trail is
// removed with its heads, the sessions show it. If sessions are removed, the
// audit trail shows it.
func TestAuditTrailAndSessionsAreCompared(t *testing.T) {
	t.Parallel()
	whole := newDataDir(t, 3)
	cutAt := func(t *testing.T, d *dataDir) {
		t.Helper()
		// The event of the last session and all later events.
		const last = `(SELECT max(seq) FROM audit_records WHERE event_name = 'StartSession')`
		d.sql(t, `DELETE FROM audit_heads WHERE seq >= `+last)
		d.sql(t, `DELETE FROM audit_records WHERE seq >= `+last)
	}
	terminate := func(t *testing.T, d *dataDir) {
		t.Helper()
		d.sql(t, `UPDATE sessions SET details = 'The session was terminated by arn:aws:iam::123456789012:user/bob.' `+
			`WHERE id = $1`, string(d.ids[0]))
	}
	for name, tc := range map[string]struct {
		change func(t *testing.T, d *dataDir)
		want   Finding
	}{
		"the end of the trail is cut off": {cutAt, Finding{Kind: "missing", Where: "audit", Subject: string(whole.ids[2])}},
		"the end is cut off, and the session failed": {func(t *testing.T, d *dataDir) {
			t.Helper()
			cutAt(t, d)
			d.sql(t, `UPDATE sessions SET status = $1 WHERE id = $2`, string(sekisho.SessionFailed), string(d.ids[2]))
		}, Finding{Kind: "missing", Where: "audit", Subject: string(whole.ids[2])}},
		"the end of a session has no event": {terminate,
			Finding{Kind: "missing", Where: "audit", Subject: string(whole.ids[0])}},
		"a session is removed": {func(t *testing.T, d *dataDir) {
			t.Helper()
			d.sql(t, `DELETE FROM sessions WHERE id = $1`, string(d.ids[1]))
		}, Finding{Kind: "missing", Where: "session", Subject: string(whole.ids[1])}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := whole.copy(t)
			tc.change(t, d)
			found, err := d.check(t, false)
			must(t, err)
			ok := false
			for _, f := range found.Findings {
				f.Problem = ""
				ok = ok || f == tc.want
			}
			if !ok {
				t.Errorf("got %+v, want %+v", found.Findings, tc.want)
			}
		})
	}
}

package server

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/event"
	"sekisho/internal/config"
	"sekisho/internal/iam/identity"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/record"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/store/sqlstore"
)

// dataDir is a server's state with some sessions.
type dataDir struct {
	dir     string
	ring    *keyring.Ring
	ids     []sekisho.SessionID
	witness string // a file of heads
	made    time.Time
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDataDir records n sessions, the last of which stays open.
func newDataDir(t testing.TB, n int) *dataDir {
	t.Helper()
	d := &dataDir{dir: t.TempDir()}
	var err error
	d.ring, err = keyring.Load(filepath.Join(d.dir, "keys"))
	must(t, err)
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(d.dir, "sekisho.db"))
	must(t, err)
	users, err := identity.New(t.Context(),
		identity.Config{Store: db.Identities, Keyring: d.ring, Account: "123456789012"})
	must(t, err)
	_, _, err = users.Bootstrap(t.Context(), adminUser)
	must(t, err)
	recorder, err := record.Open(d.dir, d.ring.Signer(), record.Options{Sealer: d.ring})
	must(t, err)
	s := &Server{cfg: Config{Log: slog.New(slog.DiscardHandler)}, ring: d.ring, db: db, recorder: recorder}
	s.trail = audit.New(db.Audit, audit.Config{Signer: d.ring.Signer(), Witness: s.newHead})
	d.witness = filepath.Join(d.dir, "witness")
	s.cfg.Witnesses = []Witness{witnessFile(d.witness)}
	for i := range n {
		id := sekisho.SessionID(fmt.Sprintf("alice-%026d", i))
		session := &sekisho.Session{
			ID: id, Target: "mi-0123456789abcdef0", Status: sekisho.SessionTerminated,
			Owner:     "arn:aws:iam::123456789012:user/alice",
			StartedAt: time.Now(), EndedAt: time.Now(), DocumentName: "SSM-SessionManagerRunShell",
		}
		must(t, db.Sessions.CreateSession(t.Context(), session, broker.Token{Hash: []byte(id)}))
		rec, err := recorder.Start(
			record.Header{SessionID: id, Node: session.Target, Owner: session.Owner, Start: session.StartedAt},
		)
		must(t, err)
		for j := range 3 {
			must(t, rec.Output(fmt.Appendf(nil, "session %d line %d\r\n", i, j)))
			must(t, rec.Flush())
		}
		must(t, s.trail.Record(t.Context(), audit.Event{
			EventSource: "ssm.amazonaws.com", EventName: "StartSession",
			ResponseElements: map[string]any{"sessionId": string(id)},
		}))
		if i < n-1 {
			_, err = rec.Seal(record.Exit{Reason: "done"})
			must(t, err)
		}
		must(t, s.keepLedgerHead(t.Context()))
		must(t, s.trail.Sign(t.Context()))
		s.publish(t.Context())
		d.ids = append(d.ids, id)
	}
	must(t, errors.Join(recorder.Close(), s.trail.Close(t.Context()), db.Close()))
	d.made = time.Now()
	return d
}

func (d *dataDir) copy(t testing.TB) *dataDir {
	t.Helper()
	c := *d
	c.dir = t.TempDir()
	must(t, os.CopyFS(c.dir, os.DirFS(d.dir)))
	return &c
}

func (d *dataDir) check(t testing.TB, witnesses bool) (*Integrity, error) {
	t.Helper()
	db, err := sqlstore.OpenSQLiteReader(t.Context(), filepath.Join(d.dir, "sekisho.db"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return d.checkWith(t, db, witnesses)
}

func (d *dataDir) checkWith(t testing.TB, db *sqlstore.DB, witnesses bool) (*Integrity, error) {
	t.Helper()
	keys := record.KeysOf(d.ring.PublicKey())
	archive, err := record.OpenArchive(d.dir, keys, nil)
	must(t, err)
	defer archive.Close()
	c := &integrityCheck{archive: archive, trail: db.Audit, lister: db.Sessions, key: d.ring.PublicKey()}
	c.segments = filepath.Join(d.dir, auditDir)
	if witnesses {
		text, err := os.ReadFile(d.witness)
		must(t, err)
		c.witnesses, err = record.ParseWitnesses(text, keys)
		must(t, err)
	}
	return c.pass(t.Context())
}

func (d *dataDir) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(d.dir, "sekisho.db"))
	must(t, err)
	return db
}

func (d *dataDir) sql(t testing.TB, query string, args ...any) int64 {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	res, err := db.ExecContext(t.Context(), query, args...)
	must(t, err)
	n, err := res.RowsAffected()
	must(t, err)
	return n
}

func (d *dataDir) recording(id sekisho.SessionID) string {
	m, _ := filepath.Glob(filepath.Join(d.dir, "recordings", "*", "*", string(id)))
	return m[0]
}

func TestUntouchedDataHasNoFindings(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 5)
	found, err := VerifyData(t.Context(), State{Dir: d.dir}, []string{d.witness}, nil)
	must(t, err)
	if len(found.Findings) > 0 || found.Recordings != 5 || found.Sessions != 5 || found.Records < 10 ||
		found.Witnesses < 5 {
		t.Errorf("%+v", found)
	}
	if _, err := VerifyData(t.Context(), State{Dir: t.TempDir()}, nil, nil); sekisho.CodeOf(err) != sekisho.CodeNotFound {
		t.Errorf("an empty directory: %v", err)
	}
}

// TestIntegrityFindings covers what an attacker with the disk or the database
// can do. Each attack must be reported.
func TestIntegrityFindings(t *testing.T) {
	t.Parallel()
	good := newDataDir(t, 6)
	ledger := func(d *dataDir) string { return filepath.Join(d.dir, "recordings", record.LedgerFile) }
	for _, c := range []struct {
		name        string
		do          func(t *testing.T, d *dataDir)
		kind, where string
		witness     bool
	}{
		{"recording deleted", func(t *testing.T, d *dataDir) { must(t, os.RemoveAll(d.recording(d.ids[1]))) }, "missing",
			"recording", false},
		{"open recording deleted", func(t *testing.T, d *dataDir) { must(t, os.RemoveAll(d.recording(d.ids[5]))) }, "missing",
			"recording", false},
		{"recording altered", func(t *testing.T, d *dataDir) {
			name := filepath.Join(d.recording(d.ids[1]), record.MainFile)
			b, err := os.ReadFile(name)
			must(t, err)
			b[len(b)/2] ^= 1
			must(t, os.WriteFile(name, b, 0o600))
		}, "altered", "recording", false},
		{"recordings swapped", func(t *testing.T, d *dataDir) {
			a, b := filepath.Join(d.recording(d.ids[1]), record.MainFile), filepath.Join(d.recording(d.ids[2]), record.MainFile)
			must(t, errors.Join(os.Rename(a, a+".x"), os.Rename(b, a), os.Rename(a+".x", b)))
		}, "swapped", "recording", false},
		{"recording truncated", func(t *testing.T, d *dataDir) {
			must(t, os.Truncate(filepath.Join(d.recording(d.ids[1]), record.MainFile), 700))
		}, "truncated", "recording", false},
		{"recording inserted", func(t *testing.T, d *dataDir) {
			from := d.recording(d.ids[1])
			must(t, os.CopyFS(filepath.Join(filepath.Dir(from), "alice-00000000000000000000000099"), os.DirFS(from)))
		}, "inserted", "recording", false},
		{"end of the ledger cut off with its recordings", func(t *testing.T, d *dataDir) {
			b, err := os.ReadFile(ledger(d))
			must(t, err)
			lines := bytes.SplitAfter(b, []byte("\n"))
			must(t, os.WriteFile(ledger(d), bytes.Join(lines[:4], nil), 0o600))
			for _, id := range d.ids[2:] {
				must(t, os.RemoveAll(d.recording(id)))
				d.sql(t, "DELETE FROM sessions WHERE id = ?", string(id))
			}
		}, "rolled back", "ledger", false},
		{"ledger deleted", func(t *testing.T, d *dataDir) { must(t, os.Remove(ledger(d))) }, "missing", "ledger", false},
		{"session row deleted", func(t *testing.T, d *dataDir) {
			d.sql(t, "DELETE FROM sessions WHERE id = ?", string(d.ids[0]))
		}, "missing", "session", false},
		{"session row altered", func(t *testing.T, d *dataDir) {
			d.sql(t, "UPDATE sessions SET owner = 'arn:aws:iam::123456789012:user/bob' WHERE id = ?", string(d.ids[0]))
		}, "altered", "session", false},
		{"session row inserted", func(t *testing.T, d *dataDir) {
			d.sql(t, "UPDATE sessions SET id = 'mallory-00000000000000000000000000' WHERE id = ?", string(d.ids[0]))
		}, "missing", "recording", false},
		{"audit record edited", func(t *testing.T, d *dataDir) {
			d.sql(t, "UPDATE audit_records SET body = replace(body, 'StartSession', 'ListSessions') WHERE seq = 3")
		}, "altered", "audit", false},
		{"audit record deleted", func(t *testing.T, d *dataDir) { d.sql(t, "DELETE FROM audit_records WHERE seq = 3") },
			"missing", "audit", false},
		{"end of the audit trail deleted",
			func(t *testing.T, d *dataDir) { d.sql(t, "DELETE FROM audit_records WHERE seq > 4") }, "rolled back", "audit",
			false},
		{"end of the audit trail and its heads deleted", func(t *testing.T, d *dataDir) {
			d.sql(t, "DELETE FROM audit_records WHERE seq > 4")
			d.sql(t, "DELETE FROM audit_heads WHERE seq > 4")
		}, "rolled back", "audit", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := good.copy(t)
			d.witness = good.witness
			c.do(t, d)
			found, err := d.check(t, c.witness)
			must(t, err)
			for _, f := range found.Findings {
				if f.Kind == c.kind && f.Where == c.where {
					return
				}
			}
			t.Errorf("want %s %s, found %+v", c.kind, c.where, found.Findings)
		})
	}
}

// TestOldCopyOfEverything: data that is replaced as a whole by an older copy
// is consistent. Only a witness reveals it.
func TestOldCopyOfEverything(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 4)
	old := d.copy(t)
	text, err := os.ReadFile(d.witness)
	must(t, err)
	s, err := record.ParseWitnesses(text, record.KeysOf(d.ring.PublicKey()))
	must(t, err)
	s[len(s)-1].AuditSeq++ // published after the copy was made
	s[len(s)-1].LedgerDigest = strings.Repeat("ab", 32)
	s[len(s)-1].LedgerLines += 2
	line, err := s[len(s)-1].Sign(d.ring.Signer())
	must(t, err)
	later := filepath.Join(t.TempDir(), "later")
	must(t, os.WriteFile(later, append(text, line...), 0o600))
	found, err := old.check(t, false)
	must(t, err)
	if len(found.Findings) > 0 {
		t.Fatalf("a copy without a witness has findings: %+v", found.Findings)
	}
	old.witness = later
	found, err = old.check(t, true)
	must(t, err)
	kinds := ""
	for _, f := range found.Findings {
		kinds += f.Kind + " " + f.Where + ", "
	}
	if !strings.Contains(kinds, "rolled back ledger") || !strings.Contains(kinds, "audit") {
		t.Errorf("found %s", kinds)
	}
	forged := bytes.Replace(line, []byte(`"ledger_lines":`), []byte(`"ledger_lines":1`), 1)
	if _, err := record.ParseWitnesses(forged, record.KeysOf(d.ring.PublicKey())); err == nil {
		t.Error("a forged witness was accepted")
	}
}

func TestWitnessReceivers(t *testing.T) {
	t.Parallel()
	var got []string
	answer := http.StatusNoContent
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		got = append(got, b.String())
		w.WriteHeader(answer)
	}))
	defer srv.Close()
	w := witnessURL(srv.URL)
	must(t, w.Publish(t.Context(), []byte("line\n")))
	answer = http.StatusInternalServerError
	if err := w.Publish(t.Context(), []byte("line\n")); err == nil {
		t.Error("an error was taken for success")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Publish(ctx, nil); err == nil {
		t.Error("published without time")
	}
	if len(got) != 2 || got[0] != "line\n" {
		t.Errorf("%q", got)
	}
	name := filepath.Join(t.TempDir(), "heads")
	all, err := witnessesOf([]config.Witness{{File: name}})
	must(t, err)
	must(t, all[0].Publish(t.Context(), []byte("a\n")))
	must(t, all[0].Publish(t.Context(), []byte("b\n")))
	if b, err := os.ReadFile(name); err != nil || string(b) != "a\nb\n" {
		t.Errorf("%q %v", b, err)
	}
	if err := witnessFile(filepath.Join(name, "x")).Publish(t.Context(), nil); !errors.Is(err, fs.ErrNotExist) &&
		err == nil {
		t.Error("publishing to a path that cannot exist reported no error")
	}
}

// TestBackgroundCheck: the running server reports its findings once, in the
// audit trail, the API and its health.
func TestBackgroundCheck(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 3)
	s, err := New(
		t.Context(),
		Config{DataDir: d.dir, Account: "123456789012", Region: "us-east-1", Log: slog.New(slog.DiscardHandler)},
	)
	must(t, err)
	defer s.Close()
	if s.lastCheck() != nil {
		t.Error("lastCheck returned a result before the first check")
	}
	s.checkIntegrity(t.Context())
	if f := s.lastCheck(); f == nil || len(f.Findings) > 0 || f.Recordings != 3 {
		t.Fatalf("intact data: %+v", f)
	}
	must(t, os.RemoveAll(d.recording(d.ids[1])))
	for range 2 {
		s.checkIntegrity(t.Context())
	}
	f := s.lastCheck()
	if len(f.Findings) != 1 || f.Findings[0].Kind != "missing" || f.Findings[0].Subject != string(d.ids[1]) {
		t.Fatalf("%+v", f)
	}
	events, _, err := s.trail.Lookup(t.Context(), audit.Query{EventName: "IntegrityProblem", Limit: 10})
	must(t, err)
	if len(events) != 1 || events[0].Additional["kind"] != "missing" {
		t.Errorf("events %+v", events)
	}
	must(t, s.bus.Flush(t.Context()))
	published, err := s.bus.Events(t.Context(), event.Query{Type: event.IntegrityProblem, Limit: 10})
	must(t, err)
	if len(published) != 1 || !strings.Contains(string(published[0].Body), string(d.ids[1])) {
		t.Errorf("published %+v", published)
	}
	w := httptest.NewRecorder()
	s.ready(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "1 problem") {
		t.Errorf("health %d %q", w.Code, w.Body)
	}
}

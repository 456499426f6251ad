package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest/pgtest"
	"sekisho/internal/wire/sigv4"
)

// postgresDatabase returns a new database with the schema.
func postgresDatabase(t testing.TB) *sqlstore.Postgres {
	t.Helper()
	return &sqlstore.Postgres{URL: pgtest.Database(t, migrate)}
}

func migrate(ctx context.Context, url string) error {
	db, err := sqlstore.OpenPostgres(ctx, sqlstore.Postgres{URL: url})
	if err != nil {
		return err
	}
	return db.Close()
}

func onPostgres(dir string, database *sqlstore.Postgres) Config {
	c := killConfig(dir)
	c.Database = database
	return c
}

// opens starts and stops a server.
func opens(ctx context.Context, c Config) error {
	s, err := New(ctx, c)
	if err != nil {
		return err
	}
	s.resume(ctx)
	return s.Close()
}

// TestStateOnPostgres: a database on PostgreSQL, keys and recordings belong together as they do on SQLite.
func TestStateOnPostgres(t *testing.T) {
	t.Parallel()
	dir, database := t.TempDir(), postgresDatabase(t)
	if _, err := Initialize(t.Context(), onPostgres(dir, database)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); !os.IsNotExist(err) {
		t.Errorf("a database file was created: %v", err)
	}
	must(t, opens(t.Context(), onPostgres(dir, database)))
	_, err := ResetAdministrator(t.Context(), onPostgres(dir, database), "rescue")
	must(t, err)
	if _, err := RotateKeys(t.Context(), State{Dir: dir, Database: database}); err != nil {
		t.Error(err)
	}

	running, err := New(t.Context(), onPostgres(dir, database))
	must(t, err)
	if _, err := running.Directory.Users.Get(t.Context(), "rescue"); err != nil {
		t.Error(err)
	}
	copied := t.TempDir()
	must(t, os.CopyFS(copied, os.DirFS(dir)))
	private(t, copied)
	if err := opens(t.Context(), onPostgres(copied, database)); sekisho.CodeOf(err) != sekisho.CodeInUse {
		t.Errorf("a second server on the database: %v", err)
	}
	must(t, running.Close())

	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"a new database beside the keys": {onPostgres(dir, &sqlstore.Postgres{URL: pgtest.Database(t, nil)}),
			"migrate-state"},
		"no keys": {onPostgres(t.TempDir(), database), "keys"},
		"the keys of another installation": {func() Config {
			other := newDataDir(t, 1)
			must(t, sqlstore.RemoveFile(filepath.Join(other.dir, databaseFile)))
			return onPostgres(other.dir, database)
		}(), "another installation"},
	} {
		before := listing(t, c.config.DataDir)
		if err := opens(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if after := listing(t, c.config.DataDir); after != before {
			t.Errorf("%s: a refused start changed the files:\n%s\nbefore:\n%s", name, after, before)
		}
	}
	must(t, opens(t.Context(), onPostgres(dir, database)))
}

// TestMigrateState: a state moves to PostgreSQL and back, a server works at each place, and refuses the
// places that the state has left.
func TestMigrateState(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 3)
	file := sqlstore.Place{File: filepath.Join(d.dir, databaseFile)}
	database := postgresDatabase(t)
	postgres := sqlstore.Place{Postgres: database}
	move := func(from, to sqlstore.Place) (Migration, error) {
		return MigrateState(t.Context(), d.dir, from, to, func(sqlstore.TableCopy) {})
	}
	healthy := func(at State) {
		t.Helper()
		found, err := VerifyData(t.Context(), at, []string{d.witness}, nil)
		must(t, err)
		if len(found.Findings) > 0 {
			t.Errorf("%s: %+v", at.place(), found.Findings)
		}
	}

	running, err := New(t.Context(), killConfig(d.dir))
	must(t, err)
	if _, err := move(file, postgres); sekisho.CodeOf(err) != sekisho.CodeInUse {
		t.Errorf("while a server uses the source: %v", err)
	}
	must(t, running.Close())
	if _, err := move(file, file); sekisho.CodeOf(err) != sekisho.CodeInvalid {
		t.Errorf("to the same engine: %v", err)
	}
	if _, err := move(sqlstore.Place{File: filepath.Join(d.dir, "none")}, postgres); !sekisho.IsNotFound(err) {
		t.Errorf("from a file that does not exist: %v", err)
	}
	there, err := move(file, postgres)
	must(t, err)
	if there.Rows == 0 || there.AuditRecords == 0 || len(there.TrailProblems) > 0 {
		t.Errorf("%+v", there)
	}
	if _, err := os.Stat(there.Source); err != nil {
		t.Error(err)
	}
	if err := opens(t.Context(), killConfig(d.dir)); err == nil {
		t.Error("a server started without its database")
	}
	must(t, os.Rename(there.Source, file.File)) // an operator puts the old file back
	if err := opens(t.Context(), killConfig(d.dir)); err == nil || !strings.Contains(err.Error(), "was moved") {
		t.Errorf("on the file that the state has left: %v", err)
	}
	must(t, sqlstore.RemoveFile(file.File))
	healthy(State{Dir: d.dir, Database: database})
	must(t, opens(t.Context(), onPostgres(d.dir, database)))

	running, err = New(t.Context(), onPostgres(d.dir, database))
	must(t, err)
	if _, err := move(postgres, file); sekisho.CodeOf(err) != sekisho.CodeInUse {
		t.Errorf("while a server uses the source: %v", err)
	}
	must(t, running.Close())
	back, err := move(postgres, file)
	must(t, err)
	if back.AuditRecords < there.AuditRecords || len(back.TrailProblems) > 0 {
		t.Errorf("%+v", back)
	}
	healthy(State{Dir: d.dir})
	must(t, opens(t.Context(), killConfig(d.dir)))
	if err := opens(t.Context(), onPostgres(d.dir, database)); err == nil || !strings.Contains(err.Error(), "was moved") {
		t.Errorf("on the database that the state has left: %v", err)
	}
	if _, err := move(postgres, sqlstore.Place{File: filepath.Join(t.TempDir(), "db")}); sekisho.CodeOf(err) !=
		sekisho.CodeConflict {
		t.Errorf("from a database that the state has left: %v", err)
	}
	if _, err := move(file, postgres); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("to a database that is not empty: %v", err)
	}
	healthy(State{Dir: d.dir}) // the refused moves have changed nothing
}

// TestBackupOnPostgres: the backup of a running server on PostgreSQL can be restored to either engine.
func TestBackupOnPostgres(t *testing.T) {
	t.Parallel()
	key, err := age.GenerateX25519Identity()
	must(t, err)
	dir, database := t.TempDir(), postgresDatabase(t)
	_, err = Initialize(t.Context(), onPostgres(dir, database))
	must(t, err)
	s, err := New(t.Context(), onPostgres(dir, database))
	must(t, err)
	for range 10 {
		must(t, s.trail.Record(t.Context(), audit.Event{EventName: "Something", EventSource: "test"}))
	}
	if _, err := Backup(t.Context(), dir, &bytes.Buffer{}, BackupOptions{}, key.Recipient()); !sekisho.IsNotFound(err) {
		t.Errorf("a backup of a database that is elsewhere: %v", err)
	}
	var backup bytes.Buffer
	_, err = Backup(t.Context(), dir, &backup, BackupOptions{Database: database}, key.Recipient())
	must(t, err)
	_, err = s.Directory.Users.Create(t.Context(), "/", "later", "", nil)
	must(t, err)
	must(t, s.Close())
	for name, to := range map[string]*sqlstore.Postgres{"SQLite": nil, "PostgreSQL": {URL: pgtest.Database(t, nil)}} {
		at := filepath.Join(t.TempDir(), "restored")
		sum, err := Restore(t.Context(), at, bytes.NewReader(backup.Bytes()), RestoreOptions{Database: to}, key)
		if err != nil || sum.AuditRecords < 10 {
			t.Fatalf("%s: %+v, %v", name, sum, err)
		}
		if _, err := os.Stat(filepath.Join(at, databaseFile)); (err == nil) != (to == nil) {
			t.Errorf("%s: %v", name, err)
		}
		again, err := New(t.Context(), onPostgres(at, to))
		must(t, err)
		if _, err := again.Directory.Users.Get(t.Context(), adminUser); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := again.Directory.Users.Get(t.Context(), "later"); !sekisho.IsNotFound(err) {
			t.Errorf("%s: a user made after the backup: %v", name, err)
		}
		must(t, again.Close())
	}
	_, err = Restore(t.Context(), filepath.Join(t.TempDir(), "x"), bytes.NewReader(backup.Bytes()),
		RestoreOptions{Database: database}, key)
	if sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("a restore into a database that is in use: %v", err)
	}
}

// createUser calls CreateUser, and returns the answer.
func createUser(s *Server, admin sigv4.Credentials, name string) *httptest.ResponseRecorder {
	body := url.Values{"Action": {"CreateUser"}, "Version": {"2010-05-08"}, "UserName": {name}}.Encode()
	r := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sigv4.Sign(r, admin, "us-east-1", "iam", time.Now(), sigv4.HashBody([]byte(body)))
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// TestDatabaseOutage: while PostgreSQL restarts or is gone, calls fail with an error that clients retry,
// readiness says why, nothing that was acknowledged is lost, and the server recovers by itself.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	must(t, pg.Exec(t.Context(), "postgres", "CREATE DATABASE state TEMPLATE template0"))
	dir, database := t.TempDir(), &sqlstore.Postgres{URL: pg.URL("state")}
	first, err := Initialize(t.Context(), onPostgres(dir, database))
	must(t, err)
	admin := sigv4.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey}
	s, err := New(t.Context(), onPostgres(dir, database))
	must(t, err)
	serving, stopServing := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() {
		s.claim.Keep(serving, func(err error) { t.Errorf("the claim was lost: %v", err) })
	})
	ready := func() (int, string) {
		s.state.mu.Lock()
		s.state.checked = time.Time{}
		s.state.mu.Unlock()
		w := httptest.NewRecorder()
		s.ready(w, httptest.NewRequest(http.MethodGet, "/readyz", http.NoBody))
		return w.Code, w.Body.String()
	}
	if code, text := ready(); code != http.StatusOK {
		t.Fatalf("before: %d %s", code, text)
	}

	// Writers that retry, as AWS's SDKs do, through restarts.
	var created sync.Map
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; {
				name := fmt.Sprintf("user-%d-%d", w, i)
				switch answer := createUser(s, admin, name); answer.Code {
				case http.StatusOK, http.StatusConflict: // created by a call whose answer was lost
					created.Store(name, true)
					i++
				case http.StatusServiceUnavailable, http.StatusInternalServerError:
				default:
					t.Errorf("%s: %d %s", name, answer.Code, answer.Body)
					return
				}
			}
		})
	}
	count := func() (n int) {
		created.Range(func(any, any) bool { n++; return true })
		return n
	}
	for range 3 {
		before := count()
		must(t, pg.Restart())
		for count() < before+5 && ctx.Err() == nil {
			tick(t)
		}
	}
	stop()
	writers.Wait()

	must(t, pg.Stop())
	answer := createUser(s, admin, "refused")
	if answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "ServiceUnavailable") {
		t.Errorf("without a database: %d %s", answer.Code, answer.Body)
	}
	if code, text := ready(); code != http.StatusServiceUnavailable || !strings.Contains(text, "database") {
		t.Errorf("without a database: %d %s", code, text)
	}
	must(t, pg.Start())
	for range 1000 {
		code, text := ready()
		if code == http.StatusOK {
			break
		}
		t.Log(text)
		tick(t)
	}
	if answer := createUser(s, admin, "afterwards"); answer.Code != http.StatusOK {
		t.Errorf("after the outage: %d %s", answer.Code, answer.Body)
	}
	created.Range(func(name, _ any) bool {
		if _, err := s.Directory.Users.Get(t.Context(), name.(string)); err != nil {
			t.Errorf("a user that was acknowledged: %v", err)
		}
		return true
	})
	must(t, s.trail.Sign(t.Context()))
	must(t, s.trail.Verify(t.Context()))
	stopServing()
	background.Wait()
	must(t, s.Close())
	found, err := VerifyData(t.Context(), State{Dir: dir, Database: database}, nil, nil)
	if err != nil || len(found.Findings) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// tick lets others run for a moment.
func tick(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(errors.New("the test was cut off"))
	case <-time.After(10 * time.Millisecond):
	}
}

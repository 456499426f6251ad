package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"sekisho"
	"sekisho/internal/activity/usage"
	"sekisho/internal/node/fleet"
	"sekisho/internal/runcommand"
	"sekisho/internal/session/broker"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/storage/objects"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest/pgtest"
)

// alter runs a statement on a database.
func (l location) alter(t *testing.T, statement string) {
	t.Helper()
	driver, name := "sqlite", l.file
	if l.url != "" {
		driver, name = "pgx", l.url
	}
	db, err := sql.Open(driver, name)
	if err == nil {
		_, err = db.ExecContext(t.Context(), statement)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOtherSchemasAreRefused: a database of a newer version, or of another program, is not touched.
func TestOtherSchemasAreRefused(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]func(t testing.TB) location{
		"SQLite":     sqliteFile,
		"PostgreSQL": func(t testing.TB) location { t.Helper(); return location{url: pgtest.Database(t, nil)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newer := empty(t)
			for range 2 {
				db, err := newer.open(t.Context())
				if err == nil {
					err = db.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			newer.alter(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99990, TRUE)`)
			if _, err := newer.open(t.Context()); err == nil || !strings.Contains(err.Error(), "99990") {
				t.Errorf("a newer schema: %v", err)
			}
			foreign := empty(t)
			foreign.alter(t, `CREATE TABLE customers (id BIGINT PRIMARY KEY)`)
			if _, err := foreign.open(t.Context()); err == nil || !strings.Contains(err.Error(), "not a database of Sekisho") {
				t.Errorf("a database of another program: %v", err)
			}
		})
	}
}

// TestServersMigrateInTurns: servers that start at once on a new database all get the schema.
func TestServersMigrateInTurns(t *testing.T) {
	t.Parallel()
	where := location{url: pgtest.Database(t, nil)}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := where.open(t.Context())
			if err == nil {
				_, err = db.Used(t.Context())
				err = errors.Join(err, db.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestReaderWritesNothing: a reader sees what others write, and cannot write.
func TestReaderWritesNothing(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, database func(t testing.TB) location) {
		t.Helper()
		where := database(t)
		db := where.mustOpen(t)
		if err := db.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		reader, err := where.openReader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := reader.Probe(t.Context()); err == nil {
			t.Error("a reader has written")
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestBadAddresses: a database that cannot be reached, or must not be, is refused with a remedy and
// without a secret.
func TestBadAddresses(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-secret"
	for url, want := range map[string]string{
		"mysql://u@h/d":                                                 "mysql",
		"postgres://u:" + secret + "@h/d":                               "password_file",
		"postgres://u@h/d?password=" + secret:                           "password_file",
		"postgres://u:" + secret + "@h:port/d":                          "malformed",
		"postgres://u:%zz" + secret + "@h/d":                            "malformed",
		"postgres://u@127.0.0.1:1":                                      "no database",
		"postgres://u@db.example.com/d?sslmode=prefer":                  "sslmode=verify-full",
		"postgres://u@h/d?sslmode=verify-full&sslrootcert=/nonexistent": "nonexistent",
		"postgres://u@127.0.0.1:1/d":                                    "127.0.0.1:1",
	} {
		p := sqlstore.Postgres{URL: url, Password: secret}
		_, err := sqlstore.OpenPostgres(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
		for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), p.String(), fmt.Sprintf("%v", p)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the password is in %q", url, text)
			}
		}
	}
}

// TestPasswordIsUsed: the password of the configuration authenticates, and a wrong one is refused without
// being printed.
func TestPasswordIsUsed(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	const right, wrong = "right-password", "wrong-password"
	if err := pg.Exec(t.Context(), "postgres", "CREATE ROLE limited LOGIN PASSWORD '"+right+"'",
		"CREATE DATABASE state OWNER limited TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	if err := pg.RequirePasswords(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(pg.URL("state"), "//sekisho@", "//limited@", 1)
	db, err := sqlstore.OpenPostgres(t.Context(), sqlstore.Postgres{URL: url, Password: right})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	_, err = sqlstore.OpenPostgres(t.Context(), sqlstore.Postgres{URL: url, Password: wrong})
	if sekisho.CodeOf(err) != sekisho.CodeUnavailable || strings.Contains(err.Error(), wrong) ||
		!strings.Contains(err.Error(), "password_file") {
		t.Errorf("got %v", err)
	}
}

// TestInvariantsUnderConcurrency: transactions that read before they write keep what they promise when
// many run at once, from several processes.
func TestInvariantsUnderConcurrency(t *testing.T) {
	t.Parallel()
	onEngines(t, testInvariants)
}

func testInvariants(t *testing.T, database func(t testing.TB) location) {
	t.Helper()
	const members, each = 3, 6
	where := database(t)
	dbs := make([]*sqlstore.DB, members)
	for i := range dbs {
		dbs[i] = where.mustOpen(t)
	}
	// every runs do each times on every member at once, and returns how often it succeeded. Other codes than
	// those allowed are failures.
	every := func(t *testing.T, do func(db *sqlstore.DB, name string) error, allowed ...sekisho.Code) (succeeded int) {
		t.Helper()
		var mu sync.Mutex
		var wg sync.WaitGroup
		for m, db := range dbs {
			for i := range each {
				wg.Go(func() {
					err := do(db, fmt.Sprintf("%d-%d", m, i))
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						succeeded++
					} else if !slices.Contains(allowed, sekisho.CodeOf(err)) {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		return succeeded
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	ctx := t.Context()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	t.Run("commands are numbered without repetition", func(t *testing.T) {
		every(t, func(db *sqlstore.DB, name string) error {
			c := &runcommand.Command{ID: name, Status: runcommand.Pending, RequestedAt: now}
			return db.Commands.CreateCommand(ctx, c, nil)
		})
		all, err := dbs[0].Commands.Commands(ctx, runcommand.Query{})
		must(t, err)
		seen := map[int64]bool{}
		for _, c := range all {
			seen[c.Seq] = true
		}
		for seq := range int64(members * each) {
			if !seen[seq+1] {
				t.Errorf("no command has the number %d", seq+1)
			}
		}
	})
	t.Run("a document keeps its default version", func(t *testing.T) {
		doc := &doclibrary.Document{Name: "doc", Type: "Session", DefaultVersion: 1, LatestVersion: 1, CreatedAt: now}
		must(t, dbs[0].Documents.CreateDocument(ctx, doc, &doclibrary.Version{Document: "doc", Number: 1, CreatedAt: now}))
		every(t, func(db *sqlstore.DB, _ string) error {
			var number int64
			err := db.Documents.UpdateDocument(ctx, "doc", func(d *doclibrary.Document) (*doclibrary.Version, error) {
				d.LatestVersion++
				number = d.LatestVersion
				d.DefaultVersion = number
				return &doclibrary.Version{Document: "doc", Number: number, CreatedAt: now}, nil
			})
			if err != nil {
				return err
			}
			return db.Documents.DeleteDocumentVersion(ctx, "doc", number-1)
		}, sekisho.CodeNotFound) // another member has made the version the default again, or has deleted it
		d, err := dbs[0].Documents.Document(ctx, "doc")
		must(t, err)
		if d.LatestVersion != 1+members*each {
			t.Errorf("the latest version is %d", d.LatestVersion)
		}
		if _, err := dbs[0].Documents.DocumentVersion(ctx, "doc", d.DefaultVersion); err != nil {
			t.Errorf("the default version is missing: %v", err)
		}
	})
	t.Run("usage reports are bounded", func(t *testing.T) {
		const most = 4
		n := every(t, func(db *sqlstore.DB, name string) error {
			return db.Usage.CreateUsageReport(ctx, &usage.Definition{Name: name}, most)
		}, sekisho.CodeLimit)
		if n != most {
			t.Errorf("%d reports were created, want %d", n, most)
		}
	})
	t.Run("log events are numbered without repetition", func(t *testing.T) {
		must(t, dbs[0].Logs.CreateLogGroup(ctx, &loggroup.Group{Name: "g", CreatedAt: now}))
		must(t, dbs[0].Logs.CreateLogStream(ctx, &loggroup.Stream{Group: "g", Name: "s", CreatedAt: now}))
		every(t, func(db *sqlstore.DB, name string) error {
			return db.Logs.AppendLogEvents(ctx, "g", "s", []*loggroup.Event{
				{Group: "g", Stream: "s", Time: now, Message: []byte(name)},
				{Group: "g", Stream: "s", Time: now, Message: []byte(name)},
			})
		})
		seen := map[int64]bool{}
		must(t, dbs[0].Logs.LogEvents(ctx, loggroup.Query{Group: "g"}, func(e *loggroup.Event) (bool, error) {
			seen[e.Seq] = true
			return true, nil
		}))
		if len(seen) != 2*members*each {
			t.Errorf("%d numbers, want %d", len(seen), 2*members*each)
		}
	})
	t.Run("a key has one current version", func(t *testing.T) {
		must(t, dbs[0].Objects.CreateBucket(ctx,
			&objects.Bucket{Name: "b", CreatedAt: now, Versioning: objects.VersioningEnabled}))
		every(t, func(db *sqlstore.DB, name string) error {
			_, err := db.Objects.PutVersion(ctx, &objects.Version{
				Bucket: "b", Key: "k", ID: "v" + name, ModifiedAt: now, Pieces: []objects.Piece{{Blob: "blob" + name}},
			}, objects.Condition{}, "")
			return err
		})
		all, err := dbs[0].Objects.Versions(ctx, objects.Range{Bucket: "b", Limit: 100})
		must(t, err)
		latest := 0
		for _, v := range all {
			if v.Latest {
				latest++
			}
		}
		if len(all) != members*each || latest != 1 {
			t.Errorf("%d versions, %d of them current", len(all), latest)
		}
	})
	t.Run("a token is used once", func(t *testing.T) {
		must(t, dbs[0].Sessions.PutToken(ctx, broker.Token{Hash: []byte("h"), ExpiresAt: now.Add(time.Hour)}))
		n := every(t, func(db *sqlstore.DB, _ string) error {
			_, err := db.Sessions.UseToken(ctx, []byte("h"), now)
			return err
		}, sekisho.CodeConflict)
		if n != 1 {
			t.Errorf("the token was used %d times", n)
		}
	})
	t.Run("updates of a session are not lost", func(t *testing.T) {
		must(t, dbs[0].Sessions.CreateSession(ctx, &sekisho.Session{ID: "s", Status: sekisho.SessionConnected},
			broker.Token{Hash: []byte("t")}))
		every(t, func(db *sqlstore.DB, _ string) error {
			return db.Sessions.UpdateSession(ctx, "s", func(s *sekisho.Session) error { s.Details += "x"; return nil })
		})
		s, err := dbs[0].Sessions.Session(ctx, "s")
		must(t, err)
		if len(s.Details) != members*each {
			t.Errorf("%d updates are left, want %d", len(s.Details), members*each)
		}
	})
	t.Run("one sighting is the first", func(t *testing.T) {
		var mu sync.Mutex
		first := 0
		every(t, func(db *sqlstore.DB, _ string) error {
			before, err := db.Fleet.NoteSighting(ctx, &fleet.Sighting{Key: "k", FirstAt: now, LastAt: now, Count: 1}, 10)
			if before.IsZero() && err == nil {
				mu.Lock()
				first++
				mu.Unlock()
			}
			return err
		})
		if first != 1 {
			t.Errorf("%d sightings were the first", first)
		}
	})
}

// TestStoreRecovers: while PostgreSQL is gone, calls fail with a code; a short restart delays them only.
func TestStoreRecovers(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	ctx := t.Context()
	if err := pg.Exec(ctx, "postgres", "CREATE DATABASE state TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	db := location{url: pg.URL("state")}.mustOpen(t)
	touch := func(db *sqlstore.DB) error {
		return db.Sessions.UpdateSession(ctx, "s", func(s *sekisho.Session) error { s.Details += "x"; return nil })
	}
	if err := db.Sessions.CreateSession(ctx, &sekisho.Session{ID: "s"}, broker.Token{Hash: []byte("t")}); err != nil {
		t.Fatal(err)
	}
	if err := pg.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := touch(db); sekisho.CodeOf(err) != sekisho.CodeUnavailable {
		t.Errorf("a change without a database: %v", err)
	}
	if _, err := db.Sessions.Session(ctx, "s"); sekisho.CodeOf(err) != sekisho.CodeUnavailable {
		t.Errorf("a query without a database: %v", err)
	}
	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	if err := touch(db); err != nil {
		t.Error(err)
	}
	// Connections in the pool have ended, and are replaced without an error.
	for range 2 {
		if err := pg.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := touch(db); err != nil {
			t.Error(err)
		}
		if err := pg.Restart(); err != nil {
			t.Fatal(err)
		}
		s, err := db.Sessions.Session(ctx, "s")
		if err != nil {
			t.Fatal(err)
		}
		t.Log(s.Details)
	}
	s, err := db.Sessions.Session(ctx, "s")
	if err != nil || s.Details != "xxx" {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestSlowAndReadOnlyDatabases: a database that is busy, or that has become a standby, fails calls with a
// code that says to retry, and works again afterwards.
func TestSlowAndReadOnlyDatabases(t *testing.T) {
	t.Parallel()
	where := postgresDatabase(t)
	where.mustOpen(t)
	quick := location{url: where.url + "&lock_timeout=50"}.mustOpen(t)
	ctx := t.Context()
	if err := quick.Sessions.CreateSession(ctx, &sekisho.Session{ID: "s"}, broker.Token{Hash: []byte("t")}); err != nil {
		t.Fatal(err)
	}
	touch := func() error {
		return quick.Sessions.UpdateSession(ctx, "s", func(s *sekisho.Session) error { s.Details += "x"; return nil })
	}
	busy, err := sql.Open("pgx", where.url)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tx, err := busy.BeginTx(ctx, nil)
	if err == nil {
		_, err = tx.ExecContext(ctx, `SELECT 1 FROM sessions FOR UPDATE`)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := touch(); sekisho.CodeOf(err) != sekisho.CodeUnavailable {
		t.Errorf("while another transaction holds the session: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := touch(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	standby := location{url: where.url + "&default_transaction_read_only=on"}
	if err := standby.mustOpen(t).Probe(ctx); sekisho.CodeOf(err) != sekisho.CodeUnavailable {
		t.Errorf("on a standby: %v", err)
	}
	s, err := quick.Sessions.Session(ctx, "s")
	if err != nil || s.Details != "x" {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestClaims: one server has a database for itself, or several share it.
func TestClaims(t *testing.T) {
	t.Parallel()
	where := postgresDatabase(t)
	a, b := where.mustOpen(t), where.mustOpen(t)
	take := func(db *sqlstore.DB, shared bool) (*sqlstore.Claim, error) { return db.Claim(t.Context(), shared) }
	mine, err := take(a, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, shared := range []bool{false, true} {
		if _, err := take(b, shared); sekisho.CodeOf(err) != sekisho.CodeInUse {
			t.Errorf("shared %v: %v", shared, err)
		}
	}
	if err := mine.Release(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	var held []*sqlstore.Claim
	for _, db := range []*sqlstore.DB{a, b} {
		c, err := take(db, true)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if _, err := take(a, false); sekisho.CodeOf(err) != sekisho.CodeInUse {
		t.Errorf("beside those that share: %v", err)
	}
	for _, c := range held {
		if err := c.Release(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	if c, err := take(a, false); err != nil {
		t.Error(err)
	} else if err := c.Release(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestClaimIsKept: a claim whose connection ended is taken again, unless another server was first.
func TestClaimIsKept(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	if err := pg.Exec(t.Context(), "postgres", "CREATE DATABASE state TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	db := location{url: pg.URL("state")}.mustOpen(t)
	claim, err := db.Claim(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	taken, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		claim.Keep(ctx, func(err error) { taken <- err })
	}()
	if err := pg.Restart(); err != nil {
		t.Fatal(err)
	}
	other := location{url: pg.URL("state")}.mustOpen(t)
	rival, rivalErr := other.Claim(t.Context(), false)
	if rivalErr == nil {
		select {
		case err := <-taken:
			if sekisho.CodeOf(err) != sekisho.CodeInUse {
				t.Error(err)
			}
		case <-t.Context().Done():
			t.Fatal("the first server does not know that it lost the database")
		}
		if !claim.Lost() {
			t.Error("the claim is not lost")
		}
		if err := rival.Release(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	} else if sekisho.CodeOf(rivalErr) != sekisho.CodeInUse {
		t.Error(rivalErr)
	}
	stop()
	<-ended
	if err := claim.Release(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestPlaceNames: the name of a place has no user and no parameters.
func TestPlaceNames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "db")
	if got := (sqlstore.Place{File: file}).String(); got != file {
		t.Errorf("got %q", got)
	}
	p := sqlstore.Place{Postgres: &sqlstore.Postgres{URL: "postgres://u@db.example.com:5433/d?sslmode=verify-full"}}
	if got := p.String(); got != "postgres://db.example.com:5433/d" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("naming a place has created it: %v", err)
	}
}

package sqlstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// location is a database of one test, which can be opened several times.
type location struct{ file, url string }

func (l location) open(ctx context.Context) (*sqlstore.DB, error) {
	if l.url != "" {
		return sqlstore.OpenPostgres(ctx, sqlstore.Postgres{URL: l.url})
	}
	return sqlstore.OpenSQLite(ctx, l.file)
}

func (l location) openReader(ctx context.Context) (*sqlstore.DB, error) {
	if l.url != "" {
		return sqlstore.OpenPostgresReader(ctx, sqlstore.Postgres{URL: l.url})
	}
	return sqlstore.OpenSQLiteReader(ctx, l.file)
}

// mustOpen opens the database until the test ends.
func (l location) mustOpen(t testing.TB) *sqlstore.DB {
	t.Helper()
	db, err := l.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func sqliteFile(t testing.TB) location {
	t.Helper()
	return location{file: filepath.Join(t.TempDir(), "db")}
}

// postgresDatabase returns a database with the schema.
func postgresDatabase(t testing.TB) location {
	t.Helper()
	return location{url: pgtest.Database(t, func(ctx context.Context, url string) error {
		db, err := location{url: url}.open(ctx)
		if err != nil {
			return err
		}
		return errors.Join(db.Close())
	})}
}

// onEngines runs a test on each engine. database returns the location of a new database.
func onEngines(t *testing.T, test func(t *testing.T, database func(t testing.TB) location)) {
	t.Helper()
	for name, database := range map[string]func(t testing.TB) location{
		"SQLite": sqliteFile, "PostgreSQL": postgresDatabase,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, database)
		})
	}
}

// onStores is onEngines for tests that open one database.
func onStores(t *testing.T, test func(t *testing.T, open func(t testing.TB) *sqlstore.DB)) {
	t.Helper()
	onEngines(t, func(t *testing.T, database func(t testing.TB) location) {
		t.Helper()
		test(t, func(t testing.TB) *sqlstore.DB { return database(t).mustOpen(t) })
	})
}

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"github.com/pressly/goose/v3"
)

// OpenSQLiteReader opens a database read-only, without migrating it. A server can use the
// database at the same time.
func OpenSQLiteReader(ctx context.Context, path string) (*DB, error) {
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "query_only(1)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return newDB(db, false), nil
}

// OpenSQLite opens the database file at path, creating it if it is missing, and
// brings its schema up to date. It refuses a schema of a newer version.
func OpenSQLite(ctx context.Context, path string) (*DB, error) {
	if err := restrict(path); err != nil {
		return nil, err
	}
	db, err := openFile(path, "")
	if err != nil {
		return nil, err
	}
	// Each connection has a cache of pages and parsed statements. Connections that a burst
	// of calls has opened are closed after it.
	db.SetMaxIdleConns(8)
	db.SetConnMaxIdleTime(time.Minute)
	// Numbers are given by engine: a newer migration may have a lower one.
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sqliteSchema, goose.WithAllowOutofOrder(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read migrations: %w", err), db.Close())
	}
	if err := refuseNewer(ctx, db, p, path, sqliteCatalog); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if _, err := p.Up(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate %s: %w", path, err), db.Close())
	}
	return newDB(db, false), nil
}

// IsEmpty reports whether the database file at path is missing or has no tables.
func IsEmpty(ctx context.Context, path string) (empty bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	db, err := openFile(path, "")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master`).Scan(&tables); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return tables == 0, nil
}

// openFile opens a database file. option is added to its URI.
func openFile(path, option string) (*sql.DB, error) {
	// A writer takes the lock when its transaction begins, so that concurrent writers queue
	// (busy_timeout) and do not fail half-way.
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "synchronous(NORMAL)", "foreign_keys(ON)"},
	}
	uri := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	if option == "" {
		// A checkpoint waits for the disk twice and always includes the pages of the newest
		// records. So there are 16 MiB of log between checkpoints instead of 4 MiB.
		uri += "&_pragma=journal_mode(WAL)&_pragma=wal_autocheckpoint(4000)"
	} else {
		uri += "&" + option
	}
	db, err := sql.Open("sqlite", uri)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// restrict ensures that only the owner can read the database. SQLite gives the files beside
// it the same mode.
func restrict(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

var sqliteCatalog = catalog{
	versions: `SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'`,
	tables:   `SELECT count(*) FROM sqlite_master`,
}

// RemoveFile removes the database file at path, which must be closed, and the files beside it.
func RemoveFile(path string) error {
	err := os.Remove(path)
	for _, name := range []string{path + "-wal", path + "-shm"} {
		if rerr := os.Remove(name); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// MoveFile renames the file of an open SQLite database, after it has written everything to it.
func (d *DB) MoveFile(ctx context.Context, from, to string) error {
	if _, err := d.sql.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s exists", to))
	}
	return os.Rename(from, to)
}

// Package sqlstore keeps the state of every engine in a SQL database. Each
// engine declares the store interface it needs; one file here implements it.
//
// One SQL text serves SQLite and PostgreSQL: $1 placeholders, TEXT, BIGINT,
// BOOLEAN and BYTEA columns (SQLite stores a blob unchanged under any
// declared type), times as microseconds since the Unix epoch, maps as JSON
// text. Schema changes are goose migrations, numbered in tens by engine.
package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sekisho"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the store of every engine.
type DB struct {
	sql pool
}

// pool is a database whose writers take turns. SQLite lets one write at a time
// and has the others ask again at growing intervals: of many some would wait
// for seconds, each with a connection of its own.
type pool struct {
	*sql.DB
	turn chan struct{} // holds one element while somebody writes

	statements *statements
}

// statements keeps those that are run all the time, so that each connection
// parses them once. Only constant queries belong in it: it is never emptied.
type statements struct {
	mu      sync.Mutex
	byQuery map[string]*sql.Stmt
}

// prepared returns a constant query as a statement that is kept. The caller must
// not close it.
func (p pool) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	p.statements.mu.Lock()
	defer p.statements.mu.Unlock()
	if s := p.statements.byQuery[query]; s != nil {
		return s, nil
	}
	s, err := p.PrepareContext(ctx, query)
	if err == nil {
		p.statements.byQuery[query] = s
	}
	return s, err
}

// execPrepared is ExecContext for a constant query that is run all the time.
func (p pool) execPrepared(ctx context.Context, query string, args ...any) error {
	s, err := p.prepared(ctx, query)
	if err != nil {
		return err
	}
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	_, err = s.ExecContext(ctx, args...)
	return err
}

func (p pool) take(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p pool) give() { <-p.turn }

// ExecContext runs one statement, in turn.
func (p pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.take(ctx); err != nil {
		return nil, err
	}
	defer p.give()
	return p.DB.ExecContext(ctx, query, args...)
}

// querier is what *sql.DB and *sql.Tx have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// OpenSQLiteReader opens a database for reading alone, as it is: it changes
// nothing, and a server may be using it.
func OpenSQLiteReader(ctx context.Context, path string) (*DB, error) {
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "query_only(1)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &DB{
		sql: pool{DB: db, turn: make(chan struct{}, 1), statements: &statements{byQuery: map[string]*sql.Stmt{}}},
	}, nil
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
	db.SetMaxIdleConns(8)
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	// Numbers are given by engine: a newer migration may have a lower one.
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sub, goose.WithAllowOutofOrder(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read migrations: %w", err), db.Close())
	}
	if err := refuseNewer(ctx, db, p, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if _, err := p.Up(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate %s: %w", path, err), db.Close())
	}
	return &DB{
		sql: pool{DB: db, turn: make(chan struct{}, 1), statements: &statements{byQuery: map[string]*sql.Stmt{}}},
	}, nil
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
	// A writer takes the lock when its transaction begins, so that two of
	// them queue (busy_timeout) and neither fails half-way.
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "synchronous(NORMAL)", "foreign_keys(ON)"},
	}
	uri := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	if option == "" {
		uri += "&_pragma=journal_mode(WAL)"
	} else {
		uri += "&" + option
	}
	db, err := sql.Open("sqlite", uri)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// restrict makes sure that the owner alone can read the database. SQLite gives
// the files beside it the same mode.
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

// refuseNewer refuses a database that a newer version has migrated: what it
// added would be ignored, and damaged.
func refuseNewer(ctx context.Context, db *sql.DB, p *goose.Provider, path string) error {
	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'`).Scan(&tables); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if tables == 0 {
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master`).Scan(&tables); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if tables > 0 {
			return fmt.Errorf(
				"%s is not a database of Sekisho: it has tables, but no schema version. Restore it from a backup, or move it away",
				path,
			)
		}
		return nil
	}
	known := map[int64]bool{0: true}
	for _, s := range p.ListSources() {
		known[s.Version] = true
	}
	applied, err := queryAll(ctx, db, func(row scanner) (v int64, err error) {
		err = row.Scan(&v)
		return v, err
	}, `SELECT version_id FROM goose_db_version WHERE is_applied`)
	if err != nil {
		return fmt.Errorf("read the schema version of %s: %w", path, err)
	}
	for _, v := range applied {
		if !known[v] {
			return fmt.Errorf(
				"%s was written by a newer version of Sekisho: it has the schema change %d, which this version does not know. "+
					"Run that version or a later one, or restore a backup from before the upgrade",
				path,
				v,
			)
		}
	}
	return nil
}

// Used reports whether the database has ever had a user.
func (d *DB) Used(ctx context.Context) (bool, error) {
	var newest int64
	err := d.sql.QueryRowContext(ctx, `SELECT newest FROM identity_generation WHERE id = 1`).Scan(&newest)
	return newest > 0, err
}

// Probe reports whether the database can be written.
func (d *DB) Probe(ctx context.Context) error {
	_, err := d.sql.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ('health', $1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, time.Now().UTC().Format(time.RFC3339Nano))
	return err
}

// Close closes the database.
func (d *DB) Close() error { return d.sql.Close() }

// inTx runs f in one transaction: all of it happens, or none.
func (d *DB) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if err := d.sql.take(ctx); err != nil {
		return err
	}
	defer d.sql.give()
	tx, err := d.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned { // f panicked: the lock must not outlive it
			_ = tx.Rollback()
		}
	}()
	err = f(tx)
	returned = true
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// notFound turns "no rows" into a not_found error that names what is missing.
func notFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return sekisho.Errorf(sekisho.CodeNotFound, format, args...)
	}
	return err
}

// isUnique reports whether err is a violation of a unique constraint.
func isUnique(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// micros is the stored form of a time; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros reads a stored time.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// tagsJSON is the stored form of a tag set.
func tagsJSON(tags map[string]string) string {
	if len(tags) == 0 {
		return "{}"
	}
	b, err := json.Marshal(tags)
	if err != nil { // a map of strings always marshals
		panic(err)
	}
	return string(b)
}

// tagsFromJSON reads a stored tag set; an empty one is nil.
func tagsFromJSON(s string) (map[string]string, error) {
	var tags map[string]string
	if err := json.Unmarshal([]byte(s), &tags); err != nil {
		return nil, fmt.Errorf("stored tags: %w", err)
	}
	if len(tags) == 0 {
		return nil, nil
	}
	return tags, nil
}

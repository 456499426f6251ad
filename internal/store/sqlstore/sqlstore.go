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

// OpenSQLite opens the database file at path, making it when it is not there,
// and brings its schema up to date.
func OpenSQLite(ctx context.Context, path string) (*DB, error) {
	// A writer takes the lock when its transaction begins, so that two of
	// them queue (busy_timeout) and neither fails half-way.
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)"},
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
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
	if _, err := p.Up(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate %s: %w", path, err), db.Close())
	}
	return &DB{sql: pool{DB: db, turn: make(chan struct{}, 1)}}, nil
}

// Close closes the database.
func (d *DB) Close() error { return d.sql.Close() }

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error { return d.sql.PingContext(ctx) }

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

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"sekisho"
)

// pool is a database with one writer at a time. SQLite itself makes concurrent writers
// retry at growing intervals: some of many would wait for seconds, each with its own
// connection.
type pool struct {
	*sql.DB
	writer chan struct{} // holds one element during a write

	statements *statements
}

// statements keeps frequent statements prepared, so that each connection parses them once.
// Only constant queries belong in it: it is never emptied.
type statements struct {
	mu      sync.Mutex
	byQuery map[string]*sql.Stmt
}

// prepared returns the prepared statement of a constant query, and keeps it. The caller
// must not close it.
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

// execPrepared is ExecContext for a frequent constant query.
func (p pool) execPrepared(ctx context.Context, query string, args ...any) error {
	s, err := p.prepared(ctx, query)
	if err != nil {
		return err
	}
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	_, err = s.ExecContext(ctx, args...)
	return err
}

// execIn is execPrepared within a transaction.
func (p pool) execIn(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
	kept, err := p.prepared(ctx, query)
	if err != nil {
		return err
	}
	_, err = tx.StmtContext(ctx, kept).ExecContext(ctx, args...)
	return err
}

func (p pool) lock(ctx context.Context) error {
	select {
	case p.writer <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p pool) unlock() { <-p.writer }

// ExecContext runs one statement outside a transaction.
func (p pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	defer p.unlock()
	return p.DB.ExecContext(ctx, query, args...)
}

func newPool(db *sql.DB) pool {
	return pool{DB: db, writer: make(chan struct{}, 1), statements: &statements{byQuery: map[string]*sql.Stmt{}}}
}

// inTx runs f in one transaction.
func (p pool) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	tx, err := p.BeginTx(ctx, nil)
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

// querier is what *sql.DB and *sql.Tx have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// scanner is a row of a result.
type scanner interface{ Scan(dest ...any) error }

// queryAll scans every row of a query.
func queryAll[T any](
	ctx context.Context,
	q querier,
	scan func(scanner) (T, error),
	query string,
	args ...any,
) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// notFound turns "no rows" into a not_found error with the given message.
func notFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return sekisho.Errorf(sekisho.CodeNotFound, format, args...)
	}
	return err
}

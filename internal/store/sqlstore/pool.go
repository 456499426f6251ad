package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"sekisho"
)

// pool is a database.
//
// SQLite has one writer at a time: it makes concurrent writers retry at growing intervals, so some of
// many would wait for seconds, each with its own connection. A transaction on SQLite therefore sees
// every change that was committed before it, and no other change happens until it ends.
//
// PostgreSQL runs transactions side by side, at the isolation level READ COMMITTED. A transaction that
// reads before it writes locks what the write depends on: rows with forUpdate, and invariants across
// rows with [pool.serialize].
type pool struct {
	*sql.DB
	writer   chan struct{} // holds one element during a write; nil on PostgreSQL
	postgres bool

	statements *statements
}

// forUpdate, at the end of a SELECT, locks its rows until the transaction ends. SQLite, where the
// transaction is the only writer, reads a comment.
const forUpdate = ` /* FOR UPDATE */`

// invariant is a rule about several rows, or about a row that does not exist yet. Transactions that
// depend on it run one after the other.
type invariant int32

// The numbers are keys in PostgreSQL: members of different versions must agree on them.
const (
	auditOrder         invariant = 1 // records of the audit trail are numbered without gaps
	commandOrder       invariant = 2 // a newer command has a larger number
	strangerLimit      invariant = 3 // sightings of strangers are bounded, and the first is known
	usageReportsLimit  invariant = 4 // usage reports are bounded, with unique names
	schemaVersion      invariant = 5 // one process changes the schema
	databaseOwner      invariant = 6 // see [DB.Claim]
	recordingLinkLimit invariant = 7 // usable links to a recording are bounded
	sessionLimit       invariant = 8 // active sessions of an owner or a node are bounded
)

// lockClass distinguishes Sekisho's advisory locks from those of others: "SEKI".
const lockClass = 0x53454b49

// serialize makes tx wait for other transactions that called serialize for the same invariant.
func (p pool) serialize(ctx context.Context, tx *sql.Tx, i invariant) error {
	if !p.postgres {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1, $2)`, lockClass, int32(i))
	return err
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

// queryPrepared is QueryRowContext for a frequent constant query.
func (p pool) queryPrepared(ctx context.Context, query string, args ...any) scanner {
	if p.postgres { // the driver keeps the statements of each connection
		return p.QueryRowContext(ctx, query, args...)
	}
	kept, err := p.prepared(ctx, query)
	if err != nil {
		return failedRow{err}
	}
	return kept.QueryRowContext(ctx, args...)
}

// failedRow is the row of a query that could not run.
type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// execPrepared is ExecContext for a frequent constant query.
func (p pool) execPrepared(ctx context.Context, query string, args ...any) error {
	if p.postgres {
		_, err := p.ExecContext(ctx, query, args...)
		return err
	}
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
	if p.postgres {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
	kept, err := p.prepared(ctx, query)
	if err != nil {
		return err
	}
	_, err = tx.StmtContext(ctx, kept).ExecContext(ctx, args...)
	return err
}

func (p pool) lock(ctx context.Context) error {
	if p.writer == nil {
		return nil
	}
	select {
	case p.writer <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p pool) unlock() {
	if p.writer != nil {
		<-p.writer
	}
}

// ExecContext runs one statement outside a transaction.
func (p pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	defer p.unlock()
	var result sql.Result
	err := p.retried(ctx, func() (err error) {
		result, err = p.DB.ExecContext(ctx, query, args...)
		if lostConnection(err) { // it may have taken effect
			return ambiguous{err}
		}
		return err
	})
	return result, err
}

func newPool(db *sql.DB, postgres bool) pool {
	p := pool{DB: db, postgres: postgres, statements: &statements{byQuery: map[string]*sql.Stmt{}}}
	if !postgres {
		p.writer = make(chan struct{}, 1)
	}
	return p
}

// inTx runs f in one transaction. On PostgreSQL it runs f again, in a new transaction, if the database
// rolled the transaction back: f must not keep anything of an earlier run.
func (p pool) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	return p.retried(ctx, func() error { return p.transaction(ctx, nil, f) })
}

// inSnapshot runs f in a transaction that only reads, and that sees the database as it was at one time.
func (p pool) inSnapshot(ctx context.Context, f func(tx *sql.Tx) error) error {
	if !p.postgres {
		return p.inTx(ctx, f)
	}
	return p.retried(ctx, func() error {
		return p.transaction(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, f)
	})
}

func (p pool) transaction(ctx context.Context, o *sql.TxOptions, f func(tx *sql.Tx) error) error {
	tx, err := p.BeginTx(ctx, o)
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
		if rerr := tx.Rollback(); !lostConnection(err) {
			err = errors.Join(err, rerr)
		}
		return err
	}
	if err := tx.Commit(); lostConnection(err) {
		return ambiguous{err} // it may have been committed
	} else if err != nil {
		return err
	}
	return nil
}

// ambiguous is the error of a change of which it is not known whether it took effect.
type ambiguous struct{ error }

func (a ambiguous) Unwrap() error { return a.error }

// Bounds of the repetitions of a transaction. Together they are shorter than clients wait for an
// answer, and longer than a restart of PostgreSQL on the same machine usually takes.
const (
	maxRepetitions = 12
	firstPause     = 5 * time.Millisecond
	maxPause       = time.Second
)

// retried runs f until the database does not ask to repeat it.
func (p pool) retried(ctx context.Context, f func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := f()
		if err == nil || !p.postgres || n == maxRepetitions || !repeatable(err) {
			return err
		}
		// Random, so that transactions that collided do not collide again.
		t := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
		pause = min(2*pause, maxPause)
	}
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

package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"sekisho"
)

// claimEvery is how often a claim checks its connection.
const claimEvery = time.Second

// Claim is the right to change the state in a PostgreSQL database, in addition to the lock of a data
// directory. It belongs to a connection, so PostgreSQL ends it with the process, and after networkTimeout
// if the process's machine is gone.
type Claim struct {
	db     *sql.DB
	shared bool
	conn   *sql.Conn
	lost   atomic.Bool
}

// Claim takes the right to change the state for this process alone or, if shared, together with others
// that share it. If others have the right, the error has CodeInUse. On SQLite the lock of the data directory
// is enough, and Claim does nothing. The caller calls [Claim.Keep] and [Claim.Release].
func (d *DB) Claim(ctx context.Context, shared bool) (*Claim, error) {
	c := &Claim{db: d.sql.DB, shared: shared}
	if !d.sql.postgres {
		return c, nil
	}
	return c, c.take(ctx)
}

func (c *Claim) take(ctx context.Context) error {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return err
	}
	query := `SELECT pg_try_advisory_lock($1, $2)`
	if c.shared {
		query = `SELECT pg_try_advisory_lock_shared($1, $2)`
	}
	var taken bool
	err = conn.QueryRowContext(ctx, query, lockClass, int32(databaseOwner)).Scan(&taken)
	if err == nil && !taken {
		err = sekisho.Errorf(sekisho.CodeInUse, "Another server is using the database.").WithHint("Stop it first.")
	}
	if err != nil {
		_ = conn.Close() // the first error says why
		return err
	}
	c.conn = conn
	return nil
}

// Lost reports whether the connection with the claim has ended. Another server may have claimed the
// database since.
func (c *Claim) Lost() bool { return c.lost.Load() }

// Keep takes the right again whenever its connection has ended, until ctx ends. taken is called once if
// another server has it by then.
func (c *Claim) Keep(ctx context.Context, taken func(error)) {
	if c.conn == nil {
		return
	}
	tick := time.NewTicker(claimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c.conn != nil {
			if c.conn.PingContext(ctx) == nil || ctx.Err() != nil {
				continue
			}
			c.lost.Store(true)
			_ = c.conn.Close() // it has ended
			c.conn = nil
		}
		switch err := c.take(ctx); {
		case err == nil:
			c.lost.Store(false)
		case sekisho.CodeOf(err) == sekisho.CodeInUse:
			taken(err)
			return
		}
	}
}

// Release gives the right up. Keep must have returned.
func (c *Claim) Release(ctx context.Context) error {
	if c.conn == nil {
		return nil
	}
	// When the connection ends, PostgreSQL gives up the right a moment later.
	if _, err := c.conn.ExecContext(ctx, `SELECT pg_advisory_unlock_all()`); err == nil {
		return c.conn.Close()
	}
	// The connection must not return to the pool with its lock.
	err := c.conn.Raw(func(any) error { return driver.ErrBadConn })
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		err = nil
	}
	return err
}

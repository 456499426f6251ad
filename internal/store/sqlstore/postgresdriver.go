package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sys/unix"

	"sekisho"
)

// connector makes connections that accept the queries and the values that SQLite accepts, and that
// return errors with codes.
type connector struct{ driver.Connector }

// Connect implements [driver.Connector].
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, databaseError(ctx, err, true)
	}
	own, ok := conn.(*stdlib.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("unexpected connection type %T", conn), conn.Close())
	}
	return &pgConn{own}, nil
}

// pgConn is a connection to PostgreSQL.
type pgConn struct{ *stdlib.Conn }

func (c *pgConn) failed(ctx context.Context, err error) error {
	return databaseError(ctx, err, c.Conn.Conn().IsClosed())
}

// CheckNamedValue implements [driver.NamedValueChecker].
func (c *pgConn) CheckNamedValue(v *driver.NamedValue) error {
	switch x := v.Value.(type) {
	case nil, []int64, []bool:
		return nil
	case []string:
		escaped := make([]string, len(x))
		for i, s := range x {
			escaped[i] = escape(s)
		}
		v.Value = escaped
		return nil
	case [][]byte:
		return nil
	}
	value, err := driver.DefaultParameterConverter.ConvertValue(v.Value)
	switch x := value.(type) {
	case string:
		value = escape(x)
	case []byte:
		if x == nil { // no column is nullable
			value = []byte{}
		}
	}
	v.Value = value
	return err
}

// ExecContext implements [driver.ExecerContext].
func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.ExecContext(ctx, translated(query), args)
	return result, c.failed(ctx, err)
}

// QueryContext implements [driver.QueryerContext].
func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, translated(query), args)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	return &pgRows{Rows: rows, ctx: ctx, conn: c}, nil
}

// BeginTx implements [driver.ConnBeginTx].
func (c *pgConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.BeginTx(ctx, o)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	return &pgTx{Tx: tx, ctx: ctx, conn: c}, nil
}

// Prepare implements [driver.Conn].
func (c *pgConn) Prepare(query string) (driver.Stmt, error) { return &pgStmt{c, query}, nil }

// PrepareContext implements [driver.ConnPrepareContext]. pgx prepares statements when they first run.
func (c *pgConn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return &pgStmt{c, query}, nil
}

// Ping implements [driver.Pinger].
func (c *pgConn) Ping(ctx context.Context) error { return c.failed(ctx, c.Conn.Ping(ctx)) }

// IsValid implements [driver.Validator].
func (c *pgConn) IsValid() bool { return !c.Conn.Conn().IsClosed() }

// pgStmt is a statement, which the connection prepares by its text.
type pgStmt struct {
	conn  *pgConn
	query string
}

func (s *pgStmt) Close() error  { return nil }
func (s *pgStmt) NumInput() int { return -1 }

var errDeprecated = errors.New("only the variants with a context are implemented")

func (s *pgStmt) Exec([]driver.Value) (driver.Result, error) { return nil, errDeprecated }
func (s *pgStmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errDeprecated }

// ExecContext implements [driver.StmtExecContext].
func (s *pgStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

// QueryContext implements [driver.StmtQueryContext].
func (s *pgStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}

// CheckNamedValue implements [driver.NamedValueChecker].
func (s *pgStmt) CheckNamedValue(v *driver.NamedValue) error { return s.conn.CheckNamedValue(v) }

type pgTx struct {
	driver.Tx
	ctx  context.Context
	conn *pgConn
}

func (t *pgTx) Commit() error   { return t.conn.failed(t.ctx, t.Tx.Commit()) }
func (t *pgTx) Rollback() error { return t.conn.failed(t.ctx, t.Tx.Rollback()) }

type pgRows struct {
	driver.Rows
	ctx  context.Context
	conn *pgConn
}

// Next implements [driver.Rows].
func (r *pgRows) Next(dest []driver.Value) error {
	if err := r.Rows.Next(dest); err != nil {
		return r.conn.failed(r.ctx, err)
	}
	for i, v := range dest {
		if s, ok := v.(string); ok {
			dest[i] = unescape(s)
		}
	}
	return nil
}

// translated is the PostgreSQL form of a query. Queries use what both engines understand, and three
// things that only one of them does.
func translated(query string) string {
	query = strings.ReplaceAll(query, strings.TrimSpace(forUpdate), "FOR UPDATE")
	// SQLite joins the tables of a CROSS JOIN in their order. PostgreSQL chooses the order, and allows no
	// condition there.
	query = strings.ReplaceAll(query, " CROSS JOIN ", " JOIN ")
	if !strings.Contains(query, "+") {
		return query
	}
	// A unary plus keeps SQLite from using the index of a column. In PostgreSQL, text has no such operator,
	// and the planner chooses by statistics.
	b := []byte(query)
	kept := b[:0]
	for i, c := range b {
		if c == '+' && i > 0 && (b[i-1] == ' ' || b[i-1] == '(') && i+1 < len(query) && isLetter(query[i+1]) {
			continue
		}
		kept = append(kept, c)
	}
	return string(kept)
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' }

// PostgreSQL's text has no NUL and no invalid UTF-8, which SQLite's has. These bytes, and the byte that
// escapes them, are stored escaped. The order of valid text stays that of its bytes.
const (
	escapeByte  = 1
	escapedNUL  = 1
	escapedSelf = 2
	// Invalid bytes, 0x80 to 0xff, become the characters U+0100 to U+017F.
	invalidOffset = 0x80
)

func escape(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 && strings.IndexByte(s, escapeByte) < 0 {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0:
			out.Write([]byte{escapeByte, escapedNUL})
		case r == escapeByte:
			out.Write([]byte{escapeByte, escapedSelf})
		case r == utf8.RuneError && size == 1:
			out.WriteByte(escapeByte)
			out.WriteRune(rune(s[i]) + invalidOffset)
		default:
			out.WriteString(s[i : i+size])
		}
		i += size
	}
	return out.String()
}

func unescape(s string) string {
	if strings.IndexByte(s, escapeByte) < 0 {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != escapeByte || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i+1:])
		switch r {
		case escapedNUL:
			out.WriteByte(0)
		case escapedSelf:
			out.WriteByte(escapeByte)
		default:
			out.WriteByte(byte(r - invalidOffset))
		}
		i += size
	}
	return out.String()
}

// lost is the cause of an error of a connection that ended, or that could not be made.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// lostConnection reports whether err is that of a connection that ended.
func lostConnection(err error) bool {
	_, is := errors.AsType[lost](err)
	return is
}

// SQLSTATE codes and classes, from PostgreSQL's manual.
const (
	stateUnique         = "23505"
	stateSerialization  = "40001"
	stateDeadlock       = "40P01"
	stateCachedPlan     = "0A000" // the schema was changed under a prepared statement
	stateLockTimeout    = "55P03"
	stateCanceled       = "57014" // by statement_timeout: a cancelled context is reported as such
	stateReadOnly       = "25006" // a server that is, or has become, a standby
	classConnection     = "08"
	classResources      = "53" // full disk, out of memory, too many connections
	classOperator       = "57P"
	classSystem         = "58"
	stateTooManyClients = "53300"
)

// databaseError gives an error of the driver a code if the database, and not the query, is at fault.
// closed says that the connection has ended.
func databaseError(ctx context.Context, err error, closed bool) error {
	if err == nil || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) && !closed {
		return err
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	pe, is := errors.AsType[*pgconn.PgError](err)
	why := "the connection was lost"
	switch {
	case is && (pe.Code == stateLockTimeout || pe.Code == stateCanceled && ctx.Err() == nil || pe.Code == stateReadOnly ||
		strings.HasPrefix(pe.Code, classConnection) || strings.HasPrefix(pe.Code, classResources) ||
		strings.HasPrefix(pe.Code, classOperator) || strings.HasPrefix(pe.Code, classSystem)):
		why = pe.Message
	case is || !closed:
		return err
	}
	unavailable := sekisho.Errorf(sekisho.CodeUnavailable, "The database is not available: %s.", why).WithHint("Retry.")
	unavailable.Err = err
	if closed {
		unavailable.Err = lost{err}
	}
	return unavailable
}

// repeatable reports whether a transaction that failed with err can be run again: the database rolled
// it back, and the next run may succeed.
func repeatable(err error) bool {
	if _, is := errors.AsType[ambiguous](err); is {
		return false
	}
	if lostConnection(err) {
		return true
	}
	pe, is := errors.AsType[*pgconn.PgError](err)
	return is && (pe.Code == stateSerialization || pe.Code == stateDeadlock || pe.Code == stateTooManyClients ||
		pe.Code == stateCachedPlan && strings.Contains(pe.Message, "cached plan"))
}

// userTimeout bounds how long sent bytes may stay unacknowledged.
func userTimeout(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(networkTimeout.Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return err
}

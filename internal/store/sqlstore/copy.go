package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"sekisho"
)

// TableCopy is what [Copy] did with one table.
type TableCopy struct {
	Name string
	Rows int64
	// Digest is the sum, modulo 2^256, of the SHA-256 of each row: that of both copies.
	Digest [sha256.Size]byte
}

// Bounds of the rows that are copied at a time.
const (
	copyRows  = 1000
	copyBytes = 4 << 20
)

// Copy copies everything from one database to another, which must be empty, reads it back and compares
// it. A server can use the source at the same time. After an error, the target is empty. progress is called after
// each table.
func Copy(ctx context.Context, from, to Place, progress func(TableCopy)) (all []TableCopy, err error) {
	src, err := from.openUnbounded(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := to.openUnbounded(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	return CopyBetween(ctx, src, dst, progress)
}

// openUnbounded is Open without bounds for the time of a statement.
func (p Place) openUnbounded(ctx context.Context) (*DB, error) {
	if p.Postgres == nil {
		return OpenSQLite(ctx, p.File)
	}
	c, err := p.Postgres.config()
	if err != nil {
		return nil, err
	}
	if err := p.Postgres.migrate(ctx, c); err != nil {
		return nil, err
	}
	return p.Postgres.open(unbounded(c)), nil
}

// CopyBetween is [Copy] between open databases.
func CopyBetween(ctx context.Context, from, to *DB, progress func(TableCopy)) (all []TableCopy, err error) {
	// Not pool.inTx, which would repeat the whole copy.
	err = from.sql.inSnapshot(ctx, func(src *sql.Tx) error {
		return to.sql.transaction(ctx, nil, func(dst *sql.Tx) error {
			all = nil
			tables, err := describe(ctx, src, from.sql.postgres)
			if err != nil {
				return err
			}
			theirs, err := describe(ctx, dst, to.sql.postgres)
			if err != nil {
				return err
			}
			if err := compareSchemas(tables, theirs); err != nil {
				return err
			}
			if err := emptied(ctx, dst, tables); err != nil {
				return err
			}
			for _, t := range tables {
				done, err := t.copy(ctx, src, dst, to.sql.postgres)
				if err != nil {
					return fmt.Errorf("copy %s: %w", t.name, err)
				}
				all = append(all, done)
				progress(done)
			}
			return nil
		})
	})
	return all, err
}

// emptied removes the rows that a new database has, and refuses one that has others.
func emptied(ctx context.Context, dst *sql.Tx, tables []table) error {
	for _, t := range tables {
		count := `SELECT count(*) FROM ` + t.name
		switch t.name {
		case "identity_generation":
			count += ` WHERE newest <> 0`
		case "node_revision":
			count += ` WHERE revision <> 1`
		}
		var n int64
		if err := dst.QueryRowContext(ctx, count).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return sekisho.Errorf(sekisho.CodeConflict, "The target is not empty: its table %s has rows.", t.name).
				WithHint("Choose a new database.")
		}
	}
	for _, name := range []string{"identity_generation", "node_revision"} {
		if _, err := dst.ExecContext(ctx, `DELETE FROM `+name); err != nil {
			return err
		}
	}
	return nil
}

// table is a table of both engines.
type table struct {
	name    string
	columns []column // by name
	needs   []string // tables that its rows refer to
}

type column struct{ name, kind string }

// Kinds of columns.
const (
	kindText    = "text"
	kindNumber  = "number"
	kindBoolean = "boolean"
	kindBytes   = "bytes"
)

var kinds = map[string]string{
	"text": kindText, "bigint": kindNumber, "integer": kindNumber, "boolean": kindBoolean, "bytea": kindBytes,
}

// arrayTypes are PostgreSQL's types of a column's values.
var arrayTypes = map[string]string{
	kindText: "text[]", kindNumber: "bigint[]", kindBoolean: "bool[]", kindBytes: "bytea[]",
}

// Queries that list columns, and references between tables.
const (
	sqliteColumns = `SELECT m.name, c.name, lower(c.type) FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name <> 'goose_db_version' AND m.name NOT LIKE 'sqlite_%' ORDER BY 1, 2`
	sqliteReferences = `SELECT m.name, f."table" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f
		WHERE m.type = 'table'`
	postgresColumns = `SELECT c.table_name::text, c.column_name::text, c.data_type::text
		FROM information_schema.columns c JOIN pg_tables t ON t.schemaname = c.table_schema AND t.tablename = c.table_name
		WHERE c.table_schema = current_schema() AND c.table_name <> 'goose_db_version'
		ORDER BY c.table_name::text COLLATE "C", c.column_name::text COLLATE "C"`
	postgresReferences = `SELECT a.relname::text, b.relname::text FROM pg_constraint x
		JOIN pg_class a ON a.oid = x.conrelid
		JOIN pg_class b ON b.oid = x.confrelid JOIN pg_namespace n ON n.oid = a.relnamespace
		WHERE x.contype = 'f' AND n.nspname = current_schema()`
)

// describe returns the tables of a database, each after those that it refers to.
func describe(ctx context.Context, tx *sql.Tx, postgres bool) ([]table, error) {
	columns, references := sqliteColumns, sqliteReferences
	if postgres {
		columns, references = postgresColumns, postgresReferences
	}
	rows, err := queryAll(ctx, tx, func(row scanner) (x [3]string, err error) {
		err = row.Scan(&x[0], &x[1], &x[2])
		return x, err
	}, columns)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	var all []table
	for _, x := range rows {
		kind, known := kinds[x[2]]
		if !known {
			return nil, fmt.Errorf("the column %s of %s has the type %q", x[1], x[0], x[2])
		}
		if len(all) == 0 || all[len(all)-1].name != x[0] {
			all = append(all, table{name: x[0]})
		}
		t := &all[len(all)-1]
		t.columns = append(t.columns, column{x[1], kind})
	}
	pairs, err := queryAll(ctx, tx, func(row scanner) (x [2]string, err error) {
		err = row.Scan(&x[0], &x[1])
		return x, err
	}, references)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	for i := range all {
		for _, p := range pairs {
			if p[0] == all[i].name && p[1] != p[0] {
				all[i].needs = append(all[i].needs, p[1])
			}
		}
	}
	return ordered(all)
}

// ordered sorts tables so that each follows those that it needs.
func ordered(all []table) ([]table, error) {
	var out []table
	placed := map[string]bool{}
	for len(out) < len(all) {
		before := len(out)
		for _, t := range all {
			if !placed[t.name] && !slices.ContainsFunc(t.needs, func(name string) bool { return !placed[name] }) {
				out, placed[t.name] = append(out, t), true
			}
		}
		if len(out) == before {
			return nil, errors.New("tables refer to each other in a circle")
		}
	}
	return out, nil
}

// compareSchemas refuses databases with different tables or columns.
func compareSchemas(a, b []table) error {
	names := func(all []table) []string {
		var out []string
		for _, t := range all {
			for _, c := range t.columns {
				out = append(out, t.name+"."+c.name+" "+c.kind)
			}
		}
		slices.Sort(out)
		return out
	}
	x, y := names(a), names(b)
	if slices.Equal(x, y) {
		return nil
	}
	only := func(in, notIn []string) string {
		rest := slices.DeleteFunc(slices.Clone(in), func(s string) bool { return slices.Contains(notIn, s) })
		return strings.Join(rest, ", ")
	}
	return fmt.Errorf("the databases have different schemas: only the source has %q, only the target has %q",
		only(x, y), only(y, x))
}

func (t *table) names() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// copy copies the rows of the table, and compares what both databases then have.
func (t *table) copy(ctx context.Context, src, dst *sql.Tx, postgres bool) (TableCopy, error) {
	done := TableCopy{Name: t.name}
	w := &tableWriter{table: t, tx: dst, postgres: postgres}
	if err := w.prepare(ctx); err != nil {
		return done, err
	}
	rows, sum, err := t.read(ctx, src, func(values []any, size int) error { return w.add(ctx, values, size) })
	if err != nil {
		return done, err
	}
	if err := w.flush(ctx); err != nil {
		return done, err
	}
	if w.insert != nil {
		if err := w.insert.Close(); err != nil {
			return done, err
		}
	}
	copied, copySum, err := t.read(ctx, dst, func([]any, int) error { return nil })
	if err != nil {
		return done, err
	}
	if rows != copied || sum != copySum {
		return done, fmt.Errorf("the copy differs: %d rows with the digest %x, and not %d with %x",
			copied, copySum, rows, sum)
	}
	done.Rows, done.Digest = rows, sum
	return done, nil
}

// read visits all rows, and returns their number and digest. size is about that of the row.
func (t *table) read(
	ctx context.Context, tx *sql.Tx, visit func(values []any, size int) error,
) (n int64, sum [sha256.Size]byte, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+t.names()+` FROM `+t.name)
	if err != nil {
		return 0, sum, err
	}
	defer rows.Close()
	var line []byte
	for rows.Next() {
		values, dest := make([]any, len(t.columns)), make([]any, len(t.columns))
		for i, c := range t.columns {
			switch c.kind {
			case kindText:
				dest[i] = new(string)
			case kindNumber:
				dest[i] = new(int64)
			case kindBoolean:
				dest[i] = new(bool)
			case kindBytes:
				dest[i] = new([]byte)
			}
		}
		if err := rows.Scan(dest...); err != nil {
			return n, sum, err
		}
		line = line[:0]
		for i, d := range dest {
			switch x := d.(type) {
			case *string:
				values[i] = *x
				line = append(binary.AppendUvarint(line, uint64(len(*x))), *x...)
			case *int64:
				values[i] = *x
				line = binary.AppendVarint(line, *x)
			case *bool:
				values[i] = *x
				line = binary.AppendUvarint(line, map[bool]uint64{true: 1}[*x])
			case *[]byte:
				values[i] = present(*x)
				line = append(binary.AppendUvarint(line, uint64(len(*x))), *x...)
			}
		}
		n++
		sum = added(sum, sha256.Sum256(line))
		if err := visit(values, len(line)); err != nil {
			return n, sum, err
		}
	}
	return n, sum, rows.Err()
}

// added returns a + b modulo 2^256.
func added(a, b [sha256.Size]byte) (sum [sha256.Size]byte) {
	carry := uint64(0)
	for i := sha256.Size - 8; i >= 0; i -= 8 {
		var word uint64
		word, carry = bits.Add64(binary.BigEndian.Uint64(a[i:]), binary.BigEndian.Uint64(b[i:]), carry)
		binary.BigEndian.PutUint64(sum[i:], word)
	}
	return sum
}

// tableWriter inserts rows.
type tableWriter struct {
	table    *table
	tx       *sql.Tx
	postgres bool
	insert   *sql.Stmt // on SQLite
	query    string    // on PostgreSQL
	waiting  [][]any
	bytes    int
}

func (w *tableWriter) prepare(ctx context.Context) (err error) {
	places := make([]string, len(w.table.columns))
	for i, c := range w.table.columns {
		places[i] = fmt.Sprintf("$%d", i+1)
		if w.postgres {
			places[i] += "::" + arrayTypes[c.kind]
		}
	}
	head := `INSERT INTO ` + w.table.name + ` (` + w.table.names() + `) `
	if w.postgres {
		w.query = head + `SELECT * FROM unnest(` + strings.Join(places, ", ") + `)`
		return nil
	}
	w.insert, err = w.tx.PrepareContext(ctx, head+`VALUES (`+strings.Join(places, ", ")+`)`)
	return err
}

func (w *tableWriter) add(ctx context.Context, values []any, size int) error {
	if !w.postgres {
		_, err := w.insert.ExecContext(ctx, values...)
		return err
	}
	w.waiting, w.bytes = append(w.waiting, values), w.bytes+size
	if len(w.waiting) < copyRows && w.bytes < copyBytes {
		return nil
	}
	return w.flush(ctx)
}

func (w *tableWriter) flush(ctx context.Context) error {
	if len(w.waiting) == 0 {
		return nil
	}
	args := make([]any, len(w.table.columns))
	for i, c := range w.table.columns {
		switch c.kind {
		case kindText:
			args[i] = columnOf[string](w.waiting, i)
		case kindNumber:
			args[i] = columnOf[int64](w.waiting, i)
		case kindBoolean:
			args[i] = columnOf[bool](w.waiting, i)
		case kindBytes:
			args[i] = columnOf[[]byte](w.waiting, i)
		}
	}
	w.waiting, w.bytes = nil, 0
	_, err := w.tx.ExecContext(ctx, w.query, args...)
	return err
}

func columnOf[T any](rows [][]any, i int) []T {
	out := make([]T, len(rows))
	for n, row := range rows {
		out[n], _ = row[i].(T) // the kind of the column
	}
	return out
}

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/store/storetest/pgtest"
)

// emptyPlaces returns a new place of each engine.
func emptyPlaces(t *testing.T) (sqlite, postgres Place) {
	t.Helper()
	url := pgtest.Database(t, func(ctx context.Context, url string) error {
		db, err := OpenPostgres(ctx, Postgres{URL: url})
		return errors.Join(err, db.Close())
	})
	return Place{File: filepath.Join(t.TempDir(), "db")}, Place{Postgres: &Postgres{URL: url}}
}

// oddTexts are what databases treat in different ways.
var oddTexts = []string{
	"", " ", "\x00", "a\x00b\x01c\x02", "\xff\xfe", "\x01", "größer", "日本語", "'; DROP TABLE nodes; --", `\x00`, `"q"`,
	"$1",
	"\U0010FFFF", "\ufffd", strings.Repeat("x", 9000),
}

// fill inserts random rows into every table of a database of SQLite.
func fill(t *testing.T, d *DB, random *rand.Rand) {
	t.Helper()
	err := d.sql.inTx(t.Context(), func(tx *sql.Tx) error {
		tables, err := describe(t.Context(), tx, false)
		if err != nil {
			return err
		}
		keys, err := queryAll(t.Context(), tx, func(row scanner) (x [4]string, err error) {
			err = row.Scan(&x[0], &x[1], &x[2], &x[3])
			return x, err
		}, `SELECT m.name, f."from", f."table", f."to" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f`)
		if err != nil {
			return err
		}
		written := map[string][]map[string]any{}
		for _, tab := range tables {
			n := 20 + random.IntN(30)
			switch tab.name {
			case "identity_generation", "node_revision":
				if _, err := tx.ExecContext(t.Context(), `DELETE FROM `+tab.name); err != nil {
					return err
				}
				n = 1
			case "log_events":
				n = 2*copyRows + 1
			}
			for i := range n {
				row := map[string]any{}
				var parent map[string]any
				for _, c := range tab.columns {
					row[c.name] = randomValue(random, c, i)
					for _, k := range keys {
						if k[0] != tab.name || k[1] != c.name {
							continue
						}
						if parent == nil { // all columns of a key refer to one row
							rows := written[k[2]]
							parent = rows[random.IntN(len(rows))]
						}
						row[c.name] = parent[k[3]]
					}
				}
				if tab.name == "identity_generation" {
					row["id"] = int64(1)
				}
				written[tab.name] = append(written[tab.name], row)
				places, values := make([]string, len(tab.columns)), make([]any, len(tab.columns))
				for i, c := range tab.columns {
					places[i], values[i] = fmt.Sprintf("$%d", i+1), row[c.name]
				}
				if _, err := tx.ExecContext(t.Context(), `INSERT INTO `+tab.name+` (`+tab.names()+`) VALUES (`+
					strings.Join(places, ", ")+`)`, values...); err != nil {
					return fmt.Errorf("%s: %w", tab.name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// randomValue returns a value of a column that differs from that of other rows, unless it is boolean.
func randomValue(random *rand.Rand, c column, i int) any {
	switch c.kind {
	case kindNumber:
		n := int64(i)
		return []int64{n, math.MaxInt64 - n, math.MinInt64 + n, -1 - n}[random.IntN(4)]
	case kindBoolean:
		return random.IntN(2) == 1
	case kindBytes:
		b := make([]byte, 8+random.IntN(60))
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		return append(b, byte(i), byte(i>>8))
	}
	return fmt.Sprintf("%s%d", oddTexts[random.IntN(len(oddTexts))], i)
}

// TestStateIsCopiedThereAndBack: whatever rows a database has, a copy in the other engine has the same,
// and so has the copy of the copy.
func TestStateIsCopiedThereAndBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			first, postgres := emptyPlaces(t)
			db, err := first.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fill(t, db, rand.New(rand.NewPCG(seed, 1)))
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			copied := func(from, to Place) []TableCopy {
				t.Helper()
				var told []TableCopy
				all, err := Copy(t.Context(), from, to, func(c TableCopy) { told = append(told, c) })
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(all, told); d != "" {
					t.Error(d)
				}
				return all
			}
			there := copied(first, postgres)
			for _, c := range there {
				if c.Rows == 0 {
					t.Errorf("no rows of %s were copied", c.Name)
				}
			}
			second := Place{File: filepath.Join(t.TempDir(), "db")}
			back := copied(postgres, second)
			digests := func(all []TableCopy) map[string]TableCopy {
				m := map[string]TableCopy{}
				for _, c := range all {
					m[c.Name] = c
				}
				return m
			}
			if d := cmp.Diff(digests(there), digests(back)); d != "" {
				t.Error(d)
			}
			if _, err := Copy(t.Context(), second, postgres, func(TableCopy) {}); sekisho.CodeOf(err) != sekisho.CodeConflict {
				t.Errorf("into a database with rows: %v", err)
			}
		})
	}
}

// TestCopyIsAtomic: a copy that fails half-way leaves the target empty.
func TestCopyIsAtomic(t *testing.T) {
	t.Parallel()
	first, postgres := emptyPlaces(t)
	db, err := first.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, rand.New(rand.NewPCG(7, 7)))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err = Copy(ctx, first, postgres, func(TableCopy) {
		if n++; n == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := Copy(t.Context(), first, postgres, func(TableCopy) {}); err != nil {
		t.Errorf("after a copy that failed: %v", err)
	}
}

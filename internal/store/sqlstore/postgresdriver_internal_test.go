package sqlstore

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/quick"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"sekisho"
)

// TestEscapedText: any text comes back, PostgreSQL accepts it, and valid text keeps its order.
func TestEscapedText(t *testing.T) {
	t.Parallel()
	check := func(s string) bool {
		e := escape(s)
		return unescape(e) == s && utf8.ValidString(e) && !strings.Contains(e, "\x00")
	}
	for _, s := range oddTexts {
		if !check(s) {
			t.Errorf("%q becomes %q, and %q again", s, escape(s), unescape(escape(s)))
		}
	}
	bytes := func(b []byte) bool { return check(string(b)) }
	ordered := func(a, b []byte) bool {
		x, y := strings.ToValidUTF8(string(a), "\x00"), strings.ToValidUTF8(string(b), "\x01")
		return cmp.Compare(x, y) == cmp.Compare(escape(x), escape(y))
	}
	small := func(a, b []byte) bool { // bytes near those that are escaped
		for _, s := range [][]byte{a, b} {
			for i := range s {
				s[i] %= 4
			}
		}
		return ordered(a, b)
	}
	if err := errors.Join(quick.Check(bytes, nil), quick.Check(ordered, nil), quick.Check(small, nil)); err != nil {
		t.Error(err)
	}
}

// TestTextAfterPrefix: texts with the prefix are below the bound, and all other greater texts are not.
func TestTextAfterPrefix(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"a": "b", "/a": "/b", "az": "a{", "ü": "ý", "\ud7ff": "\ue000", "a\U0010ffff": "b", "\U0010ffff": "",
		"a\x00": "a\x01",
	} {
		if got := textAfter(prefix); got != want {
			t.Errorf("%q: got %q, want %q", prefix, got, want)
		}
	}
	check := func(prefix, more, other string) bool {
		prefix = strings.ToValidUTF8(prefix, "")
		end := textAfter(prefix)
		below := func(s string) bool { return end == "" || escape(s) < escape(end) }
		return below(prefix+more) && (other < prefix || strings.HasPrefix(other, prefix) || !below(other))
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
}

func TestTranslatedQueries(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		`SELECT a + 1 FROM t WHERE +b = $1`:      `SELECT a + 1 FROM t WHERE b = $1`,
		`(x < $2 OR +id > $3)`:                   `(x < $2 OR id > $3)`,
		`UPDATE t SET n = n + 1, m = count + $1`: `UPDATE t SET n = n + 1, m = count + $1`,
		`FROM x CROSS JOIN r ON r.seq = x.seq`:   `FROM x JOIN r ON r.seq = x.seq`,
		`SELECT 1` + forUpdate:                   `SELECT 1 FOR UPDATE`,
	} {
		if got := translated(query); got != want {
			t.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
}

// TestErrorsOfTheDatabase: errors say whether the database or the query is at fault, and whether to repeat
// the transaction.
func TestErrorsOfTheDatabase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state       string
		closed      bool
		unavailable bool
		repeat      bool
	}{
		{"40001", false, false, true}, // serialization failure
		{"40P01", false, false, true}, // deadlock
		{"23505", false, false, false},
		{"42601", false, false, false}, // syntax error
		{"57P01", true, true, true},    // the server stops
		{"57P03", true, true, true},    // the server starts
		{"53300", true, true, true},    // too many connections
		{"53100", false, true, false},  // the disk is full
		{"55P03", false, true, false},  // a lock was not granted in time
		{"25006", false, true, false},  // a standby
		{"57014", false, true, false},  // the statement took too long
		{"", true, true, true},         // the network failed
	} {
		err := errors.New("unexpected EOF")
		if c.state != "" {
			err = fmt.Errorf("run: %w", &pgconn.PgError{Code: c.state, Message: "message"})
		}
		got := databaseError(t.Context(), err, c.closed)
		if (sekisho.CodeOf(got) == sekisho.CodeUnavailable) != c.unavailable || repeatable(got) != c.repeat ||
			!errors.Is(got, err) {
			t.Errorf("%+v: %v, repeatable %v", c, got, repeatable(got))
		}
		if repeatable(ambiguous{got}) {
			t.Errorf("%+v: a commit with an unknown outcome is repeated", c)
		}
	}
}

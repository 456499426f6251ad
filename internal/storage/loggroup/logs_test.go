package loggroup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/store/sqlstore"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, message string
		want             bool
	}{
		{"", "anything", true},
		{"ERROR", "an ERROR here", true},
		{"ERROR", "an error here", false},
		{"ERROR disk", "disk ERROR", true},
		{"ERROR disk", "ERROR", false},
		{"ERROR -disk", "disk ERROR", false},
		{"ERROR -disk", "ERROR", true},
		{"?ERROR ?WARN", "a WARN", true},
		{"?ERROR ?WARN", "an info", false},
		{`"two words"`, "here are two words", true},
		{`"two words"`, "two other words", false},
		{`"a \"quote\""`, `a "quote"`, true},
		{`-"not this"`, "not this", false},
		{"日本", "in 日本", true},
	} {
		p, err := loggroup.ParsePattern(c.pattern)
		if err != nil || p.Match(c.message) != c.want {
			t.Errorf("%q on %q: %v, %v", c.pattern, c.message, !c.want, err)
		}
	}
	for _, bad := range []string{`{ $.a = 1 }`, "[a, b]", "%re%", `"open`, "-", `""`, "a=b", strings.Repeat("x", 1025)} {
		if _, err := loggroup.ParsePattern(bad); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	f.Add(`a -b ?c "d \" e"`)
	f.Add(`\`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := loggroup.ParsePattern(text)
		if err == nil && strings.TrimSpace(text) == "" && !p.Match("x") {
			t.Error("nothing does not match everything")
		}
	})
}

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func service(t *testing.T) (*loggroup.Service, string) {
	t.Helper()
	dir := t.TempDir()
	ring, err := keyring.Load(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s := loggroup.New(db.Logs, ring, func() time.Time { return now })
	if err := s.CreateGroup(t.Context(), loggroup.Group{Name: "/sessions"}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateStream(t.Context(), "/sessions", "s"); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func at(d time.Duration, message string) loggroup.Event {
	return loggroup.Event{Time: now.Add(d), Message: []byte(message)}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	s, _ := service(t)
	many := make([]loggroup.Event, loggroup.MaxEvents+1)
	for i := range many {
		many[i] = at(0, "x")
	}
	for name, batch := range map[string][]loggroup.Event{
		"nothing":       nil,
		"too many":      many,
		"too large":     {at(0, strings.Repeat("x", loggroup.MaxBatch-25))},
		"empty message": {at(0, "")},
		"unordered":     {at(0, "x"), at(-1, "y"), at(-time.Second, "z")},
		"too long":      {at(-25*time.Hour, "x"), at(0, "y")},
	} {
		if _, err := s.Put(t.Context(), "/sessions", "s", batch); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Put(t.Context(), "/sessions", "none", many[:1]); !sekisho.IsNotFound(err) {
		t.Errorf("no stream: %v", err)
	}
	if _, err := s.Put(t.Context(), "/sessions", "none", []loggroup.Event{at(-15*24*time.Hour,
		"old")}); !sekisho.IsNotFound(err) {
		t.Errorf("no stream, nothing to take: %v", err)
	}
	if _, err := s.Put(t.Context(), "/none", "s", many[:1]); !sekisho.IsNotFound(err) {
		t.Errorf("no group: %v", err)
	}
	rejected, err := s.Put(t.Context(), "/sessions", "s", []loggroup.Event{at(-14*24*time.Hour-time.Hour, "old"),
		at(-14*24*time.Hour+time.Hour, "kept")})
	if err != nil || rejected != (loggroup.Rejected{TooOldEnd: 1, ExpiredEnd: -1, TooNewStart: -1}) {
		t.Errorf("%+v %v", rejected, err)
	}
	rejected, err = s.Put(t.Context(), "/sessions", "s", []loggroup.Event{at(time.Hour, "kept"), at(3*time.Hour, "new"),
		at(4*time.Hour, "newer")})
	if err != nil || rejected != (loggroup.Rejected{TooOldEnd: -1, ExpiredEnd: -1, TooNewStart: 1}) {
		t.Errorf("%+v %v", rejected, err)
	}
	found, err := s.Find(t.Context(), loggroup.Query{Group: "/sessions"}, 9, loggroup.Pattern{})
	if err != nil || len(found.Events) != 2 || string(found.Events[0].Message) != "kept" ||
		string(found.Events[1].Message) != "kept" {
		t.Errorf("%+v %v", found, err)
	}
	if err := s.SetRetention(t.Context(), "/sessions", 2); sekisho.CodeOf(err) != sekisho.CodeInvalid {
		t.Errorf("2 days: %v", err)
	}
	if err := s.SetRetention(t.Context(), "/sessions", 3); err != nil {
		t.Fatal(err)
	}
	if rejected, err = s.Put(t.Context(), "/sessions", "s", []loggroup.Event{at(-4*24*time.Hour, "x")}); err != nil ||
		rejected.ExpiredEnd != 1 {
		t.Errorf("%+v %v", rejected, err)
	}
	if err := s.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err = s.Find(t.Context(), loggroup.Query{Group: "/sessions"}, 9, loggroup.Pattern{}); err != nil ||
		len(found.Events) != 1 {
		t.Errorf("after expiry: %+v %v", found, err)
	}
}

func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	s, _ := service(t)
	big := strings.Repeat("x", 600<<10)
	for range 3 {
		if _, err := s.Put(t.Context(), "/sessions", "s", []loggroup.Event{at(0, big)}); err != nil {
			t.Fatal(err)
		}
	}
	q := loggroup.Query{Group: "/sessions"}
	pages := 0
	for ; ; pages++ {
		found, err := s.Find(t.Context(), q, 100, loggroup.Pattern{})
		if err != nil || len(found.Events) != 1 {
			t.Fatalf("%d events, %v", len(found.Events), err)
		}
		if q.After = found.Next; found.Next == nil {
			break
		}
	}
	if pages != 2 {
		t.Errorf("%d pages before the last", pages)
	}
}

func TestMessagesAreSealed(t *testing.T) {
	t.Parallel()
	s, dir := service(t)
	if _, err := s.Put(t.Context(), "/sessions", "s", []loggroup.Event{at(0, "the password is swordfish")}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("swordfish")) {
			t.Errorf("%s holds a message in the clear", f)
		}
	}
}

package shellquote_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/shellquote"
)

func TestQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":             "''",
		"plain-1.txt":  "plain-1.txt",
		"two words":    "'two words'",
		"it's":         `'it'\''s'`,
		"$HOME":        "'$HOME'",
		"a\nb":         "'a\nb'",
		"~root":        "'~root'",
		"a=b":          "'a=b'",
		"関所":           "'関所'",
		"{a,b}":        "'{a,b}'",
		"#no-comment":  "'#no-comment'",
		"/usr/bin/env": "/usr/bin/env",
	} {
		if got := shellquote.Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// FuzzJoin compares with a real shell.
func FuzzJoin(f *testing.F) {
	f.Add("a b", "it's")
	f.Add("$(id)", "\\\n\"`!*?[~")
	f.Add("", "-n")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) {
			t.Skip("arguments cannot contain NUL")
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+shellquote.Join([]string{a, b})).
			Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(string(out), "\x00"); !slices.Equal(got, []string{a, b, ""}) {
			t.Errorf("the shell read %q and %q as %q", a, b, got)
		}
	})
}

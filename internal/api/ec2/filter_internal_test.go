package ec2

import (
	"strings"
	"testing"
)

func TestLike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"web", "web", true}, {"web", "Web", false},
		{"*", "", true}, {"*", "anything", true}, {"w*b", "web", true}, {"w*b", "wb", true}, {"w*b", "webs", false},
		{"*b*", "abc", true}, {"a*b*c", "a-b-b-c", true}, {"a*b*c", "a-c-b", false}, {"?", "a", true}, {"?", "", false},
		{"??", "a", false},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\?c`, "a?c", true}, {`a\?c`, "abc", false}, {`\\`, `\`, true},
		{`\`, `\`, true},
		{`*\*`, "a*", true}, {`*\*`, "ab", false}, {"***", "x", true}, {"*a", "aaa", true},
	} {
		if got := like(c.pattern, c.s); got != c.want {
			t.Errorf("%q like %q: %v", c.s, c.pattern, got)
		}
	}
	// Patterns that take other implementations years.
	if like(strings.Repeat("*a", 100), strings.Repeat("a", 5000)+"b") {
		t.Error("matched")
	}
}

func FuzzLike(f *testing.F) {
	f.Add("a*b?", "axxbc")
	f.Add(`\`, "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 200 || len(s) > 200 {
			return
		}
		if !like("*"+escaped.Replace(s)+"*", pattern+s) {
			t.Errorf("%q is not found in %q", s, pattern+s)
		}
		if like(pattern, s) && !like("*"+pattern, s) {
			t.Errorf("a star before %q keeps %q out", pattern, s)
		}
	})
}

var escaped = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)

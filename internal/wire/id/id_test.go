package id_test

import (
	"strings"
	"testing"

	"sekisho/internal/wire/id"
)

func TestSessionKeepsItsOwnersPrefixAndStaysValid(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"alice", "Alice.B@example,+=", "../../etc/passwd", "日本", "", strings.Repeat("x", 300),
		"a\x00b", "-rf", "..", "."} {
		s := id.Session(prefix)
		if strings.HasPrefix(string(s), "alice") != (prefix == "alice") {
			t.Errorf("Session(%q) = %q", prefix, s)
		}
		if len(s) > 96 || strings.ContainsAny(string(s), "/\\\x00 ") {
			t.Errorf("Session(%q) = %q: not a safe name", prefix, s)
		}
		if id.Session(prefix) == s {
			t.Errorf("Session(%q) repeats itself", prefix)
		}
	}
	if s := id.Session("alice"); !id.ValidSession(string(s)) {
		t.Errorf("ValidSession(%q) = false", s)
	}
	if s := id.Session(".hidden"); !id.ValidSession(string(s)) {
		t.Errorf("ValidSession(%q) = false", s)
	}
}

func TestHostileSessionIDsAreRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "..", "a..b", "a/b", "../a", "/a", "a\x00", "a b", "-a", ".a", strings.Repeat("a", 97),
		"a\n", "é"} {
		if id.ValidSession(s) {
			t.Errorf("ValidSession(%q) = true", s)
		}
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	n := id.Node()
	if !id.ValidNode(string(n)) || id.Node() == n {
		t.Errorf("Node() = %q", n)
	}
	for _, s := range []string{"", "mi-", "mi-123", "mi-0000000000000000G", "i-01234567890ABCDEF", "mi-../../../../../../",
		"x-01234567890abcdef"} {
		if id.ValidNode(s) {
			t.Errorf("ValidNode(%q) = true", s)
		}
	}
	if !id.ValidNode("i-01234567890abcdef") {
		t.Error("ValidNode refuses an instance ID")
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	t.Parallel()
	words, err := parseWords("# comment\nanew\tagain\n(is|are) told\tsay who sends what\n")
	if err != nil {
		t.Fatal(err)
	}
	src := "package p\n\n// The agent is\n// told twice.\nvar s = \"start anew\" // Anewed is fine.\n\nvar anew int\n"
	var got []string
	for _, h := range find(goText([]byte(src)), words) {
		got = append(got, h.phrase)
		if want := map[string]int{"anew": 5, "is told": 3}[h.phrase]; h.line != want {
			t.Errorf("%q found on line %d, want %d", h.phrase, h.line, want)
		}
	}
	if diff := cmp.Diff([]string{"is told", "anew"}, got); diff != "" {
		t.Errorf("phrases (-want +got):\n%s", diff)
	}
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", maxColumns+1)
	src := "package p\n\nvar a = \"" + long[:2*maxColumns-20] + "\"\n\nvar b = \"" + long + "\"\n\nvar c = `\n" + long + "\n`\n"
	for name, want := range map[string][]int{
		"a.go": {5, 8}, "a_test.go": {5}, "a.ts": {5, 8}, "a.mjs": {5, 8}, "a.sh": {5, 8}, "a.md": nil, "a.json": nil,
	} {
		var got []int
		for _, h := range longLines(name, []byte(src)) {
			got = append(got, h.line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestBadWordList(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"no tab\n", "(\tunbalanced\n"} {
		if _, err := parseWords(list); err == nil {
			t.Errorf("%q was accepted", list)
		}
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	a := parseAllowed("# path\tphrase\treason\ndocs/a.md\t*\tquotes\ninternal/\tanew\tname of a type\n")
	for _, tt := range []struct {
		name, phrase string
		want         bool
	}{
		{"docs/a.md", "whom", true},
		{"docs/b.md", "whom", false},
		{"internal/x.go", "Anew", true},
		{"internal/x.go", "whom", false},
	} {
		if got := a.has(tt.name, tt.phrase); got != tt.want {
			t.Errorf("has(%q, %q) = %v, want %v", tt.name, tt.phrase, got, tt.want)
		}
	}
}

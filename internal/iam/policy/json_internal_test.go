package policy

import (
	"strings"
	"testing"
)

func TestReadJSONPositions(t *testing.T) {
	t.Parallel()
	src := "{\n \"é\" : [ 1.5e3,true , null],\n \"b\":{\"c\":\"\\u00e9\\ud83d\\ude00\"}\n}"
	root, err := readJSON([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	list, object := root.members[0].value, root.members[1].value
	for _, tt := range []struct {
		n          *jsonNode
		kind       jsonKind
		text       string
		start, end Position
	}{
		{root, jsonObject, "", Position{1, 1}, Position{4, 2}},
		{list, jsonArray, "", Position{2, 8}, Position{2, 28}},
		{list.elems[0], jsonNumber, "1.5e3", Position{2, 10}, Position{2, 15}},
		{list.elems[1], jsonBool, "true", Position{2, 16}, Position{2, 20}},
		{list.elems[2], jsonNull, "", Position{2, 23}, Position{2, 27}},
		{object, jsonObject, "", Position{3, 6}, Position{3, 32}},
		{object.members[0].value, jsonString, "é😀", Position{3, 11}, Position{3, 31}},
	} {
		if tt.n.kind != tt.kind || tt.n.text != tt.text {
			t.Errorf("got kind %d, %q; want %d, %q", tt.n.kind, tt.n.text, tt.kind, tt.text)
		}
		if start, end := positionOf(src, tt.n.start), positionOf(src, tt.n.end); start != tt.start || end != tt.end {
			t.Errorf("%q: from %v to %v, want %v to %v", tt.text, start, end, tt.start, tt.end)
		}
	}
}

func TestReadJSONRefuses(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"duplicate name":          `{"a":1,"a":2}`,
		"duplicate after escapes": `{"a":1,"\u0061":2}`,
		"trailing comma":          `[1,]`,
		"trailing text":           `{} {}`,
		"early end":               `{"a":`,
		"lone high surrogate":     `["\ud800"]`,
		"lone low surrogate":      `["\uDC00x"]`,
		"control character":       "[\"\t\"]",
		"leading zero":            `[01]`,
		"invalid UTF-8":           "[\"\xff\"]",
		"too deep":                strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2),
		"empty":                   "",
	} {
		if _, err := readJSON([]byte(src)); err == nil {
			t.Errorf("%s: %s was accepted", name, src)
		}
	}
	if _, err := readJSON([]byte(strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1))); err != nil {
		t.Errorf("the deepest permitted document: %v", err)
	}
}

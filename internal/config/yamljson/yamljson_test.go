package yamljson_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/config/yamljson"
)

func compact(t *testing.T, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return out.String()
}

func TestToJSON(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"b: 1\na: [x, 'y', \"z\"]\n":                        `{"b":1,"a":["x","y","z"]}`,
		"v: 1.0\nquoted: \"1.0\"\nbig: 0x10\nn: ~":          `{"v":1.0,"quoted":"1.0","big":"0x10","n":null}`,
		"t: true\nf: no\nd: 2026-11-23":                     `{"t":true,"f":"no","d":"2026-11-23"}`,
		"text: |\n  one <two>\n  three\nfold: >-\n  a\n  b": `{"text":"one <two>\nthree\n","fold":"a b"}`,
		"1: x":           `{"1":"x"}`,
		`{"a":{"b":[]}}`: `{"a":{"b":[]}}`,
	} {
		got, err := yamljson.ToJSON([]byte(in))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := compact(t, got); got != want {
			t.Errorf("%q became %s, want %s", in, got, want)
		}
	}
}

func TestToJSONRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                 "empty",
		"a: 1\na: 2":                       "twice",
		"a: &x 1\nb: *x":                   "anchors",
		"a: &x {k: 1}\n<<: *x":             "anchors",
		"<<: {a: 1}":                       "name",
		"? [a]\n: b":                       "name",
		"a: !mine x":                       "tag",
		"a: !!binary aGk=":                 "tag",
		"--- a\n--- b":                     "more than one document",
		"a: [":                             "",
		strings.Repeat("- ", 100) + "x":    "nested deeper",
		"a: " + strings.Repeat("x", 2<<20): "bytes",
	} {
		got, err := yamljson.ToJSON([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %s, %v; want an error with %q", in, got, err, want)
		}
	}
}

func TestFromJSON(t *testing.T) {
	t.Parallel()
	got, err := yamljson.FromJSON(
		[]byte(`{"schemaVersion":"1.0","num":1,"f":1.5,"t":true,"z":null,"e":{},"l":["a: b","{{ x }}","line\nbreak"]}`),
	)
	want := `schemaVersion: "1.0"
num: 1
f: 1.5
t: true
z: null
e: {}
l:
  - 'a: b'
  - '{{ x }}'
  - |-
    line
    break
`
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := yamljson.FromJSON([]byte(`{"a":`)); err == nil {
		t.Error("half a text was taken")
	}
}

// FuzzRoundTrip: the output is JSON, and converting it to YAML and back does
// not change it.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"a: 1\nb: [x, {c: 'd'}]", `{"a":"\u2028 \t"}`, "a: |\n  b\n\n  c", "- 1\n- ~\n- 1e3",
		"a: 'yes'", "a: \"\\x07\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := yamljson.ToJSON([]byte(text))
		if err != nil {
			return
		}
		if !json.Valid(first) {
			t.Fatalf("not JSON: %s", first)
		}
		yaml, err := yamljson.FromJSON(first)
		if err != nil {
			t.Fatalf("%v: %s", err, first)
		}
		second, err := yamljson.ToJSON(yaml)
		if err != nil {
			t.Fatalf("%v: %s", err, yaml)
		}
		if compact(t, first) != compact(t, second) {
			t.Fatalf("%s became %s through %s", first, second, yaml)
		}
	})
}

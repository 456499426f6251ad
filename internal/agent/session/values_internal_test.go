package session

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/ssmdoc"
)

func TestParameters(t *testing.T) {
	t.Parallel()
	const document = `{"schemaVersion":"1.0","sessionType":"InteractiveCommands",
		"parameters":{
			"command":{"type":"String"},
			"user":{"type":"String","default":"nobody","allowedPattern":"^[a-z{} ]{1,20}$"},
			"mode":{"type":"String","default":"a","allowedValues":["a","b"]},
			"all":{"type":"StringList","default":["x","y"]}},
		"inputs":{"runAsEnabled":true,"runAsDefaultUser":"{{ user }}"},
		"properties":{"linux":{"commands":"%s"}}}`
	for _, tt := range []struct {
		command string
		given   map[string]any
		want    string // of the commands; "" for a refusal
	}{
		{"echo {{ command }} {{user}}", map[string]any{"command": "a b"}, "echo a b nobody"},
		{"echo {{ command }}", map[string]any{"command": []any{"a"}}, "echo a"}, // as AWS's CLI sends it
		{"{{ command }}", map[string]any{"command": "{{ user }} {{ command }}"}, "{{ user }} {{ command }}"},
		{"{{ command }} {{ user }}", map[string]any{"command": "{{ us", "user": "er }}"}, "{{ us er }}"},
		{"{{ all }} {{ command }}", map[string]any{"command": "x"}, `["x","y"] x`},
		{"{{ unknown }} {{ .Names }} {{ command }}", map[string]any{"command": "x"}, "{{ unknown }} {{ .Names }} x"},
		{"{{ command }} {{ mode }}", map[string]any{"command": float64(5), "mode": "b"}, "5 b"},
		{"{{ command }}", map[string]any{}, ""},
		{"{{ command }}", map[string]any{"command": nil}, ""},
		{"{{ command }}", map[string]any{"command": "x", "user": "X;reboot"}, ""},
		{"{{ command }}", map[string]any{"command": "x", "mode": "c"}, ""},
		{"{{ command }}", map[string]any{"command": "x\x00y"}, ""},
		{"{{ command }}", map[string]any{"command": map[string]any{"a": "b"}}, ""},
		{"{{ command }}", map[string]any{"command": []any{"a", []any{"b"}}}, ""},
	} {
		text := strings.Replace(document, "%s", tt.command, 1)
		d, err := parseDocument([]byte(text), tt.given)
		var p commands
		if err == nil {
			err = d.properties(&p)
		}
		if (err == nil) != (tt.want != "") {
			t.Errorf("%s with %v: %v", tt.command, tt.given, err)
			continue
		}
		if err == nil && p.Linux.Commands != tt.want {
			t.Errorf("%s with %v: %q, want %q", tt.command, tt.given, p.Linux.Commands, tt.want)
		}
	}
}

// TestExactReference: a text that is a single reference becomes the value
// itself.
func TestExactReference(t *testing.T) {
	t.Parallel()
	got, err := values{
		"n": json.Number("5"),
		"l": []any{"a"},
		"b": true,
	}.fill(
		json.RawMessage(`{"a":"{{ n }}","b":["{{l}}"],"c":"{{ b }}!","d":7,"e":null}`),
	)
	if diff := cmp.Diff(`{"a":5,"b":[["a"]],"c":"true!","d":7,"e":null}`, string(got)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

const token = "5up3r-s3cr3t-0192"

// FuzzExpand: references in the value of a parameter are not substituted.
func FuzzExpand(f *testing.F) {
	f.Add("{{ secret }}", "run {{ a }}{{ b }} now", "x")
	f.Add("{{", "{{ a }} {{ b }}", " secret }}")
	f.Add("}}{{", "{{{ a }}}{{ b }}", "secret")
	f.Fuzz(func(t *testing.T, a, template, b string) {
		if strings.Contains(template, "secret") || strings.Contains(a+b, token) || strings.Contains(template, token) {
			t.Skip()
		}
		expanded, err := (&ssmdoc.Substitution{Values: values{"a": a, "b": b, "secret": token}}).Text(template)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := expanded.(string)
		if strings.Contains(got, token) {
			t.Errorf("%q with %q and %q gives %q", template, a, b, got)
		}
	})
}

func TestAtLeast(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"1.1.70": true, "1.1.70.0": true, "1.1.69.9": false, "1.2.0.0": true, "2.0.0": true, "1.0.999": false,
		"": false, "1": false, "x.y.z": false, "sekisho/1": false,
	} {
		if got := atLeast(version, 1, 1, 70); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

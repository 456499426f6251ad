package awsproto_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/wire/awsproto"
)

type tag struct {
	Key   string
	Value *string
}

type sample struct {
	Target     string
	Max        *int32
	Flag       bool
	Tags       []tag
	Parameters map[string][]string
	Since      awsproto.Epoch `json:",omitzero"`
	Raw        json.RawMessage
	Blob       []byte
	Renamed    string `json:"__odd"`
}

func ptr[T any](v T) *T { return &v }

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want sample
	}{
		"empty body":   {"", sample{}},
		"white space":  {" \n", sample{}},
		"empty object": {"{}", sample{}},
		"scalars": {`{"Target":"mi-0","Max":5,"Flag":true,"__odd":"x"}`, sample{Target: "mi-0", Max: ptr(int32(5)),
			Flag: true, Renamed: "x"}},
		"unknown members": {`{"Target":"a","New":{"deep":[1,{"x":null}]}}`, sample{Target: "a"}},
		"case matters":    {`{"target":"a","TARGET":"b"}`, sample{}},
		"null":            {`{"Target":null,"Max":null,"Tags":null}`, sample{}},
		"nested":          {`{"Tags":[{"Key":"k","Value":""},{"Key":"l"}]}`, sample{Tags: []tag{{"k", ptr("")}, {Key: "l"}}}},
		"map": {`{"Parameters":{"a":["1"],"A":[]}}`, sample{Parameters: map[string][]string{"a": {"1"},
			"A": {}}}},
		"epoch":        {`{"Since":1795437448.5}`, sample{Since: awsproto.NewEpoch(time.UnixMilli(1795437448500).UTC())}},
		"raw and blob": {`{"Raw": {"a":1} ,"Blob":"aGk="}`, sample{Raw: json.RawMessage(`{"a":1}`), Blob: []byte("hi")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got sample
			if err := awsproto.DecodeJSON([]byte(c.body), &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, text string }{
		"not JSON":             {`{"Target"`, "valid JSON"},
		"missing colon":        {`{"Target" "x"}`, "valid JSON"},
		"list":                 {`[]`, "not a JSON object"},
		"string":               {`"x"`, "not a JSON object"},
		"trailing":             {`{} {}`, "continues"},
		"trailing junk":        {`{}x`, ""},
		"duplicate":            {`{"Target":"a","Target":"b"}`, `"Target" appears twice`},
		"duplicate, escaped":   {`{"Target":"a","\u0054arget":"b"}`, `"Target" appears twice`},
		"duplicate in unknown": {`{"New":[{"a":1,"a":2}]}`, `"a" appears twice`},
		"deep":                 {`{"New":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "deeper than 64"},
		"number":               {`{"Target":1}`, "Target must be a string"},
		"text number":          {`{"Max":"1"}`, "Max must be a whole number"},
		"overflow":             {`{"Max":2147483648}`, "Max must be a whole number"},
		"fraction":             {`{"Max":1.5}`, "Max must be a whole number"},
		"nested":               {`{"Tags":[{"Key":"a"},{"Key":[]}]}`, "Tags[1].Key must be a string"},
		"map value":            {`{"Parameters":{"p":"x"}}`, "Parameters.p must be a list"},
		"not a struct":         {`{"Tags":[1]}`, "Tags[0] must be an object"},
		"bad time":             {`{"Since":"yesterday"}`, "Since"},
		"huge time":            {`{"Since":1e20}`, "Since"},
		"huge exponent":        {`{"Since":1e999999999}`, "Since"},
		"bad base64":           {`{"Blob":"*"}`, "Blob must be base64"},
		"bad UTF-8":            {"{\"Target\":\"\xff\"}", "UTF-8"},
		"too large":            {`{"Target":"` + strings.Repeat("a", awsproto.MaxBody) + `"}`, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := awsproto.DecodeJSON([]byte(c.body), &sample{})
			e, ok := errors.AsType[*awsproto.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if e.Code != "SerializationException" || e.Status != 400 || !strings.Contains(e.Message, c.text) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestEpoch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, jsonOut, textOut string }{
		{`0`, `0`, `1970-01-01T00:00:00Z`},
		{`1795437448`, `1795437448`, `2026-11-23T12:37:28Z`},
		{`1795437448.123`, `1795437448.123`, `2026-11-23T12:37:28.123Z`},
		{`1795437448.1239`, `1795437448.123`, `2026-11-23T12:37:28.123Z`},
		{`1.795437448E9`, `1795437448`, `2026-11-23T12:37:28Z`},
		{`-1.5`, `-1.5`, `1969-12-31T23:59:58.5Z`},
		{`"2026-11-23T12:37:28Z"`, `1795437448`, `2026-11-23T12:37:28Z`},
		{`"2026-11-23T13:37:28.05+01:00"`, `1795437448.05`, `2026-11-23T12:37:28.05Z`},
		{`"2026-11-23"`, `1795392000`, `2026-11-23T00:00:00Z`},
		{`"1795437448"`, `1795437448`, `2026-11-23T12:37:28Z`},
	} {
		var e awsproto.Epoch
		if err := json.Unmarshal([]byte(c.in), &e); err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		j, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := e.MarshalText()
		if string(j) != c.jsonOut || string(text) != c.textOut {
			t.Errorf("%s became %s and %s, want %s and %s", c.in, j, text, c.jsonOut, c.textOut)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add(
		[]byte(
			`{"Target":"mi-0","Max":5,"Flag":true,"Tags":[{"Key":"k","Value":""}],"Parameters":{"a":["1"]},` +
				`"Since":1795437448.5,"Raw":{"a":1},"Blob":"aGk="}`,
		),
	)
	f.Add([]byte(`{"Since":"2026-11-23T13:37:28.05+01:00","Since ":1e30}`))
	f.Add([]byte(`{"a":{"a":[[[{}]]]},"\ud800":1} `))
	f.Fuzz(func(t *testing.T, body []byte) {
		var v sample
		if err := awsproto.DecodeJSON(body, &v); err != nil {
			if _, ok := errors.AsType[*awsproto.Error](err); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		// A decoded value survives a round trip.
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%v from %q", err, body)
		}
		var again sample
		if err := awsproto.DecodeJSON(out, &again); err != nil {
			t.Fatalf("%v from %s", err, out)
		}
		if v.Target != again.Target || !v.Since.Equal(again.Since.Time) || len(v.Tags) != len(again.Tags) ||
			len(v.Parameters) != len(again.Parameters) {
			t.Fatalf("%+v became %+v", v, again)
		}
	})
}

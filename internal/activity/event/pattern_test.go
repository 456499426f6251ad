package event_test

import (
	"encoding/json"
	"strings"
	"testing"

	"sekisho/internal/activity/event"
)

const sample = `{"version":"0","id":"1","detail-type":"Session Started","source":"sekisho.session",` +
	`"account":"123456789012",
"time":"2026-11-23T12:00:00Z","region":"eu-central-1","resources":["arn:a","arn:b"],
"detail":{"owner":"arn:aws:iam::123456789012:user/Alice","source-ip":"203.0.113.9","seconds":42,"big":1e2,"flag":true,"nothing":null,
"instance-tags":{"Env":"prod"},"list":["x","y"]}}`

// The semantics are those of EventBridge's documentation.
func TestPattern(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pattern string
		want    bool
	}{
		"one of a list":                  {`{"detail-type":["Session Ended","Session Started"]}`, true},
		"none of a list":                 {`{"detail-type":["Session Ended"]}`, false},
		"all fields must match":          {`{"detail-type":["Session Started"],"account":["1"]}`, false},
		"below":                          {`{"detail":{"instance-tags":{"Env":["prod"]}}}`, true},
		"below, another value":           {`{"detail":{"instance-tags":{"Env":["test"]}}}`, false},
		"below a missing member":         {`{"detail":{"other":{"x":["y"]}}}`, false},
		"an element of the event's list": {`{"resources":["arn:b"]}`, true},
		"no element of the event's list": {`{"resources":["arn:c"]}`, false},
		"number":                         {`{"detail":{"seconds":[42.0]}}`, true},
		"number in another spelling":     {`{"detail":{"big":[100]}}`, true},
		"number is not text":             {`{"detail":{"seconds":["42"]}}`, false},
		"true":                           {`{"detail":{"flag":[true]}}`, true},
		"null":                           {`{"detail":{"nothing":[null]}}`, true},
		"null is not absent":             {`{"detail":{"absent":[null]}}`, false},
		"prefix":                         {`{"detail":{"owner":[{"prefix":"arn:aws:iam::"}]}}`, true},
		"another prefix":                 {`{"detail":{"owner":[{"prefix":"arn:aws:sts::"}]}}`, false},
		"prefix of a number":             {`{"detail":{"seconds":[{"prefix":"4"}]}}`, false},
		"suffix":                         {`{"detail":{"owner":[{"suffix":"/Alice"}]}}`, true},
		"case":                           {`{"detail":{"owner":["arn:aws:iam::123456789012:user/alice"]}}`, false},
		"equals-ignore-case": {`{"detail":{"owner":[{"equals-ignore-case":"ARN:aws:iam::123456789012:user/alice"}]}}`,
			true},
		"anything-but":            {`{"detail":{"owner":[{"anything-but":"x"}]}}`, true},
		"anything-but this value": {`{"detail":{"instance-tags":{"Env":[{"anything-but":"prod"}]}}}`, false},
		"anything-but these values": {`{"detail":{"instance-tags":{"Env":[{"anything-but":["test","prod"]}]}}}`,
			false},
		"anything-but other values":        {`{"detail":{"seconds":[{"anything-but":[1,2]}]}}`, true},
		"anything-but a number":            {`{"detail":{"seconds":[{"anything-but":42}]}}`, false},
		"anything-but of a missing member": {`{"detail":{"absent":[{"anything-but":"x"}]}}`, false},
		"anything-but a prefix":            {`{"detail":{"owner":[{"anything-but":{"prefix":"arn:"}}]}}`, false},
		"anything-but another prefix":      {`{"detail":{"owner":[{"anything-but":{"prefix":"user"}}]}}`, true},
		"exists":                           {`{"detail":{"owner":[{"exists":true}]}}`, true},
		"exists, but does not":             {`{"detail":{"absent":[{"exists":true}]}}`, false},
		"absent":                           {`{"detail":{"absent":[{"exists":false}]}}`, true},
		"absent, but is not":               {`{"detail":{"owner":[{"exists":false}]}}`, false},
		"absent below a missing member":    {`{"detail":{"other":{"x":[{"exists":false}]}}}`, true},
		"cidr":                             {`{"detail":{"source-ip":[{"cidr":"203.0.113.0/24"}]}}`, true},
		"another CIDR range":               {`{"detail":{"source-ip":[{"cidr":"10.0.0.0/8"},{"cidr":"::/0"}]}}`, false},
		"CIDR range of a text":             {`{"detail":{"owner":[{"cidr":"0.0.0.0/0"}]}}`, false},
		"one comparison is enough":         {`{"detail":{"owner":["x",{"suffix":"lice"}]}}`, true},
		"object is not a value":            {`{"detail":{"instance-tags":["prod"]}}`, false},
		"value is not an object":           {`{"detail":{"owner":{"x":["y"]}}}`, false},
	} {
		p, err := event.ParsePattern([]byte(tc.pattern))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := p.Match([]byte(sample)); got != tc.want {
			t.Errorf("%s: %s: %v", name, tc.pattern, got)
		}
	}
	for _, types := range [][]string{nil, {"Session Started"}, {"Node Up", "Session Started"}} {
		if p, err := event.OfTypes(types); err != nil || !p.Match([]byte(sample)) {
			t.Errorf("%q: %v", types, err)
		}
	}
	if p, err := event.OfTypes([]string{"Node Up"}); err != nil || p.Match([]byte(sample)) {
		t.Errorf("another type matches, or %v", err)
	}
}

// Patterns that are not understood, or can never match, are refused by name.
func TestPatternRefused(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		``:                                 "not valid JSON",
		`[]`:                               "must be an object",
		`"x"`:                              "must be an object",
		`{}`:                               "empty",
		`{"detail":{}}`:                    "detail is empty",
		`{"source":"x"}`:                   "source must be an object or a list",
		`{"source":[]}`:                    "matches nothing",
		`{"source":[["x"]]}`:               "a value must be",
		`{"source":[{}]}`:                  "exactly one operator",
		`{"source":[{"numeric":[">",1]}]}`: `operator "numeric"`,
		`{"source":[{"wildcard":"x*"}]}`:   `operator "wildcard"`,
		`{"source":[{"prefix":1}]}`:        "requires a string",
		`{"source":[{"prefix":{"equals-ignore-case":"x"}}]}`:                           "requires a string",
		`{"source":[{"cidr":"10.0.0.1"}]}`:                                             "not a network",
		`{"source":[{"cidr":1}]}`:                                                      "not a network",
		`{"source":[{"exists":"yes"}]}`:                                                "true or false",
		`{"source":[{"anything-but":[]}]}`:                                             "anything-but requires",
		`{"source":[{"anything-but":[true]}]}`:                                         "strings or numbers",
		`{"source":[{"anything-but":{"suffix":"x"}}]}`:                                 "anything-but requires",
		`{"source":[{"prefix":"a","suffix":"b"}]}`:                                     "exactly one operator",
		`{"$or":[{"source":["x"]}]}`:                                                   "$or is not supported",
		`{"detail":{"$or":[{"x":["x"]}]}}`:                                             "$or is not supported",
		`{"detailtype":["x"]}`:                                                         `unknown field "detailtype"`,
		`{"detail-type":["Session Begun"]}`:                                            `unknown event type "Session Begun"`,
		`{"source":["x"]} {"source":["x"]}`:                                            "one JSON object",
		`{"detail":` + strings.Repeat(`{"x":`, 20) + `["x"]` + strings.Repeat(`}`, 21): "levels deep",
		`{"source":["` + strings.Repeat("x", 20_000) + `"]}`:                           "more than the limit",
	} {
		if _, err := event.ParsePattern([]byte(pattern)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", pattern, err, want)
		}
	}
	if _, err := event.OfTypes([]string{"everything"}); err == nil || !strings.Contains(err.Error(), `"Node Down"`) {
		t.Errorf("%v does not say what there is", err)
	}
}

// FuzzPattern parses arbitrary patterns and matches arbitrary events: nothing
// may panic, and patterns that parse must be JSON.
func FuzzPattern(f *testing.F) {
	f.Add(`{"detail":{"owner":["x",{"suffix":"lice"},{"anything-but":[1]}]}}`, sample)
	f.Add(`{"detail":{"source-ip":[{"cidr":"::/0"}],"x":{"y":[{"exists":false}]}}}`, `{"detail":[]}`)
	f.Fuzz(func(t *testing.T, pattern, body string) {
		p, err := event.ParsePattern([]byte(pattern))
		if err != nil {
			return
		}
		if !json.Valid([]byte(pattern)) {
			t.Errorf("%q was taken for a pattern", pattern)
		}
		if p.Match([]byte(body)) && !strings.Contains(body, "{") {
			t.Errorf("%q matches %q", pattern, body)
		}
	})
}

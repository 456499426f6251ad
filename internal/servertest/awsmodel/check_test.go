package awsmodel

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// model has the parts of the protocols that Check distinguishes.
func model(t *testing.T, protocol string) *Model {
	t.Helper()
	m := &Model{checked: map[string]bool{}}
	err := json.Unmarshal([]byte(`{
		"metadata": {"protocol": "`+protocol+`"},
		"operations": {"Get": {"output": {"shape": "Out", "resultWrapper": "GetResult"}}, "Do": {}},
		"shapes": {
			"Out": {"type": "structure", "required": ["Name"], "members": {
				"Name": {"shape": "Text"}, "Kind": {"shape": "Kind"}, "At": {"shape": "Time"}, "Things": {"shape": "Things"},
				"Flat": {"shape": "Flat", "locationName": "Flat"}, "Tag": {"shape": "Text", "location": "header", "locationName": "X-Tag"}
			}},
			"Text": {"type": "string"}, "Kind": {"type": "string", "enum": ["A", "B"]}, "Time": {"type": "timestamp"}, "Number": {"type": "integer"},
			"Things": {"type": "list", "member": {"shape": "Number"}},
			"Flat": {"type": "list", "member": {"shape": "Number"}, "flattened": true}
		}}`), m)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCheckFindsDifferences(t *testing.T) {
	t.Parallel()
	query := func(inner string) string {
		return "<GetResponse><GetResult>" + inner +
			"</GetResult><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></GetResponse>"
	}
	for _, c := range []struct{ protocol, body, problem string }{
		{"json", `{"Name":"n","Kind":"A","At":1.5,"Things":[1,2]}`, ""},
		{"json", `{"Name":"n","Other":1}`, "unknown member Other"},
		{"json", `{}`, "required member Name"},
		{"json", `{"Name":1}`, "is not a string"},
		{"json", `{"Name":null}`, "null"},
		{"json", `{"Name":"n","Kind":"C"}`, "enumeration"},
		{"json", `{"Name":"n","At":"today"}`, "is not a timestamp"},
		{"json", `{"Name":"n","Things":[1.5]}`, "is not an integer"},
		{"json", `{"Name":"n","Things":{}}`, "is not a list"},
		{"json", `{`, "not JSON"},
		{"query", query("<Name>n</Name><At>2026-01-01T00:00:00Z</At><Things><member>1</member></Things>" +
			"<Flat>1</Flat><Flat>2</Flat>"), ""},
		{"query", query("<Name>n</Name><Things><item>1</item></Things>"), "element item in a list"},
		{"query", query("<Name>n</Name><Name>m</Name>"), "two elements"},
		{"query", query("<Name>n</Name><Other/>"), "unknown element Other"},
		{"query", "<GetResponse/>", "ResponseMetadata"},
		{"query", "<Get/>", "root element"},
		{"ec2", "<GetResponse><requestId>x</requestId><Name>n</Name></GetResponse>", ""},
		{"ec2", "<GetResponse><Name>n</Name></GetResponse>", "requestId is missing"},
		{"rest-xml", "<Any><Name>n</Name><Flat>x</Flat></Any>", "is not a integer"},
		{"rest-xml", "<Any><Name>n</Name><Tag>n</Tag></Any>", "unknown element Tag"},
		{"rest-xml", "<Any><Name>n</Name></Any>", ""},
		{"rest-xml", "", "not XML"},
	} {
		got := model(t, c.protocol).Check("Get", http.Header{}, []byte(c.body))
		if (len(got) == 0) != (c.problem == "") ||
			c.problem != "" && !strings.Contains(strings.Join(got, "\n"), c.problem) {
			t.Errorf("%s %s: %q, want %q", c.protocol, c.body, got, c.problem)
		}
	}
	m := model(t, "rest-xml")
	if got := m.Check("Do", http.Header{}, []byte("text")); len(got) != 1 {
		t.Errorf("a body for an answer without one: %q", got)
	}
	if got := m.Check("None", http.Header{}, nil); len(got) != 1 {
		t.Errorf("an unknown operation: %q", got)
	}
	if got := m.Unchecked([]string{"Get", "Do"}); !slices.Equal(got, []string{"Get"}) {
		t.Errorf("unchecked: %q", got)
	}
}

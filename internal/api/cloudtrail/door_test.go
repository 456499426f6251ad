package cloudtrail_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/api"
	"sekisho/internal/api/cloudtrail"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/wire/sigv4"
)

// trail returns its events for every look-up, up to the limit, and remembers
// the queries.
type trail struct {
	audittest.Trail
	events []audit.Event
	asked  []audit.Query
}

func (tr *trail) Lookup(_ context.Context, q audit.Query) ([]audit.Event, int64, error) {
	tr.asked = append(tr.asked, q)
	if q.Limit < len(tr.events) {
		return tr.events[:q.Limit], 7, nil
	}
	return tr.events, 0, nil
}

// callers gives each access key the policy of its name.
type callers map[string]string

func (c callers) Credential(_ context.Context, key, _ string) (string, *sekisho.Principal, error) {
	if c[key] == "" {
		return "", nil, sekisho.Errorf(sekisho.CodeUnauthenticated, "no such key")
	}
	return "secret", &sekisho.Principal{
		Type:     sekisho.PrincipalUser,
		Account:  "123456789012",
		UserName: key,
		ARN:      "arn:aws:iam::123456789012:user/" + key,
	}, nil
}

func (callers) TouchKey(string, string, string, time.Time) {}

func (c callers) Policies(_ context.Context, p *sekisho.Principal) (*policy.Set, error) {
	doc, err := policy.Parse(
		[]byte(
			fmt.Sprintf(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[%s],"Resource":"*"}]}`,
				c[p.UserName],
			),
		),
	)
	if err != nil {
		return nil, err
	}
	return policy.Compile(policy.Policies{Identity: []*policy.Document{doc}}), nil
}

var keys = callers{
	"AUDITOR":   `"cloudtrail:LookupEvents"`,
	"ADMIN":     `"*"`,
	"SOMEONE":   `"ssm:StartSession"`,
	"SIMULATOR": `"iam:SimulatePrincipalPolicy"`,
}

// lookup makes a signed call and returns its status and body.
func lookup(t *testing.T, tr *trail, key, body string) (int, string) {
	t.Helper()
	srv := api.New(api.Config{
		Doors: []*api.Door{
			cloudtrail.New(cloudtrail.Config{Trail: tr, Account: "123456789012"}),
		}, Credentials: keys, Authorizer: authz.New(keys), Trail: tr,
		Account: "123456789012", Region: "eu-west-1", Log: slog.New(slog.DiscardHandler),
	})
	r := httptest.NewRequest(http.MethodPost, "https://h.example/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents")
	sigv4.Sign(
		r,
		sigv4.Credentials{AccessKeyID: key, SecretAccessKey: "secret"},
		"eu-west-1",
		"cloudtrail",
		time.Now(),
		sigv4.HashBody([]byte(body)),
	)
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestQueries(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for name, c := range map[string]struct {
		body string
		want audit.Query
	}{
		"nothing": {``, audit.Query{Limit: 50}},
		"event ID": {`{"LookupAttributes":[{"AttributeKey":"EventId","AttributeValue":"e"}]}`,
			audit.Query{EventID: "e", Limit: 50}},
		"event name": {`{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"e"}]}`,
			audit.Query{EventName: "e", Limit: 50}},
		"source": {`{"LookupAttributes":[{"AttributeKey":"EventSource","AttributeValue":"e"}]}`,
			audit.Query{EventSource: "e", Limit: 50}},
		"user": {`{"LookupAttributes":[{"AttributeKey":"Username","AttributeValue":"e"}]}`,
			audit.Query{Username: "e", Limit: 50}},
		"access key": {`{"LookupAttributes":[{"AttributeKey":"AccessKeyId","AttributeValue":"e"}]}`,
			audit.Query{AccessKeyID: "e", Limit: 50}},
		"resource type": {`{"LookupAttributes":[{"AttributeKey":"ResourceType","AttributeValue":"e"}]}`,
			audit.Query{ResourceType: "e", Limit: 50}},
		"resource name": {`{"LookupAttributes":[{"AttributeKey":"ResourceName","AttributeValue":"e"}]}`,
			audit.Query{ResourceName: "e", Limit: 50}},
		"read only": {`{"LookupAttributes":[{"AttributeKey":"ReadOnly","AttributeValue":"true"}]}`,
			audit.Query{ReadOnly: &yes, Limit: 50}},
		"not read only": {`{"LookupAttributes":[{"AttributeKey":"ReadOnly","AttributeValue":"false"}]}`,
			audit.Query{ReadOnly: &no, Limit: 50}},
		"times": {`{"StartTime":1795437448,"EndTime":1795437449.5,"MaxResults":3}`,
			audit.Query{Start: time.Unix(1795437448, 0).UTC(), End: time.UnixMilli(1795437449500).UTC(), Limit: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := &trail{}
			status, body := lookup(t, tr, "AUDITOR", c.body)
			if status != 200 || body != `{"Events":[]}` {
				t.Fatalf("%d %s", status, body)
			}
			if d := cmp.Diff([]audit.Query{c.want}, tr.asked); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ key, body, code string }{
		"no permission":           {"SOMEONE", `{}`, "AccessDeniedException"},
		"another permission":      {"SIMULATOR", `{}`, "AccessDeniedException"},
		"unknown key":             {"NOBODY", `{}`, "UnrecognizedClientException"},
		"too many":                {"AUDITOR", `{"MaxResults":51}`, "InvalidMaxResultsException"},
		"a limit that is too low": {"AUDITOR", `{"MaxResults":0}`, "InvalidMaxResultsException"},
		"times":                   {"AUDITOR", `{"StartTime":2,"EndTime":1}`, "InvalidTimeRangeException"},
		"two attributes": {"AUDITOR",
			`{"LookupAttributes":[{"AttributeKey":"EventId","AttributeValue":"a"},{"AttributeKey":"EventId",` +
				`"AttributeValue":"b"}]}`, "InvalidLookupAttributesException"},
		"unknown attribute": {"AUDITOR", `{"LookupAttributes":[{"AttributeKey":"eventid","AttributeValue":"a"}]}`,
			"InvalidLookupAttributesException"},
		"empty value": {"AUDITOR", `{"LookupAttributes":[{"AttributeKey":"EventId"}]}`,
			"InvalidLookupAttributesException"},
		"an invalid boolean": {"AUDITOR", `{"LookupAttributes":[{"AttributeKey":"ReadOnly","AttributeValue":"yes"}]}`,
			"InvalidLookupAttributesException"},
		"insights":         {"AUDITOR", `{"EventCategory":"insight"}`, "InvalidEventCategoryException"},
		"an invalid token": {"AUDITOR", `{"NextToken":"AAAA"}`, "InvalidNextTokenException"},
		"wrong type":       {"AUDITOR", `{"MaxResults":"1"}`, "SerializationException"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := &trail{}
			status, body := lookup(t, tr, c.key, c.body)
			if status != 400 || !strings.Contains(body, `"__type":"`+c.code+`"`) || len(tr.asked) != 0 {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

type answer struct {
	Events []struct {
		EventID         string `json:"EventId"`
		Username        string
		ReadOnly        string
		EventTime       float64
		Resources       []struct{ ResourceType, ResourceName string }
		CloudTrailEvent string
	}
	NextToken string
}

func TestEventsAndPages(t *testing.T) {
	t.Parallel()
	e := audit.Event{
		ID: "id-1", Time: time.Unix(1795437448, 0), EventSource: "ssm.amazonaws.com", EventName: "StartSession",
		ReadOnly:     true,
		UserIdentity: audit.Identity{Type: audit.IdentityUser, UserName: "alice"}, Reason: "the nearest miss",
		Resources: []audit.Resource{
			{ARN: "arn:aws:ssm:r:1:managed-instance/mi-0", Type: "AWS::SSM::ManagedInstance"},
		},
		ResponseElements: map[string]any{"tokenValue": "swordfish"},
	}
	tr := &trail{events: []audit.Event{e, e}}
	read := func(key, body string) answer {
		t.Helper()
		status, got := lookup(t, tr, key, body)
		if status != 200 {
			t.Fatalf("%d %s", status, got)
		}
		var a answer
		if err := json.Unmarshal([]byte(got), &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	const where = `"LookupAttributes":[{"AttributeKey":"Username","AttributeValue":"alice"}]`
	first := read("AUDITOR", `{`+where+`,"MaxResults":1}`)
	if len(first.Events) != 1 || first.NextToken == "" {
		t.Fatalf("got %+v", first)
	}
	got := first.Events[0]
	if got.EventID != "id-1" || got.Username != "alice" || got.ReadOnly != "true" || got.EventTime != 1795437448 ||
		got.Resources[0].ResourceName != "mi-0" || got.Resources[0].ResourceType != "AWS::SSM::ManagedInstance" {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(got.CloudTrailEvent, `"eventName":"StartSession"`) ||
		strings.Contains(got.CloudTrailEvent, "swordfish") {
		t.Errorf("record %s", got.CloudTrailEvent)
	}
	if strings.Contains(got.CloudTrailEvent, "nearest miss") {
		t.Error("the reason is shown to one who may not simulate policies")
	}
	if all := read("ADMIN", `{`+where+`}`); !strings.Contains(all.Events[0].CloudTrailEvent, "nearest miss") ||
		all.NextToken != "" {
		t.Errorf("got %+v", all)
	}
	read("AUDITOR", `{`+where+`,"NextToken":"`+first.NextToken+`"}`)
	if q := tr.asked[len(tr.asked)-1]; q.Before != 7 || q.Username != "alice" {
		t.Errorf("asked %+v", q)
	}
	// The token of one look-up does not continue another.
	if status, body := lookup(t, tr, "AUDITOR", `{"NextToken":"`+first.NextToken+`"}`); status != 400 ||
		!strings.Contains(body, "InvalidNextTokenException") {
		t.Errorf("%d %s", status, body)
	}
}

package logs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/api"
	logsapi "sekisho/internal/api/logs"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/servertest/doortest"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/wire/sigv4"
)

// callers gives each access key its statements.
type callers map[string]string

func (c callers) Credential(_ context.Context, key, _ string) (string, *sekisho.Principal, error) {
	return "secret", &sekisho.Principal{Type: sekisho.PrincipalUser, Account: "123456789012", UserName: key,
		ARN: "arn:aws:iam::123456789012:user/" + key}, nil
}

func (callers) TouchKey(string, string, string, time.Time) {}

func (c callers) Policies(_ context.Context, p *sekisho.Principal) (*policy.Set, error) {
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + c[p.UserName] + `]}`))
	if err != nil {
		return nil, err
	}
	return policy.Compile(policy.Policies{Identity: []*policy.Document{doc}}), nil
}

const group = "arn:aws:logs:us-east-1:123456789012:log-group:/g"

var keys = callers{
	"ADMIN":  `{"Effect":"Allow","Action":"*","Resource":"*"}`,
	"ITSELF": `{"Effect":"Allow","Action":"logs:*","Resource":"` + group + `"}`,
	"INSIDE": `{"Effect":"Allow","Action":"logs:*","Resource":"` + group + `:*"}`,
	"STREAM": `{"Effect":"Allow","Action":"logs:PutLogEvents","Resource":"` + group + `:log-stream:a-*"}`,
	"BUT": `{"Effect":"Allow","Action":"logs:*","Resource":"*"},{"Effect":"Deny","Action":"logs:*","Resource":"` +
		group + `"}`,
	"NOBODY": `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`,
}

type trail = audittest.Trail

type rig struct {
	t     *testing.T
	srv   *api.Server
	trail *trail
}

func start(t *testing.T) *rig {
	t.Helper()
	ring, db := doortest.Storage(t)
	r := &rig{t: t, trail: &trail{}}
	r.srv = api.New(api.Config{
		Doors: []*api.Door{logsapi.New(logsapi.Config{Logs: loggroup.New(db.Logs, ring, nil), Account: "123456789012",
			Region: "us-east-1"})},
		Credentials: keys, Authorizer: authz.New(keys), Trail: r.trail, Account: "123456789012", Region: "us-east-1",
		Log: slog.New(slog.DiscardHandler),
	})
	r.must("CreateLogGroup", `{"logGroupName":"/g"}`, nil)
	for _, s := range []string{"a-1", "b-1"} {
		r.must("CreateLogStream", `{"logGroupName":"/g","logStreamName":"`+s+`"}`, nil)
	}
	return r
}

// call makes a signed call and returns the error code, "" for success.
func (r *rig) call(key, op, body string, into any) string {
	r.t.Helper()
	caller := sigv4.Credentials{AccessKeyID: key, SecretAccessKey: "secret"}
	return doortest.CallJSON(r.t, r.srv, caller, "logs", "Logs_20140328."+op, body, into)
}

func (r *rig) must(op, body string, into any) {
	r.t.Helper()
	if e := r.call("ADMIN", op, body, into); e != "" {
		r.t.Fatalf("%s: %s", op, e)
	}
}

func (r *rig) put(stream string, messages ...string) {
	r.t.Helper()
	var events []string
	for _, m := range messages {
		events = append(events, fmt.Sprintf(`{"timestamp":%d,"message":%q}`, time.Now().UnixMilli(), m))
	}
	r.must(
		"PutLogEvents",
		`{"logGroupName":"/g","logStreamName":"`+stream+`","sequenceToken":"whatever","logEvents":[`+strings.Join(
			events,
			",",
		)+`]}`,
		nil,
	)
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	r := start(t)
	event := fmt.Sprintf(`"logEvents":[{"timestamp":%d,"message":"x"}]`, time.Now().UnixMilli())
	for _, c := range []struct{ key, op, body, want string }{
		{"ITSELF", "DescribeLogStreams", `{"logGroupName":"/g"}`, ""},
		{"INSIDE", "DescribeLogStreams", `{"logGroupName":"/g"}`, ""},
		{"INSIDE", "DescribeLogStreams", `{"logGroupName":"/gg"}`, "AccessDeniedException"},
		{"ITSELF", "PutLogEvents", `{"logGroupName":"/g","logStreamName":"a-1",` + event + `}`, "AccessDeniedException"},
		{"INSIDE", "PutLogEvents", `{"logGroupName":"/g","logStreamName":"a-1",` + event + `}`, ""},
		{"STREAM", "PutLogEvents", `{"logGroupName":"/g","logStreamName":"a-1",` + event + `}`, ""},
		{"STREAM", "PutLogEvents", `{"logGroupName":"/g","logStreamName":"b-1",` + event + `}`, "AccessDeniedException"},
		{"STREAM", "GetLogEvents", `{"logGroupName":"/g","logStreamName":"a-1"}`, "AccessDeniedException"},
		{"BUT", "DescribeLogStreams", `{"logGroupName":"/g"}`, "AccessDeniedException"},
		{"BUT", "DeleteLogGroup", `{"logGroupName":"/g"}`, "AccessDeniedException"},
		{"INSIDE", "DescribeLogGroups", `{}`, "AccessDeniedException"},
		{"NOBODY", "FilterLogEvents", `{"logGroupName":"/g"}`, "AccessDeniedException"},
		{"NOBODY", "FilterLogEvents", `{"logGroupName":"/none"}`, "AccessDeniedException"},
	} {
		if got := r.call(c.key, c.op, c.body, nil); got != c.want {
			t.Errorf("%s %s %s: %q, want %q", c.key, c.op, c.body, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, c := range []struct{ op, body, want string }{
		{"CreateLogGroup", `{"logGroupName":"/g"}`, "ResourceAlreadyExistsException"},
		{"CreateLogGroup", `{"logGroupName":"a b"}`, "InvalidParameterException"},
		{"CreateLogGroup", `{"logGroupName":"c","logGroupClass":"INFREQUENT_ACCESS"}`, "InvalidParameterException"},
		{"CreateLogStream", `{"logGroupName":"/g","logStreamName":"a-1"}`, "ResourceAlreadyExistsException"},
		{"CreateLogStream", `{"logGroupName":"/g","logStreamName":"a:b"}`, "InvalidParameterException"},
		{"CreateLogStream", `{"logGroupName":"/none","logStreamName":"a"}`, "ResourceNotFoundException"},
		{"PutRetentionPolicy", `{"logGroupName":"/g","retentionInDays":2}`, "InvalidParameterException"},
		{"PutRetentionPolicy", `{"logGroupName":"/g"}`, "InvalidParameterException"},
		{"PutLogEvents", `{"logGroupName":"/g","logStreamName":"a-1","logEvents":[]}`, "InvalidParameterException"},
		{"PutLogEvents", `{"logGroupName":"/g","logStreamName":"a-1","logEvents":[{"timestamp":-1,"message":"x"}]}`,
			"InvalidParameterException"},
		{"GetLogEvents", `{"logGroupName":"/g","logStreamName":"none"}`, "ResourceNotFoundException"},
		{"GetLogEvents", `{"logGroupName":"/g"}`, "InvalidParameterException"},
		{"GetLogEvents", `{"logGroupName":"/g","logStreamName":"a-1","nextToken":"x"}`, "InvalidParameterException"},
		{"GetLogEvents", `{"logGroupName":"/g","logStreamName":"a-1","limit":10001}`, "InvalidParameterException"},
		{"FilterLogEvents", `{"logGroupName":"/g","filterPattern":"{ $.a = 1 }"}`, "InvalidParameterException"},
		{"FilterLogEvents", `{"logGroupName":"/g","nextToken":"b/1/1"}`, "InvalidParameterException"},
		{"DescribeLogStreams", `{"logGroupName":"/none"}`, "ResourceNotFoundException"},
		{"ListTagsForResource", `{"resourceArn":"arn:aws:logs:eu-west-1:123456789012:log-group:/g"}`,
			"ResourceNotFoundException"},
	} {
		if got := r.call("ADMIN", c.op, c.body, nil); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.op, c.body, got, c.want)
		}
	}
}

type page struct {
	Events            []struct{ Message, LogStreamName string }
	NextForwardToken  string
	NextBackwardToken string
	NextToken         string
}

func (p page) messages() string {
	var all []string
	for _, e := range p.Events {
		all = append(all, e.Message)
	}
	return strings.Join(all, " ")
}

func TestReadingForwardAndBackward(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.put("a-1", "1", "2", "3", "4", "5")
	get := func(extra string) page {
		t.Helper()
		var p page
		r.must("GetLogEvents", `{"logGroupName":"/g","logStreamName":"a-1","limit":2`+extra+`}`, &p)
		return p
	}
	first := get(`,"startFromHead":true`)
	second := get(`,"nextToken":"` + first.NextForwardToken + `"`)
	third := get(`,"nextToken":"` + second.NextForwardToken + `"`)
	end := get(`,"nextToken":"` + third.NextForwardToken + `"`)
	if first.messages() != "1 2" || second.messages() != "3 4" || third.messages() != "5" || end.messages() != "" {
		t.Errorf("forward: %q %q %q %q", first.messages(), second.messages(), third.messages(), end.messages())
	}
	if end.NextForwardToken != third.NextForwardToken {
		t.Errorf("the end moves: %s, %s", end.NextForwardToken, third.NextForwardToken)
	}
	if back := get(`,"nextToken":"` + third.NextBackwardToken + `"`); back.messages() != "3 4" {
		t.Errorf("back: %q", back.messages())
	}
	if last := get(""); last.messages() != "4 5" {
		t.Errorf("the newest: %q", last.messages())
	}
	r.put("a-1", "6")
	if more := get(`,"nextToken":"` + end.NextForwardToken + `"`); more.messages() != "6" {
		t.Errorf("following: %q", more.messages())
	}
}

func TestFiltering(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.put("a-1", "ERROR one", "fine")
	r.put("b-1", "ERROR two", "ERROR three")
	filter := func(extra string) page {
		t.Helper()
		var p page
		r.must("FilterLogEvents", `{"logGroupIdentifier":"`+group+`:*","filterPattern":"ERROR"`+extra+`}`, &p)
		return p
	}
	if all := filter(""); all.messages() != "ERROR one ERROR two ERROR three" || all.Events[0].LogStreamName != "a-1" ||
		all.NextToken != "" {
		t.Errorf("%+v", all)
	}
	if b := filter(`,"logStreamNamePrefix":"b"`); b.messages() != "ERROR two ERROR three" {
		t.Errorf("%+v", b)
	}
	if a := filter(`,"logStreamNames":["a-1"]`); a.messages() != "ERROR one" {
		t.Errorf("%+v", a)
	}
	one := filter(`,"limit":1`)
	two := filter(`,"limit":1,"nextToken":"` + one.NextToken + `"`)
	if one.messages() != "ERROR one" || two.messages() != "ERROR two" {
		t.Errorf("%+v %+v", one, two)
	}
}

// TestTheTrailHasNoMessages: readers of the audit trail must not see the
// content of session logs.
func TestTheTrailHasNoMessages(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.put("a-1", "swordfish")
	r.call("NOBODY", "PutLogEvents",
		`{"logGroupName":"/g","logStreamName":"a-1","logEvents":[{"timestamp":1,"message":"swordfish"}]}`, nil)
	r.call("ADMIN", "PutLogEvents",
		`{"logGroupName":"/g","logStreamName":["odd"],"logEvents":[{"timestamp":1,"message":"swordfish"}]}`, nil)
	found := 0
	for _, e := range r.trail.Events() {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "swordfish") {
			t.Errorf("the trail has a message: %s", b)
		}
		if e.EventName == "PutLogEvents" {
			found++
		}
	}
	if found != 3 {
		t.Errorf("%d calls in the trail", found)
	}
}

func TestListingGroups(t *testing.T) {
	t.Parallel()
	r := start(t)
	for i := range 4 {
		r.must("CreateLogGroup", fmt.Sprintf(`{"logGroupName":"x/%d","kmsKeyId":"k","tags":{"a":"b"}}`, i), nil)
	}
	type answer struct {
		LogGroups []struct{ LogGroupName, KmsKeyId, Arn string }
		NextToken string
	}
	var names []string
	token := ""
	for {
		var a answer
		r.must("DescribeLogGroups", `{"logGroupNamePrefix":"x/","limit":3,"nextToken":"`+token+`"}`, &a)
		for _, g := range a.LogGroups {
			names = append(names, g.LogGroupName)
			if g.KmsKeyId != "k" || g.Arn != "arn:aws:logs:us-east-1:123456789012:log-group:"+g.LogGroupName+":*" {
				t.Errorf("%+v", g)
			}
		}
		if token = a.NextToken; token == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "x/0 x/1 x/2 x/3" {
		t.Errorf("%s", got)
	}
	var all answer
	r.must("DescribeLogGroups", `{"logGroupNamePattern":"/"}`, &all)
	if len(all.LogGroups) != 5 {
		t.Errorf("%+v", all)
	}
}

func TestListLogGroups(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, name := range []string{"/app/one", "/app/two", "other"} {
		r.must("CreateLogGroup", `{"logGroupName":"`+name+`"}`, nil)
	}
	list := func(body string) (names []string, next string) {
		t.Helper()
		var out struct {
			LogGroups []struct {
				Name  string `json:"logGroupName"`
				ARN   string `json:"logGroupArn"`
				Class string `json:"logGroupClass"`
			} `json:"logGroups"`
			NextToken string `json:"nextToken"`
		}
		r.must("ListLogGroups", body, &out)
		for _, g := range out.LogGroups {
			if g.Class != "STANDARD" || g.ARN != "arn:aws:logs:us-east-1:123456789012:log-group:"+g.Name {
				t.Errorf("%+v", g)
			}
			names = append(names, g.Name)
		}
		return names, out.NextToken
	}
	for body, want := range map[string]string{
		`{}`:                                      "/app/one /app/two /g other",
		`{"logGroupNamePattern":"^/app|the"}`:     "/app/one /app/two other",
		`{"logGroupNamePattern":"^the"}`:          "",
		`{"logGroupClass":"INFREQUENT_ACCESS"}`:   "",
		`{"accountIdentifiers":["123456789012"]}`: "/app/one /app/two /g other",
		`{"accountIdentifiers":["999999999999"]}`: "",
	} {
		if got, _ := list(body); strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	first, next := list(`{"limit":3}`)
	rest, end := list(`{"limit":3,"nextToken":"` + next + `"}`)
	if len(first) != 3 || len(rest) != 1 || end != "" {
		t.Errorf("pages of %q and %q, then %q", first, rest, end)
	}
	for _, body := range []string{`{"limit":0}`, `{"limit":1001}`, `{"logGroupNamePattern":"x"}`,
		`{"logGroupNamePattern":"abc|*"}`, `{"nextToken":"x"}`, `{"includeLinkedAccounts":true}`} {
		if e := r.call("ADMIN", "ListLogGroups", body, nil); e != "InvalidParameterException" {
			t.Errorf("%s: %q", body, e)
		}
	}
	if e := r.call("NOBODY", "ListLogGroups", `{}`, nil); e != "AccessDeniedException" {
		t.Errorf("without permission: %q", e)
	}
}

func TestTagsOfLogGroups(t *testing.T) {
	t.Parallel()
	r := start(t)
	tags := func(op, body string) string {
		t.Helper()
		var out struct{ Tags map[string]string }
		r.must(op, body, &out)
		return fmt.Sprint(out.Tags)
	}
	const old, resource = `{"logGroupName":"/g"}`, `{"resourceArn":"` + group + `"}`
	r.must("TagLogGroup", `{"logGroupName":"/g","tags":{"a":"1","b":"2"}}`, nil)
	r.must("TagResource", `{"resourceArn":"`+group+`","tags":{"c":"3"}}`, nil)
	r.must("UntagLogGroup", `{"logGroupName":"/g","tags":["b"]}`, nil)
	for op, body := range map[string]string{"ListTagsLogGroup": old, "ListTagsForResource": resource} {
		if got := tags(op, body); got != "map[a:1 c:3]" {
			t.Errorf("%s: %s", op, got)
		}
	}
	for op, body := range map[string]string{"ListTagsLogGroup": old,
		"TagLogGroup": `{"logGroupName":"/g","tags":{"d":"4"}}`, "UntagLogGroup": `{"logGroupName":"/g","tags":["a"]}`} {
		if e := r.call("NOBODY", op, body, nil); e != "AccessDeniedException" {
			t.Errorf("%s without permission: %q", op, e)
		}
	}
	if e := r.call("ADMIN", "ListTagsLogGroup", `{"logGroupName":"none"}`, nil); e != "ResourceNotFoundException" {
		t.Errorf("a missing group: %q", e)
	}
}

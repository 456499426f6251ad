package servertest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// startAnswer is the response of CheckSessionStart.
type startAnswer struct {
	Ready          bool
	ReasonRequired bool
	Checks         []struct{ Kind, Outcome, Text, Hint string }
	Windows        []struct{ From, To float64 }
}

func (a *startAnswer) String() string {
	var out []string
	for _, c := range a.Checks {
		out = append(out, c.Kind+" "+c.Outcome)
	}
	return strings.Join(out, ", ")
}

func (a *startAnswer) text(kind string) string {
	for _, c := range a.Checks {
		if c.Kind == kind {
			return c.Text
		}
	}
	return ""
}

func checkStart(t *testing.T, s *servertest.Server, c sigv4.Credentials, n *servertest.Node) *startAnswer {
	t.Helper()
	a := s.JSON(c, "sekisho", "CheckSessionStart", map[string]any{"Target": n.ID})
	if a.Status != http.StatusOK {
		t.Fatalf("CheckSessionStart: %d %s", a.Status, a.Body)
	}
	var out startAnswer
	a.Decode(t, &out)
	return &out
}

// TestCheckSessionStart: obstacles to a session are reported before the start,
// one at a time, and only to callers who can start one.
func TestCheckSessionStart(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	nobody := s.User("nobody", "")

	if got := checkStart(t, s, s.Admin, n); got.String() != "Access Ready, Recording Ready, Node Failing" ||
		got.Ready ||
		!strings.Contains(got.text("Node"), "never opened its message channel") {
		t.Errorf("a node that is not connected: %+v", got)
	}
	if got := checkStart(t, s, nobody, n); got.String() != "Access Failing" || got.Ready ||
		!strings.Contains(got.text("Access"), "ssm:StartSession") {
		t.Errorf("a user who cannot start sessions: %+v", got)
	}
	n.Connect()
	if got := checkStart(t, s, s.Admin, n); got.String() != "Access Ready, Recording Ready, Node Ready" || !got.Ready ||
		len(got.Windows) != 0 {
		t.Errorf("a connected node and a permitted user: %+v", got)
	}

	// Logs go to a bucket: the node's role must be allowed to put objects
	// there.
	if a := s.Do(nil, s.Admin, "s3", http.MethodPut, "/session-logs", ""); a.Status != http.StatusOK {
		t.Fatalf("create bucket: %s", a.Body)
	}
	preferences := `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"session-logs",` +
		`"s3KeyPrefix":"a","s3EncryptionEnabled":true,"sekisho":{"reasonRequired":true}}}`
	if a := s.JSON(s.Admin, "ssm", "CreateDocument",
		map[string]any{"Name": "SSM-SessionManagerRunShell", "DocumentType": "Session",
			"Content": preferences}); a.Status != http.StatusOK {
		t.Fatalf("preferences: %s", a.Body)
	}
	got := checkStart(t, s, s.Admin, n)
	if got.String() != "Access Ready, Recording Ready, Node Ready, Logs Warning" || got.Ready || !got.ReasonRequired ||
		!strings.Contains(got.text("Logs"), "s3:PutObject") {
		t.Errorf("a role without the right: %+v", got)
	}
	grant := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject",` +
		`"s3:GetEncryptionConfiguration"],"Resource":["arn:aws:s3:::session-logs","arn:aws:s3:::session-logs/*"]}]}`
	must(
		t,
		s.Directory.Holders.PutInline(
			t.Context(),
			identity.KindRole,
			"AmazonEC2RunCommandRoleForManagedInstances",
			"Logs",
			grant,
		),
	)
	if got := checkStart(t, s, s.Admin, n); got.String() != "Access Ready, Recording Ready, Node Ready, Logs Ready" ||
		!got.Ready ||
		!strings.Contains(got.text("Logs"), "s3://session-logs/a/SESSION-ID.log") {
		t.Errorf("a role with the right: %+v", got)
	}
	if got := checkStart(t, s, nobody, n); got.String() != "Access Failing" || got.ReasonRequired {
		t.Errorf("the preferences for a user who cannot start sessions: %+v", got)
	}
}

// TestStartWindows: the check reports when a permission with hours begins and
// ends.
func TestStartWindows(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 4, 14, 12, 0, 0, 0, time.UTC)
	s := servertest.StartWith(t, func(c *server.Config) { c.Now = func() time.Time { return now } })
	n := s.Node()
	alice := s.User(
		"alice",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:StartSession","Resource":"*",
		"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-04-15T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-04-15T04:00:00Z"}}}]}`,
	)
	got := checkStart(t, s, alice, n)
	from, to := time.Date(2026, 4, 15, 0, 0, 1, 0, time.UTC), time.Date(2026, 4, 15, 4, 0, 0, 0, time.UTC)
	if got.String() != "Access Failing" || len(got.Windows) != 1 || int64(got.Windows[0].From) != from.Unix() ||
		int64(got.Windows[0].To) != to.Unix() {
		t.Errorf("before: %+v, want %d to %d", got, from.Unix(), to.Unix())
	}
}

// TestMyAccess: callers can query what their own policies allow.
func TestMyAccess(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	alice := s.User("alice", servertest.Allow("arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell", "ssm:GetDocument"))
	a := s.JSON(alice, "sekisho", "DescribeMyAccess", map[string]any{"Questions": []map[string]any{
		{"Action": "ssm:GetDocument", "DocumentName": "SSM-SessionManagerRunShell"},
		{"Action": "ssm:UpdateDocument", "DocumentName": "SSM-SessionManagerRunShell"},
		{"Action": "ssm:AddTagsToResource", "Target": n.ID},
		{"Action": "s3:ListAllMyBuckets"},
		{"Action": "ssm:GetDocument", "AnyResource": true},
		{"Action": "ssm:UpdateDocument", "AnyResource": true},
	}})
	var out struct {
		Answers []struct {
			Action, Message string
			Allowed         bool
		}
	}
	if a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	a.Decode(t, &out)
	if len(out.Answers) != 6 || !out.Answers[0].Allowed || !out.Answers[4].Allowed || out.Answers[5].Allowed {
		t.Fatalf("%+v", out)
	}
	for _, x := range out.Answers[1:4] {
		if x.Allowed || !strings.Contains(x.Message, "alice is not authorized to perform: "+x.Action) {
			t.Errorf("%+v", x)
		}
	}
	for _, bad := range []any{map[string]any{}, map[string]any{"Questions": []map[string]any{{"Target": n.ID}}},
		map[string]any{"Questions": []map[string]any{{"Action": "ssm:*"}}},
		map[string]any{"Questions": []map[string]any{{"Action": "ssm:*", "AnyResource": true}}}} {
		if a := s.JSON(alice, "sekisho", "DescribeMyAccess", bad); a.Code() != "ValidationException" {
			t.Errorf("%v: %d %s", bad, a.Status, a.Body)
		}
	}
}

// TestBucketsInTheConsole: S3 calls with a console sign-in have the
// permissions of its user and no others.
func TestBucketsInTheConsole(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("alice", servertest.Allow("arn:aws:s3:::session-logs/mine/*", "s3:PutObject", "s3:GetObject"))
	_, err := s.Directory.Logins.Create(t.Context(), "alice", password, false)
	must(t, err)
	if a := s.Do(nil, s.Admin, "s3", http.MethodPut, "/session-logs", ""); a.Status != http.StatusOK {
		t.Fatalf("create bucket: %s", a.Body)
	}
	b := s.Browser()
	if a := b.SignIn("alice", password); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	for _, c := range []struct {
		line   string
		status int
		code   string
	}{
		{"PUT /session-logs/mine//a%20b.log", http.StatusOK, ""},
		{"GET /session-logs/mine//a%20b.log", http.StatusOK, ""},
		{"PUT /session-logs/other.log", http.StatusForbidden, "AccessDenied"},
		{"GET /", http.StatusForbidden, "AccessDenied"},
		{"GET /session-logs?versioning", http.StatusForbidden, "AccessDenied"},
	} {
		a := b.Request(http.MethodPost, "/console/api/s3", "text", "X-Sekisho-S3", c.line)
		if a.Status != c.status || c.code != "" && !strings.Contains(a.Body, "<Code>"+c.code+"<") {
			t.Errorf("%s: %d %s", c.line, a.Status, a.Body)
		}
		if strings.HasPrefix(c.line, "GET /session-logs/mine") && a.Body != `"text"` {
			t.Errorf("%s: %s", c.line, a.Body)
		}
		if c.status == http.StatusOK && a.Header.Get("Content-Security-Policy") != "sandbox; default-src 'none'" {
			t.Errorf("%s: %v", c.line, a.Header)
		}
	}
	if e := s.Events("PutObject"); len(e) != 2 || e[0].RequestParameters["key"] != "other.log" ||
		e[1].RequestParameters["key"] != "mine//a b.log" {
		t.Errorf("the trail says %+v", e)
	}
	if a := s.Browser().Request(http.MethodPost, "/console/api/s3", "", "X-Sekisho-S3",
		"GET /session-logs/mine//a%20b.log"); a.Status != http.StatusUnauthorized {
		t.Errorf("signed out: %d %s", a.Status, a.Body)
	}
}

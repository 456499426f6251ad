package servertest_test

import (
	"net/http"
	"strings"
	"testing"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// TestHealthAndUsage: both pages need their own permission, and show what the server knows.
func TestHealthAndUsage(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	s.Session(s.User("alice", servertest.Allow("*", "ssm:StartSession")), n)
	reader := s.User("reader", servertest.Allow("*", "sekisho:GetHealth", "sekisho:GetUsage"))
	var health struct {
		Status                         string
		Problems                       []struct{ Code string }
		NodesConnected, SessionsActive int
		DiskBytes, DiskFreeBytes       int64
		StartedAt, CheckedAt           float64
	}
	s.JSON(reader, "sekisho", "GetHealth", fields{}).Decode(t, &health)
	if health.Status != "Healthy" || len(health.Problems) != 0 || health.NodesConnected != 1 ||
		health.DiskFreeBytes <= 0 || health.DiskBytes < health.DiskFreeBytes || health.CheckedAt < health.StartedAt {
		t.Errorf("%+v", health)
	}
	var usage struct {
		From, To string
		Usage    []struct {
			Date, PrincipalArn, NodeID, DocumentName string
			Sessions                                 int
		}
	}
	s.JSON(reader, "sekisho", "GetUsage", fields{}).Decode(t, &usage)
	if len(usage.Usage) != 1 || usage.Usage[0].Sessions != 1 || usage.Usage[0].NodeID != n.ID ||
		!strings.HasSuffix(usage.Usage[0].PrincipalArn, ":user/alice") || usage.Usage[0].Date != usage.To {
		t.Errorf("%+v", usage)
	}
	s.JSON(reader, "sekisho", "GetUsage", fields{"From": "2020-02-28", "Days": 3}).Decode(t, &usage)
	if len(usage.Usage) != 0 || usage.From != "2020-02-28" || usage.To != "2020-03-01" {
		t.Errorf("days without sessions: %+v", usage)
	}
	for _, bad := range []fields{{"Days": 32}, {"Days": -1}, {"From": "yesterday"}} {
		if a := s.JSON(reader, "sekisho", "GetUsage", bad); a.Code() != "ValidationException" {
			t.Errorf("%v: %d %s", bad, a.Status, a.Body)
		}
	}
}

// TestValidatePolicy: the answer is IAM's own error, or warnings about session logs for callers who
// can read the preferences.
func TestValidatePolicy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if a := s.Do(nil, s.Admin, "s3", http.MethodPut, "/session-logs", ""); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	preferences := `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"session-logs",` +
		`"s3KeyPrefix":"a"}}`
	if a := s.JSON(s.Admin, "ssm", "CreateDocument", fields{
		"Name": preferencesName, "DocumentType": "Session", "Content": preferences,
	}); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	nobody := s.User("nobody", "")
	codes := func(caller sigv4.Credentials, document, kind string) string {
		t.Helper()
		var out struct {
			Findings []struct{ IssueCode, Action string }
		}
		a := s.JSON(caller, "sekisho", "ValidatePolicy", fields{"PolicyDocument": document, "PolicyType": kind})
		if a.Status != http.StatusOK {
			return a.Code()
		}
		a.Decode(t, &out)
		var all []string
		for _, f := range out.Findings {
			all = append(all, strings.TrimSpace(f.IssueCode+" "+f.Action))
		}
		return strings.Join(all, ", ")
	}
	const overwritable, destroyable = "LOGS_CAN_BE_OVERWRITTEN s3:PutObject", "LOGS_CAN_BE_DESTROYED "
	statement := func(action, resource, more string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + action + `,"Resource":"` + resource +
			`"` +
			more + `}]}`
	}
	for _, c := range []struct{ name, document, kind, want string }{
		{"harmless", statement(`"ssm:StartSession"`, "*", ""), "", ""},
		{"no policy", `{"Version":"2012-10-17"}`, "", "MalformedPolicyDocument"},
		{"not JSON", `{"Version"`, "", "MalformedPolicyDocument"},
		{"an action without a service", statement(`"StartSession"`, "*", ""), "", "MalformedPolicyDocument"},
		{"every object", statement(`"s3:PutObject"`, "arn:aws:s3:::session-logs/*", ""), "", overwritable},
		{"every object, on a condition",
			statement(`"s3:PutObject"`, "*", `,"Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.1"}}`), "", overwritable},
		{"another prefix", statement(`"s3:PutObject"`, "arn:aws:s3:::session-logs/b/*", ""), "", ""},
		{"versions", statement(`["s3:DeleteObjectVersion","s3:PutBucketVersioning"]`, "*", ""), "",
			destroyable + "s3:DeleteObjectVersion, " + destroyable + "s3:PutBucketVersioning"},
		{"a trust policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":` +
			`{"Service":"ssm.amazonaws.com"}}]}`, "TRUST_POLICY", ""},
		{"a trust policy of another action", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
			`"Action":"s3:GetObject",` +
			`"Principal":{"Service":"ssm.amazonaws.com"}}]}`, "TRUST_POLICY", "MalformedPolicyDocument"},
		{"an unknown kind", statement(`"ssm:StartSession"`, "*", ""), "POLICY", "ValidationException"},
		{"nothing", "", "", "ValidationException"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := codes(s.Admin, c.document, c.kind); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if got := codes(nobody, statement(`"s3:PutObject"`, "*", ""), ""); got != "" {
		t.Errorf("a caller who cannot read the preferences sees the findings %q", got)
	}
	if e := s.Events("ValidatePolicy"); len(e) > 3 { // the refused ones
		t.Errorf("%d events of successful checks", len(e))
	}
}

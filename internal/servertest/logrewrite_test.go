package servertest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
)

// rewrites are the alerts about rewritten logs in the audit trail, newest
// first.
func rewrites(s *servertest.Server) []string {
	out := []string{}
	for _, e := range s.Events("SessionLogRewritten") {
		d := e.AdditionalEventData
		out = append(out, fmt.Sprintf("%v of %v by %v", d["outcome"], d["operation"], d["instanceId"]))
	}
	return out
}

// TestLogsAreWrittenOnce: the role of a node may put objects, so a node could
// replace a log. With versioning, the first version stays and the second is
// reported. Without, the second write is refused.
func TestLogsAreWrittenOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		versioned bool
		refuse    bool // by the server's configuration
		kept      bool // whether the second write makes a version
	}{
		{"versions", true, false, true},
		{"no versions, and refused", false, false, false},
		{"versions, and refused", true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var later time.Duration
			s := servertest.StartWith(t, func(cfg *server.Config) {
				cfg.RefuseLogRewrites = c.refuse
				cfg.Now = func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return time.Now().Add(later)
				}
			})
			n, other := s.Node(), s.Node()
			n.Connect()
			must(
				t,
				s.Directory.Holders.PutInline(
					t.Context(),
					identity.KindRole,
					"AmazonEC2RunCommandRoleForManagedInstances",
					"Logs",
					servertest.Allow(
						"*",
						"s3:PutObject",
						"s3:DeleteObject",
						"s3:DeleteObjectVersion",
						"s3:GetObject",
						"s3:ListBucket",
					),
				),
			)
			admin := func(method, path, body string) servertest.Answer {
				t.Helper()
				a := s.Do(nil, s.Admin, "s3", method, path, body)
				if a.Status >= 300 {
					t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
				}
				return a
			}
			admin(http.MethodPut, "/session-logs", "")
			if c.versioned {
				admin(
					http.MethodPut,
					"/session-logs?versioning",
					`<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`,
				)
			}
			preferences := `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"session-logs",` +
				`"s3KeyPrefix":"a"}}`
			if a := s.JSON(s.Admin, "ssm", "CreateDocument",
				map[string]any{"Name": "SSM-SessionManagerRunShell", "DocumentType": "Session",
					"Content": preferences}); a.Status != http.StatusOK {
				t.Fatal(a.Body)
			}
			x := s.Session(s.User("alice", servertest.Allow("*", "ssm:StartSession", "ssm:TerminateSession")), n)
			if a := s.JSON(s.Admin, "ssm", "TerminateSession", map[string]string{"SessionId": x.ID}); a.Status != http.StatusOK {
				t.Fatal(a.Body)
			}
			ended(s, x.ID)
			log := "/session-logs/a/" + x.ID + ".log"
			node := func(who *servertest.Node, method, path, body string) servertest.Answer {
				return s.Do(nil, who.Credentials, "s3", method, path, body)
			}

			// A log that was delivered, and is sent again because the response
			// was lost, is accepted.
			for range 2 {
				if a := node(n, http.MethodPut, log, "what was shown"); a.Status != http.StatusOK {
					t.Fatalf("the delivery: %d %s", a.Status, a.Body)
				}
			}
			if got := rewrites(s); len(got) != 0 {
				t.Fatalf("the delivery was reported: %v", got)
			}
			// Other objects are not session logs, and users are not nodes.
			if a := node(n, http.MethodPut, "/session-logs/a/other.log", ""); a.Status != http.StatusOK {
				t.Errorf("another object: %d %s", a.Status, a.Body)
			}

			mu.Lock()
			later = time.Hour
			mu.Unlock()
			want := func(a servertest.Answer, outcome, operation string, who *servertest.Node) {
				t.Helper()
				if !c.kept {
					outcome = "Refused"
				}
				if (a.Status < 300) != c.kept ||
					!c.kept &&
						(!strings.Contains(a.Body, "<Code>AccessDenied<") || !strings.Contains(a.Body, "the log of session "+x.ID)) {
					t.Errorf("%s: %d %s", operation, a.Status, a.Body)
				}
				if !c.kept && !c.versioned && !strings.Contains(a.Body, "put-bucket-versioning --bucket session-logs") {
					t.Errorf("%s: the error does not suggest to turn on versioning: %s", operation, a.Body)
				}
				if got := rewrites(s); len(got) == 0 || got[0] != outcome+" of "+operation+" by "+who.ID {
					t.Errorf("%s: reported %v", operation, got)
				}
			}
			want(node(n, http.MethodPut, log, ""), "NewVersion", "PutObject", n)
			want(node(other, http.MethodPut, log, "forged"), "NewVersion", "PutObject", other)
			copied := s.Do(
				func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/session-logs/a/other.log") },
				n.Credentials,
				"s3",
				http.MethodPut,
				log,
				"",
			)
			want(copied, "NewVersion", "CopyObject", n)
			want(node(n, http.MethodDelete, log, ""), "DeleteMarker", "DeleteObject", n)
			told := len(rewrites(s))
			if told != 4 {
				t.Errorf("reported %v", rewrites(s))
			}

			// The first version stays in either case, and no node can delete
			// it.
			first := admin(http.MethodGet, "/session-logs?versions&prefix=a/"+x.ID, "").Body
			oldest := first[strings.LastIndex(first, "<VersionId>")+len("<VersionId>"):]
			oldest = oldest[:strings.Index(oldest, "<")]
			if a := admin(http.MethodGet, log+"?versionId="+oldest, ""); a.Body != "what was shown" {
				t.Errorf("the oldest version: %s", a.Body)
			}
			if a := node(n, http.MethodDelete, log+"?versionId="+oldest, ""); a.Status != http.StatusForbidden {
				t.Errorf("the oldest version was deleted: %d %s", a.Status, a.Body)
			}
			s.Eventually("the events", func() bool {
				a := s.JSON(s.Admin, "sekisho", "ListEvents", map[string]any{"DetailType": "Session Log Rewritten"})
				return strings.Count(a.Body, "Session Log Rewritten") == told+1
			})

			// Users may replace logs if policy allows it.
			admin(http.MethodPut, log, "by the administrator")
			if got := len(rewrites(s)); got != told+1 {
				t.Errorf("the administrator's write was reported: %v", rewrites(s))
			}
		})
	}
}

// TestForgedLog: a node cannot write the log of another node's session first
// if that would make the real log impossible to store.
func TestForgedLog(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, other := s.Node(), s.Node()
	n.Connect()
	must(
		t,
		s.Directory.Holders.PutInline(
			t.Context(),
			identity.KindRole,
			"AmazonEC2RunCommandRoleForManagedInstances",
			"Logs",
			servertest.Allow("*", "s3:PutObject"),
		),
	)
	if a := s.Do(nil, s.Admin, "s3", http.MethodPut, "/session-logs", ""); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	preferences := `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"session-logs"}}`
	if a := s.JSON(s.Admin, "ssm", "CreateDocument",
		map[string]any{"Name": "SSM-SessionManagerRunShell", "DocumentType": "Session",
			"Content": preferences}); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	x := s.Session(s.Admin, n)
	log := "/session-logs/" + x.ID + ".log"
	if a := s.Do(nil, other.Credentials, "s3", http.MethodPut, log, "forged"); a.Code() != "AccessDenied" {
		t.Errorf("a write by another node: %d %s", a.Status, a.Body)
	}
	if a := s.Do(nil, n.Credentials, "s3", http.MethodPut, log, "real"); a.Status != http.StatusOK {
		t.Errorf("a write by the node that owns the log: %d %s", a.Status, a.Body)
	}
	if got := rewrites(s); len(got) != 1 || got[0] != "Refused of PutObject by "+other.ID {
		t.Errorf("reported %v", got)
	}
}

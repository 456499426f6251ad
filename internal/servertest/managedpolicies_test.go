package servertest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
)

// TestManagedPoliciesForTasks: each policy allows the calls of its task, and
// refuses those of the others.
func TestManagedPoliciesForTasks(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	type request struct {
		service, operation string
		in                 fields
	}
	var (
		start = request{"ssm", "StartSession", fields{"Target": n.ID}}
		port  = request{
			"ssm",
			"StartSession",
			fields{
				"Target":       n.ID,
				"DocumentName": "AWS-StartPortForwardingSession",
				"Parameters":   fields{"portNumber": []string{"80"}},
			},
		}
		history  = request{"ssm", "DescribeSessions", fields{"State": "History"}}
		trail    = request{"cloudtrail", "LookupEvents", fields{}}
		read     = request{"sekisho", "GetIntegrity", fields{}}
		reports  = request{"cur", "DescribeReportDefinitions", fields{}}
		keys     = request{"kms", "ListKeys", fields{}}
		makeKey  = request{"kms", "CreateKey", fields{}}
		register = request{
			"ssm",
			"CreateActivation",
			fields{"IamRole": "service-role/AmazonEC2RunCommandRoleForManagedInstances"},
		}
		run = request{
			"ssm",
			"SendCommand",
			fields{
				"DocumentName": "AWS-RunShellScript",
				"InstanceIds":  []string{n.ID},
				"Parameters":   fields{"commands": []string{"id"}},
			},
		}
		asNode = request{"ec2messages", "GetMessages", fields{"Destination": n.ID}}
	)
	all := []request{start, port, history, trail, read, reports, keys, makeKey, register, run, asNode}
	for policy, allowed := range map[string][]request{
		"SekishoAuditorAccess":       {history, trail, read, reports, keys},
		"SekishoOnCallAccess":        {start, port, history},
		"SekishoAdministratorAccess": {start, port, history, trail, read, reports, keys, makeKey, register, run},
	} {
		who := s.User(policy, "")
		must(t, s.Directory.Holders.Attach(t.Context(), identity.KindUser, policy, "arn:aws:iam::aws:policy/"+policy))
		name := func(r request) string { return fmt.Sprintf("%s:%s %v", r.service, r.operation, r.in["DocumentName"]) }
		may := map[string]bool{}
		for _, r := range allowed {
			may[name(r)] = true
		}
		for _, r := range all {
			a := s.JSON(who, r.service, r.operation, r.in)
			if refused := a.Code() == "AccessDeniedException"; refused == may[name(r)] {
				t.Errorf("%s, %s: %d %s", policy, name(r), a.Status, a.Body)
			}
		}
	}
}

func TestInstallCommandWarnsOfLoopback(t *testing.T) {
	t.Parallel()
	agents := t.TempDir()
	s := servertest.StartWith(t, func(c *server.Config) { c.AgentDir = agents })
	quickSetup(t, s, s.Admin, "ApplyQuickSetup", fields{})
	for host, warned := range map[string]bool{
		"": true, "localhost:8443": true, "a.localhost": true, "127.0.0.2": true, "[::1]:8443": true, "0.0.0.0:1": true,
		"sekisho.example.com": false, "192.0.2.1:8443": false, "[2001:db8::1]:8443": false, "127.example.com": false,
	} {
		var out struct{ Warnings []string }
		a := s.JSON(s.Admin, "sekisho", "CreateInstallCommand", fields{"Host": host, "Agent": "amazon"})
		if a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", host, a.Status, a.Body)
		}
		a.Decode(t, &out)
		if got := len(out.Warnings) == 1 && strings.Contains(out.Warnings[0], "--host"); got != warned {
			t.Errorf("%q: %q, want a warning: %v", host, out.Warnings, warned)
		}
	}
}

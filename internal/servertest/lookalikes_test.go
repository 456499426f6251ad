package servertest_test

import (
	"strings"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
)

// A policy by which one user can act on the sessions of another, because their
// names begin alike, is warned of in the audit trail.
func TestPolicyThatCoversLookAlikesIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("ann-b", "")
	s.User("ann", "")
	b := s.Browser()
	p := password
	must(t, s.Directory.Logins.Update(t.Context(), "admin", &p, nil))
	b.SignIn("admin", password)
	b.Call("Sekisho.FinishFirstRun", map[string]string{"Statement": identity.DeclineMFAStatement})
	for pattern, want := range map[string]bool{"${aws:username}": true, "${aws:userid}": false} {
		document := servertest.Allow("arn:aws:ssm:*:*:session/"+pattern+"-*", "ssm:TerminateSession")
		if a := b.Query("PutUserPolicy", "UserName", "ann", "PolicyName", "own", "PolicyDocument", document); a.Status != 200 {
			t.Fatalf("%s: %d %s", pattern, a.Status, a.Body)
		}
		warned := false
		for _, e := range s.Events("PutUserPolicy") {
			text, _ := e.RequestParameters["policyDocument"].(string)
			list, _ := e.ResponseElements["warnings"].([]any)
			if strings.Contains(text, pattern) && len(list) == 1 {
				warned = true
			}
		}
		if warned != want {
			t.Errorf("%s: warned %v, want %v", pattern, warned, want)
		}
	}
}

package servertest_test

import (
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
)

// When a user gets a policy that covers the sessions of another user with a
// similar name, in any way, the audit event of the call warns, and "why" notes
// it.
func TestPolicyThatCoversSimilarNamesRaisesAWarning(t *testing.T) {
	t.Parallel()
	for name, calls := range map[string]func(document string) [][]string{
		"PutUserPolicy": func(d string) [][]string {
			return [][]string{{"PutUserPolicy", "UserName", "ann", "PolicyName", "own", "PolicyDocument", d}}
		},
		"AttachUserPolicy": func(d string) [][]string {
			return [][]string{
				{"CreatePolicy", "PolicyName", "own", "PolicyDocument", d},
				{"AttachUserPolicy", "UserName", "ann", "PolicyArn", ownPolicy},
			}
		},
		"PutGroupPolicy": func(d string) [][]string {
			return [][]string{
				{"CreateGroup", "GroupName", "people"},
				{"AddUserToGroup", "GroupName", "people", "UserName", "ann"},
				{"PutGroupPolicy", "GroupName", "people", "PolicyName", "own", "PolicyDocument", d},
			}
		},
		"AttachGroupPolicy": func(d string) [][]string {
			return [][]string{
				{"CreateGroup", "GroupName", "people"},
				{"AddUserToGroup", "GroupName", "people", "UserName", "ann"},
				{"CreatePolicy", "PolicyName", "own", "PolicyDocument", d},
				{"AttachGroupPolicy", "GroupName", "people", "PolicyArn", ownPolicy},
			}
		},
		"AddUserToGroup": func(d string) [][]string {
			return [][]string{
				{"CreateGroup", "GroupName", "people"},
				{"PutGroupPolicy", "GroupName", "people", "PolicyName", "own", "PolicyDocument", d},
				{"AddUserToGroup", "GroupName", "people", "UserName", "ann"},
			}
		},
		"CreatePolicyVersion": func(d string) [][]string {
			return [][]string{
				{"CreatePolicy", "PolicyName", "own", "PolicyDocument", servertest.Allow("*", "ssm:DescribeSessions")},
				{"AttachUserPolicy", "UserName", "ann", "PolicyArn", ownPolicy},
				{"CreatePolicyVersion", "PolicyArn", ownPolicy, "PolicyDocument", d, "SetAsDefault", "true"},
			}
		},
		"SetDefaultPolicyVersion": func(d string) [][]string {
			return [][]string{
				{"CreatePolicy", "PolicyName", "own", "PolicyDocument", servertest.Allow("*", "ssm:DescribeSessions")},
				{"AttachUserPolicy", "UserName", "ann", "PolicyArn", ownPolicy},
				{"CreatePolicyVersion", "PolicyArn", ownPolicy, "PolicyDocument", d},
				{"SetDefaultPolicyVersion", "PolicyArn", ownPolicy, "VersionId", "v2"},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for pattern, want := range map[string]bool{"${aws:username}": true, "${aws:userid}": false} {
				s := servertest.Start(t)
				s.User("ann-b", "")
				s.User("ann", "")
				b := s.Browser()
				p := password
				must(t, s.Directory.Logins.Update(t.Context(), "admin", &p, nil))
				b.SignIn("admin", password)
				b.Call("Sekisho.FinishFirstRun", map[string]string{"Statement": identity.DeclineMFAStatement})
				document := servertest.Allow("arn:aws:ssm:*:*:session/"+pattern+"-*", "ssm:TerminateSession")
				list := calls(document)
				for _, call := range list {
					if a := b.Query(call[0], call[1:]...); a.Status != 200 {
						t.Fatalf("%s: %d %s", call[0], a.Status, a.Body)
					}
				}
				for i, call := range list {
					for _, e := range s.Events(call[0]) {
						warnings, _ := e.ResponseElements["warnings"].([]any)
						if last := i == len(list)-1; (len(warnings) == 1) != (want && last) {
							t.Errorf("%s with %s: warnings %v", call[0], pattern, warnings)
						}
					}
				}
				p2, err := s.Directory.Users.Principal(t.Context(), "ann")
				must(t, err)
				statement, err := s.Directory.Sets.CoversSessions(t.Context(), &p2, "ann-b")
				if err != nil || (statement != "") != want {
					t.Errorf("why with %s: %q, %v", pattern, statement, err)
				}
			}
		})
	}
}

// ownPolicy is the ARN of the customer managed policy "own".
const ownPolicy = "arn:aws:iam::123456789012:policy/own"

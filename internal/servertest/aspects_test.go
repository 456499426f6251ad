package servertest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/internal/servertest"
)

// The refusal of StartSession, the check before it, the answer of "why" and
// the policy simulator name the same failed aspect, and the refusal says what
// would satisfy it.
func TestRefusalsNameWhatFailed(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	opens := time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
	condition := func(operator, key, value string) string {
		return allowIf(map[string]any{operator: map[string]string{key: value}})
	}
	for i, tt := range []struct {
		aspect, policy, remedy string
	}{
		{"Who", servertest.Allow("*", "ssm:DescribeSessions"), "ask an administrator"},
		{"Who", condition("StringEquals", "aws:PrincipalTag/Team", "db"), "ask an administrator"},
		{"Where", condition("IpAddress", "aws:SourceIp", "203.0.113.0/24"), "127.0.0.1"},
		{"Which", condition("StringEquals", "ssm:resourceTag/Env", "secret-environment"), "use one that your policies cover"},
		{"Which", servertest.Allow("arn:aws:ssm:*:*:managed-instance/mi-00000000000000000", "ssm:StartSession"),
			"use one that"},
		{"When", condition("DateGreaterThan", "aws:CurrentTime", opens), opens[:13]},
		{"When", condition("DateLessThan", "aws:CurrentTime", "2020-01-01T00:00:00Z"), "not allowed at this time"},
		{"MFA", condition("Bool", "aws:MultiFactorAuthPresent", "true"), "second factor"},
		{"MFA", condition("NumericLessThan", "aws:MultiFactorAuthAge", "900"), "second factor"},
	} {
		name := fmt.Sprint("user-", i)
		keys := s.User(name, tt.policy)
		a := s.JSON(keys, "ssm", "StartSession", fields{"Target": n.ID})
		var refused struct{ Failed, Message string }
		a.Decode(t, &refused)
		if a.Code() != "AccessDeniedException" || refused.Failed != tt.aspect {
			t.Errorf("%s: StartSession failed because of %q: %s", tt.policy, refused.Failed, a.Body)
		}
		if !strings.Contains(refused.Message, tt.aspect+": ") || !strings.Contains(refused.Message, tt.remedy) {
			t.Errorf("%s: the remedy is %q", tt.policy, refused.Message)
		}
		if strings.Contains(a.Body, "secret-environment") || strings.Contains(a.Body, "203.0.113") {
			t.Errorf("the response reveals the values that policies require: %s", a.Body)
		}
		var check struct{ Failed []string }
		s.JSON(keys, "sekisho", "CheckSessionStart", fields{"Target": n.ID}).Decode(t, &check)
		var why struct {
			Failed []string
			Reason string
		}
		s.JSON(s.Admin, "sekisho", "ExplainAccess", fields{"UserName": name, "Target": n.ID, "SourceIp": "127.0.0.1"}).
			Decode(t, &why)
		for from, failed := range map[string][]string{"CheckSessionStart": check.Failed, "ExplainAccess": why.Failed} {
			if !slices.Equal(failed, []string{tt.aspect}) {
				t.Errorf("%s: %s says %q", tt.policy, from, failed)
			}
		}
		form := url.Values{
			"Action": {"SimulatePrincipalPolicy"}, "Version": {"2010-05-08"},
			"PolicySourceArn":      {"arn:aws:iam::" + servertest.Account + ":user/" + name},
			"ActionNames.member.1": {"ssm:StartSession"},
			"ResourceArns.member.1": {"arn:aws:ssm:" + servertest.Region + ":" + servertest.Account +
				":managed-instance/" + n.ID},
			"ContextEntries.member.1.ContextKeyName":            {"aws:SourceIp"},
			"ContextEntries.member.1.ContextKeyType":            {"ip"},
			"ContextEntries.member.1.ContextKeyValues.member.1": {"127.0.0.1"},
		}
		simulated := s.Do(func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}, s.Admin, "iam", http.MethodPost, "/", form.Encode())
		if !strings.Contains(simulated.Body, "<SekishoFailed>"+tt.aspect+"</SekishoFailed>") {
			t.Errorf("%s: the simulator says %d %s", tt.policy, simulated.Status, simulated.Body)
		}
	}
}

// Callers without permission on a node do not learn whether it exists.
func TestRefusalsDoNotRevealNodes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	eve := s.User("eve", servertest.Allow("*", "ssm:DescribeSessions"))
	const missing = "mi-0123456789abcdef0"
	for service, operations := range map[string]map[string]func(id string) fields{
		"ssm": {
			"StartSession":        func(id string) fields { return fields{"Target": id} },
			"GetConnectionStatus": func(id string) fields { return fields{"Target": id} },
			"StartAccessRequest": func(id string) fields {
				return fields{"Reason": "x", "Targets": []fields{{"Key": "InstanceIds", "Values": []string{id}}}}
			},
		},
		"sekisho": {
			"CheckSessionStart": func(id string) fields { return fields{"Target": id} },
			"ExplainAccess":     func(id string) fields { return fields{"UserName": "admin", "Target": id} },
			"ListNodeAccess":    func(id string) fields { return fields{"Target": id} },
		},
	} {
		for operation, in := range operations {
			there, not := s.JSON(eve, service, operation, in(n.ID)), s.JSON(eve, service, operation, in(missing))
			if there.Status != not.Status || there.Code() != not.Code() ||
				strings.ReplaceAll(there.Body, n.ID, missing) != not.Body {
				t.Errorf("%s answers differently for an existing and a missing node:\n%d %s\n%d %s",
					operation, there.Status, there.Body, not.Status, not.Body)
			}
		}
	}
}

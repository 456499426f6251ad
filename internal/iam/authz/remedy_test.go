package authz_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
)

// A denial names the aspect that failed and what would satisfy it. It reveals the
// policies to nobody who may not simulate them.
func TestDenialNamesWhatFailed(t *testing.T) {
	t.Parallel()
	const action, node = "ssm:StartSession", "arn:aws:ssm:eu-central-1:123456789012:managed-instance/mi-0123456789abcdef0"
	const secret = "203.0.113.0/24"
	allow := func(rest string) string { return `{"Effect":"Allow","Action":"ssm:StartSession",` + rest + `}` }
	where := `"Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"` + secret + `"}}`
	when := `"DateGreaterThan":{"aws:CurrentTime":"2026-04-15T04:00:00Z"}`
	office := `"StringEquals":{"sekisho:Weekday/Asia/Tokyo":"Thu"},` +
		`"DateGreaterThanEquals":{"sekisho:TimeOfDay/Asia/Tokyo":"09:00"}`
	fresh := `"NumericLessThan":{"aws:MultiFactorAuthAge":"900"}`
	at := time.Date(2026, 4, 15, 2, 0, 0, 0, time.UTC) // a Wednesday
	for name, c := range map[string]struct {
		policy string
		failed []policy.Aspect
		factor bool
		says   string
	}{
		"no permission": {`{"Effect":"Allow","Action":"ssm:DescribeSessions","Resource":"*"}`,
			[]policy.Aspect{policy.AspectWho}, false, ""},
		"another address": {allow(where), []policy.Aspect{policy.AspectWhere}, false, "198.51.100.7"},
		"another node": {allow(`"Resource":"arn:aws:ssm:*:*:managed-instance/mi-f*"`),
			[]policy.Aspect{policy.AspectWhich}, false, ""},
		"another tag": {allow(`"Resource":"*","Condition":{"StringEquals":{"ssm:resourceTag/Env":"test"}}`),
			[]policy.Aspect{policy.AspectWhich}, false, ""},
		"another user": {allow(`"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/Team":"db"}}`),
			[]policy.Aspect{policy.AspectWho}, false, ""},
		"too early": {allow(`"Resource":"*","Condition":{` + when + `}`), []policy.Aspect{policy.AspectWhen},
			false, "2026-04-15T04:00:01Z"},
		"another weekday": {allow(`"Resource":"*","Condition":{` + office + `}`), []policy.Aspect{policy.AspectWhen},
			false, "2026-04-16T00:00:00Z"},
		"no second factor": {allow(`"Resource":"*","Condition":{` + fresh + `}`), []policy.Aspect{policy.AspectMFA},
			true, ""},
		"second factor and time": {allow(`"Resource":"*","Condition":{` + fresh + `,` + when + `}`),
			[]policy.Aspect{policy.AspectWhen, policy.AspectMFA}, false, ""},
		"denied without a factor": {allow(`"Resource":"*"`) +
			`,{"Effect":"Deny","Action":"*","Resource":"*",` +
			`"Condition":{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"},"Null":{"aws:MultiFactorAuthAge":"true"}}}`,
			[]policy.Aspect{policy.AspectMFA}, true, ""},
		"denied from outside": {allow(`"Resource":"*"`) +
			`,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"` + secret + `"}}}`,
			[]policy.Aspect{policy.AspectWhere}, false, ""},
		"denied on this node": {allow(`"Resource":"*"`) + `,{"Effect":"Deny","Action":"*","Resource":"` + node + `"}`,
			[]policy.Aspect{policy.AspectWhich}, false, ""},
		"denied, whatever happens": {allow(`"Resource":"*"`) + `,{"Effect":"Deny","Action":"*","Resource":"*"}`,
			[]policy.Aspect{policy.AspectWho}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &authz.Facts{Principal: &alice, Time: at, SourceIP: netip.MustParseAddr("198.51.100.7"), Secure: true}
			decide := func(text string) authz.Verdict {
				v, err := authorizer(
					t,
					text,
				).Decide(t.Context(), f, action, node, authz.ResourceTags("ssm", map[string]string{"Env": "prod"})...)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			v := decide(c.policy)
			if v.Allowed || !slices.Equal(v.Failed, c.failed) || v.SecondFactor != c.factor {
				t.Errorf("failed %v, second factor %v; want %v, %v", v.Failed, v.SecondFactor, c.failed, c.factor)
			}
			for _, a := range c.failed {
				if !strings.Contains(v.Remedy, string(a)+": ") {
					t.Errorf("%q says nothing about %s", v.Remedy, a)
				}
			}
			if !strings.Contains(v.Remedy, c.says) || strings.Contains(v.Remedy, secret) ||
				strings.Contains(v.Message, secret) {
				t.Errorf("the caller learns %q, want %q in it and nothing of the policy", v.Remedy, c.says)
			}
			open := decide(c.policy + `,{"Effect":"Allow","Action":"iam:SimulatePrincipalPolicy","Resource":"*"}`)
			if !slices.Equal(open.Failed, c.failed) || !v.Explicit && !strings.Contains(open.Remedy, open.Reason) {
				t.Errorf("a caller who may simulate its policies learns %q, want %q in it", open.Remedy, open.Reason)
			}
		})
	}
}

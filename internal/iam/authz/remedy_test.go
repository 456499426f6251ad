package authz_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
)

// A denial names the failed aspect and what would satisfy it. It shows the
// policies only to users who may simulate them.
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
		"another program": {allow(`"Resource":"*","Condition":{"StringLike":{"aws:UserAgent":"sekisho/*"}}`),
			[]policy.Aspect{policy.AspectWhere}, false, "with this program"},
		"another transport": {allow(`"Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}`),
			[]policy.Aspect{policy.AspectWhere}, false, "over TLS"},
		"a window that closed": {allow(`"Resource":"*","Condition":{` +
			`"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`), []policy.Aspect{policy.AspectWhen}, false,
			"not allowed at this time"},
		"a window that closed, or another address": {allow(`"Resource":"*","Condition":{`+
			`"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`) + "," + allow(where),
			[]policy.Aspect{policy.AspectWhere}, false, "198.51.100.7"},
		"address and time": {allow(strings.TrimSuffix(where, "}") + "," + when + "}"),
			[]policy.Aspect{policy.AspectWhere, policy.AspectWhen}, false, "2026-04-15T04:00:01Z"},
		"the time, or the address": {allow(where) + "," + allow(`"Resource":"*","Condition":{`+when+`}`),
			[]policy.Aspect{policy.AspectWhen}, false, "2026-04-15T04:00:01Z"},
		"denied without a factor": {allow(`"Resource":"*"`) +
			`,{"Effect":"Deny","Action":"*","Resource":"*",` +
			`"Condition":{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"},"Null":{"aws:MultiFactorAuthAge":"true"}}}`,
			[]policy.Aspect{policy.AspectMFA}, true, ""},
		"denied from outside": {allow(`"Resource":"*"`) +
			`,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"` + secret + `"}}}`,
			[]policy.Aspect{policy.AspectWhere}, false, ""},
		"denied on this node": {allow(`"Resource":"*"`) + `,{"Effect":"Deny","Action":"*","Resource":"` + node + `"}`,
			[]policy.Aspect{policy.AspectWhich}, false, ""},
		"denied, unconditionally": {allow(`"Resource":"*"`) + `,{"Effect":"Deny","Action":"*","Resource":"*"}`,
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
			d := v.Denial(t.Context())
			if v.Allowed || !slices.Equal(d.Failed, c.failed) || d.SecondFactor != c.factor {
				t.Errorf("failed %v, second factor %v; want %v, %v", d.Failed, d.SecondFactor, c.failed, c.factor)
			}
			for _, a := range c.failed {
				if !strings.Contains(d.Remedy, string(a)+": ") {
					t.Errorf("%q says nothing about %s", d.Remedy, a)
				}
			}
			if !strings.Contains(d.Remedy, c.says) || strings.Contains(d.Remedy, secret) ||
				strings.Contains(v.Message, secret) {
				t.Errorf("the caller learns %q, want %q in it and nothing of the policy", d.Remedy, c.says)
			}
			open := decide(c.policy + `,{"Effect":"Allow","Action":"iam:SimulatePrincipalPolicy","Resource":"*"}`)
			details := open.Denial(t.Context())
			if !slices.Equal(details.Failed, c.failed) || !v.Explicit && !strings.Contains(details.Remedy, open.Reason) {
				t.Errorf("a caller who may simulate its policies learns %q, want %q in it", details.Remedy, open.Reason)
			}
		})
	}
}

// aspectCase is a condition on one aspect, and the change of a request that
// satisfies it.
type aspectCase struct {
	aspect    policy.Aspect
	operator  string
	condition string // key and value
	negated   string // the operator that fails where operator holds
	satisfy   func(r *aspectRequest)
	remedy    string
}

// aspectRequest is what a request consists of.
type aspectRequest struct {
	facts authz.Facts
	env   string
}

var aspectCases = []aspectCase{
	{policy.AspectWho, "StringEquals", `"aws:PrincipalTag/Team":"db"`, "StringNotEquals", func(r *aspectRequest) {
		r.facts.Principal = with(*r.facts.Principal, func(p *sekisho.Principal) { p.Tags = map[string]string{"Team": "db"} })
	}, "administrator"},
	{policy.AspectWhere, "IpAddress", `"aws:SourceIp":"203.0.113.0/24"`, "NotIpAddress", func(r *aspectRequest) {
		r.facts.SourceIP = netip.MustParseAddr("203.0.113.7")
	}, "not allowed from 198.51.100.7"},
	{policy.AspectWhich, "StringEquals", `"ssm:resourceTag/Env":"prod"`, "StringNotEquals", func(r *aspectRequest) {
		r.env = "prod"
	}, "use one that your policies cover"},
	{policy.AspectWhen, "StringEquals", `"sekisho:Weekday/Asia/Tokyo":"Thu"`, "StringNotEquals",
		func(r *aspectRequest) {
			r.facts.Time = time.Date(2026, 4, 15, 15, 0, 0, 0, time.UTC)
		}, "allowed from 2026-04-15T15:00:00Z"},
	{policy.AspectMFA, "Bool", `"aws:MultiFactorAuthPresent":"true"`, "BoolIfExists", func(r *aspectRequest) {
		r.facts.Principal = with(*r.facts.Principal, func(p *sekisho.Principal) {
			p.TokenIssueTime, p.MFATime = r.facts.Time, r.facts.Time
		})
	}, "verify it again"},
}

// policiesOf returns policies with the same meaning: every condition must hold.
func policiesOf(t *testing.T) map[string]*policy.Set {
	t.Helper()
	document := func(statements ...string) *policy.Document {
		d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	statement := func(effect string, conditions ...string) string {
		return `{"Effect":"` + effect + `","Action":"ssm:StartSession","Resource":"*","Condition":{` +
			strings.Join(conditions, ",") + `}}`
	}
	plain := func(i int) string { return `"` + aspectCases[i].operator + `":{` + aspectCases[i].condition + `}` }
	equals := `"StringEquals":{` + aspectCases[0].condition + "," + aspectCases[2].condition + "," +
		aspectCases[3].condition + `}`
	denies := []string{statement("Allow")}
	for _, c := range aspectCases {
		denies = append(denies, statement("Deny",
			`"`+c.negated+`":{`+strings.Replace(c.condition, `"true"`, `"false"`, 1)+`}`))
	}
	// Without a second factor, the key is absent.
	denies = append(denies, statement("Deny", `"Null":{"aws:MultiFactorAuthPresent":"true"}`))
	return map[string]*policy.Set{
		"one statement": policy.Compile(policy.Policies{Identity: []*policy.Document{
			document(statement("Allow", equals, plain(1), plain(4)))}}),
		"denials": policy.Compile(policy.Policies{Identity: []*policy.Document{document(denies...)}}),
		"several policies": policy.Compile(policy.Policies{
			Identity: []*policy.Document{document(statement("Allow", plain(0), plain(1)))},
			Boundary: document(statement("Allow", plain(2), plain(4))),
			Session:  []*policy.Document{document(statement("Allow", plain(3)))},
		}),
		"denials in a boundary": policy.Compile(policy.Policies{
			Identity: []*policy.Document{document(statement("Allow", plain(1)))},
			Boundary: document(denies...),
		}),
	}
}

// Whichever of the five aspects fail, a denial names exactly these and what would satisfy each of them. A
// request that differs in all of them is allowed, and one that differs in fewer is not.
func TestDenialNamesEveryCombination(t *testing.T) {
	t.Parallel()
	const action, node = "ssm:StartSession", "arn:aws:ssm:eu-central-1:123456789012:managed-instance/mi-0123456789abcdef0"
	for name, set := range policiesOf(t) {
		a := authz.New(policies{set})
		decide := func(satisfied int) authz.Verdict {
			r := aspectRequest{authz.Facts{
				Principal: &alice, Time: time.Date(2026, 4, 15, 2, 0, 0, 0, time.UTC), // a Wednesday
				SourceIP: netip.MustParseAddr("198.51.100.7"), Secure: true,
			}, "test"}
			for i, c := range aspectCases {
				if satisfied&(1<<i) != 0 {
					c.satisfy(&r)
				}
			}
			v, err := a.Decide(t.Context(), &r.facts, action, node, authz.One("ssm:resourceTag/Env", r.env))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		all := 1<<len(aspectCases) - 1
		if v := decide(all); !v.Allowed {
			t.Fatalf("%s: denied although every condition holds: %s", name, v.Reason)
		}
		for satisfied := range all {
			v := decide(satisfied)
			d := v.Denial(t.Context())
			var want []policy.Aspect
			for i, c := range aspectCases {
				if satisfied&(1<<i) != 0 {
					continue
				}
				want = append(want, c.aspect)
				if !strings.Contains(d.Remedy, string(c.aspect)+": ") || !strings.Contains(d.Remedy, c.remedy) {
					t.Errorf("%s, %05b: %q does not say %q", name, satisfied, d.Remedy, c.remedy)
				}
			}
			if v.Allowed || !slices.Equal(d.Failed, want) {
				t.Errorf("%s, %05b: failed %v, want %v", name, satisfied, d.Failed, want)
			}
			if d.SecondFactor != slices.Equal(want, []policy.Aspect{policy.AspectMFA}) {
				t.Errorf("%s, %05b: second factor %v", name, satisfied, d.SecondFactor)
			}
		}
	}
}

// A denial by another principal's policy reveals nothing about that policy.
func TestDenialHidesPoliciesOfOthers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		bucket string
		want   []policy.Aspect
	}{
		"the address": {`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, []policy.Aspect{policy.AspectWho}},
		"the time":    {`"DateGreaterThan":{"aws:CurrentTime":"2026-04-15T04:00:00Z"}`, []policy.Aspect{policy.AspectWho}},
		"a tag":       {`"StringEquals":{"aws:ResourceTag/Env":"prod"}`, []policy.Aspect{policy.AspectWho}},
		// Such a caller is asked for a second factor, so this is no secret.
		"a second factor": {`"Bool":{"aws:MultiFactorAuthPresent":"true"}`, []policy.Aspect{policy.AspectMFA}},
	} {
		bucket, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
			`"Principal":{"AWS":"123456789012"},"Action":"*","Resource":"*","Condition":{` + tt.bucket + `}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		identity, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*",` +
			`"Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-04-15T01:00:00Z"}}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		a := authz.New(policies{policy.Compile(policy.Policies{
			Identity: []*policy.Document{identity}, Resource: bucket, ResourceDecides: true,
		})})
		v, err := a.Decide(t.Context(), &authz.Facts{
			Principal: &alice, Time: time.Date(2026, 4, 15, 2, 0, 0, 0, time.UTC), Secure: true,
			SourceIP: netip.MustParseAddr("198.51.100.7"),
		}, "kms:Decrypt", "arn:aws:kms:eu-central-1:123456789012:key/1")
		if err != nil {
			t.Fatal(err)
		}
		d := v.Denial(t.Context())
		if v.Allowed || !slices.Equal(d.Failed, tt.want) || strings.Contains(d.Remedy, "203.0.113") ||
			strings.Contains(d.Remedy, "04:00") {
			t.Errorf("%s: failed %v: %s", name, d.Failed, d.Remedy)
		}
	}
}

// A call that requires several decisions needs a remedy for all of them.
func TestDenialOfSeveralDecisions(t *testing.T) {
	t.Parallel()
	const statement = `{"Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ssm:*:*:%s/*",` +
		`"Condition":{%s}}`
	a := authorizer(t, fmt.Sprintf(statement, "managed-instance", `"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`)+","+
		fmt.Sprintf(statement, "document", `"DateGreaterThan":{"aws:CurrentTime":"2026-04-15T04:00:00Z"}`))
	call := authz.StartSession{
		Node:     "arn:aws:ssm:eu-central-1:123456789012:managed-instance/mi-0123456789abcdef0",
		Document: "arn:aws:ssm:eu-central-1:123456789012:document/Custom", Named: true,
	}
	f := &authz.Facts{
		Principal: &alice, Time: time.Date(2026, 4, 15, 2, 0, 0, 0, time.UTC), Secure: true,
		SourceIP: netip.MustParseAddr("198.51.100.7"),
	}
	d, err := a.Denial(t.Context(), f, call.Decide)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Failed, []policy.Aspect{policy.AspectWhere, policy.AspectWhen}) ||
		!strings.Contains(d.Remedy, "2026-04-15T04:00:01Z") {
		t.Errorf("failed %v: %s", d.Failed, d.Remedy)
	}
}

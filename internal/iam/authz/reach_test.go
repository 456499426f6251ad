package authz_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
)

func reach(
	t *testing.T,
	statements string,
	p *sekisho.Principal,
	source string,
	tags map[string]string,
) []authz.ReachSpan {
	t.Helper()
	f := authz.Facts{Principal: p, Secure: true, Region: "us-east-1"}
	if source != "" {
		f.SourceIP = netip.MustParseAddr(source)
	}
	from := time.Date(2026, 4, 13, 0, 0, 0, 0, time.UTC) // a Monday
	r, err := authorizer(t, statements).Reacher(t.Context(), f, authz.ReachQuery{From: from, To: from.Add(48 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	spans, err := r.StartSession(t.Context(), authz.StartSession{
		Node:     "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0",
		NodeKeys: authz.ResourceTags("ssm", tags),
		Document: "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell",
	})
	if err != nil {
		t.Fatal(err)
	}
	return spans
}

func TestReach(t *testing.T) {
	t.Parallel()
	statement := func(effect, condition string) string {
		return `{"Effect":"` + effect + `","Action":"ssm:StartSession","Resource":"*","Condition":{` + condition + `}}`
	}
	hours := `"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"09:00"},"DateLessThan":{"sekisho:TimeOfDay/UTC":"18:00"}`
	office := `"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`
	for name, tt := range map[string]struct {
		statements, source string
		want               string
	}{
		"nothing": {`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`, "", "13T00 Never 15T00"},
		"always":  {statement("Allow", ""), "", "13T00 Always 15T00"},
		"a known tag": {statement("Allow", `"StringEquals":{"ssm:resourceTag/Env":"prod"}`), "",
			"13T00 Always 15T00"},
		"another tag": {statement("Allow", `"StringEquals":{"ssm:resourceTag/Env":"test"}`), "",
			"13T00 Never 15T00"},
		"recurring": {statement("Allow", hours), "",
			"13T00 Never 13T09 Always 13T18 Never 14T09 Always 14T18 Never 15T00"},
		"limited by address": {statement("Allow", office), "",
			"13T00 Depends[aws:SourceIp IpAddress 203.0.113.0/24] 15T00"},
		"limited by address, from that address": {statement("Allow", office), "203.0.113.9", "13T00 Always 15T00"},
		"limited by address, from another":      {statement("Allow", office), "198.51.100.9", "13T00 Never 15T00"},
		"allowed unless denied": {statement("Allow", "") + "," +
			statement("Deny", `"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}`), "",
			"13T00 Depends[not aws:MultiFactorAuthPresent BoolIfExists false] 15T00"},
		"denied in any case":         {statement("Allow", office) + "," + statement("Deny", ""), "", "13T00 Never 15T00"},
		"one condition always holds": {statement("Allow", office) + "," + statement("Allow", ""), "", "13T00 Always 15T00"},
		"by address, then always": {statement("Allow", office) + "," +
			statement("Allow", `"DateGreaterThanEquals":{"aws:CurrentTime":"2026-04-14T00:00:00Z"}`), "",
			"13T00 Depends[aws:SourceIp IpAddress 203.0.113.0/24] 14T00 Always 15T00"},
		"a null condition is unknown, too": {statement("Allow", `"Null":{"aws:TokenIssueTime":"false"}`), "",
			"13T00 Depends[aws:TokenIssueTime Null false] 15T00"},
		"needs the document": {
			`{"Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ssm:*:*:managed-instance/*",` +
				`"Condition":{"Bool":{"ssm:SessionDocumentAccessCheck":"true"}}}`, "", "13T00 Never 15T00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			var end time.Time
			for _, s := range reach(t, tt.statements, &alice, tt.source, map[string]string{"Env": "prod"}) {
				if !end.IsZero() && !s.From.Equal(end) {
					t.Errorf("a gap before %s", s.From)
				}
				end = s.To
				fmt.Fprintf(&b, "%s %s", s.From.Format("02T15"), s.Reach)
				var depends []string
				for _, d := range s.DependsOn {
					depends = append(depends, d.Condition)
				}
				if len(depends) > 0 {
					fmt.Fprintf(&b, "%s", depends)
				}
				b.WriteByte(' ')
			}
			b.WriteString(end.Format("02T15"))
			if b.String() != tt.want {
				t.Errorf("got  %s\nwant %s", b.String(), tt.want)
			}
		})
	}
}

// A result of Always or Never holds for every value of the unknown keys, when
// a request with those values is decided.
func TestReachAgreesWithDecisions(t *testing.T) {
	t.Parallel()
	conditions := []string{
		``, `"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, `"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`,
		`"StringLike":{"aws:UserAgent":"*cli*"}`,
		`"Bool":{"aws:MultiFactorAuthPresent":"true"}`, `"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}`,
		`"NumericLessThan":{"aws:MultiFactorAuthAge":"60"}`,
		`"StringEquals":{"ssm:resourceTag/Env":"prod"}`,
		`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},"Bool":{"aws:MultiFactorAuthPresent":"true"}`,
	}
	for _, allow := range conditions {
		for _, deny := range append([]string{"none"}, conditions...) {
			statements := `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{` + allow + `}}`
			if deny != "none" {
				statements += `,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{` + deny + `}}`
			}
			spans := reach(t, statements, &alice, "", map[string]string{"Env": "prod"})
			if len(spans) != 1 {
				t.Fatalf("%s: %v", statements, spans)
			}
			seen := map[bool]bool{}
			for _, source := range []string{"203.0.113.9", "198.51.100.9"} {
				for _, agent := range []string{"aws-cli/2", "curl"} {
					for _, mfa := range []time.Duration{-1, 0, time.Hour} {
						p := alice
						if mfa >= 0 {
							p.TokenIssueTime, p.MFATime = now.Add(-mfa), now.Add(-mfa)
						}
						v, err := authorizer(t, statements).Decide(t.Context(), &authz.Facts{
							Principal: &p, Time: now, SourceIP: netip.MustParseAddr(source), Secure: true, UserAgent: agent,
							Region: "us-east-1",
						}, "ssm:StartSession", "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0",
							authz.One("ssm:resourceTag/Env", "prod"))
						if err != nil {
							t.Fatal(err)
						}
						seen[v.Allowed] = true
					}
				}
			}
			if spans[0].Reach == policy.ReachAlways && seen[false] ||
				spans[0].Reach == policy.ReachNever && seen[true] {
				t.Errorf("%s: %s, but requests were decided %v", statements, spans[0].Reach, seen)
			}
		}
	}
}

// fixedPolicies gives every principal the same policies.
type fixedPolicies struct{ set *policy.Set }

func (f fixedPolicies) Policies(context.Context, *sekisho.Principal) (*policy.Set, error) {
	return f.set, nil
}

// Finds what a principal can reach of 10,000 nodes, over a week with a
// recurring window. Who can reach a node of 1,000 principals takes a tenth of
// that.
func BenchmarkReachOfManyNodes(b *testing.B) {
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ssm:*:*:managed-instance/*","Condition":{
			"StringEquals":{"ssm:resourceTag/Env":"prod","sekisho:Weekday/Asia/Tokyo":["Mon","Tue","Wed","Thu","Fri"]},
			"DateGreaterThanEquals":{"sekisho:TimeOfDay/Asia/Tokyo":"09:00"},"DateLessThan":{"sekisho:TimeOfDay/Asia/Tokyo":"18:00"},
			"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}]}`))
	if err != nil {
		b.Fatal(err)
	}
	a := authz.New(fixedPolicies{policy.Compile(policy.Policies{Identity: []*policy.Document{doc}})})
	from := time.Date(2026, 4, 13, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		r, err := a.Reacher(
			b.Context(),
			authz.Facts{Principal: &alice, Secure: true, Region: "us-east-1"},
			authz.ReachQuery{From: from, To: from.Add(7 * 24 * time.Hour)},
		)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 10_000 {
			if _, err := r.StartSession(b.Context(), authz.StartSession{
				Node:     fmt.Sprintf("arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-%017x", i),
				NodeKeys: authz.ResourceTags("ssm", map[string]string{"Env": []string{"prod", "test"}[i%2]}),
				Document: "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell",
			}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// A Reacher shares answers among nodes that the policies do not distinguish,
// and only among those.
func TestReachSharesAnswersAmongLikeNodes(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 4, 13, 0, 0, 0, 0, time.UTC)
	allow := func(resource, condition string) string {
		return `{"Effect":"Allow","Action":"ssm:StartSession","Resource":"` + resource + `","Condition":{` + condition + `}}`
	}
	for name, statements := range map[string]string{
		"by tag":            allow("*", `"StringEquals":{"ssm:resourceTag/Env":"prod"}`),
		"by the other name": allow("*", `"StringEquals":{"aws:resourcetag/env":"prod"}`),
		"by ID":             allow("arn:aws:ssm:*:*:managed-instance/mi-*1", ""),
		"by denied ID": allow("*", "") +
			`,{"Effect":"Deny","Action":"ssm:*","NotResource":["arn:aws:ssm:*:*:managed-instance/mi-*1",` +
			`"arn:aws:ssm:*:*:document/*"]}`,
		"by a variable":  allow("arn:aws:ssm:*:*:managed-instance/${ssm:resourceTag/Env}-*", ""),
		"by a tag value": allow("*", `"StringEquals":{"aws:PrincipalTag/Team":"${ssm:resourceTag/Team}"}`),
	} {
		a := authorizer(t, statements)
		reacher := func() *authz.Reacher {
			r, err := a.Reacher(
				t.Context(),
				authz.Facts{Principal: &alice, Secure: true, Region: "us-east-1"},
				authz.ReachQuery{From: from, To: from.Add(time.Hour)},
			)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		shared, outcomes := reacher(), map[policy.Reach]bool{}
		for i := range 8 {
			call := authz.StartSession{
				Node: fmt.Sprintf("arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-%017x", i%3),
				NodeKeys: authz.ResourceTags("ssm", map[string]string{
					"Env": []string{"prod", "test", "mi"}[i%3], "Team": []string{"blue", "red"}[i%2], "Name": fmt.Sprint("node-", i),
				}),
				Document: "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell",
			}
			got, err := shared.StartSession(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			want, err := reacher().StartSession(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: node %d: %v, by itself %v", name, i, got, want)
			}
			outcomes[want[0].Reach] = true
		}
		if len(outcomes) != 2 {
			t.Errorf("%s: the nodes do not differ: %v", name, outcomes)
		}
	}
}

// Reachers share answers among principals that have the same policies and that
// these do not distinguish, and only among those.
func TestReachersTellPrincipalsApart(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 4, 13, 0, 0, 0, 0, time.UTC)
	principals := []*sekisho.Principal{
		&alice,
		with(alice, func(p *sekisho.Principal) { p.UserName, p.UserID = "bob", "AIDABOB" }),
		with(alice, func(p *sekisho.Principal) { p.Tags = map[string]string{"Team": "red"} }),
		with(alice, func(p *sekisho.Principal) { p.Type, p.UserName = sekisho.PrincipalAssumedRole, "" }),
	}
	call := authz.StartSession{
		Node:     "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0",
		NodeKeys: authz.ResourceTags("ssm", map[string]string{"Team": "blue", "Owner": "alice"}),
		Document: "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell",
	}
	allow := func(condition string) string {
		return `{"Effect":"Allow","Action":"ssm:StartSession","Resource":"*","Condition":{` + condition + `}}`
	}
	for name, tt := range map[string]struct {
		statement string
		reachers  int // how many compiled sets the principals need
	}{
		"by nothing":           {allow(`"StringEquals":{"ssm:resourceTag/Team":"blue"}`), 2}, // a user and a role
		"by name":              {allow(`"StringEquals":{"aws:username":"alice"}`), 3},
		"by the owner's tag":   {allow(`"StringEquals":{"aws:PrincipalTag/Team":"${ssm:resourceTag/Team}"}`), 3},
		"by a variable":        {allow(`"StringEquals":{"ssm:resourceTag/Owner":"${aws:UserName}"}`), 3},
		"by type of principal": {allow(`"StringEquals":{"aws:PrincipalType":"User"}`), 2},
	} {
		a := authorizer(t, tt.statement)
		shared, seen := a.Reachers(authz.ReachQuery{From: from, To: from.Add(time.Hour)}), map[*authz.Reacher]bool{}
		for i, p := range principals {
			f := authz.Facts{Principal: p, Secure: true, Region: "us-east-1"}
			r, err := shared.Reacher(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			seen[r] = true
			got, err := r.StartSession(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			alone, err := a.Reacher(t.Context(), f, authz.ReachQuery{From: from, To: from.Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			want, err := alone.StartSession(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: principal %d: %v, by itself %v", name, i, got, want)
			}
		}
		if len(seen) != tt.reachers {
			t.Errorf("%s: %d Reachers, want %d", name, len(seen), tt.reachers)
		}
	}
}

package authz_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
)

// reachConditions are conditions of random policies, by the value that is unknown
// until a request is made; "" if none is.
var reachConditions = []struct{ unknown, text string }{
	{"address", `"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`},
	{"address", `"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`},
	{"program", `"StringLike":{"aws:UserAgent":"*cli*"}`},
	{"program", `"StringNotLikeIfExists":{"aws:UserAgent":"*cli*"}`},
	{"factor", `"Bool":{"aws:MultiFactorAuthPresent":"true"}`},
	{"factor", `"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}`},
	{"factor", `"NumericLessThan":{"aws:MultiFactorAuthAge":"900"}`},
	{"factor", `"Null":{"aws:TokenIssueTime":"true"}`},
	{"", `"StringEquals":{"ssm:resourceTag/Env":"prod"}`},
	{"", `"StringNotEquals":{"ssm:resourceTag/Env":"prod"}`},
	{"", `"StringEquals":{"aws:username":"alice"}`},
	{"", `"Bool":{"ssm:SessionDocumentAccessCheck":"true"}`},
	{"", `"DateGreaterThan":{"aws:CurrentTime":"2026-03-28T21:13:00Z"}`},
	{"", `"DateLessThanEquals":{"aws:CurrentTime":"2026-03-29T03:07:01.5Z"}`},
	{"", `"NumericGreaterThanEquals":{"aws:EpochTime":"1774741000.5"}`},
	{"", `"StringEquals":{"sekisho:Weekday/Europe/Berlin":"Sun"}`},
	{"", `"StringNotEquals":{"sekisho:Weekday/Asia/Tokyo":["Sat","Mon"]}`},
	{"", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/Europe/Berlin":"02:30"}`},
	{"", `"DateLessThan":{"sekisho:TimeOfDay/Asia/Tokyo":"18:00:30"}`},
	{"", `"DateNotEquals":{"sekisho:Date/America/New_York":"2026-03-28"}`},
	{"", `"Bool":{"sekisho:Calendar/duty":"true"}`},
}

// randomStatements returns the statements of a random policy. simple means that no unknown value is
// in two conditions, so that values can satisfy or fail conditions in every combination.
func randomStatements(r *rand.Rand) (text string, simple bool) {
	used := map[string]bool{}
	simple = true
	var statements []string
	for i := range 1 + r.IntN(4) {
		effect := "Allow"
		if i > 0 && r.IntN(3) == 0 {
			effect = "Deny"
		}
		resource := []string{`"*"`, `"arn:aws:ssm:*:*:managed-instance/*"`, `"arn:aws:ssm:*:*:document/*"`,
			`["arn:aws:ssm:*:*:managed-instance/mi-0*","arn:aws:ssm:*:*:document/SSM-*"]`}[r.IntN(4)]
		conditions := map[string]string{}
		for range r.IntN(4) {
			c := reachConditions[r.IntN(len(reachConditions))]
			operator, _, _ := strings.Cut(c.text, ":")
			if _, found := conditions[operator]; found {
				continue
			}
			simple = simple && (c.unknown == "" || !used[c.unknown])
			used[c.unknown] = true
			conditions[operator] = c.text
		}
		var texts []string
		for _, operator := range slices.Sorted(maps.Keys(conditions)) {
			texts = append(texts, conditions[operator])
		}
		statements = append(statements, fmt.Sprintf(
			`{"Effect":%q,"Action":"ssm:StartSession","Resource":%s,"Condition":{%s}}`,
			effect, resource, strings.Join(texts, ",")))
	}
	return strings.Join(statements, ","), simple
}

// requestsAt returns the facts of requests at a time, with every combination of values
// that the query leaves open.
func requestsAt(q authz.ReachQuery, source netip.Addr, at time.Time) []authz.Facts {
	sources := []netip.Addr{source}
	if !source.IsValid() {
		sources = []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.9")}
	}
	key := alice
	temporary := with(alice, func(p *sekisho.Principal) { p.TokenIssueTime = at.Add(-time.Hour) })
	stale := with(*temporary, func(p *sekisho.Principal) { p.MFATime = p.TokenIssueTime })
	fresh := with(alice, func(p *sekisho.Principal) { p.TokenIssueTime, p.MFATime = at, at })
	principals := map[authz.Factor][]*sekisho.Principal{
		authz.FactorUnknown: {&key, temporary, stale, fresh}, authz.FactorFresh: {fresh}, authz.FactorNone: {&key},
	}[q.Factor]
	var all []authz.Facts
	for _, source := range sources {
		for _, agent := range []string{"", "aws-cli/2", "curl"} {
			for _, p := range principals {
				all = append(all, authz.Facts{
					Principal: p, Time: at, SourceIP: source, Secure: true, UserAgent: agent, Region: "us-east-1",
				})
			}
		}
	}
	return all
}

// The reach over a period agrees with the decisions on requests at every second that is tried: Always and
// Never hold for all values that are unknown. If no two conditions are on the same unknown value,
// Depends means that some requests are allowed and others are not.
func TestReachAgreesWithSimulation(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC) // clocks in Berlin change during the second night
	to := from.Add(36 * time.Hour)
	duty := policy.NewCalendar([]policy.Span{{From: from.Unix() + 12345, To: from.Unix() + 54321}})
	random := rand.New(rand.NewPCG(1, 2))
	outcomes := map[policy.Reach]int{}
	for i := range 120 {
		statements, simple := randomStatements(random)
		doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + statements + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		a := authz.New(policies{policy.Compile(policy.Policies{
			Identity: []*policy.Document{doc}, Calendars: map[string]*policy.Calendar{"duty": duty},
		})})
		call := authz.StartSession{
			Node:     "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0",
			NodeKeys: authz.ResourceTags("ssm", map[string]string{"Env": []string{"prod", "test"}[i%2]}),
			Document: "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell",
			Named:    i%3 == 0,
			Strict:   i%5 == 0,
		}
		q := authz.ReachQuery{From: from, To: to, Factor: []authz.Factor{
			authz.FactorUnknown, authz.FactorUnknown, authz.FactorFresh, authz.FactorNone}[random.IntN(4)]}
		var source netip.Addr
		if random.IntN(3) == 0 {
			source = netip.MustParseAddr("203.0.113.9")
		}
		var grants []authz.Grant
		if random.IntN(4) == 0 {
			grants = []authz.Grant{{
				Name: "a grant", Until: from.Add(time.Duration(random.Int64N(int64(to.Sub(from))))),
			}}
		}
		r, err := a.Reacher(t.Context(), authz.Facts{
			Principal: &alice, SourceIP: source, Secure: true, Region: "us-east-1",
		}, q)
		if err != nil {
			t.Fatal(err)
		}
		spans, err := r.StartSessionUnder(t.Context(), call, grants)
		if err != nil {
			t.Fatal(err)
		}
		if len(spans) == 0 || !spans[0].From.Equal(from) || !spans[len(spans)-1].To.Equal(to) || !r.Exact() {
			t.Fatalf("%s: the spans %v do not cover the period", statements, spans)
		}
		seconds := []time.Time{from, to.Add(-time.Second)}
		for j, s := range spans {
			outcomes[s.Reach]++
			if j > 0 && (!s.From.Equal(spans[j-1].To) || s.Reach == spans[j-1].Reach &&
				slices.Equal(s.DependsOn, spans[j-1].DependsOn)) {
				t.Errorf("%s: the spans %v do not follow each other", statements, spans)
			}
			seconds = append(seconds, s.From, s.To.Add(-time.Second))
		}
		for range 24 {
			seconds = append(seconds, from.Add(time.Duration(random.IntN(36*3600))*time.Second))
		}
		for _, at := range seconds {
			span := spans[slices.IndexFunc(spans, func(s authz.ReachSpan) bool { return at.Before(s.To) })]
			granted := len(grants) > 0 && at.Before(grants[0].Until)
			allowed, byPolicy := map[bool]bool{}, map[bool]bool{}
			for _, f := range requestsAt(q, source, at) {
				v, _, err := call.Decide(t.Context(), decider(a, &f))
				if err != nil {
					t.Fatal(err)
				}
				byPolicy[v.Allowed] = true
				allowed[v.Allowed || granted && !v.Explicit] = true
			}
			wrong := false
			switch span.Reach {
			case policy.ReachAlways:
				wrong = byPolicy[false]
			case policy.ReachNever:
				wrong = allowed[true]
			case policy.ReachDepends:
				wrong = simple && (!allowed[true] || !byPolicy[false])
			}
			if wrong {
				t.Errorf("%s\nat %s: %s%v, but requests were decided %v, with grants %v (query %+v, %v)",
					statements, at, span.Reach, span.DependsOn, byPolicy, allowed, q, grants)
			}
		}
	}
	for _, reach := range []policy.Reach{policy.ReachAlways, policy.ReachNever, policy.ReachDepends} {
		if outcomes[reach] < 20 {
			t.Errorf("only %d spans are %s", outcomes[reach], reach)
		}
	}
}

func decider(a *authz.Authorizer, f *authz.Facts) authz.DecideFunc {
	return func(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
		return a.Decide(ctx, f, action, resource, keys...)
	}
}

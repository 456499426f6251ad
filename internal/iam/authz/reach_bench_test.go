package authz_test

import (
	"fmt"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
)

// BenchmarkReach finds who can reach one of 10,000 nodes, what one of 1,000
// principals can reach, and what all of them can. Principals have one of 20
// sets of policies, as if each were in one of 20 groups, or sets of their own.
// The policies name nodes by tag and allow access in office hours.
func BenchmarkReach(b *testing.B) {
	b.Run("20 sets of policies", func(b *testing.B) { benchmarkReach(b, 20) })
	b.Run("1000 sets of policies", func(b *testing.B) { benchmarkReach(b, 1000) })
}

func benchmarkReach(b *testing.B, kinds int) {
	const principals, nodes = 1000, 10_000
	from := time.Date(2026, 4, 13, 0, 0, 0, 0, time.UTC)
	authorizers := make([]*authz.Authorizer, kinds)
	for i := range authorizers {
		doc, err := policy.Parse(
			fmt.Appendf(
				nil,
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:StartSession","Resource":"*",
			"Condition":{"StringEquals":{"ssm:resourceTag/Team":"team-%d","sekisho:Weekday/Asia/Tokyo":["Mon","Tue","Wed","Thu","Fri"]},
			"DateGreaterThanEquals":{"sekisho:TimeOfDay/Asia/Tokyo":"09:00"},"DateLessThan":{"sekisho:TimeOfDay/Asia/Tokyo":"18:00"},
			"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}]}`,
				i,
			),
		)
		if err != nil {
			b.Fatal(err)
		}
		authorizers[i] = authz.New(policies{policy.Compile(policy.Policies{Identity: []*policy.Document{doc}})})
	}
	call := func(i int) authz.StartSession {
		return authz.StartSession{
			Node: fmt.Sprintf("arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-%017x", i),
			NodeKeys: authz.ResourceTags(
				"ssm",
				map[string]string{"Team": fmt.Sprintf("team-%d", i%40), "Env": "prod"},
			),
			Document: "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell",
		}
	}
	calls := make([]authz.StartSession, nodes)
	for i := range calls {
		calls[i] = call(i)
	}
	week := 7 * 24 * time.Hour
	reacher := func(many map[*authz.Authorizer]*authz.Reachers, i int) *authz.Reacher {
		a := authorizers[i%kinds]
		if many[a] == nil {
			many[a] = a.Reachers(authz.ReachQuery{From: from, To: from.Add(week)})
		}
		f := authz.Facts{
			Principal: with(alice, func(p *sekisho.Principal) { p.UserName = fmt.Sprint("user-", i) }),
			Secure:    true,
			Region:    "us-east-1",
		}
		r, err := many[a].Reacher(b.Context(), f)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	count := func(r *authz.Reacher, s authz.StartSession) int {
		spans, err := r.StartSession(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		if len(spans) > 1 {
			return 1
		}
		return 0
	}
	reachable := min(kinds, 20) // of the tags of the nodes
	type reachers = map[*authz.Authorizer]*authz.Reachers
	b.Run("one node", func(b *testing.B) {
		for b.Loop() {
			many, reached := reachers{}, 0
			for i := range principals {
				reached += count(reacher(many, i), calls[0])
			}
			if reached != principals/kinds {
				b.Fatalf("%d principals reach the node, want %d", reached, principals/kinds)
			}
		}
	})
	b.Run("one principal", func(b *testing.B) {
		for b.Loop() {
			r, reached := reacher(reachers{}, 0), 0
			for _, s := range calls {
				reached += count(r, s)
			}
			if reached != nodes/(2*reachable) {
				b.Fatalf("the principal reaches %d nodes, want %d", reached, nodes/(2*reachable))
			}
		}
	})
	b.Run("all pairs", func(b *testing.B) {
		for b.Loop() {
			many, reached := reachers{}, 0
			for i := range principals {
				r := reacher(many, i)
				for _, s := range calls {
					reached += count(r, s)
				}
			}
			if reached == 0 {
				b.Fatal("nobody reaches anything")
			}
		}
	})
}

package authz_test

import (
	"fmt"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
)

// BenchmarkReach answers who can reach one of 10,000 nodes, and what one of 1,000
// principals can reach. Principals have one of 20 sets of policies, which name
// nodes by tag and allow access in office hours. All 10,000 nodes × 1,000
// principals take 1,000 times "one principal".
func BenchmarkReach(b *testing.B) {
	const principals, nodes, kinds = 1000, 10_000, 20
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
				map[string]string{"Team": fmt.Sprintf("team-%d", i%(2*kinds)), "Env": "prod"},
			),
			Document: "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell",
		}
	}
	calls := make([]authz.StartSession, nodes)
	for i := range calls {
		calls[i] = call(i)
	}
	reacher := func(i int) *authz.Reacher {
		f := authz.Facts{
			Principal: with(alice, func(p *sekisho.Principal) { p.UserName = fmt.Sprint("user-", i) }),
			Secure:    true,
			Region:    "us-east-1",
		}
		r, err := authorizers[i%kinds].Reacher(b.Context(), f, false, from, from.Add(7*24*time.Hour))
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
	b.Run("one node", func(b *testing.B) {
		for b.Loop() {
			reached := 0
			for i := range principals {
				reached += count(reacher(i), calls[0])
			}
			if reached != principals/kinds {
				b.Fatalf("%d principals reach the node, want %d", reached, principals/kinds)
			}
		}
	})
	b.Run("one principal", func(b *testing.B) {
		for b.Loop() {
			r, reached := reacher(0), 0
			for _, s := range calls {
				reached += count(r, s)
			}
			if reached != nodes/(2*kinds) {
				b.Fatalf("the principal reaches %d nodes, want %d", reached, nodes/(2*kinds))
			}
		}
	})
}

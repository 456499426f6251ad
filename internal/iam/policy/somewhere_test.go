package policy_test

import (
	"testing"

	"sekisho/internal/iam/policy"
)

// TestAllowsSomewhere: a permission on some resource counts, wherever it comes from; one that a Deny
// or a boundary takes away does not.
func TestAllowsSomewhere(t *testing.T) {
	t.Parallel()
	statement := func(text string) *policy.Document {
		t.Helper()
		d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + text + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const (
		team   = `{"Effect":"Allow","Action":"iam:CreateUser","Resource":"arn:aws:iam::1:user/team-*"}`
		tagged = `{"Effect":"Allow","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/` +
			`Team":"a"}}}`
		own   = `{"Effect":"Allow","Action":"iam:CreateUser","Resource":"arn:aws:iam::1:user/${aws:username}"}`
		zone  = `{"Effect":"Allow","Action":"iam:CreateUser","NotResource":"arn:aws:iam::1:user/root"}`
		never = `{"Effect":"Deny","Action":"iam:CreateUser","Resource":"*"}`
		other = `{"Effect":"Deny","Action":"iam:CreateUser","Resource":"arn:aws:iam::1:user/other"}`
		from  = `{"Effect":"Allow","Action":"iam:CreateUser","Resource":"*",` +
			`"Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.1"}}}`
	)
	for _, c := range []struct {
		name     string
		identity string
		boundary string
		want     bool
	}{
		{"nothing", `{"Effect":"Allow","Action":"iam:GetUser","Resource":"*"}`, "", false},
		{"some resources", team, "", true},
		{"a tag of the resource", tagged, "", true},
		{"a variable", own, "", true},
		{"all but one", zone, "", true},
		{"a denial of all", team + "," + never, "", false},
		{"a denial of another", team + "," + other, "", true},
		{"another address", from, "", false},
		{"a boundary with it", team, team, true},
		{"a boundary without it", team, `{"Effect":"Allow","Action":"ssm:*","Resource":"*"}`, false},
		{"a boundary that is narrower", `{"Effect":"Allow","Action":"*","Resource":"*"}`, team, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := policy.Policies{Identity: []*policy.Document{statement(c.identity)}}
			if c.boundary != "" {
				p.Boundary = statement(c.boundary)
			}
			ctx := policy.NewContext()
			ctx.Set("aws:SourceIp", policy.Single("203.0.113.9"))
			ctx.Set("aws:username", policy.Single("alice"))
			got := policy.Compile(p).AllowsSomewhere(&policy.Request{Action: "iam:CreateUser", Context: ctx})
			if got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

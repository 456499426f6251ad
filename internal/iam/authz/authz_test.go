package authz_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
)

// policies is one document for every caller.
type policies struct{ set *policy.Set }

func (p policies) Policies(context.Context, *sekisho.Principal) (*policy.Set, error) {
	return p.set, nil
}

func authorizer(t *testing.T, statements string) *authz.Authorizer {
	t.Helper()
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + statements + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return authz.New(policies{policy.Compile(policy.Policies{Identity: []*policy.Document{doc}})})
}

var (
	now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

	alice = sekisho.Principal{
		Type: sekisho.PrincipalUser, Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/eng/alice",
		PolicyARN: "arn:aws:iam::123456789012:user/eng/alice", UserID: "AIDAEXAMPLE", UserName: "alice",
		AccessKeyID: "AKIAEXAMPLE",
		Tags:        map[string]string{"Team": "blue"},
	}
)

func with(p sekisho.Principal, change func(p *sekisho.Principal)) *sekisho.Principal {
	change(&p)
	return &p
}

// TestContext: each condition key that the server sets, and each that must be
// missing, in a condition that nothing else can satisfy.
func TestContext(t *testing.T) {
	t.Parallel()
	facts := authz.Facts{
		Principal: &alice, Time: now, SourceIP: netip.MustParseAddr("::ffff:192.0.2.7"), Secure: true,
		UserAgent: "aws-cli/2", Referer: "https://example.com/", Region: "ap-northeast-1",
	}
	session := with(alice, func(p *sekisho.Principal) {
		p.TokenIssueTime = now.Add(-time.Hour)
		p.Session = &sekisho.PrincipalSession{
			SourceIdentity:    "alice@example.com",
			FederatedProvider: "arn:aws:iam::123456789012:oidc-provider/idp.example.com",
		}
	})
	mfa := with(*session, func(p *sekisho.Principal) { p.MFATime = now.Add(-90 * time.Second) })
	later := with(*session, func(p *sekisho.Principal) { p.MFATime = now.Add(time.Hour) })
	role := with(sekisho.Principal{}, func(p *sekisho.Principal) {
		p.Type, p.Account = sekisho.PrincipalAssumedRole, "123456789012"
		p.ARN, p.PolicyARN = "arn:aws:sts::123456789012:assumed-role/ops/bob", "arn:aws:iam::123456789012:role/ops"
		p.UserID, p.RoleName, p.RoleSessionName = "AROAEXAMPLE:bob", "ops", "bob"
	})
	hybrid := with(*role, func(p *sekisho.Principal) { p.Node = "mi-0123456789abcdef0" })
	ec2 := with(*role, func(p *sekisho.Principal) { p.Node = "i-01234567890abcdef" })
	web := &sekisho.Principal{
		Type:   sekisho.PrincipalWebIdentity,
		ARN:    "arn:aws:iam::123456789012:oidc-provider/idp.example.com",
		UserID: "x",
	}

	for _, c := range []struct {
		who       *sekisho.Principal
		condition string
		want      bool
	}{
		{&alice, `"DateEquals":{"aws:CurrentTime":"2026-11-23T12:00:00Z"}`, true},
		{&alice, `"NumericEquals":{"aws:EpochTime":"1795435200"}`, true},
		{&alice, `"IpAddress":{"aws:SourceIp":"192.0.2.7/32"}`, true},
		{&alice, `"IpAddress":{"aws:SourceIp":"192.0.2.8/32"}`, false},
		{&alice, `"Bool":{"aws:SecureTransport":"true"}`, true},
		{&alice, `"StringEquals":{"aws:UserAgent":"aws-cli/2","aws:Referer":"https://example.com/"}`, true},
		{&alice, `"StringEquals":{"aws:RequestedRegion":"ap-northeast-1"}`, true},
		{&alice, `"Bool":{"aws:ViaAWSService":"false","aws:PrincipalIsAWSService":"false"}`, true},
		{&alice, `"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/eng/alice"}`, true},
		{&alice, `"StringEquals":{"aws:PrincipalAccount":"123456789012","aws:ResourceAccount":"123456789012",` +
			`"aws:PrincipalType":"User"}`, true},
		{&alice, `"StringEquals":{"aws:username":"alice","aws:userid":"AIDAEXAMPLE","aws:PrincipalTag/team":"blue"}`, true},
		// A long-term key does not say whether a second factor was used.
		{&alice, `"Null":{"aws:MultiFactorAuthPresent":"true","aws:MultiFactorAuthAge":"true","aws:TokenIssueTime":"true"}`,
			true},
		{&alice, `"Null":{"aws:SourceIdentity":"true","aws:FederatedProvider":"true","ssm:SourceInstanceARN":"true",` +
			`"ec2:SourceInstanceARN":"true"}`, true},
		{&alice, `"Null":{"aws:CalledVia":"true","aws:SourceArn":"true","aws:SourceAccount":"true",` +
			`"aws:PrincipalOrgID":"true","aws:VpcSourceIp":"true"}`, true},
		{session, `"Bool":{"aws:MultiFactorAuthPresent":"false"},"Null":{"aws:MultiFactorAuthAge":"true"}`, true},
		{session, `"DateEquals":{"aws:TokenIssueTime":"2026-11-23T11:00:00Z"}`, true},
		{session, `"StringEquals":{"aws:SourceIdentity":"alice@example.com"}`, true},
		{session, `"StringEquals":{"aws:FederatedProvider":"arn:aws:iam::123456789012:oidc-provider/idp.example.com"}`, true},
		{mfa, `"Bool":{"aws:MultiFactorAuthPresent":"true"},"NumericEquals":{"aws:MultiFactorAuthAge":"90"}`, true},
		{later, `"NumericEquals":{"aws:MultiFactorAuthAge":"0"}`, true}, // clocks differ: ages below zero count as zero
		{role, `"Null":{"aws:username":"true"},"StringEquals":{"aws:userid":"AROAEXAMPLE:bob"},` +
			`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/ops"}`, true},
		{hybrid, `"ArnEquals":{"ssm:SourceInstanceARN":"arn:aws:ssm:ap-northeast-1:123456789012:managed-instance/` +
			`mi-0123456789abcdef0"},"Null":{"ec2:SourceInstanceARN":"true"}`, true},
		{ec2, `"ArnEquals":{"ec2:SourceInstanceARN":"arn:aws:ec2:ap-northeast-1:123456789012:instance/` +
			`i-01234567890abcdef"},"Null":{"ssm:SourceInstanceARN":"true"}`, true},
		// it has no policies that could allow it
		{web, `"Null":{"aws:userid":"true","aws:PrincipalArn":"true","aws:username":"true"}`, false},
	} {
		a := authorizer(
			t,
			`{"Effect":"Allow","Action":"ssm:DescribeSessions","Resource":"*","Condition":{`+c.condition+`}}`,
		)
		f := facts
		f.Principal = c.who
		v, err := a.Decide(t.Context(), &f, "ssm:DescribeSessions", "*")
		if err != nil || v.Allowed != c.want {
			t.Errorf("%s: %v, %v, want %v: %s", c.condition, v.Allowed, err, c.want, v.Reason)
		}
	}
}

// TestUnknownFactsAreAbsent: a fact that the server does not have is not a
// condition key.
func TestUnknownFactsAreAbsent(t *testing.T) {
	t.Parallel()
	a := authorizer(
		t,
		`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"aws:SourceIp":"true",`+
			`"aws:UserAgent":"true","aws:Referer":"true","aws:RequestedRegion":"true"}}}`,
	)
	v, err := a.Decide(t.Context(), &authz.Facts{Principal: &alice, Time: now}, "ssm:DescribeSessions", "*")
	if err != nil || !v.Allowed {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := a.Decide(t.Context(), &authz.Facts{Time: now}, "ssm:DescribeSessions", "*"); sekisho.CodeOf(
		err,
	) != sekisho.CodeUnauthenticated {
		t.Errorf("nobody: %v", err)
	}
}

func TestTagsOfResourceAndRequest(t *testing.T) {
	t.Parallel()
	keys := append(
		authz.ResourceTags("ssm", map[string]string{"Env": "prod"}),
		authz.RequestTags(map[string]string{"Owner": "alice"})...)
	keys = append(keys, authz.SessionTags("AROAEXAMPLE:bob", "mi-0123456789abcdef0")...)
	for condition, want := range map[string]bool{
		`"StringEquals":{"aws:ResourceTag/env":"prod","ssm:resourceTag/Env":"prod"}`:                            true,
		`"StringEquals":{"aws:RequestTag/Owner":"alice"},"ForAllValues:StringEquals":{"aws:TagKeys":["Owner"]}`: true,
		`"StringEquals":{"ssm:resourceTag/aws:ssmmessages:session-id":"${aws:userid}"}`:                         false,
		`"StringEquals":{"ssm:resourceTag/aws:ssmmessages:session-id":"AROAEXAMPLE:bob",` +
			`"aws:ResourceTag/aws:ssmmessages:target-id":"mi-0123456789abcdef0"}`: true,
	} {
		a := authorizer(t, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{`+condition+`}}`)
		v, err := a.Decide(
			t.Context(),
			&authz.Facts{Principal: &alice, Time: now},
			"ssm:TerminateSession",
			"arn:aws:ssm:us-east-1:123456789012:session/x",
			keys...)
		if err != nil || v.Allowed != want {
			t.Errorf("%s: %v, %v", condition, v, err)
		}
	}
}

// A role session name may contain a comma, which a tag value cannot.
func TestOwnSessionsOfARoleSessionWithAComma(t *testing.T) {
	t.Parallel()
	p := sekisho.Principal{
		Type:   sekisho.PrincipalAssumedRole,
		ARN:    "arn:aws:sts::123456789012:assumed-role/r/bob,carol",
		UserID: "AROAEXAMPLE:bob,carol",
	}
	a := authorizer(
		t,
		`{"Effect":"Allow","Action":"*","Resource":"*",`+
			`"Condition":{"StringEquals":{"ssm:resourceTag/aws:ssmmessages:session-id":"${aws:userid}"}}}`,
	)
	for owner, want := range map[string]bool{"AROAEXAMPLE:bob,carol": true, "AROAEXAMPLE:bob": false, "": false} {
		v, err := a.Decide(t.Context(), &authz.Facts{Principal: &p, Time: now}, "ssm:TerminateSession",
			"arn:aws:ssm:us-east-1:123456789012:session/x", authz.SessionTags(owner, "mi-0123456789abcdef0")...)
		if err != nil || v.Allowed != want {
			t.Errorf("a session of %q: %v, %v; want %v", owner, v, err, want)
		}
	}
}

func TestStartSession(t *testing.T) {
	t.Parallel()
	const (
		node  = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0"
		shell = "arn:aws:ssm:us-east-1:123456789012:document/SSM-SessionManagerRunShell"
		ssh   = "arn:aws:ssm:us-east-1::document/AWS-StartSSHSession"
	)
	onNode := `{"Effect":"Allow","Action":"ssm:StartSession","Resource":"` + node + `"}`
	checked := `{"Effect":"Allow","Action":"ssm:StartSession","Resource":"` + node +
		`","Condition":{"BoolIfExists":{"ssm:SessionDocumentAccessCheck":"true"}}}`
	onShell := `{"Effect":"Allow","Action":"ssm:StartSession","Resource":"` + shell + `"}`
	denyShell := `{"Effect":"Deny","Action":"ssm:StartSession","Resource":"` + shell + `"}`
	denyNode := `{"Effect":"Deny","Action":"ssm:StartSession","Resource":"` + node + `"}`
	def := authz.StartSession{Node: node, Document: shell}
	named := authz.StartSession{Node: node, Document: ssh, Named: true}
	strict := authz.StartSession{Node: node, Document: shell, Strict: true}
	for name, c := range map[string]struct {
		policy string
		call   authz.StartSession
		want   bool
		steps  int
	}{
		"a grant on the node implies the default document": {onNode, def, true, 1},
		"but not a document that is named":                 {onNode, named, false, 4},
		"nor the default document in strict mode":          {onNode, strict, false, 2},
		"a grant that checks the document":                 {checked, def, false, 3},
		"a grant on node and document":                     {checked + "," + onShell, def, true, 3},
		"node and document, in strict mode":                {onNode + "," + onShell, strict, true, 2},
		"an implied document is not denied":                {onNode + "," + denyShell, def, true, 1},
		"a denied node":                                    {onNode + "," + denyNode, def, false, 1},
		"nothing":                                          {onShell, def, false, 2},
	} {
		a := authorizer(t, c.policy)
		v, steps, err := c.call.Decide(
			t.Context(),
			func(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
				return a.Decide(ctx, &authz.Facts{Principal: &alice, Time: now}, action, resource, keys...)
			},
		)
		if err != nil || v.Allowed != c.want || len(steps) != c.steps ||
			steps[len(steps)-1].Verdict.Reason != v.Reason {
			t.Errorf("%s: %v in %d steps, %v, want %v in %d", name, v.Allowed, len(steps), err, c.want, c.steps)
		}
		if !v.Allowed &&
			!strings.Contains(v.Message, "is not authorized to perform: ssm:StartSession on resource: arn:aws:ssm") {
			t.Errorf("%s: %q", name, v.Message)
		}
	}
}

func TestAnyName(t *testing.T) {
	t.Parallel()
	const byName, byID = "arn:aws:ssm:us-east-1:123456789012:session/alice-x",
		"arn:aws:ssm:us-east-1:123456789012:session/AIDAEXAMPLE-x"
	own := func(variable string) string {
		return `{"Effect":"Allow","Action":"ssm:TerminateSession","Resource":"arn:aws:ssm:*:*:session/${` + variable + `}-*"}`
	}
	deny := `{"Effect":"Deny","Action":"ssm:TerminateSession","Resource":"` + byID + `"}`
	for statements, want := range map[string]bool{
		own("aws:username"):              true,
		own("aws:userid"):                true,
		own("aws:username") + "," + deny: false,
		deny:                             false,
	} {
		a := authorizer(t, statements)
		v, _, err := authz.AnyName(
			t.Context(),
			func(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
				return a.Decide(ctx, &authz.Facts{Principal: &alice, Time: now}, action, resource, keys...)
			},
			"ssm:TerminateSession",
			[]string{byName, byID},
			nil,
		)
		if err != nil || v.Allowed != want {
			t.Errorf("%s: %+v, %v", statements, v, err)
		}
	}
}

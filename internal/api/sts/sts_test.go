package sts_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/pquerna/otp/totp"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest/doortest"
)

const account = doortest.Account

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a clock that tests move; it starts now, since requests are signed
// with the real time.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

type person struct {
	*awssts.Client
	creds aws.Credentials
}

// newPerson creates a user with a key and, unless it is empty, a policy.
func newPerson(t *testing.T, s *doortest.Server, name, document string) person {
	t.Helper()
	ctx := t.Context()
	_, err := s.Directory.Users.Create(ctx, "/", name, "", nil)
	check(t, err)
	if document != "" {
		check(t, s.Directory.Holders.PutInline(ctx, identity.KindUser, name, "p", document))
	}
	k, err := s.Directory.Keys.Create(ctx, name)
	check(t, err)
	c := aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}
	return person{s.STS(c), c}
}

func newRole(t *testing.T, s *doortest.Server, name, statement string) *string {
	t.Helper()
	r, err := s.Directory.Roles.Create(
		t.Context(),
		identity.NewRole{Name: name, Trust: `{"Version":"2012-10-17","Statement":[` + statement + `]}`},
	)
	check(t, err)
	return &r.ARN
}

func allow(action string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%q,"Resource":"*"}]}`, action)
}

func trust(principal, condition string) string {
	return fmt.Sprintf(
		`{"Effect":"Allow","Principal":{"AWS":%q},"Action":["sts:AssumeRole","sts:TagSession"],"Condition":%s}`,
		principal,
		condition,
	)
}

func temporary(c *types.Credentials) aws.Credentials {
	return aws.Credentials{
		AccessKeyID:     *c.AccessKeyId,
		SecretAccessKey: *c.SecretAccessKey,
		SessionToken:    *c.SessionToken,
	}
}

func whoami(t *testing.T, c *awssts.Client) string {
	t.Helper()
	out, err := c.GetCallerIdentity(t.Context(), &awssts.GetCallerIdentityInput{})
	if err != nil {
		return err.Error()
	}
	return *out.Account + " " + *out.UserId + " " + *out.Arn
}

func TestGetCallerIdentityNeedsNoPermission(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	p := newPerson(
		t,
		s,
		"alice",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`,
	)
	u, err := s.Directory.Users.Get(t.Context(), "alice")
	check(t, err)
	if got, want := whoami(t, p.Client), account+" "+u.ID+" arn:aws:iam::"+account+":user/alice"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err = s.STS(aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}).
		GetCallerIdentity(t.Context(), &awssts.GetCallerIdentityInput{})
	doortest.WantError(t, err, "InvalidClientTokenId", 403, "The security token included in the request is invalid.")
	_, err = s.STS(aws.Credentials{AccessKeyID: p.creds.AccessKeyID, SecretAccessKey: "x"}).
		GetCallerIdentity(t.Context(), &awssts.GetCallerIdentityInput{})
	doortest.WantError(t, err, "SignatureDoesNotMatch", 403, "")
}

func TestWhoMayAssumeARole(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	plain := newPerson(t, s, "plain", "")
	granted := newPerson(t, s, "granted", allow("sts:*"))
	denied := newPerson(
		t,
		s,
		"denied",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}]}`,
	)
	everybody := newRole(t, s, "everybody", trust("*", "{}"))
	byAccount := newRole(t, s, "by-account", trust(account, "{}"))
	byName := newRole(t, s, "by-name", trust("arn:aws:iam::"+account+":user/plain", "{}"))
	external := newRole(t, s, "external", trust(account, `{"StringEquals":{"sts:ExternalId":"ticket-7"}}`))
	service := newRole(
		t,
		s,
		"service",
		`{"Effect":"Allow","Principal":{"Service":"ssm.amazonaws.com"},"Action":"sts:AssumeRole"}`,
	)
	ghost := aws.String("arn:aws:iam::" + account + ":role/ghost")
	for _, c := range []struct {
		who      string
		client   person
		role     *string
		external *string
		allowed  bool
	}{
		{"plain", plain, everybody, nil, true},
		{"plain", plain, byName, nil, true},
		{"plain", plain, byAccount, nil, false}, // the account delegates to policies, and plain has none
		{"granted", granted, byAccount, nil, true},
		{"granted", granted, byName, nil, false},
		{"granted", granted, external, nil, false},
		{"granted", granted, external, aws.String("ticket-8"), false},
		{"granted", granted, external, aws.String("ticket-7"), true},
		{"granted", granted, service, nil, false},
		{"granted", granted, ghost, nil, false},
		{"denied", denied, everybody, nil, false},
	} {
		out, err := c.client.AssumeRole(
			ctx,
			&awssts.AssumeRoleInput{RoleArn: c.role, RoleSessionName: aws.String("work"), ExternalId: c.external},
		)
		if !c.allowed {
			doortest.WantError(
				t,
				err,
				"AccessDenied",
				403,
				"arn:aws:iam::"+account+":user/"+c.who+" is not authorized to perform: sts:AssumeRole on resource: "+*c.role,
			)
			if c.role == ghost || c.role == service { // the error does not reveal whether the role exists
				doortest.WantError(t, err, "AccessDenied", 403, "because no role trust policy allows the sts:AssumeRole action")
			}
			continue
		}
		if err != nil {
			t.Errorf("%s, %s: %v", c.who, *c.role, err)
			continue
		}
		if e := fmt.Sprintf("%+v", s.Trail.Last()); !strings.Contains(e, *out.Credentials.AccessKeyId) ||
			strings.Contains(
				e,
				*out.Credentials.SecretAccessKey,
			) || strings.Contains(e, *out.Credentials.SessionToken) {
			t.Errorf("audit event %s", e)
		}
		name := (*c.role)[strings.LastIndexByte(*c.role, '/')+1:]
		r, err := s.Directory.Roles.Get(ctx, name)
		check(t, err)
		want := account + " " + r.ID + ":work arn:aws:sts::" + account + ":assumed-role/" + name + "/work"
		if got := whoami(t, s.STS(temporary(out.Credentials))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if *out.AssumedRoleUser.AssumedRoleId != r.ID+":work" ||
			time.Until(*out.Credentials.Expiration) < 59*time.Minute {
			t.Errorf("answer = %+v", out.AssumedRoleUser)
		}
	}
}

func TestSessionPolicyTagsAndDurationOfARole(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	alice := newPerson(t, s, "alice", "")
	arn := newRole(t, s, "r", trust("*", "{}"))
	check(
		t,
		s.Directory.Holders.PutInline(
			ctx,
			identity.KindRole,
			"r",
			"p",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:List*","Resource":"*",`+
				`"Condition":{"StringEquals":{"aws:PrincipalTag/Team":"blue"}}}]}`,
		),
	)
	assume := func(in awssts.AssumeRoleInput) (*awsiam.Client, error) {
		in.RoleArn, in.RoleSessionName = arn, aws.String("work")
		out, err := alice.AssumeRole(ctx, &in)
		if err != nil {
			return nil, err
		}
		return s.IAM(temporary(out.Credentials)), nil
	}
	blue := []types.Tag{{Key: aws.String("Team"), Value: aws.String("blue")}}
	for name, c := range map[string]struct {
		in            awssts.AssumeRoleInput
		users, groups bool
	}{
		"no tag": {awssts.AssumeRoleInput{}, false, false},
		"tag":    {awssts.AssumeRoleInput{Tags: blue}, true, true},
		"tag and policy": {awssts.AssumeRoleInput{Tags: blue, Policy: aws.String(allow("iam:ListUsers"))},
			true, false},
		"tag and a policy that grants more": {awssts.AssumeRoleInput{Tags: blue,
			PolicyArns: []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}}}, true,
			true},
	} {
		client, err := assume(c.in)
		check(t, err)
		_, users := client.ListUsers(ctx, &awsiam.ListUsersInput{})
		_, groups := client.ListGroups(ctx, &awsiam.ListGroupsInput{})
		_, more := client.GetAccountSummary(ctx, &awsiam.GetAccountSummaryInput{})
		if (users == nil) != c.users || (groups == nil) != c.groups || more == nil {
			t.Errorf("%s: users %v, groups %v, summary %v", name, users, groups, more)
		}
	}
	_, err := assume(awssts.AssumeRoleInput{DurationSeconds: aws.Int32(7200)})
	doortest.WantError(t, err, "ValidationError", 400, "exceeds the MaxSessionDuration")
	_, err = assume(awssts.AssumeRoleInput{DurationSeconds: aws.Int32(60)})
	doortest.WantError(t, err, "ValidationError", 400, "durationSeconds")
	_, err = assume(awssts.AssumeRoleInput{Policy: aws.String("{")})
	doortest.WantError(t, err, "MalformedPolicyDocument", 400, "Syntax errors")
	_, err = assume(awssts.AssumeRoleInput{Policy: aws.String(allow("ssm:" + strings.Repeat("x", 3000)))})
	doortest.WantError(t, err, "PackedPolicyTooLarge", 400, "larger than")

	strict := newRole(t, s, "no-tags", `{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`)
	_, err = alice.AssumeRole(
		ctx,
		&awssts.AssumeRoleInput{RoleArn: strict, RoleSessionName: aws.String("work"), Tags: blue},
	)
	doortest.WantError(t, err, "AccessDenied", 403, "sts:TagSession")
}

func TestNotImplemented(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	_, err := newPerson(t, s, "alice", "").AssumeRoleWithSAML(t.Context(), &awssts.AssumeRoleWithSAMLInput{
		RoleArn: aws.String(
			"arn:aws:iam::" + account + ":role/r",
		), PrincipalArn: aws.String("arn:aws:iam::" + account + ":saml-provider/p"), SAMLAssertion: aws.String("PHg+"),
	})
	doortest.WantError(t, err, "NotImplemented", 501, "sts:AssumeRoleWithSAML is not implemented by Sekisho")
}

func TestTheSecondFactor(t *testing.T) {
	t.Parallel()
	now := &clock{}
	s := doortest.Start(t, now.Now)
	ctx := t.Context()
	alice := newPerson(
		t,
		s,
		"alice",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*",`+
			`"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}]}`,
	)
	dev, err := s.Directory.MFA.Create(ctx, "/", "alice", nil)
	check(t, err)
	code := func(offset time.Duration) *string {
		c, err := totp.GenerateCode(dev.Seed, now.Now().Add(offset))
		check(t, err)
		return &c
	}
	check(t, s.Directory.MFA.Enable(ctx, "alice", dev.Serial, *code(-30 * time.Second), *code(0)))
	now.advance(time.Minute)
	lists := func(c aws.Credentials) bool {
		_, err := s.IAM(c).ListUsers(ctx, &awsiam.ListUsersInput{})
		return err == nil
	}
	if lists(alice.creds) {
		t.Error("a long-term key passes for a second factor")
	}
	without, err := alice.GetSessionToken(ctx, &awssts.GetSessionTokenInput{})
	check(t, err)
	if lists(temporary(without.Credentials)) {
		t.Error("a session without a code passes for a second factor")
	}
	_, err = alice.GetSessionToken(
		ctx,
		&awssts.GetSessionTokenInput{SerialNumber: &dev.Serial, TokenCode: aws.String("000000")},
	)
	doortest.WantError(t, err, "AccessDenied", http.StatusForbidden, "invalid MFA one time pass code")
	used := code(0)
	with, err := alice.GetSessionToken(ctx, &awssts.GetSessionTokenInput{SerialNumber: &dev.Serial, TokenCode: used})
	check(t, err)
	if !lists(temporary(with.Credentials)) {
		t.Error("a session with a code does not count")
	}
	_, err = alice.GetSessionToken(ctx, &awssts.GetSessionTokenInput{SerialNumber: &dev.Serial, TokenCode: used})
	doortest.WantError(t, err, "AccessDenied", 403, "invalid MFA")
	_, err = s.STS(temporary(with.Credentials)).GetSessionToken(ctx, &awssts.GetSessionTokenInput{})
	doortest.WantError(t, err, "AccessDenied", 403, "with session credentials")

	role := newRole(t, s, "careful", trust("*", `{"Bool":{"aws:MultiFactorAuthPresent":"true"}}`))
	_, err = alice.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: role, RoleSessionName: aws.String("work")})
	doortest.WantError(t, err, "AccessDenied", 403, "sts:AssumeRole")
	_, err = s.STS(temporary(with.Credentials)).
		AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: role, RoleSessionName: aws.String("work")})
	check(t, err)
	now.advance(time.Minute)
	_, err = alice.AssumeRole(
		ctx,
		&awssts.AssumeRoleInput{
			RoleArn:         role,
			RoleSessionName: aws.String("work"),
			SerialNumber:    &dev.Serial,
			TokenCode:       code(0),
		},
	)
	check(t, err)

	now.advance(13 * time.Hour)
	if got := whoami(t, s.STS(temporary(with.Credentials))); !strings.Contains(got, "ExpiredToken") {
		t.Errorf("after 13 hours: %s", got)
	}
}

func TestFederation(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	alice := newPerson(
		t,
		s,
		"alice",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:GetFederationToken","ssm:*"],`+
			`"Resource":"*"}]}`,
	)
	out, err := alice.GetFederationToken(
		ctx,
		&awssts.GetFederationTokenInput{Name: aws.String("guest"), Policy: aws.String(allow("*"))},
	)
	check(t, err)
	want := account + " " + account + ":guest arn:aws:sts::" + account + ":federated-user/guest"
	if got := whoami(t, s.STS(temporary(out.Credentials))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err = s.IAM(temporary(out.Credentials)).GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("alice")})
	doortest.WantError(t, err, "AccessDenied", 403, "GetFederationToken")
	_, err = s.STS(temporary(out.Credentials)).
		AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: newRole(t, s, "r", trust("*", "{}")),
			RoleSessionName: aws.String("work")})
	doortest.WantError(t, err, "AccessDenied", 403, "GetFederationToken")
	_, err = newPerson(
		t,
		s,
		"bob",
		"",
	).GetFederationToken(ctx, &awssts.GetFederationTokenInput{Name: aws.String("guest")})
	doortest.WantError(
		t,
		err,
		"AccessDenied",
		403,
		"sts:GetFederationToken on resource: arn:aws:sts::"+account+":federated-user/guest",
	)
}

func TestDeactivatingAKeyEndsItsSessions(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	alice := newPerson(t, s, "alice", "")
	out, err := alice.AssumeRole(
		ctx,
		&awssts.AssumeRoleInput{RoleArn: newRole(t, s, "r", trust("*", "{}")), RoleSessionName: aws.String("work")},
	)
	check(t, err)
	_, err = s.IAM(s.Admin).
		UpdateAccessKey(ctx, &awsiam.UpdateAccessKeyInput{UserName: aws.String("alice"),
			AccessKeyId: &alice.creds.AccessKeyID, Status: iamtypes.StatusTypeInactive})
	check(t, err)
	for _, c := range []aws.Credentials{alice.creds, temporary(out.Credentials)} {
		_, err := s.STS(c).GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
		doortest.WantError(t, err, "InvalidClientTokenId", 403, "security token")
	}
}

func TestKeysRememberTheirLastUse(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	whoami(t, s.STS(s.Admin))
	check(t, s.Directory.Uses.Flush(context.Background()))
	u, err := s.IAM(s.Admin).
		GetAccessKeyLastUsed(t.Context(), &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: &s.Admin.AccessKeyID})
	check(t, err)
	if *u.UserName != "admin" || u.AccessKeyLastUsed.LastUsedDate == nil ||
		*u.AccessKeyLastUsed.Region != doortest.Region {
		t.Errorf("last used = %+v", u.AccessKeyLastUsed)
	}
}

func TestRolesAssumeRoles(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	alice := newPerson(t, s, "alice", "")
	first := newRole(t, s, "first", trust("arn:aws:iam::"+account+":user/alice", "{}"))
	second := newRole(t, s, "second", trust(*first, "{}"))
	r, err := s.Directory.Roles.Get(ctx, "second")
	check(t, err)
	_, err = alice.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: second, RoleSessionName: aws.String("work")})
	doortest.WantError(t, err, "AccessDenied", 403, "sts:AssumeRole")
	out, err := alice.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: first, RoleSessionName: aws.String("work")})
	check(t, err)
	role := s.STS(temporary(out.Credentials))
	// A grant to the role's ARN applies to the role, and its policies need not
	// repeat it.
	chained, err := role.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: second, RoleSessionName: aws.String("deep")})
	check(t, err)
	if got, want := whoami(t, s.STS(temporary(chained.Credentials))),
		account+" "+r.ID+":deep arn:aws:sts::"+account+":assumed-role/second/deep"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	check(t, s.Directory.Roles.Update(ctx, "second", nil, 2*time.Hour))
	_, err = role.AssumeRole(
		ctx,
		&awssts.AssumeRoleInput{RoleArn: second, RoleSessionName: aws.String("deep"), DurationSeconds: aws.Int32(7200)},
	)
	doortest.WantError(t, err, "ValidationError", 400, "exceeds")
	// Credentials that alice's issued end with hers.
	check(t, s.Directory.Keys.SetActive(ctx, "alice", alice.creds.AccessKeyID, false))
	if got := whoami(t, s.STS(temporary(chained.Credentials))); !strings.Contains(got, "InvalidClientTokenId") {
		t.Errorf("after the key was deactivated: %s", got)
	}
}

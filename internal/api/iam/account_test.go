package iam_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"sekisho/internal/servertest/doortest"
)

func TestAccountAlias(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx, c := t.Context(), s.IAM(s.Admin)
	for _, bad := range []string{"no", "-ab", "ab-", "a--b", "Upper", strings.Repeat("a", 64)} {
		_, err := c.CreateAccountAlias(ctx, &awsiam.CreateAccountAliasInput{AccountAlias: aws.String(bad)})
		doortest.WantError(t, err, "ValidationError", 400, "")
	}
	for _, alias := range []string{"first-one", "second"} {
		must[*awsiam.CreateAccountAliasOutput](
			t,
		)(
			c.CreateAccountAlias(ctx, &awsiam.CreateAccountAliasInput{AccountAlias: &alias}),
		)
		got := must[*awsiam.ListAccountAliasesOutput](
			t,
		)(
			c.ListAccountAliases(ctx, &awsiam.ListAccountAliasesInput{}),
		).AccountAliases
		if len(got) != 1 || got[0] != alias {
			t.Errorf("the aliases are %q, want %q alone", got, alias)
		}
	}
	_, err := c.DeleteAccountAlias(ctx, &awsiam.DeleteAccountAliasInput{AccountAlias: aws.String("first-one")})
	doortest.WantError(t, err, "NoSuchEntity", 404, "")
	must[*awsiam.DeleteAccountAliasOutput](
		t,
	)(
		c.DeleteAccountAlias(ctx, &awsiam.DeleteAccountAliasInput{AccountAlias: aws.String("second")}),
	)
	if got := must[*awsiam.ListAccountAliasesOutput](t)(
		c.ListAccountAliases(ctx, &awsiam.ListAccountAliasesInput{})).AccountAliases; len(
		got,
	) != 0 {
		t.Errorf("the alias is still listed: %q", got)
	}
}

func TestPasswordPolicyIsEnforced(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx, c := t.Context(), s.IAM(s.Admin)
	_, err := c.GetAccountPasswordPolicy(ctx, &awsiam.GetAccountPasswordPolicyInput{})
	doortest.WantError(t, err, "NoSuchEntity", 404, "")
	for _, bad := range []*awsiam.UpdateAccountPasswordPolicyInput{
		{MinimumPasswordLength: aws.Int32(5)}, {MinimumPasswordLength: aws.Int32(129)}, {MaxPasswordAge: aws.Int32(1096)},
		{PasswordReusePrevention: aws.Int32(3)}, {HardExpiry: aws.Bool(true)},
	} {
		_, err := c.UpdateAccountPasswordPolicy(ctx, bad)
		doortest.WantError(t, err, "ValidationError", 400, "")
	}
	must[*awsiam.UpdateAccountPasswordPolicyOutput](
		t,
	)(
		c.UpdateAccountPasswordPolicy(ctx, &awsiam.UpdateAccountPasswordPolicyInput{
			MinimumPasswordLength: aws.Int32(
				12,
			), RequireSymbols: true, MaxPasswordAge: aws.Int32(90), AllowUsersToChangePassword: true,
		}),
	)
	p := must[*awsiam.GetAccountPasswordPolicyOutput](
		t,
	)(
		c.GetAccountPasswordPolicy(ctx, &awsiam.GetAccountPasswordPolicyInput{}),
	).PasswordPolicy
	if *p.MinimumPasswordLength != 12 || !p.RequireSymbols || p.RequireNumbers || !p.ExpirePasswords ||
		*p.MaxPasswordAge != 90 {
		t.Errorf("the policy is %+v", p)
	}

	person(t, s, "ann", nil)
	login := func(password string) error {
		_, err := c.CreateLoginProfile(
			ctx,
			&awsiam.CreateLoginProfileInput{UserName: aws.String("ann"), Password: &password},
		)
		return err
	}
	doortest.WantError(t, login("Short-1"), "PasswordPolicyViolation", 400, "")
	doortest.WantError(t, login("withoutsymbolabc"), "PasswordPolicyViolation", 400, "")
	if err := login("correct horse battery"); err != nil {
		t.Fatal(err)
	}

	// The policy lets users change their own password, unless a Deny applies.
	change := func(c *awsiam.Client, from, to string) error {
		_, err := c.ChangePassword(ctx, &awsiam.ChangePasswordInput{OldPassword: &from, NewPassword: &to})
		return err
	}
	k := must[*awsiam.CreateAccessKeyOutput](
		t,
	)(
		c.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: aws.String("ann")}),
	).AccessKey
	ann := s.IAM(aws.Credentials{AccessKeyID: *k.AccessKeyId, SecretAccessKey: *k.SecretAccessKey})
	if err := change(ann, "correct horse battery", "another horse battery"); err != nil {
		t.Error(err)
	}
	must[*awsiam.PutUserPolicyOutput](t)(c.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{
		UserName: aws.String("ann"), PolicyName: aws.String("no"),
		PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:ChangePassword","Resource":"*"}]}`,
		),
	}))
	doortest.WantError(t, change(ann, "another horse battery", "a third horse battery"), "AccessDenied", 403, "")
	must[*awsiam.DeleteUserPolicyOutput](
		t,
	)(
		c.DeleteUserPolicy(
			ctx,
			&awsiam.DeleteUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("no")},
		),
	)
	must[*awsiam.DeleteAccountPasswordPolicyOutput](
		t,
	)(
		c.DeleteAccountPasswordPolicy(ctx, &awsiam.DeleteAccountPasswordPolicyInput{}),
	)
	doortest.WantError(t, change(ann, "another horse battery", "a third horse battery"), "AccessDenied", 403, "")
}

func TestCredentialsThatDoNotExistAreListedEmpty(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx, c := t.Context(), s.IAM(s.Admin)
	admin, nobody := aws.String("admin"), aws.String("nobody")
	if keys := must[*awsiam.ListSSHPublicKeysOutput](t)(
		c.ListSSHPublicKeys(ctx, &awsiam.ListSSHPublicKeysInput{UserName: admin})); len(
		keys.SSHPublicKeys,
	) != 0 {
		t.Error(keys.SSHPublicKeys)
	}
	if certs := must[*awsiam.ListSigningCertificatesOutput](t)(
		c.ListSigningCertificates(ctx, &awsiam.ListSigningCertificatesInput{UserName: admin})); len(
		certs.Certificates,
	) != 0 {
		t.Error(certs.Certificates)
	}
	if creds := must[*awsiam.ListServiceSpecificCredentialsOutput](t)(
		c.ListServiceSpecificCredentials(ctx, &awsiam.ListServiceSpecificCredentialsInput{UserName: admin})); len(
		creds.ServiceSpecificCredentials,
	) != 0 {
		t.Error(creds.ServiceSpecificCredentials)
	}
	_, err := c.ListSSHPublicKeys(ctx, &awsiam.ListSSHPublicKeysInput{UserName: nobody})
	doortest.WantError(t, err, "NoSuchEntity", 404, "")
	_, err = person(t, s, "ann", nil).ListSSHPublicKeys(ctx, &awsiam.ListSSHPublicKeysInput{UserName: admin})
	doortest.WantError(t, err, "AccessDenied", 403, "")
}

// A policy that is both attached to a user and the user's boundary.
func TestListEntitiesForPolicyListsEachOnce(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx, c := t.Context(), s.IAM(s.Admin)
	p := must[*awsiam.CreatePolicyOutput](
		t,
	)(
		c.CreatePolicy(
			ctx,
			&awsiam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: allow("ssm:*", "*")},
		),
	).Policy
	for _, name := range []string{"ann", "bob"} {
		must[*awsiam.CreateUserOutput](
			t,
		)(
			c.CreateUser(ctx, &awsiam.CreateUserInput{UserName: &name, PermissionsBoundary: p.Arn}),
		)
		must[*awsiam.AttachUserPolicyOutput](
			t,
		)(
			c.AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: &name, PolicyArn: p.Arn}),
		)
	}
	var names []string
	for page := awsiam.NewListEntitiesForPolicyPaginator(c,
		&awsiam.ListEntitiesForPolicyInput{PolicyArn: p.Arn, MaxItems: aws.Int32(1)}); page.HasMorePages(); {
		for _, u := range must[*awsiam.ListEntitiesForPolicyOutput](t)(page.NextPage(ctx)).PolicyUsers {
			names = append(names, *u.UserName)
		}
	}
	if strings.Join(names, " ") != "ann bob" {
		t.Errorf("listed %q, want ann and bob once each", names)
	}
}

// Clients look for the elements of an error in the service's namespace.
func TestErrorsHaveTheNamespaceOfTheService(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	for service, c := range map[string]struct{ form, xmlns string }{
		"iam": {"Action=GetUser&Version=2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"},
		"sts": {"Action=GetCallerIdentity&Version=2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader(c.form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var got struct {
			XMLName xml.Name
			Error   struct{ Code string }
		}
		if err != nil || xml.NewDecoder(bytes.NewReader(body)).Decode(&got) != nil {
			t.Fatalf("%s: %v: %s", service, err, body)
		}
		if want := (xml.Name{Space: c.xmlns, Local: "ErrorResponse"}); got.XMLName != want ||
			got.Error.Code != "MissingAuthenticationToken" {
			t.Errorf("%s: got %v, %s", service, got.XMLName, got.Error.Code)
		}
	}
}

package sts_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"

	"github.com/aws/smithy-go"

	"sekisho/internal/servertest/doortest"
	"sekisho/internal/servertest/idp"
)

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := idp.Start(t)
	s := doortest.StartFederated(t, nil, p.Transport())
	iam, now := s.IAM(s.Admin), time.Now()
	host := strings.TrimPrefix(p.Issuer, "https://")
	provider, err := iam.CreateOpenIDConnectProvider(
		ctx,
		&awsiam.CreateOpenIDConnectProviderInput{Url: &p.Issuer, ClientIDList: []string{idp.Client}},
	)
	if err != nil {
		t.Fatal(err)
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` +
		*provider.OpenIDConnectProviderArn + `"},
		"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"],"Condition":{"StringEquals":{"` + host + `:aud":"` +
		idp.Client + `"},"StringLike":{"` + host + `:sub":"alic*"}}},
		{"Effect":"Allow","Principal":{"Federated":"` + *provider.OpenIDConnectProviderArn +
		`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"` + host + `:email":"carol@example.com"}}},
		{"Effect":"Allow","Principal":{"Federated":"` + *provider.OpenIDConnectProviderArn +
		`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"ForAnyValue:StringEquals":{"` + host +
		`:groups":"ops"}}}]}`
	role, err := iam.CreateRole(
		ctx,
		&awsiam.CreateRoleInput{RoleName: aws.String("ops"), AssumeRolePolicyDocument: &trust},
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := iam.CreateRole(ctx,
		&awsiam.CreateRoleInput{RoleName: aws.String("closed"),
			AssumeRolePolicyDocument: aws.String(strings.ReplaceAll(trust, "oidc-provider/", "oidc-provider/x"))}); err != nil {
		t.Fatal(err)
	}
	assume := func(roleARN, token string) (*awssts.AssumeRoleWithWebIdentityOutput, error) {
		// Like clients, without any credentials.
		return s.STS(aws.Credentials{}).AssumeRoleWithWebIdentity(ctx, &awssts.AssumeRoleWithWebIdentityInput{
			RoleArn: &roleARN, RoleSessionName: aws.String("alice-here"), WebIdentityToken: &token,
		})
	}

	out, err := assume(*role.Role.Arn, p.Sign(p.Claims(now, map[string]any{
		"https://aws.amazon.com/tags": map[string]any{
			"principal_tags":      map[string]any{"Team": []string{"blue"}},
			"transitive_tag_keys": []string{"Team"},
		},
	})))
	if err != nil {
		t.Fatal(err)
	}
	if *out.SubjectFromWebIdentityToken != "alice" || *out.Audience != idp.Client ||
		*out.Provider != *provider.OpenIDConnectProviderArn ||
		*out.AssumedRoleUser.Arn != "arn:aws:sts::"+doortest.Account+":assumed-role/ops/alice-here" {
		t.Errorf("answer %+v", out)
	}
	if e := s.Trail.Last(); e.UserIdentity.Type != "WebIdentityUser" || e.UserIdentity.UserName != "alice" ||
		e.UserIdentity.Provider != *provider.OpenIDConnectProviderArn {
		t.Errorf("audit %+v", e.UserIdentity)
	}
	creds := aws.Credentials{
		AccessKeyID:     *out.Credentials.AccessKeyId,
		SecretAccessKey: *out.Credentials.SecretAccessKey,
		SessionToken:    *out.Credentials.SessionToken,
	}
	if who, err := s.STS(creds).GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{}); err != nil ||
		*who.Arn != *out.AssumedRoleUser.Arn {
		t.Errorf("who: %+v, %v", who, err)
	}
	_, principal, err := s.Directory.Credentials.Credential(ctx, creds.AccessKeyID, creds.SessionToken)
	if err != nil || principal.Tags["Team"] != "blue" ||
		principal.Session.FederatedProvider != *provider.OpenIDConnectProviderArn {
		t.Errorf("principal %+v, %v", principal, err)
	}
	for name, token := range map[string]string{
		"verified address": p.Sign(
			p.Claims(now, map[string]any{"sub": "c-1", "email": "carol@example.com", "email_verified": true})),
		"group": p.Sign(p.Claims(now, map[string]any{"sub": "d-1", "groups": []string{"dev", "ops"}})),
		"several audiences, issued to the client": p.Sign(
			p.Claims(now, map[string]any{"aud": []string{"x", idp.Client}, "azp": idp.Client})),
	} {
		if _, err := assume(*role.Role.Arn, token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := p.Keys(); n != 1 {
		t.Errorf("the keys were fetched %d times for 4 tokens", n)
	}

	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := p.Claims(now, nil)
	for name, c := range map[string]struct{ role, token, code string }{
		"unsigned":                   {"", p.Unsigned(good), "InvalidIdentityToken"},
		"the public key as a secret": {"", p.PublicKeyAsSecret(good), "InvalidIdentityToken"},
		"another key":                {"", p.SignAs(good, other, jose.ES256, "k1"), "InvalidIdentityToken"},
		"an unknown key ID":          {"", p.SignAs(good, other, jose.ES256, "k2"), "InvalidIdentityToken"},
		"another algorithm":          {"", p.SignAs(good, rsaKey, jose.RS256, "k1"), "InvalidIdentityToken"},
		"changed after signing":      {"", tamper(p.Sign(good)), "InvalidIdentityToken"},
		"another issuer": {"", p.Sign(p.Claims(now, map[string]any{"iss": "https://elsewhere.example"})),
			"InvalidIdentityToken"},
		"almost the issuer": {"", p.Sign(p.Claims(now, map[string]any{"iss": p.Issuer + "/"})),
			"InvalidIdentityToken"},
		"no issuer": {"", p.Sign(p.Claims(now, map[string]any{"iss": nil})), "InvalidIdentityToken"},
		"another audience": {"", p.Sign(p.Claims(now, map[string]any{"aud": "someone-else"})),
			"InvalidIdentityToken"},
		"no audience": {"", p.Sign(p.Claims(now, map[string]any{"aud": nil})), "InvalidIdentityToken"},
		"several audiences": {"", p.Sign(p.Claims(now, map[string]any{"aud": []string{"x", idp.Client}})),
			"InvalidIdentityToken"},
		"issued to another client": {"", p.Sign(p.Claims(now, map[string]any{"azp": "someone-else"})),
			"InvalidIdentityToken"},
		"expired": {"", p.Sign(p.Claims(now, map[string]any{"exp": now.Add(-time.Minute).Unix()})),
			"ExpiredTokenException"},
		"without an expiry": {"", p.Sign(p.Claims(now, map[string]any{"exp": nil})), "ExpiredTokenException"},
		"not yet": {"", p.Sign(p.Claims(now, map[string]any{"nbf": now.Add(time.Hour).Unix()})),
			"InvalidIdentityToken"},
		"no subject": {"", p.Sign(p.Claims(now, map[string]any{"sub": nil})), "InvalidIdentityToken"},
		"no token":   {"", "abcd", "InvalidIdentityToken"},
		"an address verified as a string": {"",
			p.Sign(p.Claims(now, map[string]any{"sub": "c-1", "email": "carol@example.com", "email_verified": "true"})),
			"InvalidIdentityToken"},
		"an address that is not verified": {"",
			p.Sign(p.Claims(now, map[string]any{"sub": "c-1", "email": "carol@example.com", "email_verified": false})),
			"AccessDenied"},
		"an address without verification": {"",
			p.Sign(p.Claims(now, map[string]any{"sub": "c-1", "email": "carol@example.com"})), "AccessDenied"},
		"another subject": {"", p.Sign(p.Claims(now, map[string]any{"sub": "mallory"})),
			"AccessDenied"},
		"a role that trusts another provider": {"closed", p.Sign(good), "AccessDenied"},
		"no such role":                        {"nobody", p.Sign(good), "AccessDenied"},
		"tags that the trust does not allow": {"", p.Sign(p.Claims(now, map[string]any{
			"sub": "d-1", "groups": []string{"ops"},
			"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"Team": []string{"red"}}},
		})), "AccessDenied"},
	} {
		arn := *role.Role.Arn
		if c.role != "" {
			arn = "arn:aws:iam::" + doortest.Account + ":role/" + c.role
		}
		out, err := assume(arn, c.token)
		wantFault(t, name, out, err, c.code)
	}
	if n := p.Keys(); n > 8 {
		t.Errorf("bad tokens had the keys fetched %d times", n)
	}

	// Credentials end with the provider that they came from.
	if _, err := iam.DeleteOpenIDConnectProvider(ctx,
		&awsiam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: provider.OpenIDConnectProviderArn}); err != nil {
		t.Fatal(err)
	}
	out, err = assume(*role.Role.Arn, p.Sign(good))
	wantFault(t, "after the provider is gone", out, err, "InvalidIdentityToken")
	if _, err := s.STS(creds).GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{}); err == nil {
		t.Error("credentials outlived their provider")
	}
}

func wantFault(t *testing.T, name string, out any, err error, code string) {
	t.Helper()
	if fault, ok := errors.AsType[smithy.APIError](err); !ok || fault.ErrorCode() != code {
		t.Errorf("%s: %+v, %v, want %s", name, out, err, code)
	}
}

// tamper changes a character of a token's claims.
func tamper(token string) string {
	parts := strings.Split(token, ".")
	b := []byte(parts[1])
	if i := len(b) / 2; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return parts[0] + "." + string(b) + "." + parts[2]
}

func TestOpenIDConnectProviders(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := doortest.Start(t, nil)
	iam := s.IAM(s.Admin)
	for _, bad := range []string{"http://idp.example.com", "https://", "https://idp.example.com/?x=1",
		"https://user@idp.example.com", "idp.example.com", "https://idp.example.com#x"} {
		if _, err := iam.CreateOpenIDConnectProvider(ctx, &awsiam.CreateOpenIDConnectProviderInput{Url: &bad}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	made, err := iam.CreateOpenIDConnectProvider(ctx, &awsiam.CreateOpenIDConnectProviderInput{
		Url: aws.String(
			"https://idp.example.com/realm",
		), ClientIDList: []string{"a"}, ThumbprintList: []string{strings.Repeat("ab", 20)},
		Tags: []iamtypes.Tag{{Key: aws.String("Env"), Value: aws.String("prod")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.OpenIDConnectProviderArn
	if *arn != "arn:aws:iam::"+doortest.Account+":oidc-provider/idp.example.com/realm" {
		t.Errorf("ARN %s", *arn)
	}
	again, err := iam.CreateOpenIDConnectProvider(ctx,
		&awsiam.CreateOpenIDConnectProviderInput{Url: aws.String("https://idp.example.com/realm")})
	wantFault(t, "twice", again, err, "EntityAlreadyExists")
	if _, err := iam.AddClientIDToOpenIDConnectProvider(ctx,
		&awsiam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn,
			ClientID: aws.String("b")}); err != nil {
		t.Error(err)
	}
	if _, err := iam.RemoveClientIDFromOpenIDConnectProvider(ctx,
		&awsiam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn,
			ClientID: aws.String("a")}); err != nil {
		t.Error(err)
	}
	if _, err := iam.TagOpenIDConnectProvider(ctx,
		&awsiam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn,
			Tags: []iamtypes.Tag{{Key: aws.String("env"), Value: aws.String("test")}}}); err != nil {
		t.Error(err)
	}
	got, err := iam.GetOpenIDConnectProvider(ctx, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	if err != nil || *got.Url != "idp.example.com/realm" || len(got.ClientIDList) != 1 || got.ClientIDList[0] != "b" ||
		len(got.ThumbprintList) != 1 ||
		len(got.Tags) != 1 ||
		*got.Tags[0].Value != "test" {
		t.Errorf("%+v, %v", got, err)
	}
	list, err := iam.ListOpenIDConnectProviders(ctx, &awsiam.ListOpenIDConnectProvidersInput{})
	if err != nil || len(list.OpenIDConnectProviderList) != 1 || *list.OpenIDConnectProviderList[0].Arn != *arn {
		t.Errorf("%+v, %v", list, err)
	}
	for range 2 {
		if _, err := iam.DeleteOpenIDConnectProvider(ctx,
			&awsiam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}); err != nil {
			t.Error(err)
		}
	}
	gone, err := iam.GetOpenIDConnectProvider(ctx, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	wantFault(t, "after its end", gone, err, "NoSuchEntity")
}

// Package sts is the STS door: caller identity and temporary credentials, over
// [sekisho/internal/iam/identity].
package sts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/iam/policy"
	"sekisho/internal/wire/awsproto"
)

type door struct {
	*identity.Directory
	web *webid.Verifier
}

// New returns the STS door of a directory. Tokens of identity providers are
// verified by web.
func New(dir *identity.Directory, web *webid.Verifier) *api.Door {
	d := &door{dir, web}
	return &api.Door{
		Service: "sts", Protocol: awsproto.Query, XMLNS: "https://sts.amazonaws.com/doc/2011-06-15/",
		Version: "2011-06-15", Global: true,
		Operations: map[string]api.Operation{
			"GetCallerIdentity": api.Read(d.getCallerIdentity,
				api.NoPolicy("as in AWS, every caller can look up its own identity")),
			"GetSessionToken": api.Issue(d.getSessionToken,
				api.NoPolicy("as in AWS, the credentials allow nothing that the caller could not do before")),
			"AssumeRole":                api.Issue(d.assumeRole),
			"AssumeRoleWithWebIdentity": api.Issue(d.assumeRoleWithWebIdentity, api.By(api.Anonymous)),
			// Its callers have no credentials. Without this entry the server would require a
			// signature.
			"AssumeRoleWithSAML": api.Issue(assumeRoleWithSAML, api.By(api.Anonymous)),
			"GetFederationToken": api.Issue(d.getFederationToken),
			"GetAccessKeyInfo":   api.Read(d.getAccessKeyInfo),
		},
	}
}

type callerAnswer struct {
	UserID  string `xml:"UserId"`
	Account string
	Arn     string
}

func (d *door) getCallerIdentity(_ context.Context, c *api.Call, _ *struct{}) (*callerAnswer, error) {
	return &callerAnswer{c.Principal.UserID, c.Principal.Account, c.Principal.ARN}, nil
}

type keyInfoAnswer struct{ Account string }

func (d *door) getAccessKeyInfo(
	ctx context.Context,
	c *api.Call,
	_ *struct{ AccessKeyID string },
) (*keyInfoAnswer, error) {
	return &keyInfoAnswer{c.Account}, c.Authorize(ctx, "sts:GetAccessKeyInfo", "*")
}

type credentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      awsproto.Epoch
}

func shape(t identity.TemporaryCredentials) credentials {
	return credentials{t.AccessKeyID, t.SecretAccessKey, t.SessionToken, awsproto.NewEpoch(t.Expiration)}
}

// note records the issued credentials in the audit trail.
func note(c *api.Call, t identity.TemporaryCredentials) {
	c.Annotate(
		map[string]any{
			"credentials": map[string]any{
				"accessKeyId": t.AccessKeyID,
				"expiration":  t.Expiration.Format(time.RFC3339),
			},
		},
	)
}

type tag struct{ Key, Value string }

type policyARN struct {
	Arn string `query:"arn"`
}

type assumeRoleRequest struct {
	RoleArn, RoleSessionName string
	DurationSeconds          *int
	ExternalID               *string `query:"ExternalId"`
	Policy                   string
	PolicyArns               []policyARN
	SerialNumber, TokenCode  string
	SourceIdentity           string
	Tags                     []tag
	TransitiveTagKeys        []string
}

type assumedRoleUser struct {
	AssumedRoleID string `xml:"AssumedRoleId"`
	Arn           string
}

type assumeRoleAnswer struct {
	Credentials      credentials
	AssumedRoleUser  assumedRoleUser
	PackedPolicySize int    `xml:",omitempty"`
	SourceIdentity   string `xml:",omitempty"`
}

func (in *assumeRoleRequest) check() error {
	v := awsproto.Constraints{Code: "ValidationError"}
	v.Require("roleArn", in.RoleArn != "")
	v.Require("roleSessionName", in.RoleSessionName != "")
	if in.RoleArn != "" {
		v.Length("roleArn", in.RoleArn, 20, 2048)
	}
	if in.DurationSeconds != nil {
		v.Range("durationSeconds", int64(*in.DurationSeconds), 900, 43200)
	}
	if in.ExternalID != nil {
		v.Length("externalId", *in.ExternalID, 2, 1224)
	}
	if in.SourceIdentity != "" {
		v.Length("sourceIdentity", in.SourceIdentity, 2, 64)
	}
	v.Count("tags", len(in.Tags), 0, 50)
	v.Count("transitiveTagKeys", len(in.TransitiveTagKeys), 0, 50)
	return v.Err()
}

func (d *door) assumeRole(ctx context.Context, c *api.Call, in *assumeRoleRequest) (*assumeRoleAnswer, error) {
	if c.Principal.Type == sekisho.PrincipalFederatedUser {
		return nil, sekisho.Errorf(sekisho.CodeDenied, "Cannot call AssumeRole with credentials of GetFederationToken.")
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	role, err := d.Roles.ByARN(ctx, in.RoleArn)
	if err != nil {
		if !sekisho.IsNotFound(err) {
			return nil, err
		}
		// Only callers that a role trusts learn whether it exists: a missing role is treated as a
		// role that trusts nobody.
		role = &identity.Role{Holder: identity.Holder{ARN: in.RoleArn}, Trust: trustsNobody}
	}
	mfa, err := d.secondFactor(ctx, c, in.SerialNumber, in.TokenCode)
	if err != nil {
		return nil, err
	}
	identitySource := in.SourceIdentity
	if c.Principal.Session != nil && c.Principal.Session.SourceIdentity != "" {
		if identitySource != "" && identitySource != c.Principal.Session.SourceIdentity {
			return nil, sekisho.Errorf(sekisho.CodeDenied, "The source identity of a session cannot be changed.")
		}
		identitySource = c.Principal.Session.SourceIdentity
	}
	if err := d.mayAssume(ctx, c, in, role, tags, mfa); err != nil {
		return nil, err
	}
	if role.ID == "" {
		return nil, fmt.Errorf("the missing role %s was authorized", in.RoleArn)
	}
	req := identity.SessionRequest{
		Name: in.RoleSessionName, Policies: inline(in.Policy), PolicyARNs: arns(in.PolicyArns),
		Tags: tags, TransitiveTags: in.TransitiveTagKeys, SourceIdentity: identitySource, MFATime: mfa,
		Duration: seconds(in.DurationSeconds),
	}
	creds, p, err := d.Credentials.AssumeRole(ctx, c.Principal, role, req)
	if err != nil {
		return nil, named(err)
	}
	note(c, creds)
	return &assumeRoleAnswer{
		Credentials: shape(creds), AssumedRoleUser: assumedRoleUser{p.UserID, p.ARN},
		PackedPolicySize: packed(in.Policy, in.PolicyArns), SourceIdentity: identitySource,
	}, nil
}

func assumeRoleWithSAML(context.Context, *api.Call, *struct{}) (*struct{}, error) {
	return nil, sekisho.Errorf(
		sekisho.CodeNotImplemented,
		"sts:AssumeRoleWithSAML is not implemented by Sekisho. Use AssumeRoleWithWebIdentity with an OpenID Connect "+
			"provider.",
	)
}

// trustsNobody is the trust policy of missing roles.
const trustsNobody = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
	`"Principal":{"Service":"nobody.invalid"},"Action":"sts:AssumeRole"}]}`

// trusting decides by the caller's policies and a role's trust policy
// together.
type trusting struct {
	*identity.PolicySets
	role *identity.Role
}

func (t trusting) Policies(ctx context.Context, p *sekisho.Principal) (*policy.Set, error) {
	return t.TrustSet(ctx, p, t.role)
}

// mayAssume authorizes sts:AssumeRole and, if the request has tags or a source
// identity, the actions that set them.
func (d *door) mayAssume(
	ctx context.Context,
	c *api.Call,
	in *assumeRoleRequest,
	role *identity.Role,
	tags map[string]string,
	mfa time.Time,
) error {
	keys := append(authz.RequestTags(tags), authz.ResourceTags("iam", role.Tags)...)
	keys = append(keys, authz.One("sts:RoleSessionName", in.RoleSessionName))
	if in.ExternalID != nil {
		keys = append(keys, authz.One("sts:ExternalId", *in.ExternalID))
	}
	if in.SourceIdentity != "" {
		keys = append(keys, authz.One("sts:SourceIdentity", in.SourceIdentity))
	}
	if len(in.TransitiveTagKeys) > 0 {
		keys = append(keys, authz.Many("sts:TransitiveTagKeys", in.TransitiveTagKeys))
	}
	if !mfa.IsZero() {
		keys = append(keys, authz.One("aws:MultiFactorAuthPresent", "true"), authz.One("aws:MultiFactorAuthAge", "0"))
	}
	actions := []string{"sts:AssumeRole"}
	if len(tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if in.SourceIdentity != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	for _, a := range actions {
		v, err := c.DecideBy(ctx, authz.New(trusting{d.Sets, role}), a, role.ARN, keys...)
		if err != nil {
			return err
		}
		if !v.Allowed {
			return api.Denied(ctx, v)
		}
	}
	c.Allow()
	return nil
}

// secondFactor checks the code of a request; the time is zero if it has none.
func (d *door) secondFactor(ctx context.Context, c *api.Call, serial, code string) (time.Time, error) {
	switch {
	case serial == "" && code == "":
		return time.Time{}, nil
	case serial == "" || code == "":
		return time.Time{}, awsproto.SenderError("ValidationError", "SerialNumber and TokenCode must be given together.")
	case c.Principal.Type != sekisho.PrincipalUser:
		return time.Time{}, sekisho.Errorf(
			sekisho.CodeDenied,
			"MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code of an IAM user.",
		)
	}
	return d.MFA.Verify(ctx, c.Principal.UserName, serial, code)
}

type sessionTokenRequest struct {
	DurationSeconds         *int
	SerialNumber, TokenCode string
}

type sessionTokenAnswer struct{ Credentials credentials }

func (d *door) getSessionToken(ctx context.Context, c *api.Call, in *sessionTokenRequest) (*sessionTokenAnswer, error) {
	if c.Principal.Session != nil {
		return nil, sekisho.Errorf(sekisho.CodeDenied, "Cannot call GetSessionToken with session credentials")
	}
	mfa, err := d.secondFactor(ctx, c, in.SerialNumber, in.TokenCode)
	if err != nil {
		return nil, err
	}
	if mfa.IsZero() {
		// A console sign-in with a second factor counts.
		mfa = c.Principal.MFATime
	}
	creds, err := d.Credentials.SessionToken(ctx, c.Principal, seconds(in.DurationSeconds), mfa)
	if err != nil {
		return nil, err
	}
	note(c, creds)
	return &sessionTokenAnswer{shape(creds)}, nil
}

type federationRequest struct {
	Name            string
	DurationSeconds *int
	Policy          string
	PolicyArns      []policyARN
	Tags            []tag
}

type federatedUser struct {
	FederatedUserID string `xml:"FederatedUserId"`
	Arn             string
}

type federationAnswer struct {
	Credentials      credentials
	FederatedUser    federatedUser
	PackedPolicySize int `xml:",omitempty"`
}

func (d *door) getFederationToken(ctx context.Context, c *api.Call, in *federationRequest) (*federationAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	resource := "arn:aws:sts::" + c.Account + ":federated-user/" + in.Name
	actions := []string{"sts:GetFederationToken"}
	if len(tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	for _, a := range actions {
		if err := c.Authorize(ctx, a, resource, authz.RequestTags(tags)...); err != nil {
			return nil, err
		}
	}
	creds, p, err := d.Credentials.FederationToken(ctx, c.Principal, identity.SessionRequest{
		Name: in.Name, Duration: seconds(in.DurationSeconds), Policies: inline(in.Policy), PolicyARNs: arns(in.PolicyArns),
		Tags: tags,
	})
	if err != nil {
		return nil, named(err)
	}
	note(c, creds)
	return &federationAnswer{shape(creds), federatedUser{p.UserID, p.ARN}, packed(in.Policy, in.PolicyArns)}, nil
}

// named translates the errors for which STS has specific codes.
func named(err error) error {
	if errors.Is(err, identity.ErrPackedPolicy) {
		return &awsproto.Error{
			Code:    "PackedPolicyTooLarge",
			Message: err.Error(),
			Status:  http.StatusBadRequest,
			Sender:  true,
		}
	}
	return err
}

func tagMap(tags []tag) (map[string]string, error) {
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		for have := range out {
			if strings.EqualFold(have, t.Key) {
				return nil, awsproto.SenderError(
					"InvalidParameterValue",
					"Duplicate tag keys found. Please note that Tag keys are case insensitive.",
				)
			}
		}
		out[t.Key] = t.Value
	}
	return out, nil
}

func inline(document string) []string {
	if document == "" {
		return nil
	}
	return []string{document}
}

func arns(list []policyARN) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Arn)
	}
	return out
}

// packed returns the used part of the session policies' quota in percent.
func packed(document string, list []policyARN) int {
	n := len(document)
	for _, p := range list {
		n += len(p.Arn)
	}
	return (n*100 + 2047) / 2048
}

func seconds(n *int) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Second
}

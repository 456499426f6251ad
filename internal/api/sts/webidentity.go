package sts

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/wire/awsproto"
)

type webIdentityRequest struct {
	RoleArn, RoleSessionName string
	WebIdentityToken         string
	ProviderID               string `query:"ProviderId"`
	DurationSeconds          *int
	Policy                   string
	PolicyArns               []policyARN
}

type webIdentityAnswer struct {
	Credentials                 credentials
	SubjectFromWebIdentityToken string
	AssumedRoleUser             assumedRoleUser
	PackedPolicySize            int `xml:",omitempty"`
	Provider                    string
	Audience                    string
	SourceIdentity              string `xml:",omitempty"`
}

func (in *webIdentityRequest) check() error {
	v := awsproto.Constraints{Code: "ValidationError"}
	v.Require("roleArn", in.RoleArn != "")
	v.Require("roleSessionName", in.RoleSessionName != "")
	v.Require("webIdentityToken", in.WebIdentityToken != "")
	if in.RoleArn != "" {
		v.Length("roleArn", in.RoleArn, 20, 2048)
	}
	if in.DurationSeconds != nil {
		v.Range("durationSeconds", int64(*in.DurationSeconds), 900, 43200)
	}
	return v.Err()
}

func (d *door) assumeRoleWithWebIdentity(
	ctx context.Context,
	c *api.Call,
	in *webIdentityRequest,
) (*webIdentityAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if in.ProviderID != "" { // OAuth 2.0 access tokens are not supported
		return nil, awsproto.SenderError(
			"InvalidParameterValue",
			"ProviderId is for OAuth 2.0 access tokens, which are not supported. Omit it: an OpenID Connect ID token "+
				"names its issuer.",
		)
	}
	token, err := d.web.Verify(ctx, in.WebIdentityToken)
	if err != nil {
		return nil, tokenFault(err)
	}
	c.Become(token.Principal(c.Account))
	// An unauthorized caller does not learn whether the role exists.
	refused := sekisho.Errorf(sekisho.CodeDenied, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	role, err := d.Roles.ByARN(ctx, in.RoleArn)
	if sekisho.IsNotFound(err) {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	trust := authz.New(webid.Trust{Sets: d.Sets, Role: role})
	actions, keys := token.RequiredActions(in.RoleSessionName)
	keys = slices.Concat(keys, authz.ResourceTags("iam", role.Tags), authz.RequestTags(token.Tags))
	for _, a := range actions {
		v, err := c.DecideBy(ctx, trust, a, role.ARN, keys...)
		if err != nil {
			return nil, err
		}
		if !v.Allowed {
			return nil, refused
		}
	}
	c.Allow()
	creds, p, err := d.Credentials.AssumeRoleWithWebIdentity(ctx, &token.WebIdentity, role, identity.SessionRequest{
		Name: in.RoleSessionName, Duration: seconds(in.DurationSeconds), Policies: inline(in.Policy),
		PolicyARNs: arns(in.PolicyArns),
	})
	if err != nil {
		return nil, named(err)
	}
	note(c, creds)
	return &webIdentityAnswer{
		Credentials: shape(
			creds,
		), SubjectFromWebIdentityToken: token.Subject, AssumedRoleUser: assumedRoleUser{p.UserID, p.ARN},
		PackedPolicySize: packed(
			in.Policy,
			in.PolicyArns,
		), Provider: token.Provider.ARN, Audience: token.Audience, SourceIdentity: token.SourceIdentity,
	}, nil
}

// tokenFault translates token errors into STS's codes.
func tokenFault(err error) error {
	e := &awsproto.Error{Message: err.Error(), Status: http.StatusBadRequest, Sender: true}
	switch {
	case errors.Is(err, webid.ErrExpired):
		e.Code = "ExpiredTokenException"
	case errors.Is(err, webid.ErrToken):
		e.Code = "InvalidIdentityToken"
	case errors.Is(err, webid.ErrProvider):
		e.Code, e.Message = "IDPCommunicationError", "Cannot reach the identity provider."
	default:
		return err
	}
	return e
}

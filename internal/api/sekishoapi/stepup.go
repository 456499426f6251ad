package sekishoapi

import (
	"context"
	"time"

	"sekisho/internal/api"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

func (d *door) stepUpOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"ShowSecondFactor": api.Issue(
			d.showSecondFactor,
			api.NoPolicy(
				"as with GetSessionToken, the credentials allow what the caller's policies allow with a second factor",
			),
		),
	}
}

type secondFactorRequest struct {
	TokenCode string // of an authenticator app
}

type secondFactorCredentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      awsproto.Epoch
}

type secondFactorAnswer struct{ Credentials secondFactorCredentials }

// showSecondFactor exchanges a code for credentials of the same user with a fresh
// second factor. Unlike GetSessionToken it accepts temporary credentials.
func (d *door) showSecondFactor(
	ctx context.Context,
	c *api.Call,
	in *secondFactorRequest,
) (*secondFactorAnswer, error) {
	if err := identity.CanStepUp(c.Principal); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Require("tokenCode", in.TokenCode != "")
	v.Length("tokenCode", in.TokenCode, 0, 16)
	if err := v.Err(); err != nil {
		return nil, err
	}
	t, err := d.Directory.Credentials.StepUp(ctx, c.Principal, in.TokenCode)
	if err != nil {
		return nil, err
	}
	c.Annotate(
		map[string]any{
			"credentials": map[string]any{
				"accessKeyId": t.AccessKeyID,
				"expiration":  t.Expiration.Format(time.RFC3339),
			},
		},
	)
	return &secondFactorAnswer{
		secondFactorCredentials{t.AccessKeyID, t.SecretAccessKey, t.SessionToken, awsproto.NewEpoch(t.Expiration)},
	}, nil
}

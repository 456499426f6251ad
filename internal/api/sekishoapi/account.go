package sekishoapi

import (
	"context"
	"encoding/json"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/wire/awsproto"
)

// onSelf authorizes a call about the caller's own second factors, with the corresponding IAM
// action. It returns the caller's user name.
func onSelf(ctx context.Context, c *api.Call, action string) (string, error) {
	if c.Principal.Type != root.PrincipalUser {
		return "", root.Errorf(root.CodeDenied, "Only IAM users can have passkeys.")
	}
	return c.Principal.UserName, c.Authorize(
		ctx,
		action,
		c.Principal.PolicyARN,
		authz.ResourceTags("iam", c.Principal.Tags)...)
}

type beginAnswer struct {
	Options any    // for navigator.credentials.create
	State   string // for RegisterPasskey
}

func (d *door) beginPasskeyRegistration(ctx context.Context, c *api.Call, _ *struct{}) (*beginAnswer, error) {
	user, err := onSelf(ctx, c, "iam:EnableMFADevice")
	if err != nil {
		return nil, err
	}
	challenge, err := d.Directory.Passkeys.Begin(ctx, user, c.Host)
	if err != nil {
		return nil, err
	}
	return &beginAnswer{challenge.Options, challenge.State}, nil
}

type registerRequest struct {
	Name   string
	State  string
	Answer json.RawMessage
}

type passkey struct {
	Name         string
	SerialNumber string
	HostName     string
	CreateDate   awsproto.Epoch
	LastUsedDate awsproto.Epoch `json:",omitzero"`
}

func (d *door) registerPasskey(ctx context.Context, c *api.Call, in *registerRequest) (*passkey, error) {
	var v awsproto.Constraints
	v.Require("state", in.State != "")
	v.Require("answer", len(in.Answer) > 0)
	if err := v.Err(); err != nil {
		return nil, err
	}
	user, err := onSelf(ctx, c, "iam:EnableMFADevice")
	if err != nil {
		return nil, err
	}
	k, err := d.Directory.Passkeys.Finish(ctx, user, c.Host, in.Name, in.State, in.Answer)
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"serialNumber": k.Serial})
	return &passkey{k.Name, k.Serial, k.RPID, awsproto.NewEpoch(k.Created), awsproto.NewEpoch(k.Used)}, nil
}

type passkeysAnswer struct{ Passkeys []passkey }

func (d *door) listPasskeys(ctx context.Context, c *api.Call, _ *struct{}) (*passkeysAnswer, error) {
	user, err := onSelf(ctx, c, "iam:ListMFADevices")
	if err != nil {
		return nil, err
	}
	keys, err := d.Directory.Passkeys.Of(ctx, user)
	if err != nil {
		return nil, err
	}
	out := &passkeysAnswer{Passkeys: []passkey{}}
	for _, k := range keys {
		out.Passkeys = append(
			out.Passkeys,
			passkey{k.Name, k.Serial, k.RPID, awsproto.NewEpoch(k.Created), awsproto.NewEpoch(k.Used)},
		)
	}
	return out, nil
}

type finishRequest struct {
	// Statement is the sentence with which the caller declines a second factor. The error for an
	// empty one contains it.
	Statement string
}

func (d *door) finishFirstRun(ctx context.Context, c *api.Call, in *finishRequest) (*struct{}, error) {
	if err := d.Directory.SignIns.FinishFirstRun(ctx, c.Principal.UserID, in.Statement); err != nil {
		return nil, err
	}
	return &struct{}{}, nil
}

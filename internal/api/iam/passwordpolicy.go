package iam

import (
	"context"
	"time"

	"sekisho/internal/api"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

const day = 24 * time.Hour

type passwordPolicy struct {
	MinimumPasswordLength      int
	RequireSymbols             bool
	RequireNumbers             bool
	RequireUppercaseCharacters bool
	RequireLowercaseCharacters bool
	AllowUsersToChangePassword bool
	ExpirePasswords            bool
	MaxPasswordAge             int `xml:",omitempty"`
}

type passwordPolicyAnswer struct{ PasswordPolicy passwordPolicy }

func (d accountDoor) getAccountPasswordPolicy(
	ctx context.Context, c *api.Call, _ *struct{},
) (*passwordPolicyAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	p, err := d.Settings.PasswordPolicy(ctx)
	if err != nil {
		return nil, err
	}
	return &passwordPolicyAnswer{passwordPolicy{
		MinimumPasswordLength: p.MinimumLength,
		RequireSymbols:        p.RequireSymbols, RequireNumbers: p.RequireNumbers,
		RequireUppercaseCharacters: p.RequireUppercase, RequireLowercaseCharacters: p.RequireLowercase,
		AllowUsersToChangePassword: p.UsersMayChange,
		ExpirePasswords:            p.MaxAge > 0, MaxPasswordAge: int(p.MaxAge / day),
	}}, nil
}

type updatePasswordPolicyRequest struct {
	MinimumPasswordLength      *int
	RequireSymbols             bool
	RequireNumbers             bool
	RequireUppercaseCharacters bool
	RequireLowercaseCharacters bool
	AllowUsersToChangePassword bool
	MaxPasswordAge             int
	PasswordReusePrevention    int
	HardExpiry                 bool
}

func (d accountDoor) updateAccountPasswordPolicy(
	ctx context.Context,
	c *api.Call,
	in *updatePasswordPolicyRequest,
) (*struct{}, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	if in.PasswordReusePrevention != 0 || in.HardExpiry {
		return nil, awsproto.SenderError(
			"ValidationError",
			"PasswordReusePrevention and HardExpiry are not supported. Omit them.",
		)
	}
	v := awsproto.Constraints{Code: "ValidationError"}
	v.Range("maxPasswordAge", int64(in.MaxPasswordAge), 0, 1095)
	if err := v.Err(); err != nil {
		return nil, err
	}
	p := &identity.PasswordPolicy{
		MinimumLength:  6,
		RequireSymbols: in.RequireSymbols, RequireNumbers: in.RequireNumbers,
		RequireUppercase: in.RequireUppercaseCharacters, RequireLowercase: in.RequireLowercaseCharacters,
		UsersMayChange: in.AllowUsersToChangePassword, MaxAge: time.Duration(in.MaxPasswordAge) * day,
	}
	if in.MinimumPasswordLength != nil {
		p.MinimumLength = *in.MinimumPasswordLength
	}
	return nil, d.Settings.SetPasswordPolicy(ctx, p)
}

func (d accountDoor) deleteAccountPasswordPolicy(ctx context.Context, c *api.Call, _ *struct{}) (*struct{}, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	return nil, d.Settings.SetPasswordPolicy(ctx, nil)
}

type aliasesAnswer struct {
	AccountAliases list[string]
	more
}

func (d accountDoor) listAccountAliases(ctx context.Context, c *api.Call, _ *listRequest) (*aliasesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	aliases, err := d.Settings.Aliases(ctx)
	return &aliasesAnswer{AccountAliases: list[string]{aliases}}, err
}

type aliasRequest struct{ AccountAlias string }

func (d accountDoor) createAccountAlias(ctx context.Context, c *api.Call, in *aliasRequest) (*struct{}, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	return nil, d.Settings.SetAlias(ctx, in.AccountAlias)
}

func (d accountDoor) deleteAccountAlias(ctx context.Context, c *api.Call, in *aliasRequest) (*struct{}, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	return nil, d.Settings.DeleteAlias(ctx, in.AccountAlias)
}

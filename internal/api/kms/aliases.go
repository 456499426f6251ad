package kms

import (
	"context"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/wire/awsproto"
)

type aliasRequest struct {
	AliasName   string
	TargetKeyID string `json:"TargetKeyId"`
}

func checkAlias(name string) error {
	var v awsproto.Constraints
	v.Require("aliasName", name != "")
	v.Length("aliasName", name, 0, 256)
	if err := v.Err(); err != nil {
		return err
	}
	switch {
	case !strings.HasPrefix(name, "alias/"):
		return awsproto.SenderError(
			"ValidationException",
			"Alias must start with the prefix \"alias/\". Please see "+
				"https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
		)
	case strings.HasPrefix(name, "alias/aws/"):
		return awsproto.SenderError("NotAuthorizedException", "Aliases that begin with alias/aws/ are reserved.")
	case !kmskey.ValidAlias(name):
		return awsproto.SenderError("InvalidAliasNameException",
			"The alias %q is not valid: after alias/ it can only have letters, digits and the characters /_-", name)
	}
	return nil
}

// target authorizes the call on the key that an alias will point to and returns
// the key.
func (d *door) target(ctx context.Context, c *api.Call, in *aliasRequest) (*kmskey.Key, error) {
	if strings.HasPrefix(in.TargetKeyID, "alias/") || strings.Contains(in.TargetKeyID, ":alias/") {
		return nil, awsproto.SenderError("ValidationException", "Aliases must refer to keys, not to aliases.")
	}
	return d.byID(ctx, c, in.TargetKeyID)
}

func (d *door) createAlias(ctx context.Context, c *api.Call, in *aliasRequest) (*struct{}, error) {
	if err := checkAlias(in.AliasName); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "kms:CreateAlias", d.Keys.AliasARN(in.AliasName)); err != nil {
		return nil, err
	}
	k, err := d.target(ctx, c, in)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.CreateAlias(ctx, in.AliasName, k.ID)
}

// leadsTo authorizes the operation on an alias and on the key that it points to.
func (d *door) leadsTo(ctx context.Context, c *api.Call, name string) error {
	if err := c.Authorize(ctx, action(c), d.Keys.AliasARN(name)); err != nil {
		return err
	}
	a, err := d.Keys.Alias(ctx, name)
	if err != nil {
		return err
	}
	k, err := d.Keys.Key(ctx, a.KeyID)
	if sekisho.IsNotFound(err) {
		return nil // the key was deleted
	}
	if err != nil {
		return err
	}
	return d.authorize(ctx, c, action(c), k)
}

func (d *door) updateAlias(ctx context.Context, c *api.Call, in *aliasRequest) (*struct{}, error) {
	if err := checkAlias(in.AliasName); err != nil {
		return nil, err
	}
	if err := d.leadsTo(ctx, c, in.AliasName); err != nil {
		return nil, err
	}
	k, err := d.target(ctx, c, in)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.UpdateAlias(ctx, in.AliasName, k.ID)
}

type deleteAliasRequest struct{ AliasName string }

func (d *door) deleteAlias(ctx context.Context, c *api.Call, in *deleteAliasRequest) (*struct{}, error) {
	if err := checkAlias(in.AliasName); err != nil {
		return nil, err
	}
	if err := d.leadsTo(ctx, c, in.AliasName); err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.DeleteAlias(ctx, in.AliasName)
}

type listAliasesRequest struct {
	KeyID string `json:"KeyId"`
	paging
}

type listedAlias struct {
	AliasName       string
	AliasArn        string
	TargetKeyID     string `json:"TargetKeyId"`
	CreationDate    awsproto.Epoch
	LastUpdatedDate awsproto.Epoch
}

type listAliasesAnswer struct {
	Aliases []listedAlias
	more
}

func (d *door) listAliases(ctx context.Context, c *api.Call, in *listAliasesRequest) (*listAliasesAnswer, error) {
	if err := c.Authorize(ctx, "kms:ListAliases", "*"); err != nil {
		return nil, err
	}
	all, err := d.Keys.Aliases(ctx)
	if err != nil {
		return nil, err
	}
	if in.KeyID != "" {
		to, err := d.Keys.Resolve(ctx, in.KeyID)
		if err == nil {
			_, err = d.Keys.Key(ctx, to.KeyID)
		}
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(a *kmskey.Alias) bool { return a.KeyID != to.KeyID })
	}
	all, rest, err := page(all, func(a *kmskey.Alias) string { return a.Name }, in.paging, 100, 50)
	if err != nil {
		return nil, err
	}
	out := &listAliasesAnswer{Aliases: []listedAlias{}, more: rest}
	for _, a := range all {
		out.Aliases = append(out.Aliases, listedAlias{
			a.Name, d.Keys.AliasARN(a.Name), a.KeyID, awsproto.NewEpoch(a.CreatedAt), awsproto.NewEpoch(a.UpdatedAt),
		})
	}
	return out, nil
}

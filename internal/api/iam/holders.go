package iam

import (
	"context"
	"maps"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
	"slices"
)

// holderDoor has what the operations on users, groups and roles share: their
// policies, boundaries and tags.
type holderDoor struct{ *identity.Directory }

// holder authorizes the call on a user, group or role. An unauthorized caller
// does not learn whether it exists.
func (d holderDoor) holder(
	ctx context.Context,
	c *api.Call,
	kind identity.Kind,
	name string,
	keys ...authz.Key,
) (*identity.Holder, error) {
	h, err := d.Holders.Get(ctx, kind, name)
	if err := lookupError(ctx, c, err, arn(c, kind, "/", name), keys...); err != nil {
		return nil, err
	}
	if h.Boundary != "" && !slices.ContainsFunc(keys, func(k authz.Key) bool { return k.Name == keyBoundary }) {
		keys = append(keys, authz.One(keyBoundary, h.Boundary))
	}
	return h, on(ctx, c, h.ARN, h.Tags, keys...)
}

func (d holderDoor) putInline(
	ctx context.Context,
	c *api.Call,
	kind identity.Kind,
	name, policyName, document string,
) error {
	if _, err := d.holder(ctx, c, kind, name); err != nil {
		return err
	}
	return d.Holders.PutInline(ctx, kind, name, policyName, document)
}

// inline returns an inline policy as answers carry it.
func (d holderDoor) inline(
	ctx context.Context, c *api.Call, kind identity.Kind, name, policyName string,
) (string, error) {
	h, err := d.holder(ctx, c, kind, name)
	if err != nil {
		return "", err
	}
	text, ok := h.Inline[policyName]
	if !ok {
		return "", &awsproto.Error{
			Code:    "NoSuchEntity",
			Message: "The " + string(kind) + " policy with name " + clip(policyName) + " cannot be found.",
			Status:  404,
			Sender:  true,
		}
	}
	return encoded(text), nil
}

func (d holderDoor) inlineNames(
	ctx context.Context,
	c *api.Call,
	kind identity.Kind,
	name string,
	p paging,
) (*policyNamesAnswer, error) {
	h, err := d.holder(ctx, c, kind, name)
	if err != nil {
		return nil, err
	}
	names, next, err := page(slices.Sorted(maps.Keys(h.Inline)), whole, p)
	return &policyNamesAnswer{list[string]{names}, next}, err
}

func (d holderDoor) deleteInline(ctx context.Context, c *api.Call, kind identity.Kind, name, policyName string) error {
	if _, err := d.holder(ctx, c, kind, name); err != nil {
		return err
	}
	return d.Holders.DeleteInline(ctx, kind, name, policyName)
}

func (d holderDoor) attach(ctx context.Context, c *api.Call, kind identity.Kind, name, policyARN string) error {
	if _, err := d.holder(ctx, c, kind, name, authz.One(keyPolicyARN, policyARN)); err != nil {
		return err
	}
	return d.Holders.Attach(ctx, kind, name, policyARN)
}

func (d holderDoor) detach(ctx context.Context, c *api.Call, kind identity.Kind, name, policyARN string) error {
	if _, err := d.holder(ctx, c, kind, name, authz.One(keyPolicyARN, policyARN)); err != nil {
		return err
	}
	return d.Holders.Detach(ctx, kind, name, policyARN)
}

func (d holderDoor) attached(
	ctx context.Context,
	c *api.Call,
	kind identity.Kind,
	name, prefix string,
	p paging,
) (*attachedAnswer, error) {
	h, err := d.holder(ctx, c, kind, name)
	if err != nil {
		return nil, err
	}
	arns := under(slices.Sorted(slices.Values(h.Attached)), prefix, policyPath)
	arns, next, err := page(arns, whole, p)
	return &attachedAnswer{listed(arns, attachedShape), next}, err
}

func (d holderDoor) putBoundary(ctx context.Context, c *api.Call, kind identity.Kind, name, policyARN string) error {
	if err := require("permissionsBoundary", policyARN); err != nil {
		return err
	}
	if _, err := d.holder(ctx, c, kind, name, authz.One(keyBoundary, policyARN)); err != nil {
		return err
	}
	return d.Holders.SetBoundary(ctx, kind, name, policyARN)
}

func (d holderDoor) deleteBoundary(ctx context.Context, c *api.Call, kind identity.Kind, name string) error {
	if _, err := d.holder(ctx, c, kind, name); err != nil {
		return err
	}
	return d.Holders.SetBoundary(ctx, kind, name, "")
}

func (d holderDoor) tagHolder(ctx context.Context, c *api.Call, kind identity.Kind, name string, list []tag) error {
	tags, err := tagMap(list)
	if err != nil {
		return err
	}
	if _, err := d.holder(ctx, c, kind, name, authz.RequestTags(tags)...); err != nil {
		return err
	}
	return d.Tags.Add(ctx, kind, name, tags)
}

func (d holderDoor) untagHolder(
	ctx context.Context, c *api.Call, kind identity.Kind, name string, keys []string,
) error {
	if _, err := d.holder(ctx, c, kind, name, authz.Many("aws:TagKeys", keys)); err != nil {
		return err
	}
	return d.Tags.Remove(ctx, kind, name, keys)
}

func (d holderDoor) holderTags(
	ctx context.Context,
	c *api.Call,
	kind identity.Kind,
	name string,
	p paging,
) (*tagsAnswer, error) {
	h, err := d.holder(ctx, c, kind, name)
	if err != nil {
		return nil, err
	}
	return tagPage(h.Tags, p)
}

// owner authorizes a call on the user it names, or on the caller.
func (d holderDoor) owner(ctx context.Context, c *api.Call, name string) (*identity.User, error) {
	name, err := userName(c, name)
	if err != nil {
		return nil, err
	}
	if _, err := d.holder(ctx, c, identity.KindUser, name); err != nil {
		return nil, err
	}
	return d.Users.Get(ctx, name)
}

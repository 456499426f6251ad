package iam

import (
	"context"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

func (d providerDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateOpenIDConnectProvider":             api.Write(d.createProvider),
		"GetOpenIDConnectProvider":                api.Read(d.getProvider),
		"ListOpenIDConnectProviders":              api.Read(d.listProviders),
		"DeleteOpenIDConnectProvider":             api.Write(d.deleteProvider),
		"AddClientIDToOpenIDConnectProvider":      api.Write(d.addClientID),
		"RemoveClientIDFromOpenIDConnectProvider": api.Write(d.removeClientID),
		"UpdateOpenIDConnectProviderThumbprint":   api.Write(d.updateThumbprint),
		"TagOpenIDConnectProvider":                api.Write(d.tagProvider),
		"UntagOpenIDConnectProvider":              api.Write(d.untagProvider),
		"ListOpenIDConnectProviderTags":           api.Read(d.listProviderTags),
	}
}

type providerRequest struct {
	URL            string `query:"Url"`
	Arn            string `query:"OpenIDConnectProviderArn"`
	ClientID       string
	ClientIDList   []string
	ThumbprintList []string
	Tags           []tag
	TagKeys        []string
	paging
}

type createProviderAnswer struct {
	Arn  string     `xml:"OpenIDConnectProviderArn"`
	Tags *list[tag] `xml:",omitempty"`
}

func (d providerDoor) createProvider(
	ctx context.Context, c *api.Call, in *providerRequest,
) (*createProviderAnswer, error) {
	if err := require("url", in.URL); err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	resource := "arn:aws:iam::" + c.Account + ":oidc-provider/" + strings.TrimPrefix(in.URL, "https://")
	if err := c.Authorize(ctx, action(c), resource, authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	p, err := d.Providers.Create(ctx, in.URL, in.ClientIDList, in.ThumbprintList, tags)
	if err != nil {
		return nil, err
	}
	return &createProviderAnswer{p.ARN, tagList(p.Tags)}, nil
}

// provider authorizes the call on a provider. An unauthorized caller does not
// learn whether it exists.
func (d providerDoor) provider(
	ctx context.Context,
	c *api.Call,
	arn string,
	keys ...authz.Key,
) (*identity.OIDCProvider, error) {
	if err := require("openIDConnectProviderArn", arn); err != nil {
		return nil, err
	}
	p, err := d.Providers.Get(ctx, arn)
	if err := lookupError(ctx, c, err, arn, keys...); err != nil {
		return nil, err
	}
	return p, on(ctx, c, p.ARN, p.Tags, keys...)
}

type providerAnswer struct {
	URL            string `xml:"Url"`
	ClientIDList   list[string]
	ThumbprintList list[string]
	CreateDate     awsproto.Epoch
	Tags           *list[tag] `xml:",omitempty"`
}

func (d providerDoor) getProvider(ctx context.Context, c *api.Call, in *providerRequest) (*providerAnswer, error) {
	p, err := d.provider(ctx, c, in.Arn)
	if err != nil {
		return nil, err
	}
	return &providerAnswer{
		p.URL,
		list[string]{p.ClientIDs},
		list[string]{p.Thumbprints},
		awsproto.NewEpoch(p.Created),
		tagList(p.Tags),
	}, nil
}

type providerEntry struct{ Arn string }

type providersAnswer struct{ OpenIDConnectProviderList list[providerEntry] }

func (d providerDoor) listProviders(ctx context.Context, c *api.Call, _ *struct{}) (*providersAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Providers.List(ctx)
	if err != nil {
		return nil, err
	}
	return &providersAnswer{
		listed(all, func(p *identity.OIDCProvider) providerEntry { return providerEntry{p.ARN} }),
	}, nil
}

func (d providerDoor) deleteProvider(ctx context.Context, c *api.Call, in *providerRequest) (*struct{}, error) {
	if _, err := d.provider(ctx, c, in.Arn); err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	return nil, d.Providers.Delete(ctx, in.Arn)
}

// editProvider changes the provider that the request names.
func (d providerDoor) editProvider(
	ctx context.Context,
	c *api.Call,
	in *providerRequest,
	change func(p *identity.OIDCProvider) error,
	keys ...authz.Key,
) (*struct{}, error) {
	if _, err := d.provider(ctx, c, in.Arn, keys...); err != nil {
		return nil, err
	}
	return nil, d.Providers.Edit(ctx, in.Arn, change)
}

func (d providerDoor) addClientID(ctx context.Context, c *api.Call, in *providerRequest) (*struct{}, error) {
	return d.editProvider(ctx, c, in, func(p *identity.OIDCProvider) error {
		p.ClientIDs = append(p.ClientIDs, in.ClientID)
		return nil
	})
}

func (d providerDoor) removeClientID(ctx context.Context, c *api.Call, in *providerRequest) (*struct{}, error) {
	return d.editProvider(ctx, c, in, func(p *identity.OIDCProvider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(id string) bool { return id == in.ClientID })
		return nil
	})
}

func (d providerDoor) updateThumbprint(ctx context.Context, c *api.Call, in *providerRequest) (*struct{}, error) {
	return d.editProvider(ctx, c, in, func(p *identity.OIDCProvider) error {
		p.Thumbprints = in.ThumbprintList
		return nil
	})
}

func (d providerDoor) tagProvider(ctx context.Context, c *api.Call, in *providerRequest) (*struct{}, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	return d.editProvider(ctx, c, in, func(p *identity.OIDCProvider) error {
		for k, v := range tags {
			for have := range p.Tags {
				if strings.EqualFold(have, k) {
					delete(p.Tags, have)
				}
			}
			if p.Tags == nil {
				p.Tags = map[string]string{}
			}
			p.Tags[k] = v
		}
		return nil
	}, authz.RequestTags(tags)...)
}

func (d providerDoor) untagProvider(ctx context.Context, c *api.Call, in *providerRequest) (*struct{}, error) {
	return d.editProvider(ctx, c, in, func(p *identity.OIDCProvider) error {
		for have := range p.Tags {
			if slices.ContainsFunc(in.TagKeys, func(k string) bool { return strings.EqualFold(have, k) }) {
				delete(p.Tags, have)
			}
		}
		return nil
	}, authz.Many("aws:TagKeys", in.TagKeys))
}

func (d providerDoor) listProviderTags(ctx context.Context, c *api.Call, in *providerRequest) (*tagsAnswer, error) {
	p, err := d.provider(ctx, c, in.Arn)
	if err != nil {
		return nil, err
	}
	return tagPage(p.Tags, in.paging)
}

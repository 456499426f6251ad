// Package iam is the IAM door: users, groups, roles, policies and credentials
// as AWS's API shows them, over [sekisho/internal/iam/identity].
//
// Every operation is authorized on the ARN of the object as it is stored, with
// the object's tags, the request's tags, iam:PolicyARN and
// iam:PermissionsBoundary as context.
package iam

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

// The doors of the kinds of object, by the files of their operations.
type (
	userDoor       struct{ holderDoor }
	groupDoor      struct{ holderDoor }
	roleDoor       struct{ holderDoor }
	profileDoor    struct{ holderDoor }
	policyDoor     struct{ *identity.Directory }
	credentialDoor struct{ holderDoor }
	deviceDoor     struct{ holderDoor }
	providerDoor   struct{ *identity.Directory }
	accountDoor    struct{ *identity.Directory }
	simulatorDoor  struct{ *identity.Directory }
)

// New returns the IAM door of a directory.
func New(dir *identity.Directory) *api.Door {
	holders := holderDoor{dir}
	ops := map[string]api.Operation{}
	for _, part := range []map[string]api.Operation{
		userDoor{holders}.operations(), groupDoor{holders}.operations(), roleDoor{holders}.operations(),
		profileDoor{holders}.operations(), policyDoor{dir}.operations(), credentialDoor{holders}.operations(),
		deviceDoor{holders}.operations(), accountDoor{dir}.operations(), simulatorDoor{dir}.operations(),
		providerDoor{dir}.operations(),
	} {
		for name, op := range part {
			if !op.ReadOnly {
				op.Handle = holders.warnOfLookAlikes(op.Handle)
			}
			ops[name] = op
		}
	}
	return &api.Door{
		Service: "iam", Protocol: awsproto.Query, XMLNS: "https://iam.amazonaws.com/doc/2010-05-08/",
		Version: "2010-05-08", Global: true, Operations: ops, Guard: guard, Fault: named,
	}
}

// warnOfLookAlikes adds warnings to the audit event of a call after which a user
// can act on the sessions of another only because their names begin alike. It does
// not matter how the call gave the policy to the user. AWS's answer has no room for
// warnings.
func (d holderDoor) warnOfLookAlikes(
	handle func(ctx context.Context, c *api.Call) (any, error),
) func(ctx context.Context, c *api.Call) (any, error) {
	return func(ctx context.Context, c *api.Call) (any, error) {
		before, err := d.Sets.LookAlikes(ctx)
		if err != nil {
			return nil, err
		}
		out, err := handle(ctx, c)
		if err != nil {
			return nil, err
		}
		after, err := d.Sets.LookAlikes(ctx)
		if err != nil {
			return nil, err
		}
		after = slices.DeleteFunc(after, func(w string) bool { return slices.Contains(before, w) })
		if len(after) > 0 {
			c.Annotate(map[string]any{"warnings": after})
		}
		return out, nil
	}
}

// guard refuses the temporary credentials that AWS does not accept for IAM.
func guard(c *api.Call) error {
	p := c.Principal
	if p.Session != nil &&
		(p.Type == sekisho.PrincipalFederatedUser || (p.Type == sekisho.PrincipalUser && p.MFATime.IsZero())) {
		return sekisho.Errorf(
			sekisho.CodeDenied,
			"IAM cannot be called with credentials of GetFederationToken or with credentials of GetSessionToken without MFA.",
		)
	}
	return nil
}

// named translates the errors of identity for which AWS has specific names.
func named(err error) error {
	e, ok := errors.AsType[*sekisho.Error](err)
	switch {
	case !ok:
		return err
	case errors.Is(err, identity.ErrPasswordPolicy):
		return awsproto.SenderError("PasswordPolicyViolation", "%s", e.Message)
	case errors.Is(err, identity.ErrMFACode):
		return &awsproto.Error{
			Code:    "InvalidAuthenticationCode",
			Message: e.Message,
			Status:  http.StatusForbidden,
			Sender:  true,
		}
	}
	return err
}

// action returns the policy action of the call.
func action(c *api.Call) string { return "iam:" + c.Operation }

// lookupError returns the error of a lookup. Only callers who may make the call on arn
// learn that an object does not exist.
func lookupError(ctx context.Context, c *api.Call, err error, arn string, keys ...authz.Key) error {
	if sekisho.IsNotFound(err) {
		if refused := on(ctx, c, arn, nil, keys...); refused != nil {
			return refused
		}
	}
	return err
}

// on authorizes the call on an ARN with the tags it has.
func on(ctx context.Context, c *api.Call, arn string, tags map[string]string, keys ...authz.Key) error {
	return c.Authorize(ctx, action(c), arn, append(keys, authz.ResourceTags("iam", tags)...)...)
}

// everything authorizes a call without a resource.
func everything(ctx context.Context, c *api.Call) error { return c.Authorize(ctx, action(c), "*") }

// arn returns the ARN of an object that does not exist (yet).
func arn(c *api.Call, kind identity.Kind, path, name string) string {
	if path == "" {
		path = "/"
	}
	return "arn:aws:iam::" + c.Account + ":" + string(kind) + path + name
}

const (
	keyBoundary  = "iam:PermissionsBoundary"
	keyPolicyARN = "iam:PolicyARN"
)

// created returns the condition keys of a request that creates an object.
func created(boundary string, tags map[string]string) []authz.Key {
	keys := authz.RequestTags(tags)
	if boundary != "" {
		keys = append(keys, authz.One(keyBoundary, boundary))
	}
	return keys
}

// userName returns the user that a request names, or the caller.
func userName(c *api.Call, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if c.Principal.UserName == "" {
		return "", awsproto.SenderError(
			"ValidationError",
			"Must specify userName when calling with non-User credentials",
		)
	}
	return c.Principal.UserName, nil
}

// require refuses a request that lacks a parameter.
func require(name, value string) error {
	if value != "" {
		return nil
	}
	c := awsproto.Constraints{Code: "ValidationError"}
	c.Require(name, false)
	return c.Err()
}

const (
	defaultItems = 100
	mostItems    = 1000
)

// page returns one page of a list that is sorted by key.
func page[T any](all []T, key func(T) string, in paging) ([]T, more, error) {
	items := defaultItems
	if in.MaxItems != nil {
		items = *in.MaxItems
		c := awsproto.Constraints{Code: "ValidationError"}
		c.Range("maxItems", int64(items), 1, mostItems)
		if err := c.Err(); err != nil {
			return nil, more{}, err
		}
	}
	if in.Marker != "" {
		after, err := base64.RawURLEncoding.DecodeString(in.Marker)
		if err != nil {
			return nil, more{}, awsproto.SenderError("ValidationError", "Invalid Marker.")
		}
		i := slices.IndexFunc(all, func(v T) bool { return key(v) > string(after) })
		if i < 0 {
			i = len(all)
		}
		all = all[i:]
	}
	if len(all) <= items {
		return all, more{}, nil
	}
	all = all[:items]
	return all, more{true, base64.RawURLEncoding.EncodeToString([]byte(key(all[items-1])))}, nil
}

// under filters by path prefix.
func under[T any](all []T, prefix string, path func(T) string) []T {
	if prefix == "" {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(v T) bool { return !strings.HasPrefix(path(v), prefix) })
}

// whole is the key of a list of strings.
func whole(s string) string { return s }

func userKey(u *identity.User) string   { return strings.ToLower(u.Name) }
func groupKey(g *identity.Group) string { return strings.ToLower(g.Name) }
func roleKey(r *identity.Role) string   { return strings.ToLower(r.Name) }

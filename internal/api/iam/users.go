package iam

import (
	"context"
	"maps"
	"slices"

	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/awsproto"
)

func (d *door) userOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateUser":                    api.Write(d.createUser),
		"GetUser":                       api.Read(d.getUser),
		"ListUsers":                     api.Read(d.listUsers),
		"UpdateUser":                    api.Write(d.updateUser),
		"DeleteUser":                    api.Write(d.deleteUser),
		"PutUserPolicy":                 api.Write(d.putUserPolicy),
		"GetUserPolicy":                 api.Read(d.getUserPolicy),
		"ListUserPolicies":              api.Read(d.listUserPolicies),
		"DeleteUserPolicy":              api.Write(d.deleteUserPolicy),
		"AttachUserPolicy":              api.Write(d.attachUserPolicy),
		"DetachUserPolicy":              api.Write(d.detachUserPolicy),
		"ListAttachedUserPolicies":      api.Read(d.listAttachedUserPolicies),
		"PutUserPermissionsBoundary":    api.Write(d.putUserBoundary),
		"DeleteUserPermissionsBoundary": api.Write(d.deleteUserBoundary),
		"TagUser":                       api.Write(d.tagUser),
		"UntagUser":                     api.Write(d.untagUser),
		"ListUserTags":                  api.Read(d.listUserTags),
		"ListGroupsForUser":             api.Read(d.listGroupsForUser),
	}
}

type createUserRequest struct {
	Path, UserName, PermissionsBoundary string
	Tags                                []tag
}

type userAnswer struct{ User user }

func (d *door) createUser(ctx context.Context, c *api.Call, in *createUserRequest) (*userAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindUser, in.Path, in.UserName), created(in.PermissionsBoundary, tags)...); err != nil {
		return nil, err
	}
	u, err := d.CreateUser(ctx, in.Path, in.UserName, in.PermissionsBoundary, tags)
	if err != nil {
		return nil, err
	}
	out := &userAnswer{userWhole(u)}
	c.Annotate(map[string]any{"user": map[string]any{"userName": u.Name, "userId": u.ID, "arn": u.ARN}})
	return out, nil
}

type userRequest struct{ UserName string }

func (d *door) getUser(ctx context.Context, c *api.Call, in *userRequest) (*userAnswer, error) {
	name, err := userName(c, in.UserName)
	if err != nil {
		return nil, err
	}
	if _, err := d.holder(ctx, c, identity.KindUser, name); err != nil {
		return nil, err
	}
	u, err := d.User(ctx, name)
	if err != nil {
		return nil, err
	}
	uses, err := d.LastUses(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	out := &userAnswer{userWhole(u)}
	out.User.PasswordLastUsed = date(uses[u.ID].At)
	return out, nil
}

type listRequest struct {
	PathPrefix string
	paging
}

type usersAnswer struct {
	Users list[user]
	more
}

func (d *door) listUsers(ctx context.Context, c *api.Call, in *listRequest) (*usersAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Users(ctx)
	if err != nil {
		return nil, err
	}
	all = under(all, in.PathPrefix, func(u *identity.User) string { return u.Path })
	all, next, err := page(all, userKey, in.paging)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(all))
	for i, u := range all {
		ids[i] = u.ID
	}
	uses, err := d.LastUses(ctx, ids...)
	if err != nil {
		return nil, err
	}
	return &usersAnswer{listed(all, func(u *identity.User) user {
		s := userShape(u)
		s.PasswordLastUsed = date(uses[u.ID].At)
		return s
	}), next}, nil
}

type updateUserRequest struct{ UserName, NewPath, NewUserName string }

func (d *door) updateUser(ctx context.Context, c *api.Call, in *updateUserRequest) (*struct{}, error) {
	h, err := d.holder(ctx, c, identity.KindUser, in.UserName)
	if err != nil {
		return nil, err
	}
	// As in AWS, moving needs the permission on the new ARN as well.
	path, name := h.Path, h.Name
	if in.NewPath != "" {
		path = in.NewPath
	}
	if in.NewUserName != "" {
		name = in.NewUserName
	}
	if err := on(ctx, c, arn(c, identity.KindUser, path, name), h.Tags); err != nil {
		return nil, err
	}
	return nil, d.UpdateUser(ctx, in.UserName, in.NewPath, in.NewUserName)
}

func (d *door) deleteUser(ctx context.Context, c *api.Call, in *userRequest) (*struct{}, error) {
	if err := require("userName", in.UserName); err != nil {
		return nil, err
	}
	if _, err := d.holder(ctx, c, identity.KindUser, in.UserName); err != nil {
		return nil, err
	}
	return nil, d.DeleteUser(ctx, in.UserName)
}

type userPolicyRequest struct{ UserName, PolicyName, PolicyDocument string }

func (d *door) putUserPolicy(ctx context.Context, c *api.Call, in *userPolicyRequest) (*struct{}, error) {
	return nil, d.putInline(ctx, c, identity.KindUser, in.UserName, in.PolicyName, in.PolicyDocument)
}

func (d *door) putInline(
	ctx context.Context,
	c *api.Call,
	kind identity.Kind,
	name, policyName, document string,
) error {
	if _, err := d.holder(ctx, c, kind, name); err != nil {
		return err
	}
	if err := d.PutInline(ctx, kind, name, policyName, document); err != nil {
		return err
	}
	return d.warnOfLookAlikes(ctx, c)
}

// warnOfLookAlikes adds warnings to the audit event of a call that gives policies
// to users: AWS's answer has no room for them.
func (d *door) warnOfLookAlikes(ctx context.Context, c *api.Call) error {
	warnings, err := d.LookAlikes(ctx)
	if err == nil && len(warnings) > 0 {
		c.Annotate(map[string]any{"warnings": warnings})
	}
	return err
}

type userPolicyAnswer struct{ UserName, PolicyName, PolicyDocument string }

func (d *door) getUserPolicy(ctx context.Context, c *api.Call, in *userPolicyRequest) (*userPolicyAnswer, error) {
	text, err := d.inline(ctx, c, identity.KindUser, in.UserName, in.PolicyName)
	return &userPolicyAnswer{in.UserName, in.PolicyName, text}, err
}

// inline returns an inline policy as answers carry it.
func (d *door) inline(ctx context.Context, c *api.Call, kind identity.Kind, name, policyName string) (string, error) {
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

// clip makes a bad value safe for an error message.
func clip(s string) string { return safetext.Line(s, 128) }

type userListRequest struct {
	UserName, PathPrefix string
	paging
}

type policyNamesAnswer struct {
	PolicyNames list[string]
	more
}

func (d *door) listUserPolicies(ctx context.Context, c *api.Call, in *userListRequest) (*policyNamesAnswer, error) {
	return d.inlineNames(ctx, c, identity.KindUser, in.UserName, in.paging)
}

func (d *door) inlineNames(
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

func (d *door) deleteUserPolicy(ctx context.Context, c *api.Call, in *userPolicyRequest) (*struct{}, error) {
	return nil, d.deleteInline(ctx, c, identity.KindUser, in.UserName, in.PolicyName)
}

func (d *door) deleteInline(ctx context.Context, c *api.Call, kind identity.Kind, name, policyName string) error {
	if _, err := d.holder(ctx, c, kind, name); err != nil {
		return err
	}
	return d.DeleteInline(ctx, kind, name, policyName)
}

type userAttachRequest struct{ UserName, PolicyArn string }

func (d *door) attachUserPolicy(ctx context.Context, c *api.Call, in *userAttachRequest) (*struct{}, error) {
	return nil, d.attach(ctx, c, identity.KindUser, in.UserName, in.PolicyArn)
}

func (d *door) attach(ctx context.Context, c *api.Call, kind identity.Kind, name, policyARN string) error {
	if _, err := d.holder(ctx, c, kind, name, authz.One(keyPolicyARN, policyARN)); err != nil {
		return err
	}
	if err := d.Attach(ctx, kind, name, policyARN); err != nil {
		return err
	}
	return d.warnOfLookAlikes(ctx, c)
}

func (d *door) detachUserPolicy(ctx context.Context, c *api.Call, in *userAttachRequest) (*struct{}, error) {
	return nil, d.detach(ctx, c, identity.KindUser, in.UserName, in.PolicyArn)
}

func (d *door) detach(ctx context.Context, c *api.Call, kind identity.Kind, name, policyARN string) error {
	if _, err := d.holder(ctx, c, kind, name, authz.One(keyPolicyARN, policyARN)); err != nil {
		return err
	}
	return d.Detach(ctx, kind, name, policyARN)
}

type attachedAnswer struct {
	AttachedPolicies list[attachedPolicy]
	more
}

func (d *door) listAttachedUserPolicies(
	ctx context.Context,
	c *api.Call,
	in *userListRequest,
) (*attachedAnswer, error) {
	return d.attached(ctx, c, identity.KindUser, in.UserName, in.PathPrefix, in.paging)
}

func (d *door) attached(
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

type userBoundaryRequest struct{ UserName, PermissionsBoundary string }

func (d *door) putUserBoundary(ctx context.Context, c *api.Call, in *userBoundaryRequest) (*struct{}, error) {
	return nil, d.putBoundary(ctx, c, identity.KindUser, in.UserName, in.PermissionsBoundary)
}

func (d *door) putBoundary(ctx context.Context, c *api.Call, kind identity.Kind, name, policyARN string) error {
	if err := require("permissionsBoundary", policyARN); err != nil {
		return err
	}
	if _, err := d.holder(ctx, c, kind, name, authz.One(keyBoundary, policyARN)); err != nil {
		return err
	}
	return d.SetBoundary(ctx, kind, name, policyARN)
}

func (d *door) deleteUserBoundary(ctx context.Context, c *api.Call, in *userRequest) (*struct{}, error) {
	return nil, d.deleteBoundary(ctx, c, identity.KindUser, in.UserName)
}

func (d *door) deleteBoundary(ctx context.Context, c *api.Call, kind identity.Kind, name string) error {
	if _, err := d.holder(ctx, c, kind, name); err != nil {
		return err
	}
	return d.SetBoundary(ctx, kind, name, "")
}

type tagUserRequest struct {
	UserName string
	Tags     []tag
}

func (d *door) tagUser(ctx context.Context, c *api.Call, in *tagUserRequest) (*struct{}, error) {
	return nil, d.tagHolder(ctx, c, identity.KindUser, in.UserName, in.Tags)
}

func (d *door) tagHolder(ctx context.Context, c *api.Call, kind identity.Kind, name string, list []tag) error {
	tags, err := tagMap(list)
	if err != nil {
		return err
	}
	if _, err := d.holder(ctx, c, kind, name, authz.RequestTags(tags)...); err != nil {
		return err
	}
	return d.Tag(ctx, kind, name, tags)
}

type untagUserRequest struct {
	UserName string
	TagKeys  []string
}

func (d *door) untagUser(ctx context.Context, c *api.Call, in *untagUserRequest) (*struct{}, error) {
	return nil, d.untagHolder(ctx, c, identity.KindUser, in.UserName, in.TagKeys)
}

func (d *door) untagHolder(ctx context.Context, c *api.Call, kind identity.Kind, name string, keys []string) error {
	if _, err := d.holder(ctx, c, kind, name, authz.Many("aws:TagKeys", keys)); err != nil {
		return err
	}
	return d.Untag(ctx, kind, name, keys)
}

type tagsAnswer struct {
	Tags list[tag]
	more
}

func (d *door) listUserTags(ctx context.Context, c *api.Call, in *userListRequest) (*tagsAnswer, error) {
	return d.holderTags(ctx, c, identity.KindUser, in.UserName, in.paging)
}

func (d *door) holderTags(
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

func tagPage(tags map[string]string, p paging) (*tagsAnswer, error) {
	var all []tag
	if l := tagList(tags); l != nil {
		all = l.Member
	}
	all, next, err := page(all, func(t tag) string { return t.Key }, p)
	return &tagsAnswer{list[tag]{all}, next}, err
}

type groupsAnswer struct {
	Groups list[group]
	more
}

func (d *door) listGroupsForUser(ctx context.Context, c *api.Call, in *userListRequest) (*groupsAnswer, error) {
	if _, err := d.holder(ctx, c, identity.KindUser, in.UserName); err != nil {
		return nil, err
	}
	all, err := d.GroupsOf(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *identity.Group) int {
		if groupKey(a) < groupKey(b) {
			return -1
		}
		return 1
	})
	all, next, err := page(all, groupKey, in.paging)
	return &groupsAnswer{listed(all, groupShape), next}, err
}

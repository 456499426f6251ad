package iam

import (
	"context"
	"slices"

	"sekisho/internal/api"
	"sekisho/internal/iam/identity"
	"sekisho/internal/safetext"
)

func (d userDoor) operations() map[string]api.Operation {
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

func (d userDoor) createUser(ctx context.Context, c *api.Call, in *createUserRequest) (*userAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindUser, in.Path, in.UserName),
		created(in.PermissionsBoundary, tags)...); err != nil {
		return nil, err
	}
	u, err := d.Users.Create(ctx, in.Path, in.UserName, in.PermissionsBoundary, tags)
	if err != nil {
		return nil, err
	}
	out := &userAnswer{userWhole(u)}
	c.Annotate(map[string]any{"user": map[string]any{"userName": u.Name, "userId": u.ID, "arn": u.ARN}})
	return out, nil
}

type userRequest struct{ UserName string }

func (d userDoor) getUser(ctx context.Context, c *api.Call, in *userRequest) (*userAnswer, error) {
	name, err := userName(c, in.UserName)
	if err != nil {
		return nil, err
	}
	if _, err := d.holder(ctx, c, identity.KindUser, name); err != nil {
		return nil, err
	}
	u, err := d.Users.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	uses, err := d.Uses.Last(ctx, u.ID)
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

func (d userDoor) listUsers(ctx context.Context, c *api.Call, in *listRequest) (*usersAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Users.List(ctx)
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
	uses, err := d.Uses.Last(ctx, ids...)
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

func (d userDoor) updateUser(ctx context.Context, c *api.Call, in *updateUserRequest) (*struct{}, error) {
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
	return nil, d.Users.Update(ctx, in.UserName, in.NewPath, in.NewUserName)
}

func (d userDoor) deleteUser(ctx context.Context, c *api.Call, in *userRequest) (*struct{}, error) {
	if err := require("userName", in.UserName); err != nil {
		return nil, err
	}
	if _, err := d.holder(ctx, c, identity.KindUser, in.UserName); err != nil {
		return nil, err
	}
	return nil, d.Users.Delete(ctx, in.UserName)
}

type userPolicyRequest struct{ UserName, PolicyName, PolicyDocument string }

func (d userDoor) putUserPolicy(ctx context.Context, c *api.Call, in *userPolicyRequest) (*struct{}, error) {
	return nil, d.putInline(ctx, c, identity.KindUser, in.UserName, in.PolicyName, in.PolicyDocument)
}

type userPolicyAnswer struct{ UserName, PolicyName, PolicyDocument string }

func (d userDoor) getUserPolicy(ctx context.Context, c *api.Call, in *userPolicyRequest) (*userPolicyAnswer, error) {
	text, err := d.inline(ctx, c, identity.KindUser, in.UserName, in.PolicyName)
	return &userPolicyAnswer{in.UserName, in.PolicyName, text}, err
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

func (d userDoor) listUserPolicies(ctx context.Context, c *api.Call, in *userListRequest) (*policyNamesAnswer, error) {
	return d.inlineNames(ctx, c, identity.KindUser, in.UserName, in.paging)
}

func (d userDoor) deleteUserPolicy(ctx context.Context, c *api.Call, in *userPolicyRequest) (*struct{}, error) {
	return nil, d.deleteInline(ctx, c, identity.KindUser, in.UserName, in.PolicyName)
}

type userAttachRequest struct{ UserName, PolicyArn string }

func (d userDoor) attachUserPolicy(ctx context.Context, c *api.Call, in *userAttachRequest) (*struct{}, error) {
	return nil, d.attach(ctx, c, identity.KindUser, in.UserName, in.PolicyArn)
}

func (d userDoor) detachUserPolicy(ctx context.Context, c *api.Call, in *userAttachRequest) (*struct{}, error) {
	return nil, d.detach(ctx, c, identity.KindUser, in.UserName, in.PolicyArn)
}

type attachedAnswer struct {
	AttachedPolicies list[attachedPolicy]
	more
}

func (d userDoor) listAttachedUserPolicies(
	ctx context.Context,
	c *api.Call,
	in *userListRequest,
) (*attachedAnswer, error) {
	return d.attached(ctx, c, identity.KindUser, in.UserName, in.PathPrefix, in.paging)
}

type userBoundaryRequest struct{ UserName, PermissionsBoundary string }

func (d userDoor) putUserBoundary(ctx context.Context, c *api.Call, in *userBoundaryRequest) (*struct{}, error) {
	return nil, d.putBoundary(ctx, c, identity.KindUser, in.UserName, in.PermissionsBoundary)
}

func (d userDoor) deleteUserBoundary(ctx context.Context, c *api.Call, in *userRequest) (*struct{}, error) {
	return nil, d.deleteBoundary(ctx, c, identity.KindUser, in.UserName)
}

type tagUserRequest struct {
	UserName string
	Tags     []tag
}

func (d userDoor) tagUser(ctx context.Context, c *api.Call, in *tagUserRequest) (*struct{}, error) {
	return nil, d.tagHolder(ctx, c, identity.KindUser, in.UserName, in.Tags)
}

type untagUserRequest struct {
	UserName string
	TagKeys  []string
}

func (d userDoor) untagUser(ctx context.Context, c *api.Call, in *untagUserRequest) (*struct{}, error) {
	return nil, d.untagHolder(ctx, c, identity.KindUser, in.UserName, in.TagKeys)
}

type tagsAnswer struct {
	Tags list[tag]
	more
}

func (d userDoor) listUserTags(ctx context.Context, c *api.Call, in *userListRequest) (*tagsAnswer, error) {
	return d.holderTags(ctx, c, identity.KindUser, in.UserName, in.paging)
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

func (d userDoor) listGroupsForUser(ctx context.Context, c *api.Call, in *userListRequest) (*groupsAnswer, error) {
	if _, err := d.holder(ctx, c, identity.KindUser, in.UserName); err != nil {
		return nil, err
	}
	all, err := d.Groups.Of(ctx, in.UserName)
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

package iam

import (
	"context"

	"sekisho/internal/api"
	"sekisho/internal/iam/identity"
)

func (d groupDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateGroup":               api.Write(d.createGroup),
		"GetGroup":                  api.Read(d.getGroup),
		"ListGroups":                api.Read(d.listGroups),
		"UpdateGroup":               api.Write(d.updateGroup),
		"DeleteGroup":               api.Write(d.deleteGroup),
		"AddUserToGroup":            api.Write(d.addUserToGroup),
		"RemoveUserFromGroup":       api.Write(d.removeUserFromGroup),
		"PutGroupPolicy":            api.Write(d.putGroupPolicy),
		"GetGroupPolicy":            api.Read(d.getGroupPolicy),
		"ListGroupPolicies":         api.Read(d.listGroupPolicies),
		"DeleteGroupPolicy":         api.Write(d.deleteGroupPolicy),
		"AttachGroupPolicy":         api.Write(d.attachGroupPolicy),
		"DetachGroupPolicy":         api.Write(d.detachGroupPolicy),
		"ListAttachedGroupPolicies": api.Read(d.listAttachedGroupPolicies),
	}
}

type createGroupRequest struct{ Path, GroupName string }

type groupAnswer struct{ Group group }

func (d groupDoor) createGroup(ctx context.Context, c *api.Call, in *createGroupRequest) (*groupAnswer, error) {
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindGroup, in.Path, in.GroupName)); err != nil {
		return nil, err
	}
	g, err := d.Groups.Create(ctx, in.Path, in.GroupName)
	if err != nil {
		return nil, err
	}
	return &groupAnswer{groupShape(g)}, nil
}

type groupListRequest struct {
	GroupName, PathPrefix string
	paging
}

type getGroupAnswer struct {
	Group group
	Users list[user]
	more
}

func (d groupDoor) getGroup(ctx context.Context, c *api.Call, in *groupListRequest) (*getGroupAnswer, error) {
	if _, err := d.holder(ctx, c, identity.KindGroup, in.GroupName); err != nil {
		return nil, err
	}
	g, members, err := d.Groups.Get(ctx, in.GroupName)
	if err != nil {
		return nil, err
	}
	members, next, err := page(members, userKey, in.paging)
	return &getGroupAnswer{groupShape(g), listed(members, userShape), next}, err
}

func (d groupDoor) listGroups(ctx context.Context, c *api.Call, in *listRequest) (*groupsAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Groups.List(ctx)
	if err != nil {
		return nil, err
	}
	all = under(all, in.PathPrefix, func(g *identity.Group) string { return g.Path })
	all, next, err := page(all, groupKey, in.paging)
	return &groupsAnswer{listed(all, groupShape), next}, err
}

type updateGroupRequest struct{ GroupName, NewPath, NewGroupName string }

func (d groupDoor) updateGroup(ctx context.Context, c *api.Call, in *updateGroupRequest) (*struct{}, error) {
	h, err := d.holder(ctx, c, identity.KindGroup, in.GroupName)
	if err != nil {
		return nil, err
	}
	path, name := h.Path, h.Name
	if in.NewPath != "" {
		path = in.NewPath
	}
	if in.NewGroupName != "" {
		name = in.NewGroupName
	}
	if err := on(ctx, c, arn(c, identity.KindGroup, path, name), nil); err != nil {
		return nil, err
	}
	return nil, d.Groups.Update(ctx, in.GroupName, in.NewPath, in.NewGroupName)
}

type groupRequest struct{ GroupName string }

func (d groupDoor) deleteGroup(ctx context.Context, c *api.Call, in *groupRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindGroup, in.GroupName); err != nil {
		return nil, err
	}
	return nil, d.Groups.Delete(ctx, in.GroupName)
}

type memberRequest struct{ GroupName, UserName string }

func (d groupDoor) addUserToGroup(ctx context.Context, c *api.Call, in *memberRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindGroup, in.GroupName); err != nil {
		return nil, err
	}
	return nil, d.Groups.AddUser(ctx, in.UserName, in.GroupName)
}

func (d groupDoor) removeUserFromGroup(ctx context.Context, c *api.Call, in *memberRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindGroup, in.GroupName); err != nil {
		return nil, err
	}
	return nil, d.Groups.RemoveUser(ctx, in.UserName, in.GroupName)
}

type groupPolicyRequest struct{ GroupName, PolicyName, PolicyDocument string }

func (d groupDoor) putGroupPolicy(ctx context.Context, c *api.Call, in *groupPolicyRequest) (*struct{}, error) {
	return nil, d.putInline(ctx, c, identity.KindGroup, in.GroupName, in.PolicyName, in.PolicyDocument)
}

type groupPolicyAnswer struct{ GroupName, PolicyName, PolicyDocument string }

func (d groupDoor) getGroupPolicy(
	ctx context.Context, c *api.Call, in *groupPolicyRequest,
) (*groupPolicyAnswer, error) {
	text, err := d.inline(ctx, c, identity.KindGroup, in.GroupName, in.PolicyName)
	return &groupPolicyAnswer{in.GroupName, in.PolicyName, text}, err
}

func (d groupDoor) listGroupPolicies(
	ctx context.Context, c *api.Call, in *groupListRequest,
) (*policyNamesAnswer, error) {
	return d.inlineNames(ctx, c, identity.KindGroup, in.GroupName, in.paging)
}

func (d groupDoor) deleteGroupPolicy(ctx context.Context, c *api.Call, in *groupPolicyRequest) (*struct{}, error) {
	return nil, d.deleteInline(ctx, c, identity.KindGroup, in.GroupName, in.PolicyName)
}

type groupAttachRequest struct{ GroupName, PolicyArn string }

func (d groupDoor) attachGroupPolicy(ctx context.Context, c *api.Call, in *groupAttachRequest) (*struct{}, error) {
	return nil, d.attach(ctx, c, identity.KindGroup, in.GroupName, in.PolicyArn)
}

func (d groupDoor) detachGroupPolicy(ctx context.Context, c *api.Call, in *groupAttachRequest) (*struct{}, error) {
	return nil, d.detach(ctx, c, identity.KindGroup, in.GroupName, in.PolicyArn)
}

func (d groupDoor) listAttachedGroupPolicies(
	ctx context.Context,
	c *api.Call,
	in *groupListRequest,
) (*attachedAnswer, error) {
	return d.attached(ctx, c, identity.KindGroup, in.GroupName, in.PathPrefix, in.paging)
}

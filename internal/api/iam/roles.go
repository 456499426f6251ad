package iam

import (
	"context"
	"time"

	"sekisho/internal/api"
	"sekisho/internal/iam/identity"
)

func (d roleDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateRole":                    api.Write(d.createRole),
		"GetRole":                       api.Read(d.getRole),
		"ListRoles":                     api.Read(d.listRoles),
		"UpdateRole":                    api.Write(d.updateRole),
		"UpdateRoleDescription":         api.Write(d.updateRoleDescription),
		"UpdateAssumeRolePolicy":        api.Write(d.updateAssumeRolePolicy),
		"DeleteRole":                    api.Write(d.deleteRole),
		"PutRolePolicy":                 api.Write(d.putRolePolicy),
		"GetRolePolicy":                 api.Read(d.getRolePolicy),
		"ListRolePolicies":              api.Read(d.listRolePolicies),
		"DeleteRolePolicy":              api.Write(d.deleteRolePolicy),
		"AttachRolePolicy":              api.Write(d.attachRolePolicy),
		"DetachRolePolicy":              api.Write(d.detachRolePolicy),
		"ListAttachedRolePolicies":      api.Read(d.listAttachedRolePolicies),
		"PutRolePermissionsBoundary":    api.Write(d.putRoleBoundary),
		"DeleteRolePermissionsBoundary": api.Write(d.deleteRoleBoundary),
		"TagRole":                       api.Write(d.tagRole),
		"UntagRole":                     api.Write(d.untagRole),
		"ListRoleTags":                  api.Read(d.listRoleTags),
	}
}

type createRoleRequest struct {
	Path, RoleName, AssumeRolePolicyDocument, Description string
	MaxSessionDuration                                    int
	PermissionsBoundary                                   string
	Tags                                                  []tag
}

type roleAnswer struct{ Role role }

func (d roleDoor) createRole(ctx context.Context, c *api.Call, in *createRoleRequest) (*roleAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindRole, in.Path, in.RoleName),
		created(in.PermissionsBoundary, tags)...); err != nil {
		return nil, err
	}
	r, err := d.Roles.Create(ctx, identity.NewRole{
		Path: in.Path, Name: in.RoleName, Description: in.Description, Trust: in.AssumeRolePolicyDocument,
		MaxSession: time.Duration(in.MaxSessionDuration) * time.Second, Boundary: in.PermissionsBoundary, Tags: tags,
	})
	if err != nil {
		return nil, err
	}
	out, err := roleWhole(ctx, d.Directory, r)
	if err != nil {
		return nil, err
	}
	return &roleAnswer{out}, nil
}

// roleWithTrust is a role with its trust policy, which names principals as they
// are named now.
func roleWithTrust(ctx context.Context, dir *identity.Directory, r *identity.Role) (role, error) {
	trust, err := dir.Roles.TrustDocument(ctx, r)
	return roleShape(r, trust), err
}

// roleWhole is a role with the fields that ListRoles leaves out.
func roleWhole(ctx context.Context, dir *identity.Directory, r *identity.Role) (role, error) {
	s, err := roleWithTrust(ctx, dir, r)
	if err != nil {
		return s, err
	}
	uses, err := dir.Uses.Last(ctx, r.ID)
	if err != nil {
		return s, err
	}
	s.PermissionsBoundary, s.Tags = boundaryOf(&r.Holder), tagList(r.Tags)
	s.RoleLastUsed = &roleLastUsed{LastUsedDate: date(uses[r.ID].At), Region: uses[r.ID].Region}
	return s, nil
}

func roleShapes(ctx context.Context, dir *identity.Directory, rs []*identity.Role) (list[role], error) {
	out := list[role]{Member: make([]role, 0, len(rs))}
	for _, r := range rs {
		s, err := roleWithTrust(ctx, dir, r)
		if err != nil {
			return out, err
		}
		out.Member = append(out.Member, s)
	}
	return out, nil
}

type roleRequest struct{ RoleName string }

func (d roleDoor) getRole(ctx context.Context, c *api.Call, in *roleRequest) (*roleAnswer, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	r, err := d.Roles.Get(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	out, err := roleWhole(ctx, d.Directory, r)
	return &roleAnswer{out}, err
}

type rolesAnswer struct {
	Roles list[role]
	more
}

func (d roleDoor) listRoles(ctx context.Context, c *api.Call, in *listRequest) (*rolesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Roles.List(ctx)
	if err != nil {
		return nil, err
	}
	all = under(all, in.PathPrefix, func(r *identity.Role) string { return r.Path })
	all, next, err := page(all, roleKey, in.paging)
	if err != nil {
		return nil, err
	}
	shapes, err := roleShapes(ctx, d.Directory, all)
	return &rolesAnswer{shapes, next}, err
}

type updateRoleRequest struct {
	RoleName           string
	Description        *string
	MaxSessionDuration int
}

func (d roleDoor) updateRole(ctx context.Context, c *api.Call, in *updateRoleRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	return &struct{}{}, d.Roles.Update(ctx, in.RoleName, in.Description, time.Duration(in.MaxSessionDuration)*time.Second)
}

func (d roleDoor) updateRoleDescription(ctx context.Context, c *api.Call, in *updateRoleRequest) (*roleAnswer, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	if err := d.Roles.Update(ctx, in.RoleName, in.Description, 0); err != nil {
		return nil, err
	}
	r, err := d.Roles.Get(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	out, err := roleWithTrust(ctx, d.Directory, r)
	return &roleAnswer{out}, err
}

type trustRequest struct{ RoleName, PolicyDocument string }

func (d roleDoor) updateAssumeRolePolicy(ctx context.Context, c *api.Call, in *trustRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	return nil, d.Roles.UpdateTrust(ctx, in.RoleName, in.PolicyDocument)
}

func (d roleDoor) deleteRole(ctx context.Context, c *api.Call, in *roleRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	return nil, d.Roles.Delete(ctx, in.RoleName)
}

type rolePolicyRequest struct{ RoleName, PolicyName, PolicyDocument string }

func (d roleDoor) putRolePolicy(ctx context.Context, c *api.Call, in *rolePolicyRequest) (*struct{}, error) {
	return nil, d.putInline(ctx, c, identity.KindRole, in.RoleName, in.PolicyName, in.PolicyDocument)
}

type rolePolicyAnswer struct{ RoleName, PolicyName, PolicyDocument string }

func (d roleDoor) getRolePolicy(ctx context.Context, c *api.Call, in *rolePolicyRequest) (*rolePolicyAnswer, error) {
	text, err := d.inline(ctx, c, identity.KindRole, in.RoleName, in.PolicyName)
	return &rolePolicyAnswer{in.RoleName, in.PolicyName, text}, err
}

type roleListRequest struct {
	RoleName, PathPrefix string
	paging
}

func (d roleDoor) listRolePolicies(ctx context.Context, c *api.Call, in *roleListRequest) (*policyNamesAnswer, error) {
	return d.inlineNames(ctx, c, identity.KindRole, in.RoleName, in.paging)
}

func (d roleDoor) deleteRolePolicy(ctx context.Context, c *api.Call, in *rolePolicyRequest) (*struct{}, error) {
	return nil, d.deleteInline(ctx, c, identity.KindRole, in.RoleName, in.PolicyName)
}

type roleAttachRequest struct{ RoleName, PolicyArn string }

func (d roleDoor) attachRolePolicy(ctx context.Context, c *api.Call, in *roleAttachRequest) (*struct{}, error) {
	return nil, d.attach(ctx, c, identity.KindRole, in.RoleName, in.PolicyArn)
}

func (d roleDoor) detachRolePolicy(ctx context.Context, c *api.Call, in *roleAttachRequest) (*struct{}, error) {
	return nil, d.detach(ctx, c, identity.KindRole, in.RoleName, in.PolicyArn)
}

func (d roleDoor) listAttachedRolePolicies(
	ctx context.Context,
	c *api.Call,
	in *roleListRequest,
) (*attachedAnswer, error) {
	return d.attached(ctx, c, identity.KindRole, in.RoleName, in.PathPrefix, in.paging)
}

type roleBoundaryRequest struct{ RoleName, PermissionsBoundary string }

func (d roleDoor) putRoleBoundary(ctx context.Context, c *api.Call, in *roleBoundaryRequest) (*struct{}, error) {
	return nil, d.putBoundary(ctx, c, identity.KindRole, in.RoleName, in.PermissionsBoundary)
}

func (d roleDoor) deleteRoleBoundary(ctx context.Context, c *api.Call, in *roleRequest) (*struct{}, error) {
	return nil, d.deleteBoundary(ctx, c, identity.KindRole, in.RoleName)
}

type tagRoleRequest struct {
	RoleName string
	Tags     []tag
}

func (d roleDoor) tagRole(ctx context.Context, c *api.Call, in *tagRoleRequest) (*struct{}, error) {
	return nil, d.tagHolder(ctx, c, identity.KindRole, in.RoleName, in.Tags)
}

type untagRoleRequest struct {
	RoleName string
	TagKeys  []string
}

func (d roleDoor) untagRole(ctx context.Context, c *api.Call, in *untagRoleRequest) (*struct{}, error) {
	return nil, d.untagHolder(ctx, c, identity.KindRole, in.RoleName, in.TagKeys)
}

func (d roleDoor) listRoleTags(ctx context.Context, c *api.Call, in *roleListRequest) (*tagsAnswer, error) {
	return d.holderTags(ctx, c, identity.KindRole, in.RoleName, in.paging)
}

package iam

import (
	"context"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
)

func (d *door) roleOperations() map[string]api.Operation {
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

		"CreateInstanceProfile":         api.Write(d.createInstanceProfile),
		"GetInstanceProfile":            api.Read(d.getInstanceProfile),
		"ListInstanceProfiles":          api.Read(d.listInstanceProfiles),
		"ListInstanceProfilesForRole":   api.Read(d.listInstanceProfilesForRole),
		"DeleteInstanceProfile":         api.Write(d.deleteInstanceProfile),
		"AddRoleToInstanceProfile":      api.Write(d.addRoleToInstanceProfile),
		"RemoveRoleFromInstanceProfile": api.Write(d.removeRoleFromInstanceProfile),
		"TagInstanceProfile":            api.Write(d.tagInstanceProfile),
		"UntagInstanceProfile":          api.Write(d.untagInstanceProfile),
		"ListInstanceProfileTags":       api.Read(d.listInstanceProfileTags),
	}
}

type createRoleRequest struct {
	Path, RoleName, AssumeRolePolicyDocument, Description string
	MaxSessionDuration                                    int
	PermissionsBoundary                                   string
	Tags                                                  []tag
}

type roleAnswer struct{ Role role }

func (d *door) createRole(ctx context.Context, c *api.Call, in *createRoleRequest) (*roleAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindRole, in.Path, in.RoleName), created(in.PermissionsBoundary, tags)...); err != nil {
		return nil, err
	}
	r, err := d.CreateRole(ctx, identity.NewRole{
		Path: in.Path, Name: in.RoleName, Description: in.Description, Trust: in.AssumeRolePolicyDocument,
		MaxSession: time.Duration(in.MaxSessionDuration) * time.Second, Boundary: in.PermissionsBoundary, Tags: tags,
	})
	if err != nil {
		return nil, err
	}
	out, err := d.roleWhole(ctx, r)
	if err != nil {
		return nil, err
	}
	return &roleAnswer{out}, nil
}

// role is a role with its trust policy as it stands.
func (d *door) role(ctx context.Context, r *identity.Role) (role, error) {
	trust, err := d.TrustDocument(ctx, r)
	return roleShape(r, trust), err
}

// roleWhole is what GetRole and CreateRole tell, and ListRoles does not.
func (d *door) roleWhole(ctx context.Context, r *identity.Role) (role, error) {
	s, err := d.role(ctx, r)
	if err != nil {
		return s, err
	}
	uses, err := d.LastUses(ctx, r.ID)
	if err != nil {
		return s, err
	}
	s.PermissionsBoundary, s.Tags = boundaryOf(&r.Holder), tagList(r.Tags)
	s.RoleLastUsed = &roleLastUsed{LastUsedDate: date(uses[r.ID].At), Region: uses[r.ID].Region}
	return s, nil
}

func (d *door) roles(ctx context.Context, rs []*identity.Role) (list[role], error) {
	out := list[role]{Member: make([]role, 0, len(rs))}
	for _, r := range rs {
		s, err := d.role(ctx, r)
		if err != nil {
			return out, err
		}
		out.Member = append(out.Member, s)
	}
	return out, nil
}

type roleRequest struct{ RoleName string }

func (d *door) getRole(ctx context.Context, c *api.Call, in *roleRequest) (*roleAnswer, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	r, err := d.Role(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	out, err := d.roleWhole(ctx, r)
	return &roleAnswer{out}, err
}

type rolesAnswer struct {
	Roles list[role]
	more
}

func (d *door) listRoles(ctx context.Context, c *api.Call, in *listRequest) (*rolesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Roles(ctx)
	if err != nil {
		return nil, err
	}
	all = under(all, in.PathPrefix, func(r *identity.Role) string { return r.Path })
	all, next, err := page(all, roleKey, in.paging)
	if err != nil {
		return nil, err
	}
	shapes, err := d.roles(ctx, all)
	return &rolesAnswer{shapes, next}, err
}

type updateRoleRequest struct {
	RoleName           string
	Description        *string
	MaxSessionDuration int
}

func (d *door) updateRole(ctx context.Context, c *api.Call, in *updateRoleRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	return &struct{}{}, d.UpdateRole(ctx, in.RoleName, in.Description, time.Duration(in.MaxSessionDuration)*time.Second)
}

func (d *door) updateRoleDescription(ctx context.Context, c *api.Call, in *updateRoleRequest) (*roleAnswer, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	if err := d.UpdateRole(ctx, in.RoleName, in.Description, 0); err != nil {
		return nil, err
	}
	r, err := d.Role(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	out, err := d.role(ctx, r)
	return &roleAnswer{out}, err
}

type trustRequest struct{ RoleName, PolicyDocument string }

func (d *door) updateAssumeRolePolicy(ctx context.Context, c *api.Call, in *trustRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	return nil, d.UpdateTrust(ctx, in.RoleName, in.PolicyDocument)
}

func (d *door) deleteRole(ctx context.Context, c *api.Call, in *roleRequest) (*struct{}, error) {
	if _, err := d.holder(ctx, c, identity.KindRole, in.RoleName); err != nil {
		return nil, err
	}
	return nil, d.DeleteRole(ctx, in.RoleName)
}

type rolePolicyRequest struct{ RoleName, PolicyName, PolicyDocument string }

func (d *door) putRolePolicy(ctx context.Context, c *api.Call, in *rolePolicyRequest) (*struct{}, error) {
	return nil, d.putInline(ctx, c, identity.KindRole, in.RoleName, in.PolicyName, in.PolicyDocument)
}

type rolePolicyAnswer struct{ RoleName, PolicyName, PolicyDocument string }

func (d *door) getRolePolicy(ctx context.Context, c *api.Call, in *rolePolicyRequest) (*rolePolicyAnswer, error) {
	text, err := d.inline(ctx, c, identity.KindRole, in.RoleName, in.PolicyName)
	return &rolePolicyAnswer{in.RoleName, in.PolicyName, text}, err
}

type roleListRequest struct {
	RoleName, PathPrefix string
	paging
}

func (d *door) listRolePolicies(ctx context.Context, c *api.Call, in *roleListRequest) (*policyNamesAnswer, error) {
	return d.inlineNames(ctx, c, identity.KindRole, in.RoleName, in.paging)
}

func (d *door) deleteRolePolicy(ctx context.Context, c *api.Call, in *rolePolicyRequest) (*struct{}, error) {
	return nil, d.deleteInline(ctx, c, identity.KindRole, in.RoleName, in.PolicyName)
}

type roleAttachRequest struct{ RoleName, PolicyArn string }

func (d *door) attachRolePolicy(ctx context.Context, c *api.Call, in *roleAttachRequest) (*struct{}, error) {
	return nil, d.attach(ctx, c, identity.KindRole, in.RoleName, in.PolicyArn)
}

func (d *door) detachRolePolicy(ctx context.Context, c *api.Call, in *roleAttachRequest) (*struct{}, error) {
	return nil, d.detach(ctx, c, identity.KindRole, in.RoleName, in.PolicyArn)
}

func (d *door) listAttachedRolePolicies(
	ctx context.Context,
	c *api.Call,
	in *roleListRequest,
) (*attachedAnswer, error) {
	return d.attached(ctx, c, identity.KindRole, in.RoleName, in.PathPrefix, in.paging)
}

type roleBoundaryRequest struct{ RoleName, PermissionsBoundary string }

func (d *door) putRoleBoundary(ctx context.Context, c *api.Call, in *roleBoundaryRequest) (*struct{}, error) {
	return nil, d.putBoundary(ctx, c, identity.KindRole, in.RoleName, in.PermissionsBoundary)
}

func (d *door) deleteRoleBoundary(ctx context.Context, c *api.Call, in *roleRequest) (*struct{}, error) {
	return nil, d.deleteBoundary(ctx, c, identity.KindRole, in.RoleName)
}

type tagRoleRequest struct {
	RoleName string
	Tags     []tag
}

func (d *door) tagRole(ctx context.Context, c *api.Call, in *tagRoleRequest) (*struct{}, error) {
	return nil, d.tagHolder(ctx, c, identity.KindRole, in.RoleName, in.Tags)
}

type untagRoleRequest struct {
	RoleName string
	TagKeys  []string
}

func (d *door) untagRole(ctx context.Context, c *api.Call, in *untagRoleRequest) (*struct{}, error) {
	return nil, d.untagHolder(ctx, c, identity.KindRole, in.RoleName, in.TagKeys)
}

func (d *door) listRoleTags(ctx context.Context, c *api.Call, in *roleListRequest) (*tagsAnswer, error) {
	return d.holderTags(ctx, c, identity.KindRole, in.RoleName, in.paging)
}

type createProfileRequest struct {
	Path, InstanceProfileName string
	Tags                      []tag
}

type profileAnswer struct{ InstanceProfile instanceProfile }

func (d *door) createInstanceProfile(
	ctx context.Context,
	c *api.Call,
	in *createProfileRequest,
) (*profileAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindInstanceProfile, in.Path, in.InstanceProfileName), authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	if _, err := d.CreateInstanceProfile(ctx, in.Path, in.InstanceProfileName, tags); err != nil {
		return nil, err
	}
	return d.profileAnswer(ctx, in.InstanceProfileName)
}

func (d *door) profileAnswer(ctx context.Context, name string) (*profileAnswer, error) {
	s, err := d.profileShape(ctx, name)
	return &profileAnswer{s}, err
}

func (d *door) profileShape(ctx context.Context, name string) (instanceProfile, error) {
	p, r, err := d.InstanceProfile(ctx, name)
	if err != nil {
		return instanceProfile{}, err
	}
	s := instanceProfile{
		Path: p.Path, InstanceProfileName: p.Name, InstanceProfileID: p.ID, Arn: p.ARN,
		CreateDate: date(p.Created), Tags: tagList(p.Tags),
	}
	if r != nil {
		s.Roles, err = d.roles(ctx, []*identity.Role{r})
	}
	return s, err
}

type profileRequest struct{ InstanceProfileName, RoleName string }

// profile authorizes the call on an instance profile.
func (d *door) profile(
	ctx context.Context,
	c *api.Call,
	name string,
	keys ...authz.Key,
) (*identity.InstanceProfile, error) {
	p, _, err := d.InstanceProfile(ctx, name)
	if sekisho.IsNotFound(err) {
		if refused := on(ctx, c, arn(c, identity.KindInstanceProfile, "/", name), nil, keys...); refused != nil {
			return nil, refused
		}
	}
	if err != nil {
		return nil, err
	}
	return p, on(ctx, c, p.ARN, p.Tags, keys...)
}

func (d *door) getInstanceProfile(ctx context.Context, c *api.Call, in *profileRequest) (*profileAnswer, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	return d.profileAnswer(ctx, in.InstanceProfileName)
}

type profilesAnswer struct {
	InstanceProfiles list[instanceProfile]
	more
}

func (d *door) listInstanceProfiles(ctx context.Context, c *api.Call, in *listRequest) (*profilesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.InstanceProfiles(ctx)
	if err != nil {
		return nil, err
	}
	return d.profilePage(
		ctx,
		under(all, in.PathPrefix, func(p *identity.InstanceProfile) string { return p.Path }),
		in.paging,
	)
}

func (d *door) profilePage(ctx context.Context, all []*identity.InstanceProfile, p paging) (*profilesAnswer, error) {
	all, next, err := page(all, func(p *identity.InstanceProfile) string { return strings.ToLower(p.Name) }, p)
	if err != nil {
		return nil, err
	}
	out := &profilesAnswer{more: next}
	for _, p := range all {
		s, err := d.profileShape(ctx, p.Name)
		if sekisho.IsNotFound(err) { // deleted meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		s.Tags = nil
		out.InstanceProfiles.Member = append(out.InstanceProfiles.Member, s)
	}
	return out, nil
}

func (d *door) listInstanceProfilesForRole(
	ctx context.Context,
	c *api.Call,
	in *roleListRequest,
) (*profilesAnswer, error) {
	h, err := d.holder(ctx, c, identity.KindRole, in.RoleName)
	if err != nil {
		return nil, err
	}
	all, err := d.InstanceProfiles(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p *identity.InstanceProfile) bool { return p.RoleID != h.ID })
	return d.profilePage(ctx, all, in.paging)
}

func (d *door) deleteInstanceProfile(ctx context.Context, c *api.Call, in *profileRequest) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	return nil, d.DeleteInstanceProfile(ctx, in.InstanceProfileName)
}

func (d *door) addRoleToInstanceProfile(ctx context.Context, c *api.Call, in *profileRequest) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	r, err := d.Role(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	// Whoever controls an instance of this profile acts as the role.
	if err := c.Authorize(ctx, "iam:PassRole", r.ARN, authz.One("iam:PassedToService", "ec2.amazonaws.com")); err != nil {
		return nil, err
	}
	return nil, d.AddRoleToInstanceProfile(ctx, in.InstanceProfileName, in.RoleName)
}

func (d *door) removeRoleFromInstanceProfile(ctx context.Context, c *api.Call, in *profileRequest) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	return nil, d.RemoveRoleFromInstanceProfile(ctx, in.InstanceProfileName, in.RoleName)
}

type tagProfileRequest struct {
	InstanceProfileName string
	Tags                []tag
	TagKeys             []string
	paging
}

func (d *door) tagInstanceProfile(ctx context.Context, c *api.Call, in *tagProfileRequest) (*struct{}, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if _, err := d.profile(ctx, c, in.InstanceProfileName, authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	return nil, d.Tag(ctx, identity.KindInstanceProfile, in.InstanceProfileName, tags)
}

func (d *door) untagInstanceProfile(ctx context.Context, c *api.Call, in *tagProfileRequest) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName, authz.Many("aws:TagKeys", in.TagKeys)); err != nil {
		return nil, err
	}
	return nil, d.Untag(ctx, identity.KindInstanceProfile, in.InstanceProfileName, in.TagKeys)
}

func (d *door) listInstanceProfileTags(ctx context.Context, c *api.Call, in *tagProfileRequest) (*tagsAnswer, error) {
	p, err := d.profile(ctx, c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	return tagPage(p.Tags, in.paging)
}

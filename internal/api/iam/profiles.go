package iam

import (
	"context"
	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"slices"
	"strings"
)

func (d profileDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
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

type createProfileRequest struct {
	Path, InstanceProfileName string
	Tags                      []tag
}

type profilesAnswer struct {
	InstanceProfiles list[instanceProfile]
	more
}

type tagProfileRequest struct {
	InstanceProfileName string
	Tags                []tag
	TagKeys             []string
	paging
}

type profileAnswer struct{ InstanceProfile instanceProfile }

type profileRequest struct{ InstanceProfileName, RoleName string }

func (d profileDoor) createInstanceProfile(
	ctx context.Context,
	c *api.Call,
	in *createProfileRequest,
) (*profileAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindInstanceProfile, in.Path, in.InstanceProfileName),
		authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	if _, err := d.Profiles.Create(ctx, in.Path, in.InstanceProfileName, tags); err != nil {
		return nil, err
	}
	return d.profileAnswer(ctx, in.InstanceProfileName)
}

func (d profileDoor) profileAnswer(ctx context.Context, name string) (*profileAnswer, error) {
	s, err := profileShape(ctx, d.Directory, name)
	return &profileAnswer{s}, err
}

func profileShape(ctx context.Context, dir *identity.Directory, name string) (instanceProfile, error) {
	p, r, err := dir.Profiles.Get(ctx, name)
	if err != nil {
		return instanceProfile{}, err
	}
	s := instanceProfile{
		Path: p.Path, InstanceProfileName: p.Name, InstanceProfileID: p.ID, Arn: p.ARN,
		CreateDate: date(p.Created), Tags: tagList(p.Tags),
	}
	if r != nil {
		s.Roles, err = roleShapes(ctx, dir, []*identity.Role{r})
	}
	return s, err
}

// profile authorizes the call on an instance profile.
func (d profileDoor) profile(
	ctx context.Context,
	c *api.Call,
	name string,
	keys ...authz.Key,
) (*identity.InstanceProfile, error) {
	p, _, err := d.Profiles.Get(ctx, name)
	if err := lookupError(ctx, c, err, arn(c, identity.KindInstanceProfile, "/", name), keys...); err != nil {
		return nil, err
	}
	return p, on(ctx, c, p.ARN, p.Tags, keys...)
}

func (d profileDoor) getInstanceProfile(ctx context.Context, c *api.Call, in *profileRequest) (*profileAnswer, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	return d.profileAnswer(ctx, in.InstanceProfileName)
}

func (d profileDoor) listInstanceProfiles(ctx context.Context, c *api.Call, in *listRequest) (*profilesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Profiles.List(ctx)
	if err != nil {
		return nil, err
	}
	return d.profilePage(
		ctx,
		under(all, in.PathPrefix, func(p *identity.InstanceProfile) string { return p.Path }),
		in.paging,
	)
}

func (d profileDoor) profilePage(
	ctx context.Context, all []*identity.InstanceProfile, p paging,
) (*profilesAnswer, error) {
	all, next, err := page(all, func(p *identity.InstanceProfile) string { return strings.ToLower(p.Name) }, p)
	if err != nil {
		return nil, err
	}
	out := &profilesAnswer{more: next}
	for _, p := range all {
		s, err := profileShape(ctx, d.Directory, p.Name)
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

func (d profileDoor) listInstanceProfilesForRole(
	ctx context.Context,
	c *api.Call,
	in *roleListRequest,
) (*profilesAnswer, error) {
	h, err := d.holder(ctx, c, identity.KindRole, in.RoleName)
	if err != nil {
		return nil, err
	}
	all, err := d.Profiles.List(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p *identity.InstanceProfile) bool { return p.RoleID != h.ID })
	return d.profilePage(ctx, all, in.paging)
}

func (d profileDoor) deleteInstanceProfile(ctx context.Context, c *api.Call, in *profileRequest) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	return nil, d.Profiles.Delete(ctx, in.InstanceProfileName)
}

func (d profileDoor) addRoleToInstanceProfile(ctx context.Context, c *api.Call, in *profileRequest) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	r, err := d.Roles.Get(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	// Whoever controls an instance of this profile acts as the role.
	if err := c.Authorize(ctx, "iam:PassRole", r.ARN, authz.One("iam:PassedToService", "ec2.amazonaws.com")); err != nil {
		return nil, err
	}
	return nil, d.Profiles.AddRole(ctx, in.InstanceProfileName, in.RoleName)
}

func (d profileDoor) removeRoleFromInstanceProfile(
	ctx context.Context, c *api.Call, in *profileRequest,
) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName); err != nil {
		return nil, err
	}
	return nil, d.Profiles.RemoveRole(ctx, in.InstanceProfileName, in.RoleName)
}

func (d profileDoor) tagInstanceProfile(ctx context.Context, c *api.Call, in *tagProfileRequest) (*struct{}, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if _, err := d.profile(ctx, c, in.InstanceProfileName, authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	return nil, d.Tags.Add(ctx, identity.KindInstanceProfile, in.InstanceProfileName, tags)
}

func (d profileDoor) untagInstanceProfile(ctx context.Context, c *api.Call, in *tagProfileRequest) (*struct{}, error) {
	if _, err := d.profile(ctx, c, in.InstanceProfileName, authz.Many("aws:TagKeys", in.TagKeys)); err != nil {
		return nil, err
	}
	return nil, d.Tags.Remove(ctx, identity.KindInstanceProfile, in.InstanceProfileName, in.TagKeys)
}

func (d profileDoor) listInstanceProfileTags(
	ctx context.Context, c *api.Call, in *tagProfileRequest,
) (*tagsAnswer, error) {
	p, err := d.profile(ctx, c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	return tagPage(p.Tags, in.paging)
}

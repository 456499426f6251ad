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

func (d policyDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreatePolicy":            api.Write(d.createPolicy),
		"GetPolicy":               api.Read(d.getPolicy),
		"ListPolicies":            api.Read(d.listPolicies),
		"DeletePolicy":            api.Write(d.deletePolicy),
		"CreatePolicyVersion":     api.Write(d.createPolicyVersion),
		"GetPolicyVersion":        api.Read(d.getPolicyVersion),
		"ListPolicyVersions":      api.Read(d.listPolicyVersions),
		"SetDefaultPolicyVersion": api.Write(d.setDefaultPolicyVersion),
		"DeletePolicyVersion":     api.Write(d.deletePolicyVersion),
		"ListEntitiesForPolicy":   api.Read(d.listEntitiesForPolicy),
		"TagPolicy":               api.Write(d.tagPolicy),
		"UntagPolicy":             api.Write(d.untagPolicy),
		"ListPolicyTags":          api.Read(d.listPolicyTags),
	}
}

// managed authorizes the call on a managed policy.
func (d policyDoor) managed(
	ctx context.Context,
	c *api.Call,
	policyARN string,
	keys ...authz.Key,
) (*identity.Policy, error) {
	if !strings.HasPrefix(policyARN, "arn:") || len(policyARN) < 20 || len(policyARN) > 2048 {
		return nil, awsproto.SenderError("ValidationError", "Invalid ARN: %s", clip(policyARN))
	}
	p, err := d.Policies.Get(ctx, policyARN)
	if err := lookupError(ctx, c, err, policyARN, keys...); err != nil {
		return nil, err
	}
	return p, on(ctx, c, p.ARN, p.Tags, keys...)
}

// policyPath returns the path in the ARN of a policy.
func policyPath(policyARN string) string {
	_, rest, _ := strings.Cut(policyARN, ":policy")
	return rest[:strings.LastIndexByte(rest, '/')+1]
}

type createPolicyRequest struct {
	Path, PolicyName, PolicyDocument, Description string
	Tags                                          []tag
}

type policyAnswer struct{ Policy managedPolicy }

func (d policyDoor) createPolicy(ctx context.Context, c *api.Call, in *createPolicyRequest) (*policyAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindPolicy, in.Path, in.PolicyName),
		authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	p, err := d.Policies.Create(ctx, in.Path, in.PolicyName, in.Description, in.PolicyDocument, tags)
	if err != nil {
		return nil, err
	}
	out := &policyAnswer{policyShape(p, 0, 0)}
	out.Policy.Tags = tagList(p.Tags)
	return out, nil
}

type getPolicyRequest struct{ PolicyArn string }

func (d policyDoor) getPolicy(ctx context.Context, c *api.Call, in *getPolicyRequest) (*policyAnswer, error) {
	p, err := d.managed(ctx, c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	attached, boundaries, err := d.Policies.Uses(ctx)
	if err != nil {
		return nil, err
	}
	out := &policyAnswer{policyShape(p, attached[p.ARN], boundaries[p.ARN])}
	out.Policy.Description, out.Policy.Tags = p.Description, tagList(p.Tags)
	return out, nil
}

type listPoliciesRequest struct {
	Scope, PathPrefix, PolicyUsageFilter string
	OnlyAttached                         bool
	paging
}

type policiesAnswer struct {
	Policies list[managedPolicy]
	more
}

func (d policyDoor) listPolicies(ctx context.Context, c *api.Call, in *listPoliciesRequest) (*policiesAnswer, error) {
	v := awsproto.Constraints{Code: "ValidationError"}
	if in.Scope != "" {
		v.Enum("scope", in.Scope, "All", "AWS", "Local")
	}
	if in.PolicyUsageFilter != "" {
		v.Enum("policyUsageFilter", in.PolicyUsageFilter, "PermissionsPolicy", "PermissionsBoundary")
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.Policies.List(ctx)
	if err != nil {
		return nil, err
	}
	attached, boundaries, err := d.Policies.Uses(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(
		under(all, in.PathPrefix, func(p *identity.Policy) string { return p.Path }),
		func(p *identity.Policy) bool {
			switch {
			case in.Scope == "AWS" && !p.AWSManaged(), in.Scope == "Local" && p.AWSManaged(),
				in.OnlyAttached && attached[p.ARN] == 0,
				in.PolicyUsageFilter == "PermissionsPolicy" && attached[p.ARN] == 0,
				in.PolicyUsageFilter == "PermissionsBoundary" && boundaries[p.ARN] == 0:
				return true
			}
			return false
		},
	)
	all, next, err := page(all, func(p *identity.Policy) string { return p.ARN }, in.paging)
	return &policiesAnswer{listed(all, func(p *identity.Policy) managedPolicy {
		return policyShape(p, attached[p.ARN], boundaries[p.ARN])
	}), next}, err
}

func (d policyDoor) deletePolicy(ctx context.Context, c *api.Call, in *getPolicyRequest) (*struct{}, error) {
	if _, err := d.managed(ctx, c, in.PolicyArn); err != nil {
		return nil, err
	}
	return nil, d.Policies.Delete(ctx, in.PolicyArn)
}

type createVersionRequest struct {
	PolicyArn, PolicyDocument string
	SetAsDefault              bool
}

type versionAnswer struct{ PolicyVersion policyVersion }

func (d policyDoor) createPolicyVersion(
	ctx context.Context, c *api.Call, in *createVersionRequest,
) (*versionAnswer, error) {
	if _, err := d.managed(ctx, c, in.PolicyArn); err != nil {
		return nil, err
	}
	v, err := d.Policies.CreateVersion(ctx, in.PolicyArn, in.PolicyDocument, in.SetAsDefault)
	if err != nil {
		return nil, err
	}
	return &versionAnswer{
		policyVersion{VersionID: v.ID, IsDefaultVersion: in.SetAsDefault, CreateDate: date(v.Created)},
	}, nil
}

type versionRequest struct {
	PolicyArn string
	VersionID string `query:"VersionId"`
}

func (d policyDoor) getPolicyVersion(ctx context.Context, c *api.Call, in *versionRequest) (*versionAnswer, error) {
	p, err := d.managed(ctx, c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	v := p.Version(in.VersionID)
	if v == nil {
		return nil, sekisho.Errorf(
			sekisho.CodeNotFound,
			"Policy %s version %s does not exist or is not attachable.",
			in.PolicyArn,
			clip(in.VersionID),
		)
	}
	return &versionAnswer{versionShape(p, v, true)}, nil
}

type policyListRequest struct {
	PolicyArn string
	paging
}

type versionsAnswer struct {
	Versions list[policyVersion]
	more
}

func (d policyDoor) listPolicyVersions(
	ctx context.Context, c *api.Call, in *policyListRequest,
) (*versionsAnswer, error) {
	p, err := d.managed(ctx, c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	out := &versionsAnswer{}
	for i := range slices.Backward(p.Versions) { // at most five: never more than a page
		out.Versions.Member = append(out.Versions.Member, versionShape(p, &p.Versions[i], false))
	}
	return out, nil
}

func (d policyDoor) setDefaultPolicyVersion(ctx context.Context, c *api.Call, in *versionRequest) (*struct{}, error) {
	if _, err := d.managed(ctx, c, in.PolicyArn); err != nil {
		return nil, err
	}
	return nil, d.Policies.SetDefaultVersion(ctx, in.PolicyArn, in.VersionID)
}

func (d policyDoor) deletePolicyVersion(ctx context.Context, c *api.Call, in *versionRequest) (*struct{}, error) {
	if _, err := d.managed(ctx, c, in.PolicyArn); err != nil {
		return nil, err
	}
	return nil, d.Policies.DeleteVersion(ctx, in.PolicyArn, in.VersionID)
}

type entitiesRequest struct {
	PolicyArn, EntityFilter, PathPrefix, PolicyUsageFilter string
	paging
}

type policyUser struct {
	UserName string
	UserID   string `xml:"UserId"`
}

type policyGroup struct {
	GroupName string
	GroupID   string `xml:"GroupId"`
}

type policyRole struct {
	RoleName string
	RoleID   string `xml:"RoleId"`
}

type entitiesAnswer struct {
	PolicyGroups list[policyGroup]
	PolicyUsers  list[policyUser]
	PolicyRoles  list[policyRole]
	more
}

func (d policyDoor) listEntitiesForPolicy(
	ctx context.Context, c *api.Call, in *entitiesRequest,
) (*entitiesAnswer, error) {
	if _, err := d.managed(ctx, c, in.PolicyArn); err != nil {
		return nil, err
	}
	all, err := d.Policies.Holders(ctx, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	kind := map[string]identity.Kind{"User": identity.KindUser, "Group": identity.KindGroup,
		"Role": identity.KindRole}[in.EntityFilter]
	all = slices.DeleteFunc(all, func(a identity.Attachment) bool {
		return kind != "" && a.Kind != kind || !strings.HasPrefix(a.Holder.Path, in.PathPrefix) ||
			in.PolicyUsageFilter == "PermissionsPolicy" &&
				a.Boundary || in.PolicyUsageFilter == "PermissionsBoundary" && !a.Boundary
	})
	// One policy can be both attached to an entity and its boundary.
	all = slices.CompactFunc(all, func(a, b identity.Attachment) bool { return a.Holder == b.Holder })
	all, next, err := page(
		all,
		func(a identity.Attachment) string { return string(a.Kind) + "/" + a.Holder.Name },
		in.paging,
	)
	if err != nil {
		return nil, err
	}
	out := &entitiesAnswer{more: next}
	for _, a := range all {
		switch a.Kind {
		case identity.KindUser:
			out.PolicyUsers.Member = append(out.PolicyUsers.Member, policyUser{a.Holder.Name, a.Holder.ID})
		case identity.KindGroup:
			out.PolicyGroups.Member = append(out.PolicyGroups.Member, policyGroup{a.Holder.Name, a.Holder.ID})
		case identity.KindRole:
			out.PolicyRoles.Member = append(out.PolicyRoles.Member, policyRole{a.Holder.Name, a.Holder.ID})
		case identity.KindInstanceProfile, identity.KindPolicy, identity.KindMFADevice:
		}
	}
	return out, nil
}

type tagPolicyRequest struct {
	PolicyArn string
	Tags      []tag
	TagKeys   []string
	paging
}

func (d policyDoor) tagPolicy(ctx context.Context, c *api.Call, in *tagPolicyRequest) (*struct{}, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if _, err := d.managed(ctx, c, in.PolicyArn, authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	return nil, d.Tags.Add(ctx, identity.KindPolicy, in.PolicyArn, tags)
}

func (d policyDoor) untagPolicy(ctx context.Context, c *api.Call, in *tagPolicyRequest) (*struct{}, error) {
	if _, err := d.managed(ctx, c, in.PolicyArn, authz.Many("aws:TagKeys", in.TagKeys)); err != nil {
		return nil, err
	}
	return nil, d.Tags.Remove(ctx, identity.KindPolicy, in.PolicyArn, in.TagKeys)
}

func (d policyDoor) listPolicyTags(ctx context.Context, c *api.Call, in *tagPolicyRequest) (*tagsAnswer, error) {
	p, err := d.managed(ctx, c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	return tagPage(p.Tags, in.paging)
}

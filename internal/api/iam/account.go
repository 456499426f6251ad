package iam

import (
	"context"
	"encoding/xml"
	"maps"
	"slices"

	"sekisho/internal/api"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

func (d accountDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"GetAccountSummary":              api.Read(d.getAccountSummary),
		"GetAccountAuthorizationDetails": api.Read(d.getAccountAuthorizationDetails),
		"GetAccountPasswordPolicy":       api.Read(d.getAccountPasswordPolicy),
		"UpdateAccountPasswordPolicy":    api.Write(d.updateAccountPasswordPolicy),
		"DeleteAccountPasswordPolicy":    api.Write(d.deleteAccountPasswordPolicy),
		"ListAccountAliases":             api.Read(d.listAccountAliases),
		"CreateAccountAlias":             api.Write(d.createAccountAlias),
		"DeleteAccountAlias":             api.Write(d.deleteAccountAlias),
	}
}

// summary is a map, on the wire a list of keys and values.
type summary map[string]int

type summaryEntry struct {
	Key   string `xml:"key"`
	Value int    `xml:"value"`
}

// MarshalXML writes the entries in the order of their keys.
func (s summary) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	entries := struct {
		Entry []summaryEntry `xml:"entry"`
	}{}
	for _, k := range slices.Sorted(maps.Keys(s)) {
		entries.Entry = append(entries.Entry, summaryEntry{k, s[k]})
	}
	return e.EncodeElement(entries, start)
}

type summaryAnswer struct{ SummaryMap summary }

func (d accountDoor) getAccountSummary(ctx context.Context, c *api.Call, _ *struct{}) (*summaryAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	s, err := d.Settings.Summary(ctx)
	return &summaryAnswer{s}, err
}

type detailsRequest struct {
	Filter []string
	paging
}

type inlinePolicy struct{ PolicyName, PolicyDocument string }

type userDetail struct {
	user
	UserPolicyList          list[inlinePolicy]
	GroupList               list[string]
	AttachedManagedPolicies list[attachedPolicy]
}

type groupDetail struct {
	group
	GroupPolicyList         list[inlinePolicy]
	AttachedManagedPolicies list[attachedPolicy]
}

type roleDetail struct {
	role
	InstanceProfileList     list[instanceProfile]
	RolePolicyList          list[inlinePolicy]
	AttachedManagedPolicies list[attachedPolicy]
}

type detailsAnswer struct {
	UserDetailList  list[userDetail]
	GroupDetailList list[groupDetail]
	RoleDetailList  list[roleDetail]
	Policies        list[managedPolicy]
	more
}

func inlineList(h *identity.Holder) list[inlinePolicy] {
	return listed(slices.Sorted(maps.Keys(h.Inline)), func(name string) inlinePolicy {
		return inlinePolicy{name, encoded(h.Inline[name])}
	})
}

// detail is one object of the answer; add appends it.
type detail struct {
	key string
	add func(out *detailsAnswer) error
}

func (d accountDoor) getAccountAuthorizationDetails(
	ctx context.Context,
	c *api.Call,
	in *detailsRequest,
) (*detailsAnswer, error) {
	v := awsproto.Constraints{Code: "ValidationError"}
	for _, f := range in.Filter {
		v.Enum("filter", f, "User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy")
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.details(
		ctx,
		func(kind string) bool { return len(in.Filter) == 0 || slices.Contains(in.Filter, kind) },
	)
	if err != nil {
		return nil, err
	}
	all, next, err := page(all, func(d detail) string { return d.key }, in.paging)
	if err != nil {
		return nil, err
	}
	out := &detailsAnswer{more: next}
	for _, part := range all {
		if err := part.add(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// details returns the requested objects in the order of their keys.
func (d accountDoor) details(ctx context.Context, wanted func(string) bool) ([]detail, error) {
	var all []detail
	if wanted("User") {
		users, err := d.Users.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			all = append(
				all,
				detail{"1" + userKey(u), func(out *detailsAnswer) error { return d.addUser(ctx, out, u) }},
			)
		}
	}
	if wanted("Group") {
		groups, err := d.Groups.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			all = append(all, detail{"2" + groupKey(g), func(out *detailsAnswer) error {
				out.GroupDetailList.Member = append(out.GroupDetailList.Member, groupDetail{
					group: groupShape(
						g,
					), GroupPolicyList: inlineList(&g.Holder), AttachedManagedPolicies: listed(g.Attached, attachedShape),
				})
				return nil
			}})
		}
	}
	if wanted("Role") {
		roles, err := d.Roles.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range roles {
			all = append(
				all,
				detail{"3" + roleKey(r), func(out *detailsAnswer) error { return d.addRole(ctx, out, r) }},
			)
		}
	}
	policies, err := d.Policies.List(ctx)
	if err != nil {
		return nil, err
	}
	attached, boundaries, err := d.Policies.Uses(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		// AWS lists its own policies only where they are in use.
		if p.AWSManaged() && (!wanted("AWSManagedPolicy") || attached[p.ARN]+boundaries[p.ARN] == 0) ||
			!p.AWSManaged() && !wanted("LocalManagedPolicy") {
			continue
		}
		all = append(all, detail{"4" + p.ARN, func(out *detailsAnswer) error {
			s := policyShape(p, attached[p.ARN], boundaries[p.ARN])
			s.Description = p.Description
			versions := listed(
				p.Versions,
				func(v identity.PolicyVersion) policyVersion { return versionShape(p, &v, true) },
			)
			s.PolicyVersionList = &versions
			out.Policies.Member = append(out.Policies.Member, s)
			return nil
		}})
	}
	return all, nil
}

func (d accountDoor) addUser(ctx context.Context, out *detailsAnswer, u *identity.User) error {
	groups, err := d.Groups.Of(ctx, u.Name)
	if err != nil {
		return err
	}
	out.UserDetailList.Member = append(out.UserDetailList.Member, userDetail{
		user: userWhole(u), UserPolicyList: inlineList(&u.Holder),
		GroupList:               listed(groups, func(g *identity.Group) string { return g.Name }),
		AttachedManagedPolicies: listed(u.Attached, attachedShape),
	})
	return nil
}

func (d accountDoor) addRole(ctx context.Context, out *detailsAnswer, r *identity.Role) error {
	shape, err := roleWhole(ctx, d.Directory, r)
	if err != nil {
		return err
	}
	shape.Description, shape.MaxSessionDuration = "", 0
	profiles, err := d.Profiles.List(ctx)
	if err != nil {
		return err
	}
	detail := roleDetail{
		role:                    shape,
		RolePolicyList:          inlineList(&r.Holder),
		AttachedManagedPolicies: listed(r.Attached, attachedShape),
	}
	for _, p := range profiles {
		if p.RoleID != r.ID {
			continue
		}
		s, err := profileShape(ctx, d.Directory, p.Name)
		if err != nil {
			return err
		}
		detail.InstanceProfileList.Member = append(detail.InstanceProfileList.Member, s)
	}
	out.RoleDetailList.Member = append(out.RoleDetailList.Member, detail)
	return nil
}

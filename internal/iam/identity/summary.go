package identity

import (
	"context"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// Summary returns the counts and quotas of the account under the names of
// AWS's GetAccountSummary.
func (settings *AccountSettings) Summary(ctx context.Context) (map[string]int, error) {
	return get(ctx, settings.account, func(s *state) (map[string]int, error) {
		versions, enabled := 0, 0
		for _, p := range s.policies {
			if !p.AWSManaged() {
				versions += len(p.Versions)
			}
		}
		for _, m := range s.devices {
			if m.UserID != "" {
				enabled++
			}
		}
		return map[string]int{
			"Users": len(s.users), "UsersQuota": maxUsers,
			"Groups": len(s.groups), "GroupsQuota": maxGroups,
			"Roles": len(s.roles), "RolesQuota": maxRoles,
			"InstanceProfiles": len(s.profiles), "InstanceProfilesQuota": maxProfiles,
			"Policies": len(s.policyNames), "PoliciesQuota": maxPolicies,
			"PolicySizeQuota": maxManagedSize, "PolicyVersionsInUse": versions, "VersionsPerPolicyQuota": maxVersions,
			"MFADevices": len(s.devices), "MFADevicesInUse": enabled,
			"AccessKeysPerUserQuota": maxKeysPerUser, "GroupsPerUserQuota": maxGroupsPerUser,
			"AttachedPoliciesPerUserQuota": maxAttached, "AttachedPoliciesPerGroupQuota": maxAttached,
			"AttachedPoliciesPerRoleQuota": maxAttached,
			"UserPolicySizeQuota":          maxInline[KindUser], "GroupPolicySizeQuota": maxInline[KindGroup],
			"RolePolicySizeQuota":       maxInline[KindRole],
			"AssumeRolePolicySizeQuota": maxTrustSize,
			// There is no root user.
			"AccountMFAEnabled": 0, "AccountAccessKeysPresent": 0, "AccountSigningCertificatesPresent": 0,
			"AccountPasswordPresent": 0,
			"ServerCertificates":     0, "Providers": len(s.providers),
		}, nil
	})
}

// PoliciesOf returns the policies of the user, group or role that an ARN
// names, and the principal they bind, for simulations.
func (sets *PolicySets) PoliciesOf(ctx context.Context, arn string) (policy.Policies, policy.Principal, error) {
	who := policy.Principal{Account: sets.id, ARN: arn}
	src, err := get(ctx, sets.account, func(s *state) (*sources, error) {
		src := s.newSources()
		name := strings.ToLower(arn[strings.LastIndexByte(arn, '/')+1:])
		if u := s.users[name]; u != nil && u.ARN == arn {
			who.Type, who.UserID = policy.TypeUser, u.ID
			return src, s.userSources(src, u)
		}
		if r := s.roles[name]; r != nil && r.ARN == arn {
			// A role is simulated as one of its sessions.
			p := sets.rolePrincipal(r, "simulation")
			who = policy.Principal{
				Type:    policy.TypeAssumedRole,
				Account: sets.id,
				ARN:     p.ARN,
				UserID:  p.UserID,
				RoleARN: r.ARN,
			}
			return src, s.roleSources(src, r)
		}
		if g := s.groups[name]; g != nil && g.ARN == arn {
			who.Type = policy.TypeUser
			return src, s.holderSources(src, KindGroup, &g.Holder)
		}
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "The entity %s cannot be found.", printable(arn))
	})
	if err != nil {
		return policy.Policies{}, who, err
	}
	ps, err := src.parse()
	return ps, who, err
}

// PrincipalOf returns the principal behind the ARN of a user or role, for
// simulations. A role is simulated as one of its sessions.
func (sets *PolicySets) PrincipalOf(ctx context.Context, arn string) (*sekisho.Principal, error) {
	return get(ctx, sets.account, func(s *state) (*sekisho.Principal, error) {
		name := strings.ToLower(arn[strings.LastIndexByte(arn, '/')+1:])
		if u := s.users[name]; u != nil && u.ARN == arn {
			p := sets.userPrincipal(u)
			return &p, nil
		}
		if r := s.roles[name]; r != nil && r.ARN == arn {
			p := sets.rolePrincipal(r, "simulation")
			return &p, nil
		}
		return nil, notFound("The entity %s cannot be found.", printable(arn))
	})
}

// Principals returns every user and role as PrincipalOf does, by ARN.
func (sets *PolicySets) Principals(ctx context.Context) ([]*sekisho.Principal, error) {
	return get(ctx, sets.account, func(s *state) ([]*sekisho.Principal, error) {
		out := make([]*sekisho.Principal, 0, len(s.users)+len(s.roles))
		for _, u := range s.users {
			p := sets.userPrincipal(u)
			out = append(out, &p)
		}
		for _, r := range s.roles {
			p := sets.rolePrincipal(r, "simulation")
			out = append(out, &p)
		}
		slices.SortFunc(out, func(a, b *sekisho.Principal) int { return strings.Compare(a.PolicyARN, b.PolicyARN) })
		return out, nil
	})
}

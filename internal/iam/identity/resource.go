package identity

import (
	"context"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// SetWithResource returns the compiled policies that bind p, joined with the
// policy of a resource.
func (sets *PolicySets) SetWithResource(
	ctx context.Context,
	p *sekisho.Principal,
	resource *policy.Document,
) (*policy.Set, error) {
	return sets.setOf(ctx, p, func(in *policy.Policies) { in.Resource = resource })
}

// SetUnderResource is SetWithResource for a resource whose own policy must also allow the action,
// such as a KMS key.
func (sets *PolicySets) SetUnderResource(
	ctx context.Context,
	p *sekisho.Principal,
	resource *policy.Document,
) (*policy.Set, error) {
	return sets.setOf(ctx, p, func(in *policy.Policies) { in.Resource, in.ResourceDecides = resource, true })
}

func (sets *PolicySets) setOf(
	ctx context.Context,
	p *sekisho.Principal,
	join func(in *policy.Policies),
) (*policy.Set, error) {
	src, err := get(ctx, sets.account, func(s *state) (*sources, error) { return s.sources(p) })
	if err != nil {
		return nil, err
	}
	in, err := src.parse()
	if err != nil {
		return nil, err
	}
	join(&in)
	return policy.Compile(in), nil
}

// ResourcePolicy checks the policy of a resource and returns the IDs of the
// users and roles that it names, which must exist. The policy does not apply
// to later users and roles of the same names.
func (sets *PolicySets) ResourcePolicy(ctx context.Context, document string) (names map[string]string, err error) {
	return get(ctx, sets.account, func(s *state) (map[string]string, error) {
		if err := s.checkDocument(document, policy.KindResource); err != nil {
			return nil, err
		}
		return s.principals(document)
	})
}

// ResourcePolicyToday returns a resource's policy with the current names of the users and roles
// that [PolicySets.ResourcePolicy] found.
func (sets *PolicySets) ResourcePolicyToday(
	ctx context.Context, document string, names map[string]string,
) (string, error) {
	return get(ctx, sets.account, func(s *state) (string, error) { return s.textToday(document, names), nil })
}

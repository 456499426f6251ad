package authz

import "context"

// AllowsSomewhere reports whether policy may allow an action on some resource: see
// [policy.Set.AllowsSomewhere].
func (a *Authorizer) AllowsSomewhere(ctx context.Context, f *Facts, action string) (bool, error) {
	set, r, err := a.request(ctx, f, action, "*", nil)
	if err != nil {
		return false, err
	}
	return set.AllowsSomewhere(r), nil
}

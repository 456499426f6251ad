package api

import (
	"context"
	"fmt"

	"sekisho/internal/activity/audit"
	"sekisho/internal/iam/authz"
)

// Resource is a resource of a policy decision.
type Resource struct {
	ARN  string
	Keys []authz.Key
}

// AuthorizeAny authorizes action on a resource with several names: see [authz.AnyName].
func (c *Call) AuthorizeAny(ctx context.Context, action string, names []string, keys ...authz.Key) error {
	ask := authz.AnyOf(action, names, keys)
	v, _, err := ask(ctx, c.Decide)
	if err != nil {
		return err
	}
	if !v.Allowed {
		return c.DeniedAll(ctx, v, ask)
	}
	c.authorized = true
	return nil
}

// maxNamed bounds the resources of one call that the audit trail names.
const maxNamed = 100

// AuthorizeAll authorizes action on every one of resources. If any is denied, it returns the
// refusal of the whole call.
func (c *Call) AuthorizeAll(ctx context.Context, action string, resources []Resource) error {
	for i, r := range resources {
		v, err := c.server.cfg.Authorizer.Decide(ctx, &c.facts, action, r.ARN, r.Keys...)
		if err != nil {
			return err
		}
		if !v.Allowed || i < maxNamed {
			c.reasons = append(c.reasons, v.Reason)
			c.resources = append(c.resources, audit.Resource{ARN: r.ARN})
		}
		if !v.Allowed {
			return Denied(ctx, v)
		}
	}
	if n := len(resources) - maxNamed; n > 0 {
		c.reasons = append(c.reasons, fmt.Sprintf("and on %d more", n))
	}
	c.authorized = true
	return nil
}

package api

import (
	"context"
	"fmt"

	"sekisho/internal/activity/audit"
	"sekisho/internal/iam/authz"
)

// Resource is something to act on, as policies know it.
type Resource struct {
	ARN  string
	Keys []authz.Key
}

// maxNamed is how many resources of one call the audit trail names.
const maxNamed = 100

// AuthorizeAll asks the caller's policies for action on every one of
// resources. One that is refused refuses the call as a whole.
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
			return Denied(v)
		}
	}
	if n := len(resources) - maxNamed; n > 0 {
		c.reasons = append(c.reasons, fmt.Sprintf("and on %d more", n))
	}
	c.authorized = true
	return nil
}

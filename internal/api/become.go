package api

import "sekisho"

// Become says who an anonymous call is of, as its handler has verified by
// itself. Decisions and the audit trail know it from then on.
func (c *Call) Become(p *sekisho.Principal) { c.server.as(c, p) }

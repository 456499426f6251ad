package api

import (
	"fmt"
	"net/http"

	"sekisho"
	"sekisho/internal/wire/httplimit"
)

// Enter begins a call of an operation that the path selects: it only verifies the caller. If ok is
// false, it has already answered the request.
func (s *Server) Enter(w http.ResponseWriter, r *http.Request, d *Door, operation string) (c *Call, ok bool) {
	c = s.call(r)
	// Release the body now: the call may be a channel that lasts for days.
	defer c.release()
	c.door, c.Service, c.Operation = d, d.Service, operation
	from, err := s.anonymous, error(nil)
	if d.Operations[operation].Auth == Signed {
		from, err = s.identified, s.identify(r, c, Signed)
	}
	if err == nil {
		err = s.readBody(c, r, maxBody, from)
	}
	if err == nil && d.Operations[operation].Auth == Signed {
		err = s.authenticate(r, c, Signed)
	}
	if err != nil {
		s.writeError(w, r, c, err)
		return nil, false
	}
	return c, true
}

// Identify verifies the signature of a call that can be unsigned. Without a signature, the call
// stays anonymous.
func (c *Call) Identify(r *http.Request) error {
	if r.Header.Get("Authorization") == "" {
		return nil
	}
	return c.server.authenticate(r, c, Signed)
}

// Body returns the request's body.
func (c *Call) Body() []byte { return c.body }

// WriteError answers a call begun with Enter with an error, and records it.
func (c *Call) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	c.server.writeError(w, r, c, err)
}

// WriteUnaudited answers a call begun with Enter that AuditSuccess could not
// record.
func (c *Call) WriteUnaudited(w http.ResponseWriter, r *http.Request, err error) {
	c.server.writeUnaudited(w, r, c, err)
}

// AuditSuccess records a call begun with Enter as successful. After an error, the call must not be
// answered.
func (c *Call) AuditSuccess(r *http.Request) error {
	if !c.authorized {
		return fmt.Errorf("%s:%s answered without asking policy", c.Service, c.Operation)
	}
	httplimit.Trust(r.Context())
	return c.server.audit(r, c, c.door.Operations[c.Operation].ReadOnly, nil)
}

// AuditRefusal records the refusal of a call begun with Enter that can no
// longer be answered over HTTP, and returns the message for its peer.
func (c *Call) AuditRefusal(r *http.Request, err error) (message string, recordErr error) {
	e := c.server.explain(r, c, err)
	return e.Message, c.server.audit(r, c, false, e)
}

// SetParams sets the request parameters in the audit event, for calls whose parameters are in the
// path or in a frame.
func (c *Call) SetParams(params map[string]any) { c.params = params }

// Become sets the principal of an anonymous call after its handler has verified it. Later decisions
// and the audit trail use it.
func (c *Call) Become(p *sekisho.Principal) { c.server.as(c, p) }

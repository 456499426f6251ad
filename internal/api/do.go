package api

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"

	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// Do calls an operation of another door within c, as c's caller: it decodes,
// authorizes and answers as if the caller had made the call from the same
// place at the same time, and it has its own event in the audit trail, which
// names the call that it was made for. So an operation that is put together of
// others adds nothing to what its caller may do.
//
// For a JSON door in is what encodes to the request, for a query door it is
// [url.Values]; the answer is read into out, by JSON or by XML, unless out is
// nil. The error is the handler's own.
func (c *Call) Do(ctx context.Context, service, operation string, in, out any) error {
	s := c.server
	d := s.byService[service]
	op, ok := Operation{}, false
	if d != nil {
		op, ok = d.Operations[operation]
	}
	if !ok || op.Auth != Signed || c.Principal == nil {
		return fmt.Errorf("%s:%s cannot be called from %s:%s", service, operation, c.Service, c.Operation)
	}
	inner := &Call{
		Service: service, Operation: operation, RequestID: id.UUID(), Region: c.Region, Account: c.Account, Time: c.Time,
		Principal: c.Principal, SourceIP: c.SourceIP, UserAgent: c.UserAgent, Host: c.Host,
		server: s, door: d, facts: c.facts, calledFor: c,
	}
	switch d.Protocol {
	case awsproto.JSON:
		var err error
		if inner.body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s:%s: %w", service, operation, err)
		}
	case awsproto.Query, awsproto.EC2:
		form, ok := in.(url.Values)
		if !ok {
			return fmt.Errorf("%s:%s takes a form, not %T", service, operation, in)
		}
		inner.form = form
	case awsproto.RESTXML:
		return fmt.Errorf("%s:%s cannot be called from %s:%s", service, operation, c.Service, c.Operation)
	}
	inner.params = inner.auditedParams()
	if err := inner.Begin(ctx); err != nil {
		return fmt.Errorf("%s:%s was not recorded: %w", service, operation, err)
	}
	answer, err := handle(ctx, op, inner)
	if err == nil && !inner.authorized && op.NoPolicy == "" {
		err = fmt.Errorf("%s:%s answered without asking policy", service, operation)
	}
	var refusal *awsproto.Error
	if err != nil {
		refusal = toWireError(d, err)
		if internal(err) {
			inner.reasons = append(inner.reasons, "internal error: "+clip(err.Error()))
		}
	}
	if lost := s.auditNow(context.WithoutCancel(ctx), inner, op.ReadOnly, refusal); lost != nil {
		return fmt.Errorf("%s:%s was not recorded: %w", service, operation, lost)
	}
	if err != nil || out == nil {
		return err
	}
	return reread(inner, answer, out)
}

// DescribeError returns the error code and message that the answer to c would have.
func (c *Call) DescribeError(err error) (code, message string) {
	e := toWireError(c.door, err)
	return e.Code, e.Message
}

// reread brings an answer over its door's protocol into out.
func reread(c *Call, answer, out any) error {
	var w answerRecorder
	if err := write(&w, c, answer); err != nil {
		return err
	}
	if c.door.Protocol == awsproto.JSON {
		return json.Unmarshal(w.body.Bytes(), out)
	}
	return xml.Unmarshal(w.body.Bytes(), out)
}

// answerRecorder keeps an answer.
type answerRecorder struct {
	body   bytes.Buffer
	header http.Header
}

func (m *answerRecorder) Header() http.Header {
	if m.header == nil {
		m.header = http.Header{}
	}
	return m.header
}

func (m *answerRecorder) Write(b []byte) (int, error) { return m.body.Write(b) }

func (m *answerRecorder) WriteHeader(int) {}

// calledFor is what the audit event of a call within another says of that one.
func calledFor(c *Call) map[string]any {
	if c == nil {
		return nil
	}
	return map[string]any{"calledFor": c.Service + ":" + c.Operation, "calledForRequestID": c.RequestID}
}

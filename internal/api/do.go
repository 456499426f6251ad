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

// Do calls an operation of another door within c, as c's caller: it decodes, authorizes and answers as if the caller
// had made the call from the same place at the same time, and it has its own audit event, which names c's event. An
// operation composed of others therefore adds nothing to its caller's permissions.
//
// For a JSON door, in is a value that encodes to the request; for a query door, it is [url.Values].
// Unless out is nil, the answer is decoded into it from JSON or XML. The error is the handler's.
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
			return fmt.Errorf("%s:%s requires url.Values, not %T", service, operation, in)
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

// DescribeError returns the code and message that err would have in the answer to c.
func (c *Call) DescribeError(err error) (code, message string) {
	e := toWireError(c.door, err)
	return e.Code, e.Message
}

// reread encodes an answer by its door's protocol and decodes it into out.
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

// answerRecorder records a response.
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

// calledFor returns the details of c's outer call for its audit event.
func calledFor(c *Call) map[string]any {
	if c == nil {
		return nil
	}
	return map[string]any{"calledFor": c.Service + ":" + c.Operation, "calledForRequestID": c.RequestID}
}

package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"sekisho/internal/activity/audit"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/awsproto"
)

// Begin records the intent of c in the audit trail before c changes anything. After an error, the
// call must not proceed. Doors that run their operations themselves call it first.
func (c *Call) Begin(ctx context.Context) error {
	op := c.door.Operations[c.Operation]
	if op.ReadOnly || op.AnswerOnly {
		return nil
	}
	ev := c.event(false, nil)
	if err := c.server.cfg.Trail.Begin(context.WithoutCancel(ctx), &ev); err != nil {
		return err
	}
	c.begun = ev.ID
	return nil
}

// audit writes the audit event of c, or adds it to a summary.
func (s *Server) audit(r *http.Request, c *Call, readOnly bool, e *awsproto.Error) error {
	c.observe(e)
	// The event outlives a client that hangs up.
	ctx := context.WithoutCancel(r.Context())
	if e != nil && e.Status < http.StatusInternalServerError && c.Principal == nil &&
		!s.refusals.Take(c.SourceIP, c.Time) {
		if c.begun != "" {
			return s.cfg.Trail.Abandon(ctx, c.begun)
		}
		return nil
	}
	return s.auditNow(ctx, c, readOnly, e)
}

// auditNow writes the audit event of c.
func (s *Server) auditNow(ctx context.Context, c *Call, readOnly bool, e *awsproto.Error) error {
	if c.begun != "" {
		return s.cfg.Trail.Complete(ctx, c.event(readOnly, e))
	}
	return s.cfg.Trail.Record(ctx, c.event(readOnly, e))
}

// event returns the audit event of c in its present state; e is its error or nil.
func (c *Call) event(readOnly bool, e *awsproto.Error) audit.Event {
	ev := audit.Event{
		ID: c.begun, Time: c.Time, EventSource: c.door.Source(), EventName: clip(c.Operation), Region: c.Region,
		SourceIP: c.SourceIP.String(), UserAgent: safetext.Line(c.UserAgent, maxUserAgent), RequestID: c.RequestID,
		UserIdentity: audit.IdentityOf(c.Principal), RequestParameters: c.params, ResponseElements: c.response,
		Resources: slices.CompactFunc(c.resources, func(a, b audit.Resource) bool { return a == b }),
		ReadOnly:  readOnly, Reason: joinReasons(c.reasons), Additional: calledFor(c.calledFor),
	}
	if e != nil {
		ev.ErrorCode, ev.ErrorMessage = e.Code, e.Message
	}
	return ev
}

// joinReasons joins the reasons of several decisions, without duplicates.
func joinReasons(reasons []string) string {
	var unique []string
	for _, reason := range reasons {
		if !slices.Contains(unique, reason) {
			unique = append(unique, reason)
		}
	}
	return strings.Join(unique, "; ")
}

// observe reports the outcome of c; e is its error or nil.
func (c *Call) observe(e *awsproto.Error) {
	observe := c.server.cfg.Observe
	if observe == nil {
		return
	}
	operation, code := c.Operation, ""
	if _, known := c.door.Operations[operation]; !known {
		operation = "unknown" // the caller chose its name
	}
	if e != nil {
		code = e.Code
	}
	observe(c.Service, operation, code, time.Since(c.began))
}

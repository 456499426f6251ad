package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"sekisho"
	"sekisho/internal/node/admission"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/sigv4"
)

// writeError audits a refusal and answers with it in the door's shape. c lacks
// a door when the request could not be routed.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, c *Call, err error) {
	if busy, ok := errors.AsType[*admission.Busy](err); ok {
		s.writeBusy(w, r, c, busy)
		return
	}
	e := s.explain(r, c, err)
	if c.door != nil {
		if err := s.audit(r, c, c.door.Operations[c.Operation].ReadOnly, e); err != nil {
			s.writeUnaudited(w, r, c, err)
			return
		}
	}
	s.sendError(w, r, c, e)
}

// writeBusy answers a throttled call. It is not recorded, because that would be as much work as the
// call; the gate counts it.
func (s *Server) writeBusy(w http.ResponseWriter, r *http.Request, c *Call, busy *admission.Busy) {
	if c.begun != "" {
		if err := s.cfg.Trail.Abandon(context.WithoutCancel(r.Context()), c.begun); err != nil {
			s.writeUnaudited(w, r, c, err)
			return
		}
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(busy.After.Seconds())+1))
	code := "ThrottlingException"
	if c.door != nil {
		code = cmp.Or(c.door.Operations[c.Operation].BusyCode, code)
	}
	e := &awsproto.Error{Code: code, Message: busy.Error(), Status: http.StatusTooManyRequests, Sender: true}
	if c.door != nil {
		c.observe(e)
	}
	s.sendError(w, r, c, e)
}

// explain is toWireError for an error of c. Details of internal errors go to
// the log and to the reason in the audit trail, not to the caller.
func (s *Server) explain(r *http.Request, c *Call, err error) *awsproto.Error {
	e := toWireError(c.door, err)
	if internal(err) {
		s.cfg.Log.ErrorContext(
			r.Context(),
			"call failed",
			"service",
			c.Service,
			"operation",
			c.Operation,
			"request_id",
			c.RequestID,
			"error",
			err,
		)
		c.reasons = append(c.reasons, "internal error: "+clip(err.Error()))
	}
	return e
}

// internal reports whether err is a fault of the server rather than a refusal
// meant for the caller.
func internal(err error) bool {
	if e, ok := errors.AsType[*awsproto.Error](err); ok {
		return e.Status >= http.StatusInternalServerError || e.Status == 0 && !e.Sender
	}
	if _, ok := errors.AsType[*sigv4.Error](err); ok {
		return false
	}
	code := sekisho.CodeOf(err)
	_, known := names[code]
	return !known || code == sekisho.CodeUnavailable
}

// writeUnaudited answers a call that could not be recorded in the audit trail, instead of its real
// answer.
func (s *Server) writeUnaudited(w http.ResponseWriter, r *http.Request, c *Call, err error) {
	s.cfg.Log.ErrorContext(
		r.Context(),
		"audit event lost",
		"service",
		c.Service,
		"operation",
		c.Operation,
		"request_id",
		c.RequestID,
		"error",
		err,
	)
	e := &awsproto.Error{Code: internalName(c.door.Protocol), Status: http.StatusInternalServerError}
	if sekisho.CodeOf(err) == sekisho.CodeUnavailable {
		e = toWireError(c.door, err)
	}
	e.Message = "The call could not be recorded in the audit trail."
	s.sendError(w, r, c, e)
}

func (s *Server) sendError(w http.ResponseWriter, r *http.Request, c *Call, e *awsproto.Error) {
	proto, xmlns := awsproto.Query, ""
	switch {
	case c.door != nil:
		proto, xmlns = c.door.Protocol, c.door.XMLNS
	case r.Header.Get("X-Amz-Target") != "":
		proto = awsproto.JSON
	}
	if err := proto.WriteError(w, c.RequestID, xmlns, e); err != nil {
		s.cfg.Log.WarnContext(r.Context(), "could not deliver the response", "request_id", c.RequestID, "error", err)
	}
}

// toWireError translates err into an error of d's protocol; a nil d means that the request was not
// routed.
func toWireError(d *Door, err error) *awsproto.Error {
	if e, ok := errors.AsType[*awsproto.Error](err); ok {
		return e
	}
	proto := awsproto.JSON
	if d != nil {
		proto = d.Protocol
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		if d != nil && d.SignatureError != nil {
			return d.SignatureError(e)
		}
		return signatureError(proto, e)
	}
	code := sekisho.CodeOf(err)
	n, known := names[code]
	if !known {
		return &awsproto.Error{
			Code:    internalName(proto),
			Message: "An internal error has occurred. The server's log has it under this request ID.",
			Status:  http.StatusInternalServerError,
		}
	}
	name, status := n.query, n.status
	switch proto {
	case awsproto.JSON:
		name = n.json
		if status < 500 {
			status = http.StatusBadRequest // JSON 1.1 services use status 400 for all client errors
		}
	case awsproto.EC2:
		name = n.ec2
	case awsproto.RESTXML:
		name = n.json // ssmmessages names errors as ssm does
	case awsproto.Query:
	}
	if d != nil && d.Errors[code] != "" {
		name = d.Errors[code]
	}
	e, _ := errors.AsType[*sekisho.Error](err)
	return &awsproto.Error{Code: name, Message: e.Error(), Status: status, Sender: status < 500, Extra: ReasonOf(err)}
}

// ReasonOf returns the machine-readable parts of an engine's error as members of an answer: Reason,
// and Failed, a comma-separated list. It is nil if there are none.
func ReasonOf(err error) map[string]string {
	e, ok := errors.AsType[*sekisho.Error](err)
	if !ok || e.Reason == "" && len(e.Failed) == 0 {
		return nil
	}
	out := map[string]string{}
	if e.Reason != "" {
		out["Reason"] = e.Reason
	}
	if len(e.Failed) > 0 {
		out["Failed"] = strings.Join(e.Failed, ",")
	}
	return out
}

func internalName(p awsproto.Protocol) string {
	switch p {
	case awsproto.EC2, awsproto.RESTXML:
		return "InternalError"
	case awsproto.Query:
		return "ServiceFailure"
	case awsproto.JSON:
	}
	return "InternalServerError"
}

// names are AWS's error codes for a code, by protocol.
var names = map[sekisho.Code]struct {
	json, query, ec2 string
	status           int // of the query protocols
}{
	sekisho.CodeInvalid: {
		"ValidationException",
		"ValidationError",
		"InvalidParameterValue",
		http.StatusBadRequest,
	},
	sekisho.CodeUnauthenticated: {
		"UnrecognizedClientException",
		"InvalidClientTokenId",
		"AuthFailure",
		http.StatusForbidden,
	},
	sekisho.CodeDenied: {
		"AccessDeniedException",
		"AccessDenied",
		"UnauthorizedOperation",
		http.StatusForbidden,
	},
	sekisho.CodeNotFound: {
		"ResourceNotFoundException",
		"NoSuchEntity",
		"InvalidInstanceID.NotFound",
		http.StatusNotFound,
	},
	sekisho.CodeConflict: {
		"AlreadyExistsException",
		"EntityAlreadyExists",
		"ResourceAlreadyExists",
		http.StatusConflict,
	},
	sekisho.CodeInUse: {
		"ResourceInUseException",
		"DeleteConflict",
		"DependencyViolation",
		http.StatusConflict,
	},
	sekisho.CodeLimit: {
		"LimitExceededException",
		"LimitExceeded",
		"ResourceLimitExceeded",
		http.StatusConflict,
	},
	sekisho.CodeExpired: {"ExpiredTokenException", "ExpiredToken", "RequestExpired", http.StatusForbidden},
	sekisho.CodeThrottled: {
		"ThrottlingException",
		"Throttling",
		"RequestLimitExceeded",
		http.StatusTooManyRequests,
	},
	sekisho.CodeUnreachable: {
		"TargetNotConnected",
		"TargetNotConnected",
		"TargetNotConnected",
		http.StatusBadRequest,
	},
	// Clients retry every error with such a status.
	sekisho.CodeUnavailable: {
		"ServiceUnavailable",
		"ServiceUnavailable",
		"Unavailable",
		http.StatusServiceUnavailable,
	},
	sekisho.CodeMalformedPolicy: {
		"MalformedPolicyDocumentException",
		"MalformedPolicyDocument",
		"MalformedPolicyDocument",
		http.StatusBadRequest,
	},
	sekisho.CodeNotImplemented: {"NotImplemented", "NotImplemented", "NotImplemented", http.StatusNotImplemented},
}

// signatureError translates a signature error into the protocol's.
func signatureError(p awsproto.Protocol, e *sigv4.Error) *awsproto.Error {
	out := &awsproto.Error{Code: e.Code, Message: e.Message, Status: e.Status(), Sender: true}
	switch p {
	case awsproto.JSON, awsproto.RESTXML:
		out.Code, out.Status = e.JSONCode(), http.StatusBadRequest
	case awsproto.EC2:
		if e.Code == sigv4.CodeMismatch {
			out.Code, out.Status = "AuthFailure", http.StatusUnauthorized
		}
	case awsproto.Query:
	}
	return out
}

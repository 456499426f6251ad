package console

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/ratelimit"
)

// stepUpRequest carries a second factor. Without one, the answer lists the user's factors.
type stepUpRequest struct {
	Code    string         `json:"code"`
	Passkey *passkeyAnswer `json:"passkey"`
}

// stepUp verifies a second factor again during a sign-in, because policies can
// require a recent one. The cookie stays the same.
func (c *Console) stepUp(w http.ResponseWriter, r *http.Request) {
	who, ok := c.requireOwn(w, r)
	if !ok {
		return
	}
	var in stepUpRequest
	if err := readJSON(w, r, &in); err != nil || len(in.Code) > 16 {
		refuse(w, http.StatusBadRequest, "The request is not a second factor.")
		return
	}
	source, now := c.cfg.SourceIP(r), time.Now()
	e := AuditEvent{
		Time: now, Name: "ConsoleSecondFactor", Principal: who.principal, User: displayName(who.principal),
		SourceIP: source, UserAgent: r.UserAgent(), MFAUsed: true,
	}
	second := identity.Second{Code: in.Code}
	if in.Passkey != nil {
		second = identity.Second{State: in.Passkey.State, Answer: in.Passkey.Answer}
	}
	attempt := userAttempt{ratelimit.Source(source), strings.ToLower(displayName(who.principal))}
	shown := second.Code != "" || second.State != ""
	if shown {
		if wait, ok := c.byUser.Reserve(attempt); !ok {
			c.tooMany(w, r, e, wait)
			return
		}
	}
	s, err := c.cfg.Directory.StepUpSignIn(r.Context(), who.signIn.Grant, r.Host, source, second)
	if required, missing := errors.AsType[*identity.MFARequired](err); missing {
		body := map[string]any{"totp": required.TOTP}
		if required.Passkey != nil {
			body["passkey"] = challengeAnswer(required.Passkey)
		}
		answer(w, http.StatusOK, body)
		return
	}
	switch sekisho.CodeOf(err) {
	case "":
	case sekisho.CodeThrottled:
		c.tooMany(w, r, e, 30*time.Second)
		return
	case sekisho.CodeInternal:
		c.fail(w, r, "check a second factor", err)
		return
	default:
		e.Failure = "wrong second factor"
		c.audit(r, e)
		switch {
		case in.Passkey != nil:
			refuse(w, http.StatusForbidden, wrongPasskey)
		case in.Code != "":
			refuse(w, http.StatusForbidden, wrongCode)
		default:
			refuse(w, http.StatusForbidden, err.Error())
		}
		return
	}
	if err := c.cfg.Audit.ConsoleEvent(r.Context(), e); err != nil {
		c.fail(w, r, "audit a second factor", err)
		return
	}
	kept := who.signIn
	kept.Grant, kept.SeenAt = s.Grant, now
	if err := c.cfg.Store.UpdateConsoleSignIn(r.Context(), who.hash, kept.encode()); err != nil {
		c.fail(w, r, "store a second factor", err)
		return
	}
	c.byUser.Return(attempt)
	w.WriteHeader(http.StatusNoContent)
}

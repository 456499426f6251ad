package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/ratelimit"
)

const (
	wrongCredentials = "The user name or password is incorrect."
	wrongCode        = "The code is incorrect. Wait for the next one and try again."
	wrongPasskey     = "The passkey was not accepted. Try again."
	needCode         = "Enter the code that your authenticator shows."
	needPasskey      = "Use your passkey."
	otherHost        = "Your passkeys are for another name of this server: open the console under that name."
	signedOut        = "You are not signed in, or your sign-in has expired."
	tooMany          = "Too many attempts. Wait a moment and try again."
)

// sessionAnswer is the body of the session resource.
type sessionAnswer struct {
	User    string `json:"user"`
	ARN     string `json:"arn"`
	Account string `json:"account"`
	Region  string `json:"region"`
	CSRF    string `json:"csrf"`
	// AccessKeyID names the sign-in in the audit trail and in sessions.
	AccessKeyID string         `json:"accessKeyId"`
	Expires     time.Time      `json:"expires"`
	Target      sekisho.NodeID `json:"target,omitempty"`
	// FirstRun means that the administrator has yet to choose a second factor; other calls are
	// refused until then.
	FirstRun bool `json:"firstRun,omitempty"`
	// PasswordReset means that the password must be changed; other calls are refused until then.
	PasswordReset bool `json:"passwordReset,omitempty"`
}

// signIn is one signed-in browser, as the store keeps it.
type signIn struct {
	Grant     json.RawMessage `json:"grant"` // the directory's data for it; not secret
	SeenAt    time.Time       `json:"seen_at"`
	ExpiresAt time.Time       `json:"expires_at"`
}

// encode returns the stored form.
func (s signIn) encode() []byte {
	b, err := json.Marshal(s)
	if err != nil { // strings and times always marshal
		panic(err)
	}
	return b
}

// caller is the user that a cookie identifies.
type caller struct {
	principal *sekisho.Principal
	signIn    signIn
	token     []byte
	hash      []byte
}

// errSignedOut means that the request has no valid cookie.
var errSignedOut = errors.New("not signed in")

// passkeyAnswer is a browser's result of a passkey ceremony.
type passkeyAnswer struct {
	State  string          `json:"state"`
	Answer json.RawMessage `json:"answer"`
}

// signInRequest is a sign-in with a password, with or without a second factor, or with only a
// passkey.
type signInRequest struct {
	User     string         `json:"user"`
	Password string         `json:"password"`
	Code     string         `json:"code"`
	Passkey  *passkeyAnswer `json:"passkey"`
}

func (in *signInRequest) fits() bool {
	if in.User == "" {
		return in.Password == "" && in.Code == "" && in.Passkey != nil
	}
	return len(in.User) <= 128 && len(in.Password) <= 1024 && len(in.Code) <= 16
}

// signIn checks a user's credentials and sets a cookie.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	if !sameOrigin(r) {
		refuse(w, http.StatusForbidden, "This request did not come from the console's own page.")
		return
	}
	var in signInRequest
	if err := readJSON(w, r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "The request is not a sign-in.")
		return
	}
	if !in.fits() {
		refuse(w, http.StatusUnauthorized, wrongCredentials)
		return
	}

	source := c.cfg.SourceIP(r)
	now := time.Now()
	e := AuditEvent{
		Time:      now,
		Name:      "ConsoleLogin",
		SourceIP:  source,
		UserAgent: r.UserAgent(),
		MFAUsed:   in.Code != "" || in.Passkey != nil,
	}
	network := ratelimit.Source(source)
	attempt := userAttempt{network, strings.ToLower(in.User)}
	if wait, ok := c.bySource.Reserve(network); !ok {
		c.tooMany(w, r, e, wait)
		return
	}
	if in.User != "" {
		if wait, ok := c.byUser.Reserve(attempt); !ok {
			c.tooMany(w, r, e, wait)
			return
		}
	}

	s, err := c.check(r, &in)
	required, missing := errors.AsType[*identity.MFARequired](err)
	switch {
	case missing:
		// The password was correct, but the attempt still counts: otherwise an attacker could guess
		// passwords without limit by omitting the code.
		e.User, e.Failure = in.User, "second factor required"
		c.audit(r, e)
		body := map[string]any{"message": needCode, "mfaRequired": true, "totp": required.TOTP}
		if required.Passkey != nil {
			body["passkey"] = challengeAnswer(required.Passkey)
			if !required.TOTP {
				body["message"] = needPasskey
			}
		} else if !required.TOTP {
			body["message"] = otherHost
		}
		answer(w, http.StatusUnauthorized, body)
		return
	case sekisho.CodeOf(err) == sekisho.CodeThrottled:
		c.tooMany(w, r, e, 30*time.Second)
		return
	case sekisho.CodeOf(err) == sekisho.CodeInternal:
		c.fail(w, r, "check a sign-in", err)
		return
	case err != nil:
		e.Failure = "wrong user name, password or second factor"
		c.audit(r, e)
		switch {
		case in.Code != "":
			answer(w, http.StatusUnauthorized, map[string]any{"message": wrongCode, "mfaRequired": true, "totp": true})
		case in.Passkey != nil:
			refuse(w, http.StatusUnauthorized, wrongPasskey)
		default:
			refuse(w, http.StatusUnauthorized, wrongCredentials)
		}
		return
	}
	who, ok := c.admit(w, r, s, e)
	if !ok {
		return
	}
	c.bySource.Return(network)
	c.byUser.Return(attempt)
	c.answerSession(w, r, who)
}

// check verifies the credentials. It bounds the number of passwords hashed at a time.
func (c *Console) check(r *http.Request, in *signInRequest) (identity.SignIn, error) {
	ctx := r.Context()
	if in.User == "" {
		return c.cfg.Directory.PasskeySignIn(ctx, r.Host, in.Passkey.State, in.Passkey.Answer)
	}
	select {
	case c.checks <- struct{}{}:
		defer func() { <-c.checks }()
	case <-ctx.Done():
		return identity.SignIn{}, sekisho.Errorf(sekisho.CodeThrottled, "%w", ctx.Err())
	}
	second := identity.Second{Code: in.Code}
	if in.Passkey != nil {
		second = identity.Second{State: in.Passkey.State, Answer: in.Passkey.Answer}
	}
	return c.cfg.Directory.CheckPassword(ctx, in.User, in.Password, r.Host, c.cfg.SourceIP(r), second)
}

// admit records a sign-in and sets its cookie. If ok is false, it has already answered the request.
func (c *Console) admit(
	w http.ResponseWriter,
	r *http.Request,
	s identity.SignIn,
	e AuditEvent,
) (who *caller, ok bool) {
	p := s.Principal
	token, hash := newToken()
	p.AccessKeyID = accessKeyID(hash)
	e.Principal, e.User, e.MFAUsed = p, displayName(p), !p.MFATime.IsZero()
	if err := c.cfg.Audit.ConsoleEvent(r.Context(), e); err != nil {
		c.fail(w, r, "audit a sign-in", err)
		return nil, false
	}
	kept := signIn{Grant: s.Grant, SeenAt: e.Time, ExpiresAt: e.Time.Add(lifetime)}
	if !s.Expires.IsZero() && s.Expires.Before(kept.ExpiresAt) {
		kept.ExpiresAt = s.Expires
	}
	if err := c.cfg.Store.PutConsoleSignIn(r.Context(), hash, kept.encode(), kept.ExpiresAt, e.Time); err != nil {
		c.fail(w, r, "store a sign-in", err)
		return nil, false
	}
	c.replace(r, p)
	http.SetCookie(w, cookie(encodeToken(token), int(kept.ExpiresAt.Sub(e.Time)/time.Second)))
	return &caller{principal: p, signIn: kept, token: token, hash: hash}, true
}

// replace deletes the sign-in of the cookie that a new sign-in replaces. Its sessions continue if
// they belong to the same principal.
func (c *Console) replace(r *http.Request, p *sekisho.Principal) {
	old, err := c.caller(r)
	if err != nil {
		return // there was none, or it has expired
	}
	if _, err := c.cfg.Store.DeleteConsoleSignIn(r.Context(), old.hash); err != nil {
		c.cfg.Log.WarnContext(r.Context(), "could not delete the previous console sign-in", "error", err)
		return
	}
	if c.cfg.SignedOut != nil && old.principal.UserID != p.UserID {
		c.cfg.SignedOut(r.Context(), old.principal.AccessKeyID)
	}
}

// accessKeyID returns the ID that stands for a sign-in where AWS has the ID of a temporary key: in
// the audit trail, and in sessions.
func accessKeyID(hash []byte) string {
	return "ASIA" + base32.StdEncoding.EncodeToString(hash)[:16]
}

// displayName returns the name of a principal to show to people.
func displayName(p *sekisho.Principal) string {
	if p.UserName != "" {
		return p.UserName
	}
	return p.RoleSessionName
}

func challengeAnswer(c *identity.Challenge) map[string]any {
	return map[string]any{"options": c.Options, "state": c.State}
}

// beginPasskey begins a sign-in with only a passkey.
func (c *Console) beginPasskey(w http.ResponseWriter, r *http.Request) {
	if !sameOrigin(r) {
		refuse(w, http.StatusForbidden, "This request did not come from the console's own page.")
		return
	}
	challenge, err := c.cfg.Directory.BeginPasskeySignIn(r.Context(), r.Host)
	switch {
	case sekisho.CodeOf(err) == sekisho.CodeInvalid:
		refuse(w, http.StatusBadRequest, err.Error())
	case err != nil:
		c.fail(w, r, "begin a passkey sign-in", err)
	default:
		answer(w, http.StatusOK, challengeAnswer(challenge))
	}
}

// session returns who is signed in, and counts as activity.
func (c *Console) session(w http.ResponseWriter, r *http.Request) {
	who, ok := c.require(w, r)
	if !ok {
		return
	}
	c.answerSession(w, r, who)
}

// signOut deletes the sign-in.
func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	who, ok := c.requireOwn(w, r)
	if !ok {
		return
	}
	if _, err := c.cfg.Store.DeleteConsoleSignIn(r.Context(), who.hash); err != nil {
		c.fail(w, r, "delete a sign-in", err)
		return
	}
	if c.cfg.SignedOut != nil {
		c.cfg.SignedOut(r.Context(), who.principal.AccessKeyID)
	}
	c.audit(r, AuditEvent{
		Time: time.Now(), Name: "ConsoleLogout", Principal: who.principal, User: displayName(who.principal),
		SourceIP: c.cfg.SourceIP(r), UserAgent: r.UserAgent(), MFAUsed: !who.principal.MFATime.IsZero(),
	})
	http.SetCookie(w, cookie("", -1))
	w.WriteHeader(http.StatusNoContent)
}

func (c *Console) answerSession(w http.ResponseWriter, r *http.Request, who *caller) {
	first, err := c.cfg.Directory.FirstRun(r.Context(), who.principal.UserID)
	if err != nil {
		c.fail(w, r, "read the state of the account", err)
		return
	}
	reset, err := c.cfg.Directory.PasswordReset(r.Context(), who.principal)
	if err != nil {
		c.fail(w, r, "read whether a password has to be changed", err)
		return
	}
	answer(w, http.StatusOK, sessionAnswer{
		User:        displayName(who.principal),
		ARN:         who.principal.ARN,
		Account:     c.cfg.Account,
		Region:      c.cfg.Region,
		CSRF:        csrf(who.token),
		AccessKeyID: who.principal.AccessKeyID,
		Expires:     who.signIn.ExpiresAt.UTC(),
		Target:      c.cfg.Target,
		FirstRun:    first, PasswordReset: reset,
	})
}

// caller returns the user that a request's cookie identifies, or errSignedOut.
func (c *Console) caller(r *http.Request) (*caller, error) {
	ck, err := r.Cookie(CookieName)
	if err != nil {
		return nil, errSignedOut
	}
	token, hash, ok := parseToken(ck.Value)
	if !ok {
		return nil, errSignedOut
	}
	ctx := r.Context()
	data, err := c.cfg.Store.ConsoleSignIn(ctx, hash)
	if sekisho.IsNotFound(err) {
		return nil, errSignedOut
	}
	if err != nil {
		return nil, fmt.Errorf("find a sign-in: %w", err)
	}
	var s signIn
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("stored sign-in: %w", err)
	}
	now := time.Now()
	if !now.Before(s.ExpiresAt) || now.Sub(s.SeenAt) >= idle {
		if _, err := c.cfg.Store.DeleteConsoleSignIn(ctx, hash); err != nil {
			return nil, fmt.Errorf("delete an expired sign-in: %w", err)
		}
		return nil, errSignedOut
	}
	p, err := c.cfg.Directory.Granted(ctx, s.Grant)
	switch sekisho.CodeOf(err) {
	case "":
	case sekisho.CodeUnauthenticated, sekisho.CodeExpired, sekisho.CodeNotFound:
		if _, err := c.cfg.Store.DeleteConsoleSignIn(ctx, hash); err != nil {
			return nil, fmt.Errorf("delete an ended sign-in: %w", err)
		}
		return nil, errSignedOut
	default:
		return nil, fmt.Errorf("find the user of a sign-in: %w", err)
	}
	if now.Sub(s.SeenAt) >= touchEvery && r.Header.Get(BackgroundHeader) == "" {
		s.SeenAt = now
		if err := c.cfg.Store.UpdateConsoleSignIn(ctx, hash, s.encode()); err != nil {
			return nil, fmt.Errorf("store activity: %w", err)
		}
	}
	p.AccessKeyID = accessKeyID(hash)
	return &caller{principal: p, signIn: s, token: token, hash: hash}, nil
}

// require returns the caller, or answers the request with a refusal.
func (c *Console) require(w http.ResponseWriter, r *http.Request) (*caller, bool) {
	who, err := c.caller(r)
	switch {
	case errors.Is(err, errSignedOut):
		refuseAs(w, http.StatusUnauthorized, "ExpiredTokenException", signedOut)
		return nil, false
	case err != nil:
		c.fail(w, r, "read a sign-in", err)
		return nil, false
	}
	return who, true
}

// requireOwn is require for requests that change something: they must come from the console's own
// page.
func (c *Console) requireOwn(w http.ResponseWriter, r *http.Request) (*caller, bool) {
	if !sameOrigin(r) {
		refuseAs(
			w,
			http.StatusForbidden,
			"AccessDeniedException",
			"This request did not come from the console's own page.",
		)
		return nil, false
	}
	who, ok := c.require(w, r)
	if !ok {
		return nil, false
	}
	if !hmac.Equal([]byte(r.Header.Get(CSRFHeader)), []byte(csrf(who.token))) {
		refuseAs(
			w,
			http.StatusForbidden,
			"AccessDeniedException",
			"The request lacks the console's "+CSRFHeader+" header. Reload the page.",
		)
		return nil, false
	}
	return who, true
}

// csrf derives the page's token from the cookie's secret: only a page that can read our responses
// has it.
func csrf(token []byte) string {
	m := hmac.New(sha256.New, token)
	m.Write([]byte("sekisho console csrf v1"))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// sameOrigin reports whether the request's headers say that this server's own page made it. It is
// false for a request without such headers.
func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	u, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return false
	}
	// Plain http is for a proxy on the same machine that terminates TLS.
	return u.Scheme == "https" || (u.Scheme == "http" && r.TLS == nil)
}

func cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: CookieName, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

func (c *Console) tooMany(w http.ResponseWriter, r *http.Request, e AuditEvent, wait time.Duration) {
	e.Failure = "too many attempts"
	c.audit(r, e)
	refuseFor(w, wait)
}

// refuseFor refuses a request that comes too soon, and says how long to wait.
func refuseFor(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	refuse(w, http.StatusTooManyRequests, tooMany)
}

// audit records an event whose outcome does not depend on whether it is stored.
func (c *Console) audit(r *http.Request, e AuditEvent) {
	if err := c.cfg.Audit.ConsoleEvent(r.Context(), e); err != nil {
		c.cfg.Log.ErrorContext(r.Context(), "audit", "event", e.Name, "error", err)
	}
}

// fail answers with an internal error, and logs err.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	c.cfg.Log.ErrorContext(r.Context(), "console request failed", "doing", what, "error", err)
	refuseAs(
		w,
		http.StatusInternalServerError,
		"InternalServerError",
		"The server could not complete the request. Its log has the reason.",
	)
}

// readJSON reads a small JSON body strictly.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return errors.New("the body is not JSON")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSignInBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // cannot fail: v is a struct of ours or a map of strings
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"message": message})
}

// refuseAs answers in the shape of an AWS JSON error, so that the page shows it like any other.
func refuseAs(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amzn-Errortype", code)
	answer(w, status, map[string]any{"__type": code, "message": message})
}

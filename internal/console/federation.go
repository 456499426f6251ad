package console

import (
	"context"
	"net/http"
	"slices"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/iam/policy"
	"sekisho/internal/ratelimit"
)

// federationCookie binds an identity provider's answer to the browser that started the sign-in. The
// browser sends it with a navigation from another site, so it cannot be SameSite=Strict. By itself
// it grants nothing.
const federationCookie = "__Host-sekisho-federation"

// federationTime bounds the user's time at the identity provider.
const federationTime = 10 * time.Minute

// providers lists the identity providers with which users can sign in.
func (c *Console) providers(w http.ResponseWriter, _ *http.Request) {
	names := []string{}
	if c.cfg.Federation != nil {
		names = append(names, c.cfg.Federation.Providers()...)
	}
	answer(w, http.StatusOK, map[string]any{"providers": names})
}

// beginFederation redirects a browser to an identity provider.
func (c *Console) beginFederation(w http.ResponseWriter, r *http.Request) {
	if !sameOrigin(r) || c.cfg.Federation == nil {
		refuse(w, http.StatusForbidden, "This request did not come from the console's own page.")
		return
	}
	var in struct {
		Provider string `json:"provider"`
	}
	if err := readJSON(w, r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "The request is not a sign-in.")
		return
	}
	now := time.Now()
	if !c.allowBegun(w, r, begunFederation, now) {
		return
	}
	address, state, err := c.cfg.Federation.Begin(r.Context(), in.Provider, "https://"+r.Host+"/console/federation")
	switch {
	case sekisho.CodeOf(err) == sekisho.CodeNotFound:
		refuse(w, http.StatusNotFound, "There is no such identity provider.")
		return
	case err != nil:
		c.cfg.Log.WarnContext(r.Context(), "identity provider", "provider", in.Provider, "error", err)
		refuse(w, http.StatusBadGateway, "The identity provider did not answer.")
		return
	}
	token, hash := newToken()
	if err := c.cfg.Store.PutConsoleSignIn(r.Context(), hash, state, now.Add(federationTime), now); err != nil {
		c.fail(w, r, "store the state of a sign-in", err)
		return
	}
	ck := cookie(encodeToken(token), int(federationTime/time.Second))
	ck.Name, ck.SameSite = federationCookie, http.SameSiteLaxMode
	http.SetCookie(w, ck)
	answer(w, http.StatusOK, map[string]any{"address": address})
}

// finishFederation handles the browser's return from an identity provider.
func (c *Console) finishFederation(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Federation == nil {
		refuse(w, http.StatusNotFound, "The console has no such interface.")
		return
	}
	now := time.Now()
	e := AuditEvent{Time: now, Name: "ConsoleLogin", SourceIP: c.cfg.SourceIP(r), UserAgent: r.UserAgent()}
	state, ok := c.federationState(w, r)
	if !ok {
		if wait, ok := c.bySource.Reserve(ratelimit.Source(e.SourceIP)); !ok {
			c.tooMany(w, r, e, wait)
			return
		}
		e.Failure = "federation: the browser did not start this sign-in"
		c.audit(r, e)
		c.backToSignIn(w, r, "again")
		return
	}
	s, err := c.cfg.Federation.Finish(r.Context(), state, r.URL.Query(), asker(authz.Facts{
		Time: now, SourceIP: e.SourceIP, Secure: r.TLS != nil, UserAgent: e.UserAgent, Region: c.cfg.Region,
	}))
	if err != nil {
		e.Failure = "federation: " + err.Error()
		c.audit(r, e)
		c.backToSignIn(w, r, "refused")
		return
	}
	if _, ok := c.admit(w, r, s, e); ok {
		http.Redirect(w, r, Prefix, http.StatusSeeOther)
	}
}

// asker returns a function that evaluates roles' trust policies for a request described by facts.
func asker(facts authz.Facts) webid.AuthorizeFunc {
	return func(ctx context.Context, who *sekisho.Principal, t webid.Trust, action string, token *webid.Token,
		keys []policy.Key) error {
		facts.Principal = who
		keys = slices.Concat(keys, authz.ResourceTags("iam", t.Role.Tags), authz.RequestTags(token.Tags))
		v, err := authz.New(t).Decide(ctx, &facts, action, t.Role.ARN, keys...)
		if err != nil {
			return err
		}
		if !v.Allowed {
			return sekisho.Errorf(sekisho.CodeDenied, "%s of %s: %s", action, t.Role.ARN, v.Reason)
		}
		return nil
	}
}

// federationState returns the state stored for the browser's cookie, and deletes it.
func (c *Console) federationState(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	ck, err := r.Cookie(federationCookie)
	if err != nil {
		return nil, false
	}
	gone := cookie("", -1)
	gone.Name, gone.SameSite = federationCookie, http.SameSiteLaxMode
	http.SetCookie(w, gone)
	_, hash, ok := parseToken(ck.Value)
	if !ok {
		return nil, false
	}
	state, err := c.cfg.Store.ConsoleSignIn(r.Context(), hash)
	if err != nil {
		return nil, false
	}
	used, err := c.cfg.Store.DeleteConsoleSignIn(r.Context(), hash)
	if err != nil {
		c.cfg.Log.ErrorContext(r.Context(), "delete the state of a sign-in", "error", err)
		return nil, false
	}
	return state, used
}

// backToSignIn redirects to the sign-in page, which words the outcome itself: an identity
// provider's text is not shown in our name.
func (c *Console) backToSignIn(w http.ResponseWriter, r *http.Request, why string) {
	http.Redirect(w, r, Prefix+"?federation="+why, http.StatusSeeOther)
}

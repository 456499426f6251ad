package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/sigv4"
)

// Limits of the pause between two attempts to get credentials.
const (
	minRetry = time.Second
	maxRetry = 15 * time.Second
)

// Role has the credentials with which the agent itself calls the server. Run renews them after half
// of their lifetime. They never leave the agent, because they can open control and data channels.
// Programs on the node get those of ProgramRole.
type Role struct {
	ident  Identity
	client *uplink.Client
	log    *slog.Logger
	renew  chan struct{} // makes Run renew the credentials now
	now    chan struct{} // makes Run retry now after a failure

	mu      sync.Mutex
	creds   sigv4.Credentials
	expires time.Time
	refused error         // why there are no credentials; nil if there are
	ready   chan struct{} // closed once creds or refused is set
}

// NewRole returns the role of ident. Its credentials are fetched with client.
func NewRole(ident Identity, client *uplink.Client, log *slog.Logger) *Role {
	return &Role{
		ident: ident, client: client, log: log,
		renew: make(chan struct{}, 1), now: make(chan struct{}, 1), ready: make(chan struct{}),
	}
}

// Credentials returns valid credentials. It waits for the first attempt to get them. If the last
// attempt failed and no valid ones are left, it returns the reason.
func (r *Role) Credentials(ctx context.Context) (sigv4.Credentials, error) {
	r.mu.Lock()
	ready := r.ready
	r.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
		return sigv4.Credentials{}, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case time.Now().Before(r.expires):
		return r.creds, nil
	case r.refused != nil:
		return sigv4.Credentials{}, r.refused
	}
	return sigv4.Credentials{}, errors.New("the node's role credentials have expired and are being renewed")
}

// Renew requests new credentials at once, because a server that refuses the current ones may have
// lost them.
func (r *Role) Renew() {
	select {
	case r.renew <- struct{}{}:
	default:
	}
}

// RetryNow makes the next attempt at once if the last one failed: an operator
// has removed the cause.
func (r *Role) RetryNow() {
	select {
	case r.now <- struct{}{}:
	default:
	}
}

// Run fetches and renews the credentials until ctx ends.
func (r *Role) Run(ctx context.Context) {
	pause := minRetry
	for {
		wait, err := r.fetch(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = max(jitter(pause), time.Duration(float64(2*uplink.Pause(err))*rand.Float64()))
			r.log.Warn("no role credentials; retrying", "error", err, "in", wait.Round(time.Millisecond))
			pause = min(2*pause, maxRetry)
		default:
			pause = minRetry
		}
		renew := r.renew
		if err != nil || wait < minRetry {
			renew = nil // after a failure, only wait: Renew would overload a failing server
		}
		t := time.NewTimer(max(wait, minRetry/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-renew:
			t.Stop()
		case <-r.now:
			t.Stop()
		case <-t.C:
		}
	}
}

// jitter randomizes d by ±25 %, so that nodes that lost the server together do not reconnect
// together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

type roleTokenResponse struct {
	AccessKeyID         string `json:"AccessKeyId"`
	SecretAccessKey     string
	SessionToken        string
	TokenExpirationDate json.Number // seconds since 1970
	ForPrograms         bool        // the credentials cannot be used as the agent
}

func (a *roleTokenResponse) credentials() sigv4.Credentials {
	return sigv4.Credentials{
		AccessKeyID:     a.AccessKeyID,
		SecretAccessKey: a.SecretAccessKey,
		SessionToken:    a.SessionToken,
	}
}

// requestRoleToken asks the server for credentials of the node's role, for the
// agent itself or for programs on the node.
func requestRoleToken(
	ctx context.Context,
	client *uplink.Client,
	ident Identity,
	forPrograms bool,
) (*roleTokenResponse, time.Time, error) {
	in := struct {
		Fingerprint string
		ForPrograms bool `json:",omitempty"`
	}{ident.Fingerprint, forPrograms}
	var answer roleTokenResponse
	if err := client.RoleToken(ctx, ident.Node, ident.Key, in, &answer); err != nil {
		return nil, time.Time{}, err
	}
	expires, err := answer.check(time.Now())
	return &answer, expires, err
}

// fetch gets credentials and returns when to renew them.
func (r *Role) fetch(ctx context.Context) (time.Duration, error) {
	answer, expires, err := requestRoleToken(ctx, r.client, r.ident, false)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.refused = err
	} else {
		r.creds, r.expires, r.refused = answer.credentials(), expires, nil
	}
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
	return time.Until(expires) / 2, err
}

// maxLife bounds the lifetime of credentials, whatever the server says.
const maxLife = 24 * time.Hour

func (a *roleTokenResponse) check(now time.Time) (time.Time, error) {
	seconds, err := a.TokenExpirationDate.Float64()
	if err != nil || a.AccessKeyID == "" || a.SecretAccessKey == "" {
		return time.Time{}, sekisho.Errorf(
			sekisho.CodeInternal,
			"the server's response to RequestManagedInstanceRoleToken is incomplete",
		)
	}
	if seconds > float64(now.Add(maxLife).Unix()) {
		return now.Add(maxLife), nil
	}
	expires := time.Unix(int64(max(seconds, 0)), 0)
	if !expires.After(now) {
		return time.Time{}, sekisho.Errorf(sekisho.CodeExpired,
			"the server issued credentials that expired at %s", expires.UTC().Format(time.RFC3339)).
			WithHint("Set this machine's clock.")
	}
	return expires, nil
}

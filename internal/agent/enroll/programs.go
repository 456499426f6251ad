package enroll

import (
	"context"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/sigv4"
)

// ProgramRole gives programs on the node credentials of the node's role. The
// server does not accept them as the agent's: whoever has them can use the
// role's permissions, but cannot open control or data channels. It is safe for
// concurrent use.
type ProgramRole struct {
	ident  Identity
	client *uplink.Client

	mu      sync.Mutex
	creds   sigv4.Credentials
	since   time.Time
	expires time.Time
}

// NewProgramRole returns the ProgramRole of ident. It asks the server through
// client when a program first asks.
func NewProgramRole(ident Identity, client *uplink.Client) *ProgramRole {
	return &ProgramRole{ident: ident, client: client}
}

// Credentials returns credentials, when they were issued and when they expire.
// They have at least half of their life left, unless the server cannot be
// reached.
func (r *ProgramRole) Credentials(ctx context.Context) (creds sigv4.Credentials, since, expires time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.since.Add(r.expires.Sub(r.since) / 2)) {
		return r.creds, r.since, r.expires, nil
	}
	answer, expires, err := requestRoleToken(ctx, r.client, r.ident, true)
	switch {
	case err == nil && !answer.ForPrograms:
		// An old server ignores what it does not know and issues the agent's
		// own credentials.
		err = sekisho.Errorf(sekisho.CodeInternal, "the server did not issue credentials for programs").
			WithHint("Upgrade the server; until then the metadata service gives no credentials.")
	case err == nil:
		r.creds, r.since, r.expires = answer.credentials(), now, expires
	case now.Before(r.expires):
		err = nil // the old ones are still good
	}
	if err != nil {
		return sigv4.Credentials{}, time.Time{}, time.Time{}, err
	}
	return r.creds, r.since, r.expires, nil
}

// Forget drops the cached credentials, because the node's role has changed.
func (r *ProgramRole) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.creds, r.since, r.expires = sigv4.Credentials{}, time.Time{}, time.Time{}
}

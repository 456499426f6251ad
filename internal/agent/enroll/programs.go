package enroll

import (
	"context"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/sigv4"
)

// ProgramRole supplies credentials of the node's role for programs on the node. The server does not accept them as the
// agent's: they carry the role's permissions, but cannot open control or data channels. It is safe for concurrent use.
type ProgramRole struct {
	ident  Identity
	client *uplink.Client

	mu      sync.Mutex
	creds   sigv4.Credentials
	since   time.Time
	expires time.Time
}

// NewProgramRole returns the ProgramRole of ident. It requests credentials through client when a
// program first needs them.
func NewProgramRole(ident Identity, client *uplink.Client) *ProgramRole {
	return &ProgramRole{ident: ident, client: client}
}

// Credentials returns credentials, when they were issued and when they expire. At least half of
// their lifetime remains, unless the server is unreachable.
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
		// An old server ignores the unknown member and issues the agent's own credentials.
		err = sekisho.Errorf(sekisho.CodeInternal, "the server did not issue credentials for programs").
			WithHint("Upgrade the server; until then the metadata service provides no credentials.")
	case err == nil:
		r.creds, r.since, r.expires = answer.credentials(), now, expires
	case now.Before(r.expires):
		err = nil // the old ones are still valid
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

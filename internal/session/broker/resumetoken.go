package broker

import (
	"context"
	"crypto/sha256"
	"time"

	"sekisho"
	"sekisho/internal/wire/id"
)

// resumeLeg is the leg of tokens that resume a session in place of the owner's credentials. Such a
// token opens no connection itself.
const resumeLeg Leg = "resume"

// resumeTTL is how long such a token is valid after it is issued.
const resumeTTL = 24 * time.Hour

// ResumeToken makes a token with which the client can resume this session, and no other, after the
// owner's credentials have expired.
func (b *Broker) ResumeToken(ctx context.Context, session sekisho.SessionID) (string, error) {
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil {
		return "", err
	}
	if !s.Status.Active() {
		return "", nil
	}
	secret := id.Secret()
	return secret, b.cfg.Store.PutToken(ctx, Token{
		Hash: resumeHash(
			session,
			secret,
		), Subject: string(session), Leg: resumeLeg, ExpiresAt: time.Now().Add(resumeTTL),
	})
}

// resumeHash returns a hash that binds a token to its purpose and its session. A token found by
// this hash cannot have been issued for another purpose or session.
func resumeHash(session sekisho.SessionID, secret string) []byte {
	h := sha256.Sum256([]byte("resume\x00" + string(session) + "\x00" + secret))
	return h[:]
}

// ResumeByToken is Resume for a client that has a token from ResumeToken. The token can be used
// again, because the response can get lost.
func (b *Broker) ResumeByToken(ctx context.Context, session sekisho.SessionID, token string) (string, error) {
	refused := sekisho.Errorf(sekisho.CodeDenied, "The token does not resume this session.")
	if token == "" || len(token) > maxToken {
		return "", refused
	}
	_, err := b.cfg.Store.UseToken(ctx, resumeHash(session, token), time.Now())
	switch sekisho.CodeOf(err) {
	case "", sekisho.CodeConflict: // used before
	case sekisho.CodeNotFound, sekisho.CodeExpired:
		return "", refused
	default:
		return "", err
	}
	return b.Resume(ctx, session)
}

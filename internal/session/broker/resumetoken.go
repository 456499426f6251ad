package broker

import (
	"context"
	"crypto/sha256"
	"time"

	"sekisho"
	"sekisho/internal/wire/id"
)

// resumeLeg is that of tokens which resume a session in place of the owner's
// credentials. They open nothing themselves.
const resumeLeg Leg = "resume"

// resumeTTL is how long after it was given such a token is good.
const resumeTTL = 24 * time.Hour

// ResumeToken makes a token with which the client of this session, and no
// other, can have it resumed when the owner's credentials have lapsed.
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

// resumeHash binds a token to its purpose and its session: whoever is found
// under it can only be a token of both.
func resumeHash(session sekisho.SessionID, secret string) []byte {
	h := sha256.Sum256([]byte("resume\x00" + string(session) + "\x00" + secret))
	return h[:]
}

// ResumeByToken is Resume for a client that has a token of ResumeToken. The
// token may be used again, as the answer may be lost on its way.
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

// Package share manages links to recordings. A link lets signed-in users who hold its token view one
// recording until the link expires or is revoked. The store has only the SHA-256 of the token.
package share

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"time"

	"sekisho"
	"sekisho/internal/wire/id"
)

// Bounds of a link.
const (
	MinDuration     = time.Minute
	DefaultDuration = 24 * time.Hour
	MaxDuration     = 7 * 24 * time.Hour
	// MaxPerSession bounds the usable links to one recording.
	MaxPerSession = 50
	// keepFor is how long a link is listed after its end.
	keepFor = 30 * 24 * time.Hour
)

// Link is a link to the recording of one session.
type Link struct {
	ID        string
	Session   sekisho.SessionID
	TokenHash []byte
	CreatedBy string // ARN
	CreatedAt time.Time
	ExpiresAt time.Time
	RevokedBy string // ARN; "" unless the link was revoked
	RevokedAt time.Time
}

// Usable reports whether the link shows its recording at a time.
func (l *Link) Usable(now time.Time) bool { return l.RevokedBy == "" && now.Before(l.ExpiresAt) }

// Store keeps links.
type Store interface {
	// CreateRecordingLink adds a link, and drops links that ended before the given time. It fails
	// with CodeLimit if the session has maxUsable usable links.
	CreateRecordingLink(ctx context.Context, l *Link, maxUsable int, dropBefore time.Time) error
	// RecordingLink returns a link, or CodeNotFound.
	RecordingLink(ctx context.Context, linkID string) (*Link, error)
	// RecordingLinks returns the links to the recording of a session, newest first.
	RecordingLinks(ctx context.Context, session sekisho.SessionID) ([]*Link, error)
	// RevokeRecordingLink revokes a link unless it is revoked already.
	RevokeRecordingLink(ctx context.Context, linkID, by string, at time.Time) error
}

// Service manages links. It is safe for concurrent use.
type Service struct {
	store Store
	now   func() time.Time
}

// New returns a Service. A nil now is time.Now.
func New(store Store, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{store, now}
}

// Create makes a link and returns it with its token, which is not stored.
func (s *Service) Create(
	ctx context.Context, session sekisho.SessionID, by string, lasts time.Duration,
) (l *Link, token string, err error) {
	if lasts < MinDuration || lasts > MaxDuration {
		return nil, "", sekisho.Errorf(sekisho.CodeInvalid,
			"A link cannot last %s: give from %s to %s.", lasts, MinDuration, MaxDuration)
	}
	token = id.Secret()
	now := s.now().UTC()
	l = &Link{
		ID: id.RecordingLink(), Session: session, TokenHash: hash(token), CreatedBy: by,
		CreatedAt: now, ExpiresAt: now.Add(lasts),
	}
	if err := s.store.CreateRecordingLink(ctx, l, MaxPerSession, now.Add(-keepFor)); err != nil {
		return nil, "", err
	}
	return l, token, nil
}

// Open returns the usable link that a token opens. The error is the same for an unknown link and a
// wrong token.
func (s *Service) Open(ctx context.Context, linkID, token string) (*Link, error) {
	l, err := s.store.RecordingLink(ctx, linkID)
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	if err != nil || subtle.ConstantTimeCompare(l.TokenHash, hash(token)) != 1 {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "There is no such link to a recording.").
			WithReason("RecordingLinkUnknown")
	}
	switch {
	case l.RevokedBy != "":
		return nil, sekisho.Errorf(sekisho.CodeExpired, "The link to the recording was revoked.").
			WithReason("RecordingLinkRevoked")
	case !l.Usable(s.now()):
		return nil, sekisho.Errorf(sekisho.CodeExpired, "The link to the recording has expired.").
			WithReason("RecordingLinkExpired")
	}
	return l, nil
}

// Link returns a link by its ID.
func (s *Service) Link(ctx context.Context, linkID string) (*Link, error) {
	return s.store.RecordingLink(ctx, linkID)
}

// Links returns the usable links to the recording of a session, newest first.
func (s *Service) Links(ctx context.Context, session sekisho.SessionID) ([]*Link, error) {
	all, err := s.store.RecordingLinks(ctx, session)
	now := s.now()
	return slices.DeleteFunc(all, func(l *Link) bool { return !l.Usable(now) }), err
}

// Revoke ends a link. It is idempotent.
func (s *Service) Revoke(ctx context.Context, linkID, by string) error {
	return s.store.RevokeRecordingLink(ctx, linkID, by, s.now().UTC())
}

func hash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

package broker

import (
	"context"
	"maps"
	"sync"
	"time"

	"sekisho"
)

// ending is how and when a session ended.
type ending struct {
	status  sekisho.SessionStatus
	details string
	at      time.Time
}

// unstoredEnds are the sessions that have ended and whose end is not stored
// yet: the disk may be full. Their number is bounded by that of the sessions
// that were active when storing began to fail.
type unstoredEnds struct {
	mu   sync.Mutex
	ends map[sekisho.SessionID]ending
}

// begin notes a session's end and returns it; that of an earlier attempt, if
// there was one.
func (u *unstoredEnds) begin(session sekisho.SessionID, status sekisho.SessionStatus, details string) ending {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e, ok := u.ends[session]; ok {
		return e
	}
	if u.ends == nil {
		u.ends = map[sekisho.SessionID]ending{}
	}
	e := ending{status, details, time.Now().UTC()}
	u.ends[session] = e
	return e
}

func (u *unstoredEnds) stored(session sekisho.SessionID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.ends, session)
}

func (u *unstoredEnds) pending(session sekisho.SessionID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.ends[session]
	return ok
}

func (u *unstoredEnds) all() map[sekisho.SessionID]ending {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.ends)
}

// RetryEnds stores the ends of sessions that could not be stored when they
// happened.
func (b *Broker) RetryEnds(ctx context.Context) {
	for session, e := range b.ends.all() {
		b.finish(ctx, session, e.status, e.details)
	}
}

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

// unstoredEnds holds the sessions that have ended but whose end could not be stored yet, for
// example because the disk is full. It never holds more sessions than were active when storing
// began to fail.
type unstoredEnds struct {
	mu   sync.Mutex
	ends map[sekisho.SessionID]ending
}

// begin notes a session's end and returns it. If an earlier attempt has noted an end, begin returns
// that one.
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

// RetryEnds stores the ends of sessions that could not be stored at the time.
func (b *Broker) RetryEnds(ctx context.Context) {
	for session, e := range b.ends.all() {
		b.finish(ctx, session, e.status, e.details)
	}
}

// Package participants keeps track of the people other than the owner who watch a running session
// or type into it. A participant is listed until no request has arrived from it for some time.
package participants

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"sekisho"
)

const (
	// away is how long after its last request a participant is considered gone.
	away = 30 * time.Second
	// maxPerSession bounds the participants of one session.
	maxPerSession = 64
)

// Participant is a person who watches a session or types into it.
type Participant struct {
	Principal string // ARN
	Keyboard  bool   // joined with a keyboard
	Since     time.Time
	LastTyped time.Time // zero: never
	lastSeen  time.Time
}

// Registry holds the participants of all sessions.
type Registry struct {
	now func() time.Time

	mu       sync.Mutex
	sessions map[sekisho.SessionID]map[string]*Participant
}

// New returns a Registry; now is nil for time.Now.
func New(now func() time.Time) *Registry {
	if now == nil {
		now = time.Now
	}
	return &Registry{now: now, sessions: make(map[sekisho.SessionID]map[string]*Participant)}
}

// Change is the effect of a participant's request.
type Change int

// Values of Change.
const (
	Nothing Change = iota
	Watches        // it is new
	Joined         // it has a keyboard now
)

// Watch notes that a principal watches a session.
func (r *Registry) Watch(session sekisho.SessionID, principal string) (Change, error) {
	return r.seen(session, principal, func(p *Participant, fresh bool) Change {
		if fresh {
			return Watches
		}
		return Nothing
	})
}

// Join notes that a principal has a keyboard, and types if typed is true.
func (r *Registry) Join(session sekisho.SessionID, principal string, typed bool) (Change, error) {
	return r.seen(session, principal, func(p *Participant, fresh bool) Change {
		if typed {
			p.LastTyped = p.lastSeen
		}
		if p.Keyboard {
			return Nothing
		}
		p.Keyboard = true
		return Joined
	})
}

func (r *Registry) seen(
	session sekisho.SessionID, principal string, note func(p *Participant, fresh bool) Change,
) (Change, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.sessions[session]
	p := all[principal]
	fresh := p == nil
	if fresh {
		if len(all) >= maxPerSession {
			return Nothing, sekisho.Errorf(
				sekisho.CodeLimit, "%d people, the maximum, are already watching session %s.", len(all), session)
		}
		p = &Participant{Principal: principal, Since: r.now()}
		if all == nil {
			all = make(map[string]*Participant)
			r.sessions[session] = all
		}
		all[principal] = p
	}
	p.lastSeen = r.now()
	return note(p, fresh), nil
}

// List returns the participants of a session, in the order in which they arrived.
func (r *Registry) List(session sekisho.SessionID) []Participant {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Participant
	for _, p := range r.sessions[session] {
		if r.now().Sub(p.lastSeen) <= away {
			out = append(out, *p)
		}
	}
	slices.SortFunc(out, func(a, b Participant) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Principal, b.Principal))
	})
	return out
}

// Left is a participant who is gone.
type Left struct {
	Session sekisho.SessionID
	Participant
}

// Leave removes a participant, and reports whether it was there.
func (r *Registry) Leave(session sekisho.SessionID, principal string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.sessions[session][principal]
	r.remove(session, principal)
	return ok
}

func (r *Registry) remove(session sekisho.SessionID, principal string) {
	delete(r.sessions[session], principal)
	if len(r.sessions[session]) == 0 {
		delete(r.sessions, session)
	}
}

// Expire removes and returns the participants that have sent no request recently.
func (r *Registry) Expire() []Left {
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []Left
	for session, all := range r.sessions {
		for principal, p := range all {
			if r.now().Sub(p.lastSeen) > away {
				left = append(left, Left{session, *p})
				r.remove(session, principal)
			}
		}
	}
	return left
}

package broker_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/broker"
	"sekisho/internal/store/storetest"
)

// memStore is a [broker.Store] in memory.
type memStore struct {
	mu       sync.Mutex
	sessions map[sekisho.SessionID]sekisho.Session
	tokens   map[string]*memToken
	broken   error // returned by writes if set
}

type memToken struct {
	broker.Token
	used bool
}

func newMemStore() *memStore {
	return &memStore{sessions: map[sekisho.SessionID]sekisho.Session{}, tokens: map[string]*memToken{}}
}

func (m *memStore) CreateSession(
	ctx context.Context, s *sekisho.Session, t broker.Token, limits ...broker.Limit,
) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range limits {
		n := 0
		for _, x := range m.sessions {
			if x.Status.Active() && (x.Owner == l.Owner || x.Target == l.Target) {
				n++
			}
		}
		if n >= l.Most {
			return &broker.LimitError{Limit: l, Active: n}
		}
	}
	if err := cmp.Or(m.broken, ctx.Err()); err != nil {
		return err
	}
	if _, ok := m.sessions[s.ID]; ok {
		return sekisho.Errorf(sekisho.CodeConflict, "session %s exists", s.ID)
	}
	m.sessions[s.ID] = *s
	m.tokens[string(t.Hash)] = &memToken{Token: t}
	return nil
}

func (m *memStore) Session(_ context.Context, id sekisho.SessionID) (*sekisho.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sessions[id]
	if !ok {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "session %s does not exist", id)
	}
	return &s, nil
}

func (m *memStore) UpdateSession(
	ctx context.Context,
	id sekisho.SessionID,
	change func(s *sekisho.Session) error,
) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(m.broken, ctx.Err()); err != nil {
		return err
	}
	s, ok := m.sessions[id]
	if !ok {
		return sekisho.Errorf(sekisho.CodeNotFound, "session %s does not exist", id)
	}
	if err := change(&s); err != nil {
		return err
	}
	m.sessions[id] = s
	return nil
}

func (m *memStore) Sessions(ctx context.Context, q broker.Query) ([]*sekisho.Session, error) {
	var last *sekisho.Session
	if q.After != "" {
		var err error
		if last, err = m.Session(ctx, q.After); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	newestFirst := func(a, b *sekisho.Session) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(a.ID, b.ID))
	}
	var all []*sekisho.Session
	for s := range maps.Values(m.sessions) {
		switch {
		case s.Status.Active() != q.Active,
			q.Target != "" && string(s.Target) != q.Target,
			q.Owner != "" && s.Owner != q.Owner,
			q.Lapsing && s.Permission == nil,
			q.AccessType == "JustInTime" && (s.Permission == nil || s.Permission.AccessRequest == ""),
			q.AccessType == "Standard" && s.Permission != nil && s.Permission.AccessRequest != "",
			q.Status != "" && s.Status != q.Status,
			q.ID != "" && string(s.ID) != q.ID,
			!q.StartedAfter.IsZero() && !s.StartedAt.After(q.StartedAfter),
			!q.StartedBefore.IsZero() && !s.StartedAt.Before(q.StartedBefore),
			last != nil && newestFirst(&s, last) <= 0:
		default:
			all = append(all, &s)
		}
	}
	slices.SortFunc(all, newestFirst)
	return all[:min(len(all), q.Limit)], nil
}

func (m *memStore) PutToken(ctx context.Context, t broker.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(m.broken, ctx.Err()); err != nil {
		return err
	}
	m.tokens[string(t.Hash)] = &memToken{Token: t}
	return nil
}

func (m *memStore) UseToken(_ context.Context, hash []byte, now time.Time) (broker.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tokens[string(hash)]
	switch {
	case m.broken != nil:
		return broker.Token{}, m.broken
	case t == nil:
		return broker.Token{}, sekisho.Errorf(sekisho.CodeNotFound, "no such token")
	case t.used:
		return broker.Token{}, sekisho.Errorf(sekisho.CodeConflict, "the token was used before")
	case !now.Before(t.ExpiresAt):
		return broker.Token{}, sekisho.Errorf(sekisho.CodeExpired, "the token has expired")
	}
	t.used = true
	return t.Token, nil
}

func (m *memStore) DropTokens(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.tokens, func(_ string, t *memToken) bool { return t.ExpiresAt.Before(before) })
	return m.broken
}

// The double passes the conformance suite of stores.
func TestMemStore(t *testing.T) {
	t.Parallel()
	storetest.Sessions(t, func(*testing.T) broker.Store { return newMemStore() })
}

package identity_test

import (
	"context"
	"maps"
	"sync"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/store/storetest"
)

// memStore is a Store in memory.
type memStore struct {
	mu     sync.Mutex
	newest int64
	log    []logged
	uses   map[string]identity.Use
	fail   error
}

type logged struct {
	generation int64
	identity.Object
}

func (m *memStore) Changes(_ context.Context, since int64) ([]identity.Object, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []identity.Object
	for i, l := range m.log {
		if l.generation > since && !overwritten(m.log[i+1:], l) {
			out = append(out, l.Object)
		}
	}
	return out, m.newest, m.fail
}

func overwritten(later []logged, l logged) bool {
	for _, o := range later {
		if o.Kind == l.Kind && o.Key == l.Key {
			return true
		}
	}
	return false
}

func (m *memStore) Commit(_ context.Context, base int64, objects []identity.Object) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil || base != m.newest {
		return false, m.fail
	}
	m.newest++
	for _, o := range objects {
		m.log = append(m.log, logged{m.newest, o})
	}
	return true, nil
}

func (m *memStore) Touch(_ context.Context, uses []identity.Use) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uses == nil {
		m.uses = map[string]identity.Use{}
	}
	for _, u := range uses {
		if u.At.After(m.uses[u.ID].At) {
			m.uses[u.ID] = u
		}
	}
	return m.fail
}

func (m *memStore) LastUses(_ context.Context, ids []string) (map[string]identity.Use, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := maps.Clone(m.uses)
	maps.DeleteFunc(out, func(id string, _ identity.Use) bool {
		for _, want := range ids {
			if want == id {
				return false
			}
		}
		return true
	})
	return out, nil
}

func TestMemStore(t *testing.T) {
	t.Parallel()
	storetest.Identity(t, func(*testing.T) identity.Store { return &memStore{} })
}

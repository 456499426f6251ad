package fleet_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/node/fleet"
	"sekisho/internal/store/storetest"
)

// memStore is a [fleet.Store] in memory.
type memStore struct {
	mu          sync.Mutex
	activations map[string]*sekisho.Activation
	nodes       map[sekisho.NodeID]*sekisho.Node
	sightings   map[string]*fleet.Sighting
	revision    int64
	revisions   map[sekisho.NodeID]int64
	broken      error // returned by every call if set
}

func newMemStore() *memStore {
	return &memStore{
		activations: map[string]*sekisho.Activation{},
		nodes:       map[sekisho.NodeID]*sekisho.Node{},
		sightings:   map[string]*fleet.Sighting{},
		revision:    1,
		revisions:   map[sekisho.NodeID]int64{},
	}
}

func copyOf[T any](v *T) *T {
	c := *v
	return &c
}

func (m *memStore) CreateActivation(_ context.Context, a *sekisho.Activation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.activations[a.ID] = copyOf(a)
	return m.broken
}

func (m *memStore) Activation(_ context.Context, id string) (*sekisho.Activation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	a := m.activations[id]
	if a == nil {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "activation %s does not exist", id)
	}
	return copyOf(a), nil
}

func (m *memStore) Activations(_ context.Context, q fleet.ActivationQuery) ([]*sekisho.Activation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	compare := func(a, b *sekisho.Activation) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	}
	is := func(values []string, value string) bool { return values == nil || slices.Contains(values, value) }
	after := &sekisho.Activation{CreatedAt: q.After.CreatedAt, ID: q.After.ID}
	all := slices.DeleteFunc(slices.SortedFunc(maps.Values(m.activations), compare), func(a *sekisho.Activation) bool {
		return after.ID != "" && compare(a, after) <= 0 || !is(q.IDs, a.ID) || !is(q.NodeIDs, string(a.NodeID)) ||
			!is(q.Names, a.DefaultInstanceName) || !is(q.Roles, a.IAMRole)
	})
	if q.Limit > 0 {
		all = all[:min(q.Limit, len(all))]
	}
	return all, m.broken
}

func (m *memStore) DeleteActivation(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.activations[id] == nil {
		return sekisho.Errorf(sekisho.CodeNotFound, "activation %s does not exist", id)
	}
	delete(m.activations, id)
	return m.broken
}

func (m *memStore) RegisterNode(_ context.Context, n *sekisho.Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.activations[n.ActivationID]
	switch {
	case a == nil:
		return sekisho.Errorf(sekisho.CodeNotFound, "activation %s does not exist", n.ActivationID)
	case a.RegistrationCount >= a.RegistrationLimit:
		return sekisho.Errorf(sekisho.CodeLimit, "The activation has been used as often as it allows.")
	case m.nodes[n.ID] != nil && m.nodes[n.ID].DeregisteredAt.IsZero():
		return sekisho.Errorf(sekisho.CodeConflict, "node %s exists", n.ID)
	}
	a.RegistrationCount++
	m.nodes[n.ID] = copyOf(n)
	m.touch(n.ID)
	return m.broken
}

func (m *memStore) Node(_ context.Context, id sekisho.NodeID) (*sekisho.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	n := m.nodes[id]
	if n == nil {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "node %s does not exist", id)
	}
	return copyOf(n), nil
}

func (m *memStore) Nodes(context.Context) ([]*sekisho.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*sekisho.Node
	for _, id := range slices.Sorted(maps.Keys(m.nodes)) {
		if m.nodes[id].DeregisteredAt.IsZero() {
			all = append(all, copyOf(m.nodes[id]))
		}
	}
	return all, m.broken
}

func (m *memStore) touch(id sekisho.NodeID) {
	m.revision++
	m.revisions[id] = m.revision
}

func (m *memStore) NodeChanges(_ context.Context, after int64) (nodes []*sekisho.Node, revision int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range m.revisions {
		if at > after {
			n := copyOf(m.nodes[id])
			n.PublicKey = nil
			nodes = append(nodes, n)
		}
	}
	return nodes, m.revision, m.broken
}

func (m *memStore) SightingsOf(_ context.Context, nodes []sekisho.NodeID) ([]*fleet.Sighting, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(
		m.newest(),
		func(s *fleet.Sighting) bool { return !slices.Contains(nodes, s.Node) },
	), m.broken
}

func (m *memStore) UpdateNode(_ context.Context, id sekisho.NodeID, change func(n *sekisho.Node) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[id]
	if n == nil {
		return sekisho.Errorf(sekisho.CodeNotFound, "node %s does not exist", id)
	}
	n = copyOf(n)
	if err := change(n); err != nil {
		return err
	}
	m.nodes[id] = n
	m.touch(id)
	return m.broken
}

func (m *memStore) CloseConnections(_ context.Context, at time.Time, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		if !n.ConnectedAt.IsZero() {
			n.ConnectedAt, n.DisconnectedAt, n.DisconnectReason = time.Time{}, at, reason
			m.touch(n.ID)
		}
	}
	return m.broken
}

func (m *memStore) NoteSighting(_ context.Context, s *fleet.Sighting, most int) (before time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := copyOf(s)
	if old := m.sightings[s.Key]; old != nil {
		before = old.LastAt
		c.FirstAt, c.Count = old.FirstAt, old.Count+1
	}
	m.sightings[s.Key] = c
	strays := slices.DeleteFunc(m.newest(), func(s *fleet.Sighting) bool { return s.Node != "" })
	for i := most; i < len(strays); i++ {
		delete(m.sightings, strays[i].Key)
	}
	return before, m.broken
}

func (m *memStore) newest() []*fleet.Sighting {
	return slices.SortedFunc(maps.Values(m.sightings), func(a, b *fleet.Sighting) int {
		return cmp.Or(b.LastAt.Compare(a.LastAt), cmp.Compare(a.Key, b.Key))
	})
}

func (m *memStore) Sightings(_ context.Context, node sekisho.NodeID) ([]*fleet.Sighting, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(m.newest(), func(s *fleet.Sighting) bool { return s.Node != node }), m.broken
}

func (m *memStore) Strays(context.Context) ([]*fleet.Sighting, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(m.newest(), func(s *fleet.Sighting) bool {
		return s.Node != "" && s.Kind != fleet.SeenUnknownNode
	}), m.broken
}

func (m *memStore) ForgetSightings(_ context.Context, node sekisho.NodeID, kind fleet.SightingKind) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.sightings, func(_ string, s *fleet.Sighting) bool {
		return node != "" && s.Node == node && (kind == "" || s.Kind == kind)
	})
	return m.broken
}

func (m *memStore) DeregisteredNodes(_ context.Context, most int) ([]*sekisho.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.SortedFunc(maps.Values(m.nodes), func(a, b *sekisho.Node) int {
		return cmp.Or(b.DeregisteredAt.Compare(a.DeregisteredAt), cmp.Compare(a.ID, b.ID))
	})
	all = slices.DeleteFunc(all, func(n *sekisho.Node) bool { return n.DeregisteredAt.IsZero() })
	return all[:min(most, len(all))], m.broken
}

// The double passes the conformance suite of stores.
func TestMemStore(t *testing.T) {
	t.Parallel()
	storetest.Fleet(t, func(*testing.T) fleet.Store { return newMemStore() })
	storetest.Sightings(t, func(*testing.T) fleet.Store { return newMemStore() })
}

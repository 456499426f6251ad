package event_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/event"
	"sekisho/internal/store/storetest"
)

// memStore is an [event.Store] in memory.
type memStore struct {
	mu      sync.Mutex
	last    int64
	records map[int64]event.Record
	items   map[[2]any]event.Item
	tallies map[string]event.Tally
	up      map[sekisho.NodeID]bool
	broken  error         // returned by AddEvents if set
	hang    chan struct{} // awaited by AddEvents if set
}

func newMemStore() *memStore {
	return &memStore{
		records: map[int64]event.Record{}, items: map[[2]any]event.Item{}, tallies: map[string]event.Tally{},
		up: map[sekisho.NodeID]bool{},
	}
}

func TestMemStore(t *testing.T) {
	t.Parallel()
	storetest.Events(t, func(*testing.T) event.Store { return newMemStore() })
}

func key(it event.Item) [2]any { return [2]any{it.Webhook, it.Seq} }

func (m *memStore) AddEvents(ctx context.Context, b event.Batch) error {
	m.mu.Lock()
	hang, broken := m.hang, m.broken
	m.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if broken != nil {
		return broken
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range b.Records {
		if _, ok := m.records[r.Seq]; ok {
			return sekisho.Errorf(sekisho.CodeConflict, "there is %d", r.Seq)
		}
	}
	for _, r := range b.Records {
		m.records[r.Seq] = r
		m.last = max(m.last, r.Seq)
	}
	for _, it := range b.Drop {
		delete(m.items, key(it))
	}
	for _, it := range b.Items {
		m.items[key(it)] = it
	}
	for name, n := range b.Dropped {
		t := m.tallies[name]
		t.Webhook, t.Dropped = name, t.Dropped+n
		m.tallies[name] = t
	}
	maps.Copy(m.up, b.NodesUp)
	return nil
}

func (m *memStore) RemoveEvents(_ context.Context, before time.Time, keep int64) (out event.Removal, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	waited := map[int64]bool{}
	for _, it := range m.items {
		waited[it.Seq] = true
	}
	for _, seq := range slices.Sorted(maps.Keys(m.records)) {
		if (seq > m.last-keep && !m.records[seq].Time.Before(before)) || waited[seq] {
			continue
		}
		delete(m.records, seq)
		if out.Events++; out.First == 0 {
			out.First = seq
		}
		out.Last = seq
	}
	return out, nil
}

func (m *memStore) LastEvent(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

func (m *memStore) Event(_ context.Context, seq int64) (*event.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[seq]
	if !ok {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "there is no %d", seq)
	}
	return &r, nil
}

func (m *memStore) Events(_ context.Context, q event.Query) ([]*event.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*event.Record
	for _, r := range slices.SortedFunc(maps.Values(m.records),
		func(a, b event.Record) int { return cmp.Compare(b.Seq, a.Seq) }) {
		if (q.Type == "" || r.Type == q.Type) && (q.Subject == "" || r.Subject == q.Subject) &&
			(q.Before == 0 || r.Seq < q.Before) &&
			len(all) < q.Limit {
			all = append(all, &r)
		}
	}
	return all, nil
}

func (m *memStore) EventItems(_ context.Context, webhook string) ([]event.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []event.Item
	for _, it := range m.items {
		if it.Webhook == webhook {
			all = append(all, it)
		}
	}
	slices.SortFunc(all, func(a, b event.Item) int { return cmp.Compare(a.Seq, b.Seq) })
	return all, nil
}

func (m *memStore) SettleEvent(_ context.Context, o event.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tallies[o.Item.Webhook]
	t.Webhook = o.Item.Webhook
	if o.Delivered {
		t.Delivered, t.LastDeliveredAt = t.Delivered+1, o.At
	} else {
		t.LastFailedAt, t.LastFailure = o.At, o.Failure
	}
	if o.GivenUp {
		t.GivenUp++
	}
	m.tallies[t.Webhook] = t
	if o.Delivered || o.GivenUp {
		delete(m.items, key(o.Item))
	} else if _, ok := m.items[key(o.Item)]; ok {
		m.items[key(o.Item)] = o.Item
	}
	return nil
}

func (m *memStore) Tallies(context.Context) ([]event.Tally, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(
		maps.Values(m.tallies),
		func(a, b event.Tally) int { return cmp.Compare(a.Webhook, b.Webhook) },
	), nil
}

func (m *memStore) ForgetWebhooks(_ context.Context, except []string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.items)
	maps.DeleteFunc(m.items, func(_ [2]any, it event.Item) bool { return !slices.Contains(except, it.Webhook) })
	maps.DeleteFunc(m.tallies, func(name string, _ event.Tally) bool { return !slices.Contains(except, name) })
	return int64(before - len(m.items)), nil
}

func (m *memStore) NodesUp(context.Context) (map[sekisho.NodeID]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.up), nil
}

func (m *memStore) tally(webhook string) event.Tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tallies[webhook]
	t.Webhook = webhook
	return t
}

func (m *memStore) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items)
}

func (m *memStore) greatest() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

var errDisk = errors.New("disk full")

package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"sekisho"
	"sekisho/internal/node/fleet"
)

// countingStore counts the nodes that listings read.
type countingStore struct {
	*memStore
	read int
}

func (s *countingStore) NodeChanges(ctx context.Context, after int64) ([]*sekisho.Node, int64, error) {
	nodes, revision, err := s.memStore.NodeChanges(ctx, after)
	s.read += len(nodes)
	return nodes, revision, err
}

func (s *countingStore) Nodes(ctx context.Context) ([]*sekisho.Node, error) {
	nodes, err := s.memStore.Nodes(ctx)
	s.read += len(nodes)
	return nodes, err
}

// TestPagesReadOnlyChangedNodes: paging through all nodes reads each of them
// once; later listings read those that changed.
func TestPagesReadOnlyChangedNodes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const count = 5000
	f := setup(t)
	store := &countingStore{memStore: f.store}
	for i := range count {
		id := sekisho.NodeID(fmt.Sprintf("mi-%017x", i))
		f.store.nodes[id] = &sekisho.Node{
			ID:        id,
			PublicKey: []byte{1},
			Tags:      map[string]string{"Number": fmt.Sprint(i)},
		}
		f.store.touch(id)
	}
	all := fleet.New(fleet.Config{Store: store, Links: f.links})
	list := func(match func(*sekisho.Node) bool) (ids []sekisho.NodeID) {
		t.Helper()
		after := sekisho.NodeID("")
		for {
			page, more, err := all.Page(ctx, after, 50, match)
			must(t, err)
			for _, n := range page {
				ids = append(ids, n.ID)
				if n.PublicKey != nil {
					t.Fatal("a listing has public keys")
				}
			}
			if !more {
				return ids
			}
			after = page[len(page)-1].ID
		}
	}
	read := func(want int) {
		t.Helper()
		if store.read != want {
			t.Errorf("read %d nodes, want %d", store.read, want)
		}
		store.read = 0
	}
	ids := list(nil)
	if len(ids) != count || !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != count {
		t.Errorf("%d nodes, in order: %t", len(ids), slices.IsSorted(ids))
	}
	read(count)
	odd := func(n *sekisho.Node) bool { return n.ID[len(n.ID)-1]&1 == 1 }
	if got := len(list(odd)); got != count/2 {
		t.Errorf("%d nodes with an odd number", got)
	}
	read(0)

	must(t, all.Deregister(ctx, ids[7]))
	must(t, all.SetRole(ctx, ids[8], "other"))
	f.store.nodes["mi-fffffffffffffffff"] = &sekisho.Node{ID: "mi-fffffffffffffffff"}
	f.store.touch("mi-fffffffffffffffff")
	got := list(nil)
	read(3)
	want := append(slices.Delete(slices.Clone(ids), 7, 8), "mi-fffffffffffffffff")
	if !slices.Equal(got, want) {
		t.Errorf("%d nodes after the changes, want %d", len(got), len(want))
	}
	if other := list(func(n *sekisho.Node) bool { return n.IAMRole == "other" }); !slices.Equal(other, ids[8:9]) {
		t.Errorf("nodes with the other role: %v", other)
	}
	read(0)
}

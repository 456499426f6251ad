package fleet

import (
	"context"
	"slices"
	"strings"
	"sync"

	"sekisho"
)

// nodeIndex is a copy in memory of all managed nodes, so that listings neither
// read nor decode every node for every page. Before each use it reads the nodes
// that changed since, on this server or another one. The zero value is empty.
type nodeIndex struct {
	mu       sync.Mutex
	revision int64
	// nodes is sorted by ID. Neither the slice nor a node in it is ever modified: a changed node is
	// replaced, in a new slice.
	nodes []*sekisho.Node
}

func compareNodes(a, b *sekisho.Node) int { return strings.Compare(string(a.ID), string(b.ID)) }

// current returns the managed nodes by ID. The result must not be changed.
func (x *nodeIndex) current(ctx context.Context, store NodeStore) ([]*sekisho.Node, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	changed, revision, err := store.NodeChanges(ctx, x.revision)
	if err != nil {
		return nil, err
	}
	if len(changed) > 0 {
		x.nodes = merged(x.nodes, changed)
	}
	x.revision = revision
	return x.nodes, nil
}

// merged returns nodes, which are sorted, with the changed ones replaced,
// added or, if they were deregistered, removed.
func merged(nodes, changed []*sekisho.Node) []*sekisho.Node {
	changed = slices.Clone(changed)
	slices.SortFunc(changed, compareNodes)
	out := make([]*sekisho.Node, 0, len(nodes)+len(changed))
	for _, c := range changed {
		i, found := slices.BinarySearchFunc(nodes, c, compareNodes)
		out = append(out, nodes[:i]...)
		if nodes = nodes[i:]; found {
			nodes = nodes[1:]
		}
		if c.DeregisteredAt.IsZero() {
			out = append(out, c)
		}
	}
	return append(out, nodes...)
}

// Nodes returns every managed node, by ID, without its public key. Callers may
// change the slice but not the nodes.
func (f *Fleet) Nodes(ctx context.Context) ([]*sekisho.Node, error) {
	nodes, err := f.index.current(ctx, f.store)
	return slices.Clone(nodes), err
}

// Named returns the managed nodes among those with the given IDs, without their public keys.
// Callers must not change them.
func (f *Fleet) Named(ctx context.Context, ids []sekisho.NodeID) ([]*sekisho.Node, error) {
	nodes, err := f.index.current(ctx, f.store)
	if err != nil {
		return nil, err
	}
	var found []*sekisho.Node
	seen := make(map[sekisho.NodeID]bool, len(ids))
	for _, nodeID := range ids {
		if seen[nodeID] {
			continue
		}
		seen[nodeID] = true
		if i, ok := slices.BinarySearchFunc(nodes, &sekisho.Node{ID: nodeID}, compareNodes); ok {
			found = append(found, nodes[i])
		}
	}
	return found, nil
}

// Page returns at most limit of the managed nodes that match, by ID, from the first one after a
// given ID. more means that others follow. Nodes have no public keys; callers must not change
// them. A nil match matches all nodes.
func (f *Fleet) Page(
	ctx context.Context, after sekisho.NodeID, limit int, match func(n *sekisho.Node) bool,
) (page []*sekisho.Node, more bool, err error) {
	nodes, err := f.index.current(ctx, f.store)
	if err != nil {
		return nil, false, err
	}
	i, found := slices.BinarySearchFunc(nodes, &sekisho.Node{ID: after}, compareNodes)
	if found {
		i++
	}
	for _, n := range nodes[i:] {
		if match != nil && !match(n) {
			continue
		}
		if len(page) == limit {
			return page, true, nil
		}
		page = append(page, n)
	}
	return page, false, nil
}

// Warm reads all nodes into memory, so that the first listing is as fast as the
// others.
func (f *Fleet) Warm(ctx context.Context) error {
	_, err := f.index.current(ctx, f.store)
	return err
}

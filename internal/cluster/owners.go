package cluster

import (
	"context"
	"time"

	"sekisho"
)

// overlap is how far back each reading of node owners reaches: a transaction commits after the time that it writes.
const overlap = 5 * time.Second

// refreshNodes reads which member has which node.
func (c *Cluster) refreshNodes(ctx context.Context) error {
	c.mu.Lock()
	since := c.seenNode
	c.mu.Unlock()
	if !since.IsZero() {
		since = since.Add(-overlap)
	}
	rows, now, err := c.cfg.Store.NodesSince(ctx, since)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range rows {
		if n.Member == "" {
			delete(c.nodes, n.Node)
		} else {
			c.nodes[n.Node] = n
		}
	}
	c.seenNode = now
	return nil
}

// Remote returns the owner of a node that another live member has, as of the last renewal.
func (c *Cluster) Remote(node sekisho.NodeID) (NodeRow, Owner, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.nodes[node]
	if !ok || n.Member == c.cfg.Name {
		return NodeRow{}, Owner{}, false
	}
	m := c.members[n.Member]
	if m == nil || !m.Live || m.Epoch != n.Epoch {
		return NodeRow{}, Owner{}, false
	}
	return n, Owner{Member: m.Name, Address: m.Address, Epoch: m.Epoch, Live: true}, true
}

// own reports whether o is this process.
func (c *Cluster) own(o Owner) bool { return o.Member == c.cfg.Name && o.Epoch == c.Epoch() }

// NodeOwner reads the owner of a node. own reports whether it is this process; owner.Live whether it is another one
// that runs.
func (c *Cluster) NodeOwner(ctx context.Context, node sekisho.NodeID) (owner Owner, own bool, err error) {
	owner, err = c.cfg.Store.NodeOwner(ctx, node)
	return owner, c.own(owner), err
}

// ClaimNode makes this member the owner of a node.
func (c *Cluster) ClaimNode(ctx context.Context, node sekisho.NodeID, source, process string) error {
	ok, err := c.cfg.Store.ClaimNode(ctx, NodeRow{
		Node: node, Member: c.cfg.Name, Epoch: c.Epoch(), Source: source, Process: process,
	})
	if err == nil && !ok {
		err = c.refusal()
	}
	return err
}

// ReleaseNode ends the ownership of a node, and reports whether this process was its owner.
func (c *Cluster) ReleaseNode(ctx context.Context, node sekisho.NodeID) (bool, error) {
	return c.cfg.Store.ReleaseNode(ctx, node, c.cfg.Name, c.Epoch())
}

// refusal is the error of a member without a lease.
func (c *Cluster) refusal() error {
	return sekisho.Errorf(sekisho.CodeUnavailable, "This member of the cluster cannot act: %s.", errLost).
		WithHint("Retry in a few seconds; another member takes over.")
}

// ClaimSession makes this member the owner of a session, unless another live member is.
func (c *Cluster) ClaimSession(ctx context.Context, session sekisho.SessionID) error {
	if c.Problem() != "" {
		return c.refusal()
	}
	epoch := c.Epoch()
	before, err := c.cfg.Store.SessionOwner(ctx, session)
	if err != nil {
		return err
	}
	o, err := c.cfg.Store.ClaimSession(ctx, session, c.cfg.Name, epoch)
	if err != nil {
		return err
	}
	switch {
	case o.Member == "":
		return c.refusal()
	case o.Member != c.cfg.Name || o.Epoch != epoch:
		return sekisho.Errorf(sekisho.CodeConflict, "Session %s is on member %s.", session, o.Member)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || c.fenced {
		return c.refusal()
	}
	if again := before.Member == c.cfg.Name && before.Term+1 >= o.Term; o.Term > 1 && !again {
		c.taken[session] = true
	}
	return nil
}

// TakenOver reports whether another member had a session of this member before.
func (c *Cluster) TakenOver(session sekisho.SessionID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[session]
}

// Forget drops what this member remembers of a session that has ended.
func (c *Cluster) Forget(session sekisho.SessionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.taken, session)
}

// SessionOwner reads the owner of a session.
func (c *Cluster) SessionOwner(ctx context.Context, session sekisho.SessionID) (owner Owner, own bool, err error) {
	owner, err = c.cfg.Store.SessionOwner(ctx, session)
	return owner, c.own(owner), err
}

// maxOrphans bounds one reading of what members without a lease have left.
const maxOrphans = 500

// OrphanNodes returns nodes whose owner is gone.
func (c *Cluster) OrphanNodes(ctx context.Context) ([]NodeRow, error) {
	return c.cfg.Store.OrphanNodes(ctx, maxOrphans)
}

// ReleaseOrphan ends the ownership of a member that is gone, and reports whether it had not ended.
func (c *Cluster) ReleaseOrphan(ctx context.Context, n NodeRow) (bool, error) {
	return c.cfg.Store.ReleaseNode(ctx, n.Node, n.Member, n.Epoch)
}

// orphanAfter is how long a session waits for a member that its client or agent reaches, before the coordinator claims
// it.
const orphanAfter = 15 * time.Second

// OrphanSessions returns active sessions whose owner has been gone for a while.
func (c *Cluster) OrphanSessions(ctx context.Context) ([]sekisho.SessionID, error) {
	return c.cfg.Store.OrphanSessions(ctx, orphanAfter, maxOrphans)
}

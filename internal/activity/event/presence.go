package event

import (
	"context"
	"sync"
	"time"

	"sekisho"
)

// presence publishes events of nodes that connect and disconnect. A node that is
// disconnected briefly, as at every restart of the server, is not down.
type presence struct {
	bus   *Bus
	began time.Time

	mu    sync.Mutex
	dirty map[sekisho.NodeID]bool
	wake  chan struct{} // capacity 1

	// Only run uses these.
	up   map[sekisho.NodeID]bool      // as of the node's last event
	away map[sekisho.NodeID]time.Time // since when, of disconnected nodes that count as up
}

func newPresence(ctx context.Context, b *Bus) (*presence, error) {
	up, err := b.cfg.Store.NodesUp(ctx)
	if up == nil {
		up = map[sekisho.NodeID]bool{}
	}
	return &presence{
		bus: b, began: b.cfg.Now(), dirty: map[sekisho.NodeID]bool{}, wake: make(chan struct{}, 1),
		up: up, away: map[sekisho.NodeID]time.Time{},
	}, err
}

func (p *presence) changed(id sekisho.NodeID) {
	p.mu.Lock()
	p.dirty[id] = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// checkInterval is how often disconnected nodes are checked.
const checkInterval = time.Second

// run checks nodes until ctx ends: all of them once, then those that change.
func (p *presence) run(ctx context.Context) {
	if p.bus.cfg.Nodes == nil {
		return
	}
	if err := p.all(ctx); err != nil && ctx.Err() == nil {
		p.bus.cfg.Log.Error("cannot determine which nodes changed while the server was stopped", "error", err)
	}
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	ticking := true
	for {
		switch some := len(p.away) > 0; {
		case some && !ticking:
			tick.Reset(checkInterval)
			ticking = true
		case !some && ticking:
			tick.Stop() // an idle server does not wake up
			ticking = false
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			p.mu.Lock()
			dirty := p.dirty
			p.dirty = map[sekisho.NodeID]bool{}
			p.mu.Unlock()
			for id := range dirty {
				p.check(ctx, id)
			}
		case <-tick.C:
			for id, since := range p.away {
				if p.bus.cfg.Now().Sub(since) >= p.bus.cfg.DownAfter {
					p.check(ctx, id)
				}
			}
		}
	}
}

// all checks every node.
func (p *presence) all(ctx context.Context) error {
	nodes, err := p.bus.cfg.Nodes.Nodes(ctx)
	if err != nil {
		return err
	}
	seen := map[sekisho.NodeID]bool{}
	for _, n := range nodes {
		seen[n.ID] = true
		p.see(n)
	}
	for id, up := range p.up {
		if up && !seen[id] {
			p.check(ctx, id)
		}
	}
	return nil
}

// check reads a node and compares it with its last event. It retries later if that fails.
func (p *presence) check(ctx context.Context, id sekisho.NodeID) {
	n, err := p.bus.cfg.Nodes.Node(ctx, id)
	switch {
	case err == nil:
		p.see(n)
	case sekisho.IsNotFound(err):
		delete(p.away, id)
	case ctx.Err() == nil:
		p.bus.cfg.Log.Error("cannot determine whether a node is up; retrying", "node", id, "error", err)
		p.away[id] = p.bus.cfg.Now().Add(checkInterval - p.bus.cfg.DownAfter)
	}
}

// see publishes an event if n's state differs from that of its last event.
func (p *presence) see(n *sekisho.Node) {
	up := p.up[n.ID]
	switch {
	case n.DeregisteredAt.IsZero() && !n.ConnectedAt.IsZero():
		delete(p.away, n.ID)
		if !up {
			p.up[n.ID] = true
			p.bus.Publish(p.bus.cfg.Origin.Up(n))
		}
	case !up:
		delete(p.away, n.ID)
	default:
		// Nodes could not connect while the server was stopped.
		since := n.DisconnectedAt
		if since.Before(p.began) {
			since = p.began
		}
		now := p.bus.cfg.Now()
		if n.DeregisteredAt.IsZero() && now.Sub(since) < p.bus.cfg.DownAfter {
			p.away[n.ID] = since
			return
		}
		delete(p.away, n.ID)
		p.up[n.ID] = false
		p.bus.Publish(p.bus.cfg.Origin.Down(n, now))
	}
}

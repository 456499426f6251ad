package event

import (
	"context"
	"sync"
	"time"

	"sekisho"
)

// presence makes events of nodes that come and go. A node that is away for a
// short while, as at every restart of the server, is not down.
type presence struct {
	bus   *Bus
	began time.Time

	mu    sync.Mutex
	dirty map[sekisho.NodeID]bool
	wake  chan struct{} // capacity 1

	// Only run uses these.
	told map[sekisho.NodeID]bool      // what the last event said
	away map[sekisho.NodeID]time.Time // since when, of those said to be up
}

func newPresence(ctx context.Context, b *Bus) (*presence, error) {
	told, err := b.cfg.Store.NodesTold(ctx)
	if told == nil {
		told = map[sekisho.NodeID]bool{}
	}
	return &presence{
		bus: b, began: b.cfg.Now(), dirty: map[sekisho.NodeID]bool{}, wake: make(chan struct{}, 1),
		told: told, away: map[sekisho.NodeID]time.Time{},
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

// look is how often it is looked whether a node has been away for long.
const look = time.Second

// run looks at nodes until ctx ends: at all of them once, then at those that
// change.
func (p *presence) run(ctx context.Context) {
	if p.bus.cfg.Nodes == nil {
		return
	}
	if err := p.all(ctx); err != nil && ctx.Err() == nil {
		p.bus.cfg.Log.Error("which nodes came and went while the server was stopped is not known", "error", err)
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
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

// all looks at every node.
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
	for id, up := range p.told {
		if up && !seen[id] {
			p.check(ctx, id)
		}
	}
	return nil
}

// check looks at a node, and at it again later if it cannot.
func (p *presence) check(ctx context.Context, id sekisho.NodeID) {
	n, err := p.bus.cfg.Nodes.Node(ctx, id)
	switch {
	case err == nil:
		p.see(n)
	case sekisho.IsNotFound(err):
		delete(p.away, id)
	case ctx.Err() == nil:
		p.bus.cfg.Log.Error("whether a node is up is not known", "node", id, "error", err)
		p.away[id] = p.bus.cfg.Now().Add(look - p.bus.cfg.DownAfter)
	}
}

// see compares how a node stands with what was said of it last.
func (p *presence) see(n *sekisho.Node) {
	up := p.told[n.ID]
	switch {
	case n.DeregisteredAt.IsZero() && !n.ConnectedAt.IsZero():
		delete(p.away, n.ID)
		if !up {
			p.told[n.ID] = true
			p.bus.Publish(p.bus.cfg.Origin.Up(n))
		}
	case !up:
		delete(p.away, n.ID)
	default:
		// While the server was stopped nobody could connect.
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
		p.told[n.ID] = false
		p.bus.Publish(p.bus.cfg.Origin.Down(n, now))
	}
}

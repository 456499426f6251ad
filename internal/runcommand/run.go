package runcommand

import (
	"context"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// Run sends commands to nodes and ends those that have timed out, until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	var sends sync.WaitGroup
	defer sends.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-timer.C:
		}
		timer.Reset(time.Until(e.pass(ctx, &sends)))
	}
}

// idle is the longest time between two passes.
const idle = time.Hour

// pass does all work that is due and returns when more will be.
func (e *Engine) pass(ctx context.Context, sends *sync.WaitGroup) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := time.Now().Add(idle)
	for _, r := range e.active {
		at, err := e.advance(ctx, r, sends)
		if err != nil {
			if ctx.Err() == nil {
				e.cfg.Log.Error("could not advance a command", "command", r.cmd.ID, "error", err)
			}
			at = time.Now().Add(retryPause)
		}
		if at.Before(next) {
			next = at
		}
	}
	for st := range e.stops {
		delete(e.stops, st)
		sends.Go(func() { e.sendStop(ctx, st) })
	}
	return next
}

// sendStop sends a cancellation to a node, once.
func (e *Engine) sendStop(ctx context.Context, st stop) {
	m := mgs.NewCancelCommand(string(st.node), st.command)
	if err := e.deliver(ctx, st.node, m.AppendTo(nil)); err != nil {
		e.cfg.Log.Debug("could not deliver a cancellation", "command", st.command, "node", st.node, "error", err)
	}
}

// deliver sends a frame, at most maxSends at a time.
func (e *Engine) deliver(ctx context.Context, node sekisho.NodeID, frame []byte) error {
	select {
	case e.sends <- struct{}{}:
		defer func() { <-e.sends }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return e.cfg.Links.Deliver(ctx, node, frame)
}

// advance does the work that is due for one command.
func (e *Engine) advance(ctx context.Context, r *running, sends *sync.WaitGroup) (time.Time, error) {
	now := time.Now()
	next := now.Add(idle)
	due := func(t time.Time) bool {
		if !now.Before(t) {
			return true
		}
		if t.Before(next) {
			next = t
		}
		return false
	}
	ed := r.edit()
	var orphans []sekisho.NodeID
	busy := 0
	for _, p := range r.parts {
		switch p.inv.Status {
		case Pending, Delayed:
			switch {
			case due(r.cmd.RequestedAt.Add(r.cmd.Timeout)):
				ed.end(p, DeliveryTimedOut, "The command did not reach the node in time.")
				if p.sent {
					orphans = append(orphans, p.inv.Node)
				}
			case r.cmd.stopped() && !p.sent:
				ed.end(
					p,
					Terminated,
					"The command was not sent to the node, because it failed on too many other nodes.",
				)
			case p.slot && !e.cfg.Links.Connected(p.inv.Node):
				p.slot = false
			}
		case InProgress, Cancelling:
			if due(r.cmd.ExpiresAt().Add(grace)) {
				s := ExecutionTimedOut
				if p.inv.Status == Cancelling {
					s = Cancelled
				}
				ed.end(p, s, "The node did not report the end of the command in time.")
				orphans = append(orphans, p.inv.Node)
			}
		}
		if p.slot && ed.changed[p] == nil {
			busy++
		}
	}
	var send []*part
	for _, p := range r.parts {
		if ed.changed[p] != nil || p.inv.Status.Over() || p.inv.Status == InProgress || p.sending {
			continue
		}
		if !e.cfg.Links.Connected(p.inv.Node) {
			if p.inv.Status == Pending {
				ed.of(p).Status = Delayed
			}
			continue
		}
		if !due(p.next) {
			continue
		}
		if !p.slot {
			if busy >= r.cmd.concurrency() {
				continue
			}
			busy++
			p.slot = true
		}
		send = append(send, p)
	}
	if err := e.commit(ctx, ed); err != nil {
		return next, err
	}
	for _, n := range orphans {
		e.queueStop(n, r.cmd.ID)
	}
	for _, p := range send {
		if p.inv.Status == Cancelling {
			e.pauseOf(p)
			e.queueStop(p.inv.Node, r.cmd.ID)
		} else {
			p.sending, p.sent = true, true
			cmd, node := r.cmd, p.inv.Node
			sends.Go(func() { e.send(ctx, cmd, node, p) })
		}
		if p.next.Before(next) && !p.sending {
			next = p.next
		}
	}
	return next, nil
}

// pauseOf sets the time of the next send to p.
func (e *Engine) pauseOf(p *part) {
	p.pause = min(max(firstPause, 2*p.pause), lastPause)
	p.next = time.Now().Add(p.pause)
}

// send sends a node its command. The agent acknowledges it separately.
func (e *Engine) send(ctx context.Context, c *Command, node sekisho.NodeID, p *part) {
	frame, err := c.frame(node)
	if err == nil {
		err = e.deliver(ctx, node, frame)
	}
	if err != nil {
		e.cfg.Log.Debug("could not deliver a command", "command", c.ID, "node", node, "error", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p.sending = false
	e.pauseOf(p)
	e.wakeUp()
}

// Package admission admits agents at a bounded rate, so that thousands of agents that reconnect at once, after a
// restart or a power cut, do not delay other callers. Agents queue for a short time; if the queue is too long, the
// server refuses them and says when to retry.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Config is the configuration of a Gate.
type Config struct {
	Name string  // what is admitted, for the log: "control channels"
	Rate float64 // admissions per second; 0 = unlimited
	// Burst is the number admitted at once; 0 = the number of half a second.
	Burst int
	// Wait bounds the time in the queue; 0 = 8 s. It must be shorter than the
	// 15 s after which agents abandon a call.
	Wait time.Duration
	Log  *slog.Logger
}

// Busy is the error when the queue is too long.
type Busy struct {
	Name  string
	After time.Duration // when to retry
}

// Error implements error.
func (b *Busy) Error() string {
	return fmt.Sprintf("Too many %s. Retry in %d seconds.", b.Name, int(b.After.Seconds())+1)
}

// Gate admits callers at a bounded rate, first come, first served.
type Gate struct {
	cfg      Config
	interval time.Duration // between two admissions; 0 = unlimited

	mu      sync.Mutex
	last    time.Time // when the last caller was or will be admitted
	queued  queueStats
	waiting int
	logged  time.Time // when the queue was last logged
	open    bool      // the log says that agents wait
}

// queueStats counts callers since the log said that the queue is empty.
type queueStats struct{ waited, refused int }

// logEvery is how often a queue is logged. Callers are not known yet: one that comes again and again
// must not fill the log.
const logEvery = 10 * time.Second

// New returns a Gate.
func New(cfg Config) *Gate {
	g := &Gate{cfg: cfg}
	if g.cfg.Burst == 0 {
		g.cfg.Burst = max(1, int(cfg.Rate/2))
	}
	if g.cfg.Wait == 0 {
		g.cfg.Wait = 8 * time.Second
	}
	if cfg.Rate > 0 {
		g.interval = time.Duration(float64(time.Second) / cfg.Rate)
	}
	return g
}

// Enter returns when the caller is admitted. The error is a [*Busy] or the error of ctx. A nil
// Gate admits all callers.
func (g *Gate) Enter(ctx context.Context) error {
	if g == nil {
		return nil
	}
	delay, ok := g.place(time.Now())
	if delay <= 0 {
		return nil
	}
	if !ok {
		g.note(0, 1)
		return &Busy{Name: g.cfg.Name, After: delay}
	}
	g.note(1, 0)
	defer g.leave()
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		g.last = g.last.Add(-g.interval) // give the place to the next caller
		g.mu.Unlock()
		return ctx.Err()
	}
}

// place takes the next place in the queue, unless the wait would be too long,
// and returns the wait.
func (g *Gate) place(now time.Time) (delay time.Duration, ok bool) {
	if g.interval == 0 {
		return 0, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.last
	if earliest := now.Add(-time.Duration(g.cfg.Burst) * g.interval); at.Before(earliest) {
		at = earliest
	}
	at = at.Add(g.interval)
	if delay = at.Sub(now); delay > g.cfg.Wait {
		return delay, false
	}
	g.last = at
	return delay, true
}

// note counts a caller that was not admitted at once.
func (g *Gate) note(waits, refused int) {
	g.mu.Lock()
	g.waiting += waits
	g.queued.waited += waits
	g.queued.refused += refused
	now := time.Now()
	due := g.logged.IsZero() || now.Sub(g.logged) >= logEvery
	if due {
		g.logged, g.open = now, true
	}
	c, waiting := g.queued, g.waiting
	g.mu.Unlock()
	if due {
		g.cfg.Log.Warn("agents arrive faster than they are admitted", "what", g.cfg.Name, "per_second", g.cfg.Rate,
			"waiting", waiting, "waited", c.waited, "refused", c.refused)
	}
}

func (g *Gate) leave() {
	g.mu.Lock()
	g.waiting--
	done, c := g.waiting == 0 && g.open, g.queued
	if done {
		g.queued, g.open = queueStats{}, false
	}
	g.mu.Unlock()
	if done {
		g.cfg.Log.Info("all waiting agents were admitted", "what", g.cfg.Name, "waited", c.waited, "refused", c.refused)
	}
}

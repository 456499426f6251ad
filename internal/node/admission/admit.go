// Package admission lets agents in at a bounded rate, so that thousands of them
// that come back at once, after a restart or when the power returns, do not
// hold up everybody else. Who does not get in at once waits; who would wait too
// long is told to come again.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Config says how a Gate works.
type Config struct {
	Name string  // what is let in, for the log: "control channels"
	Rate float64 // how many a second; 0 = no bound
	// Burst is how many may come at once; 0 = as many as in half a second.
	Burst int
	// Wait is the longest that anyone is kept waiting; 0 = 8 s. It must be
	// shorter than the time after which agents give up a call, which is 15 s.
	Wait time.Duration
	Log  *slog.Logger
}

// Busy is the error of those who are to come again.
type Busy struct {
	Name string
	// After is when there will be room.
	After time.Duration
}

// Error implements error.
func (b *Busy) Error() string {
	return fmt.Sprintf("There are too many %s at once. Come again in %d seconds.", b.Name, int(b.After.Seconds())+1)
}

// Gate lets in at a bounded rate, first come, first served.
type Gate struct {
	cfg      Config
	interval time.Duration // between two who are let in; 0 = no bound

	mu      sync.Mutex
	last    time.Time // when the last who came was let in, or will be
	crowd   crowd     // since it was last empty
	waiting int
	logged  time.Time
}

// crowd is what became of those who came while there was no room.
type crowd struct{ waited, refused int }

// logEvery is how often the log tells of a crowd that lasts.
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

// Enter returns when the caller is let in. Its error is a [*Busy], or that of
// ctx. A nil Gate lets in all.
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
		g.last = g.last.Add(-g.interval) // the place is the next one's
		g.mu.Unlock()
		return ctx.Err()
	}
}

// place takes the next place in the queue, unless it is too far back, and
// returns how long that one waits.
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

// note counts one who came while there was no room.
func (g *Gate) note(waits, refused int) {
	g.mu.Lock()
	g.waiting += waits
	g.crowd.waited += waits
	g.crowd.refused += refused
	now := time.Now()
	tell := g.logged.IsZero() || now.Sub(g.logged) >= logEvery
	if tell {
		g.logged = now
	}
	c, waiting := g.crowd, g.waiting
	g.mu.Unlock()
	if tell {
		g.cfg.Log.Warn("agents come faster than they are let in", "what", g.cfg.Name, "per_second", g.cfg.Rate,
			"waiting", waiting, "waited", c.waited, "refused", c.refused)
	}
}

func (g *Gate) leave() {
	g.mu.Lock()
	g.waiting--
	over, c := g.waiting == 0, g.crowd
	if over {
		g.crowd, g.logged = crowd{}, time.Time{}
	}
	g.mu.Unlock()
	if over {
		g.cfg.Log.Info("all waiting agents were let in", "what", g.cfg.Name, "waited", c.waited, "refused", c.refused)
	}
}

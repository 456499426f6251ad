package server

import (
	"context"
	"time"

	"sekisho/internal/session/broker"
)

// wakeup wakes the goroutine that waits for it. Those that arrive before it waits
// count once.
type wakeup chan struct{}

func newWakeup() wakeup { return make(wakeup, 1) }

func (w wakeup) send() {
	select {
	case w <- struct{}{}:
	default: // it is sent already
	}
}

// every calls do at an interval until ctx ends. The first call is one interval from now.
func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// whileActive calls check at an interval while there are active sessions that q
// selects, until ctx ends. It waits for started when there are none, so that an idle
// server does not wake up. A session can be left from an earlier process.
func (s *Server) whileActive(
	ctx context.Context, started wakeup, every time.Duration, q broker.Query, check func(ctx context.Context) error,
	what string,
) {
	q.Active, q.Limit = true, 1
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		some, err := s.broker.Sessions(ctx, q)
		if err == nil && len(some) == 0 {
			tick.Stop()
			select {
			case <-ctx.Done():
				return
			case <-started:
			}
			tick.Reset(every)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err = check(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("a periodic check failed", "check", what, "error", err) // retried at the next tick
		}
	}
}

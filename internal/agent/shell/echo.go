package shell

import (
	"context"
	"sync"
	"time"

	"sekisho/internal/agent/pty"
)

const (
	// echoPoll bounds the delay of reporting a change of the terminal's echo without output.
	echoPoll = 50 * time.Millisecond
	// echoRepeat is the interval at which disabled echo is reported again, because the server may
	// have restarted.
	echoRepeat = time.Second
)

// echoWatch reports when the terminal stops and starts to echo, so that the
// server does not record passwords.
type echoWatch struct {
	process *pty.Process
	report  func(on bool) // nil = not needed

	mu       sync.Mutex
	off      bool
	reported time.Time // zero: never
}

func (w *echoWatch) check() {
	if w.report == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	off, now := !w.process.Echoes(), time.Now()
	if off == w.off && !w.reported.IsZero() && (!off || now.Sub(w.reported) < echoRepeat) {
		return
	}
	w.off, w.reported = off, now
	w.report(!off)
}

func (w *echoWatch) run(ctx context.Context) {
	if w.report == nil {
		return
	}
	tick := time.NewTicker(echoPoll)
	defer tick.Stop()
	for {
		w.check()
		select {
		case <-ctx.Done():
			return
		case <-w.process.Exited():
			return
		case <-tick.C:
		}
	}
}

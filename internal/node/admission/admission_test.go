package admission_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/node/admission"
)

func gate(rate float64, burst int, log *bytes.Buffer) *admission.Gate {
	return admission.New(
		admission.Config{
			Name:  "control channels",
			Rate:  rate,
			Burst: burst,
			Log:   slog.New(slog.NewTextHandler(log, nil)),
		},
	)
}

// TestManyAgentsAtOnce: of five thousand agents that arrive at once, those
// that fit are admitted at the configured rate and in order. The others get an
// error with the time to retry.
func TestManyAgentsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := gate(200, 100, &log)
		var mu sync.Mutex
		var in []time.Duration
		refused := 0
		began := time.Now()
		var all sync.WaitGroup
		for range 5000 {
			all.Go(func() {
				err := g.Enter(t.Context())
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					in = append(in, time.Since(began))
					return
				}
				busy, ok := errors.AsType[*admission.Busy](err)
				if !ok || busy.After <= 8*time.Second || busy.After > 9*time.Second {
					t.Errorf("%v", err)
				}
				refused++
			})
		}
		all.Wait()
		// 100 at once, and those of the next eight seconds.
		if len(in) < 1690 || len(in) > 1710 || refused != 5000-len(in) {
			t.Errorf("%d were let in, %d refused", len(in), refused)
		}
		for i, d := range in {
			if due := time.Duration(max(0, i-99)) * 5 * time.Millisecond; d < due-6*time.Millisecond ||
				d > due+6*time.Millisecond {
				t.Fatalf("number %d came in after %s, not %s", i, d, due)
			}
		}
		if !strings.Contains(log.String(), "level=WARN") ||
			!strings.Contains(log.String(), "waited=1600 refused=3300") ||
			strings.Count(log.String(), "\n") > 3 {
			t.Errorf("%s", log.String())
		}
		if err := g.Enter(t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// An agent that leaves the queue makes room for another.
func TestLeavingTheQueueMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate(1, 1, new(bytes.Buffer))
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- g.Enter(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		began := time.Now()
		if err := g.Enter(t.Context()); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// A caller that returns repeatedly, so that the queue fills and empties each
// time, does not fill the log.
func TestRepeatedQueueIsLoggedRarely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := gate(100, 1, &log)
		for range 2000 { // 20 s
			if err := g.Enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(log.String(), "\n"); n < 2 || n > 6 {
			t.Errorf("%d lines are logged:\n%.2000s", n, log.String())
		}
		// The counts cover the whole time.
		if !strings.Contains(log.String(), "waited=1000") {
			t.Errorf("%s", log.String())
		}
	})
}

func TestNoLimit(t *testing.T) {
	t.Parallel()
	g := gate(0, 0, new(bytes.Buffer))
	for range 10_000 {
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/agent/control"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

type nobody struct{}

func (nobody) Start(mgs.AgentTaskPayload) {}
func (nobody) Cancel(string)              {}
func (nobody) Notify(string, string)      {}
func (nobody) Type(string, []byte)        {}

// TestNeverGivesUp: the agent reconnects after the server was down for a day.
func TestNeverGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		began := time.Now()
		c := control.New(control.Config{
			Open: func(context.Context) (*link.Conn, error) {
				tries = append(tries, time.Now())
				return nil, errors.New("connection refused")
			},
			Sessions: nobody{},
			Log:      slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		c.Run(ctx)

		if tries[0] != began || tries[1] != began {
			t.Errorf("the first two attempts came after %v and %v", tries[0].Sub(began), tries[1].Sub(began))
		}
		last := time.Duration(0)
		for i := 2; i < len(tries); i++ {
			gap := tries[i].Sub(tries[i-1])
			if gap < 50*time.Millisecond || gap > 15*time.Second {
				t.Fatalf("pause %d is %v", i, gap)
			}
			last = max(last, gap)
		}
		if last < 10*time.Second {
			t.Errorf("pauses grow only to %v, which would overload a recovering server", last)
		}
		if since := tries[len(tries)-1].Sub(began); since < 24*time.Hour-15*time.Second {
			t.Errorf("the last attempt was after %v", since)
		}
	})
}

// TestRetryAfter: an agent that an overloaded server asks to wait retries
// after one to two times that long.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		c := control.New(control.Config{
			Open: func(context.Context) (*link.Conn, error) {
				tries = append(tries, time.Now())
				return nil, fmt.Errorf("open: %w", &uplink.APIError{Status: 429, After: 20 * time.Second})
			},
			Sessions: nobody{},
			Log:      slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		c.Run(ctx)
		var early, late int
		for i := 1; i < len(tries); i++ {
			gap := tries[i].Sub(tries[i-1])
			if gap < 50*time.Millisecond || gap > 40*time.Second {
				t.Fatalf("pause %d is %v", i, gap)
			}
			if gap < 20*time.Second {
				early++
			} else {
				late++
			}
		}
		if early < 60 || late < 60 {
			t.Errorf("%d pauses of less than 20 s, %d of more", early, late)
		}
	})
}

// TestRetryNow: an operator who has repaired the network need not wait for the
// next attempt, and a request while no attempt is pending causes none later.
func TestRetryNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		c := control.New(control.Config{
			Open: func(context.Context) (*link.Conn, error) {
				tries = append(tries, time.Now())
				return nil, fmt.Errorf("open: %w", &uplink.APIError{Status: 429, After: time.Hour})
			},
			Sessions: nobody{},
			Log:      slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		c.RetryNow() // nothing waits yet
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		synctest.Wait()
		if len(tries) != 1 {
			t.Fatalf("%d attempts before the request", len(tries))
		}
		c.RetryNow()
		synctest.Wait()
		if len(tries) != 2 || tries[1] != tries[0] {
			t.Errorf("attempts after the request: %v", tries)
		}
		cancel()
		<-done
	})
}

func TestPendingIsBounded(t *testing.T) {
	t.Parallel()
	c := control.New(control.Config{Sessions: nobody{}, Log: slog.New(slog.DiscardHandler)})
	for range 10_000 {
		c.Complete(mgs.TaskComplete{TaskID: "x"})
	}
	if got := c.Pending(); got != 4096 {
		t.Errorf("%d completions are kept, want 4096", got)
	}
}

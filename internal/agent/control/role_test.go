package control_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sekisho/internal/agent/control"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// pauses returns the pauses in a log.
type pauses struct {
	slog.Handler
	seen chan time.Duration
}

func (p pauses) Enabled(context.Context, slog.Level) bool { return true }

func (p pauses) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "retry_in" {
			p.seen <- a.Value.Duration()
		}
		return true
	})
	return nil
}

// TestAnotherRoleIsNoFailure: after each change of its role the agent
// reconnects immediately.
func TestAnotherRoleIsNoFailure(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := link.Accept(w, r, link.AcceptOptions{})
		if err != nil {
			return // the test ends
		}
		_ = conn.Close(link.CloseNormal, mgs.ReasonRoleChanged)
	}))
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(t.Context())
	log := pauses{slog.DiscardHandler, make(chan time.Duration)}
	c := control.New(control.Config{
		Open: func(ctx context.Context) (*link.Conn, error) {
			return link.Dial(ctx, "ws"+strings.TrimPrefix(srv.URL, "http"), link.DialOptions{})
		},
		Sessions:    nobody{},
		RoleChanged: func() {},
		Log:         slog.New(log),
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	for i := range 8 {
		if pause := <-log.seen; pause > 100*time.Millisecond {
			t.Errorf("pause %d is %v", i, pause)
		}
	}
	cancel()
	for {
		select {
		case <-log.seen:
		case <-done:
			return
		}
	}
}

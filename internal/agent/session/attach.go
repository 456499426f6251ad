package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// Keep-alive and reconnection of the data channel.
const (
	maxSilence  = 5 * time.Second // of a server, which pings every 4 s
	pongTimeout = 10 * time.Second
	maxBackoff  = 5 * time.Second
	// A connection that lasted this long resets the backoff.
	goodLife = 10 * time.Second
)

// DefaultPatience is how long a session outlives a lost connection.
const DefaultPatience = 10 * time.Minute

// errGone means that the server ended the session while the agent was disconnected.
var errGone = errors.New("the server has ended the session")

// attachment keeps a channel connected to the server.
type attachment struct {
	s  *Runner
	ch *datachannel.Channel

	mu     sync.Mutex
	conn   *link.Conn // the open connection, or nil
	parted bool       // nothing more will be sent: do not reconnect
}

// run connects and serves until ctx ends, the channel closes or an error is permanent, and returns
// the reason.
func (a *attachment) run(ctx context.Context) error {
	lost := time.Now()
	backoff := link.Backoff{Max: maxBackoff}
	for {
		conn, err := a.s.Open(ctx)
		if err == nil {
			opened := time.Now()
			err = a.serve(ctx, conn)
			if time.Since(opened) >= goodLife {
				lost = time.Now()
				backoff.Reset()
			}
		}
		a.mu.Lock()
		parted := a.parted
		a.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case parted:
			return nil
		case errors.Is(err, datachannel.ErrClosed):
			return err
		case uplink.SessionGone(err):
			return errGone
		case time.Since(lost) > a.s.Patience:
			return fmt.Errorf("no data channel for %v: %w", a.s.Patience, err)
		}
		wait := backoff.Next()
		a.s.Log.Info("data channel lost", "error", err, "retry_in", wait.Round(time.Millisecond))
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-a.ch.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func (a *attachment) serve(ctx context.Context, conn *link.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() { _ = conn.CloseNow() }() // it may already be closed
	if err := a.state(ctx, conn, mgs.SessionStateConnected); err != nil {
		return err
	}
	a.set(conn)
	defer a.set(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() { cancel(conn.Watch(ctx, maxSilence, pongTimeout)) })
	err := a.ch.Serve(ctx, link.NewFrames(conn))
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

func (a *attachment) set(conn *link.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = conn
}

func (a *attachment) state(ctx context.Context, conn *link.Conn, state string) error {
	m := mgs.NewAgentSessionState(string(a.s.id), state)
	return conn.Write(ctx, link.Binary, m.AppendTo(nil))
}

// terminating reports to the server, if connected, that nothing more will be sent.
func (a *attachment) terminating(ctx context.Context) {
	a.mu.Lock()
	conn := a.conn
	a.parted = true
	a.mu.Unlock()
	if conn == nil {
		return
	}
	if err := a.state(ctx, conn, mgs.SessionStateTerminating); err != nil {
		a.s.Log.Debug("could not report the end on the data channel", "error", err)
	}
}

// part closes the connection gracefully. Dropping it with unread data from the server could lose
// our own last messages.
func (a *attachment) part() {
	a.mu.Lock()
	conn := a.conn
	a.parted = true
	a.mu.Unlock()
	if conn != nil {
		_ = conn.Close(link.CloseNormal, "") // best effort
	}
}

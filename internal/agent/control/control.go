// Package control is the agent's end of its control channel: the standing
// connection over which the server starts and ends sessions, and learns how
// they ended. It is opened again for as long as the agent lives.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sekisho/internal/id"
	"sekisho/internal/link"
	"sekisho/internal/mgs"
)

// How the channel is watched, and how soon it is opened again.
const (
	pingInterval = 5 * time.Second
	pongTimeout  = 10 * time.Second
	minBackoff   = 100 * time.Millisecond
	maxBackoff   = 15 * time.Second
	// A connection that lived this long was a good one.
	goodLife = 10 * time.Second
)

// How often an end that the server has not taken note of is told again.
const (
	minResend = time.Second
	maxResend = 30 * time.Second
)

// maxPending bounds the ends that are kept to be told.
const maxPending = 4096

// Sessions are what the server commands. Neither method may block.
type Sessions interface {
	// Start starts a session, whose ID has been checked.
	Start(task mgs.AgentTaskPayload)
	// Cancel ends a session, if it runs.
	Cancel(session string)
}

// Config says what a Channel works with.
type Config struct {
	Open     func(ctx context.Context) (*link.Conn, error)
	Sessions Sessions
	// RoleChanged is called when the server says that the node has another
	// role now; may be nil.
	RoleChanged func()
	Log         *slog.Logger
}

// Channel is the control channel over all its connections.
type Channel struct {
	cfg  Config
	wake chan struct{} // there is something new to tell

	mu      sync.Mutex
	server  string        // address of the present connection; empty when there is none
	changed chan struct{} // closed when server changes
	pending []*ending     // oldest first
}

// ending is the end of a session that the server has yet to acknowledge.
type ending struct {
	task   mgs.TaskComplete
	id     mgs.UUID
	due    time.Time
	resend time.Duration
}

// New returns a channel that Run opens.
func New(cfg Config) *Channel {
	return &Channel{cfg: cfg, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Connected returns the server's address while the channel is open, and
// otherwise "". It also gives a channel that is closed when that changes.
func (c *Channel) Connected() (server string, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server, c.changed
}

func (c *Channel) setServer(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != addr {
		c.server = addr
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// Complete tells the server that a session has ended, again and again until
// it acknowledges.
func (c *Channel) Complete(task mgs.TaskComplete) {
	c.mu.Lock()
	if len(c.pending) >= maxPending {
		c.cfg.Log.Error("the end of a session will not be reported: too many wait", "session", c.pending[0].task.TaskID)
		c.pending = slices.Delete(c.pending, 0, 1)
	}
	c.pending = append(c.pending, &ending{task: task, id: mgs.NewUUID(), resend: minResend})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Pending is the number of ends the server has not acknowledged.
func (c *Channel) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// Run keeps the channel open until ctx ends.
func (c *Channel) Run(ctx context.Context) {
	backoff := time.Duration(0)
	for {
		conn, err := c.cfg.Open(ctx)
		if err == nil {
			opened := time.Now()
			c.cfg.Log.Info("control channel open", "server", conn.RemoteAddr())
			c.setServer(conn.RemoteAddr())
			err = c.serve(ctx, conn)
			c.setServer("")
			if _, reason, ok := link.CloseStatus(err); ok && reason == mgs.ReasonRoleChanged && c.cfg.RoleChanged != nil {
				c.cfg.RoleChanged()
			}
			if time.Since(opened) >= goodLife {
				backoff = 0
			}
		}
		if ctx.Err() != nil {
			return
		}
		wait := time.Duration(float64(backoff) * (0.5 + rand.Float64()/2)) // spread: many come back at once
		c.cfg.Log.Warn("control channel closed", "error", err, "retry_in", wait.Round(time.Millisecond))
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// serve runs the channel over one connection.
func (c *Channel) serve(ctx context.Context, conn *link.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(conn.KeepAlive(ctx, pingInterval, pongTimeout)) })
	wg.Go(func() { cancel(c.tell(ctx, conn)) })
	cancel(c.read(ctx, conn))
	wg.Wait()
	_ = conn.CloseNow() // it may be closed already
	return context.Cause(ctx)
}

// errMalformed closes the connection over which a server sends what is no
// message. The pause before the next one keeps it from filling the log.
var errMalformed = errors.New("the server sent a malformed message")

func (c *Channel) read(ctx context.Context, conn *link.Conn) error {
	for {
		kind, b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if kind != link.Binary {
			continue
		}
		m, err := mgs.Parse(b)
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		if err := c.handle(&m); err != nil {
			c.cfg.Log.Warn("ignored a message of the server", "type", m.Type, "error", err)
		}
	}
}

// handle does what a message says. What it does not know it ignores: servers
// may learn more than agents.
func (c *Channel) handle(m *mgs.Message) error {
	switch m.Type {
	case mgs.TypeInteractiveShell:
		return c.start(m)
	case mgs.TypeChannelClosed:
		closed, err := mgs.ParseBody[mgs.ChannelClosed](m.Payload)
		if err != nil {
			return err
		}
		c.cfg.Sessions.Cancel(closed.SessionID)
	case mgs.TypeAgentTaskAcknowledge:
		ack, err := mgs.ParseBody[mgs.TaskAcknowledge](m.Payload)
		if err != nil {
			return err
		}
		c.acknowledged(ack)
	}
	return nil
}

func (c *Channel) start(m *mgs.Message) error {
	task, err := mgs.ParseBody[mgs.AgentTask](m.Payload)
	if err != nil {
		return err
	}
	p, err := task.Payload()
	if err == nil && !id.ValidSession(p.SessionID) {
		return fmt.Errorf("%.100q is not a session ID", p.SessionID)
	}
	if err == nil {
		c.cfg.Sessions.Start(p)
		return nil
	}
	// Somebody waits for this session: better they hear than wait it out.
	if id.ValidSession(task.TaskID) {
		c.Complete(mgs.TaskComplete{TaskID: task.TaskID, FinalTaskStatus: mgs.TaskFailed, Output: "The agent cannot read the message that starts this session."})
	}
	return err
}

func (c *Channel) acknowledged(ack mgs.TaskAcknowledge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = slices.DeleteFunc(c.pending, func(e *ending) bool { return e.id == ack.MessageID && e.task.TaskID == ack.TaskID })
}

// tell sends the ends that are pending: each at once on a new connection, and
// then at growing intervals.
func (c *Channel) tell(ctx context.Context, conn *link.Conn) error {
	c.mu.Lock()
	for _, e := range c.pending {
		e.due, e.resend = time.Time{}, minResend
	}
	c.mu.Unlock()
	for {
		frames, next := c.due(time.Now())
		for _, f := range frames {
			if err := conn.Write(ctx, link.Binary, f); err != nil {
				return err
			}
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-c.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// due returns the frames to send now, and when to look again.
func (c *Channel) due(now time.Time) (frames [][]byte, next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next = maxResend
	for _, e := range c.pending {
		if !e.due.After(now) {
			e.task.RetryNumber++
			m := mgs.NewTaskComplete(e.task)
			m.ID = e.id // so that whichever arrives, its acknowledgement counts
			frames = append(frames, m.AppendTo(nil))
			e.due = now.Add(e.resend)
			e.resend = min(2*e.resend, maxResend)
		}
		next = min(next, e.due.Sub(now))
	}
	return frames, next
}

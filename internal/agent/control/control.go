// Package control is the agent's end of the control channel: the connection over
// which the server starts and ends sessions and commands, and the agent reports
// how they ended. The agent reopens it whenever it breaks.
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

	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// Keep-alive and reconnection.
const (
	maxSilence  = 5 * time.Second // of a server, which pings every 4 s
	pongTimeout = 10 * time.Second
	maxBackoff  = 15 * time.Second
	minPause    = 50 * time.Millisecond
	// Agents that lose a server at the same moment reconnect spread over this time.
	lossSpread = time.Second
	// A connection that lasted this long resets the backoff.
	goodLife = 10 * time.Second
)

// Intervals at which unacknowledged reports are sent again.
const (
	minResend = time.Second
	maxResend = 30 * time.Second
)

// maxPending bounds the unacknowledged reports.
const maxPending = 4096

// maxAnswers bounds the acknowledgements that wait for the connection.
const maxAnswers = 256

// Sessions runs the sessions that the server requests. Its methods must not block.
type Sessions interface {
	// Start starts a session, whose ID has been checked.
	Start(task mgs.AgentTaskPayload)
	// Cancel ends a session if it is running.
	Cancel(session string)
	// Notify shows a text in a session's terminal, if the session is running.
	Notify(session, text string)
	// Type types into the terminal of a session, if it runs.
	Type(session string, data []byte)
}

// Jobs runs the commands that the server sends. Its methods must not block.
type Jobs interface {
	// Job accepts or refuses a job and returns a code of [mgs.JobAck], before
	// it sends any reply about it.
	Job(job mgs.AgentJob, answer func(code string))
	// Acknowledged is called when the server has acknowledged a reply.
	Acknowledged(job string, reply mgs.UUID)
}

// Config is the configuration of a Channel.
type Config struct {
	Open     func(ctx context.Context) (*link.Conn, error)
	Sessions Sessions
	Jobs     Jobs
	// RoleChanged is called when the node has got another role; may be nil.
	RoleChanged func()
	Log         *slog.Logger
}

// Channel is the control channel over all its connections.
type Channel struct {
	cfg  Config
	wake chan struct{} // there is a new report to send
	now  chan struct{} // ends the wait for the next attempt

	mu      sync.Mutex
	server  string        // address of the open connection; empty if there is none
	changed chan struct{} // closed when server changes
	pending []*report     // oldest first
	answers []mgs.Message // to jobs received on the open connection
}

// report is a message that the server has not acknowledged yet: the end of a
// session, or a reply about a command.
type report struct {
	about   string // the session or the job
	id      mgs.UUID
	message func() (mgs.Message, error)
	due     time.Time
	resend  time.Duration
}

// New returns a channel that Run opens.
func New(cfg Config) *Channel {
	return &Channel{
		cfg: cfg, wake: make(chan struct{}, 1), now: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// RetryNow makes the next attempt to connect at once if the channel waits for
// it.
func (c *Channel) RetryNow() {
	select {
	case c.now <- struct{}{}:
	default:
	}
}

// Connected returns the server's address if the channel is open, otherwise "". It also returns a
// channel that is closed when that changes.
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

// Complete reports that a session has ended. The report is repeated until the
// server acknowledges it.
func (c *Channel) Complete(task mgs.TaskComplete) {
	c.keepTelling(task.TaskID, mgs.NewUUID(), func() (mgs.Message, error) {
		task.RetryNumber++
		return mgs.NewTaskComplete(task), nil
	})
}

// Reply reports the progress of a job. The report is repeated until the server
// acknowledges it; load returns the reply each time it is sent.
func (c *Channel) Reply(job string, reply mgs.UUID, load func() (mgs.CommandReply, error)) {
	c.keepTelling(job, reply, func() (mgs.Message, error) {
		r, err := load()
		if err != nil {
			return mgs.Message{}, err
		}
		return mgs.NewJobReply(job, r)
	})
}

func (c *Channel) keepTelling(about string, id mgs.UUID, message func() (mgs.Message, error)) {
	c.mu.Lock()
	if len(c.pending) >= maxPending {
		c.cfg.Log.Error(
			"the end of a session or command will not be reported: too many reports are pending",
			"about",
			c.pending[0].about,
		)
		c.pending = slices.Delete(c.pending, 0, 1)
	}
	c.pending = append(c.pending, &report{about: about, id: id, message: message, resend: minResend})
	c.mu.Unlock()
	c.wakeUp()
}

func (c *Channel) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Pending returns the number of unacknowledged reports.
func (c *Channel) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// Run keeps the channel open until ctx ends.
func (c *Channel) Run(ctx context.Context) {
	backoff := link.Backoff{Max: maxBackoff}
	for {
		spread := time.Duration(0)
		conn, err := c.cfg.Open(ctx)
		if err == nil {
			spread = lossSpread
			opened := time.Now()
			c.cfg.Log.Info("control channel open", "server", conn.RemoteAddr())
			c.setServer(conn.RemoteAddr())
			err = c.serve(ctx, conn)
			c.setServer("")
			if _, reason, ok := link.CloseStatus(err); ok && reason == mgs.ReasonRoleChanged &&
				c.cfg.RoleChanged != nil {
				c.cfg.RoleChanged()
				spread = 0
				backoff.Reset() // it is expected back
			}
			if time.Since(opened) >= goodLife {
				backoff.Reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		// Jitter, because many agents reconnect at once. An overloaded server
		// says how long to wait.
		wait := backoff.Next()
		if most := max(spread, 2*uplink.Pause(err)); most > wait {
			wait = minPause + rand.N(most-minPause)
		}
		c.cfg.Log.Warn("control channel closed", "error", err, "retry_in", wait.Round(time.Millisecond))
		t := time.NewTimer(wait)
		select {
		case <-c.now: // it was meant for an earlier wait
		default:
		}
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-c.now:
			t.Stop()
		case <-t.C:
		}
	}
}

// serve runs the channel over one connection.
func (c *Channel) serve(ctx context.Context, conn *link.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.answers = nil // to jobs received on the previous connection
	for _, t := range c.pending {
		t.due, t.resend = time.Time{}, minResend
	}
	c.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { cancel(conn.Watch(ctx, maxSilence, pongTimeout)) })
	wg.Go(func() { cancel(c.sendReports(ctx, conn)) })
	cancel(c.read(ctx, conn))
	wg.Wait()
	_ = conn.CloseNow() // it may already be closed
	return context.Cause(ctx)
}

// errMalformed closes a connection on which the server sent an invalid message.
// The backoff before the next connection keeps such a server from filling the log.
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
			c.cfg.Log.Warn("ignored a message from the server", "type", m.Type, "error", err)
		}
	}
}

// handle executes a message. It ignores unknown types: the server may be newer
// than the agent.
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
	case mgs.TypeSessionNotice:
		notice, err := mgs.ParseBody[mgs.SessionNotice](m.Payload)
		if err != nil {
			return err
		}
		c.cfg.Sessions.Notify(notice.SessionID, notice.Text)
	case mgs.TypeSessionInput:
		input, err := mgs.ParseBody[mgs.SessionInput](m.Payload)
		if err != nil {
			return err
		}
		c.cfg.Sessions.Type(input.SessionID, input.Data)
	case mgs.TypeAgentTaskAcknowledge:
		ack, err := mgs.ParseBody[mgs.TaskAcknowledge](m.Payload)
		if err != nil {
			return err
		}
		c.acknowledged(ack.TaskID, ack.MessageID)
	case mgs.TypeAgentJob:
		return c.job(m)
	case mgs.TypeAgentJobReplyAck:
		ack, err := mgs.ParseBody[mgs.JobReplyAck](m.Payload)
		if err != nil {
			return err
		}
		if c.acknowledged(ack.JobID, ack.MessageID) {
			c.cfg.Jobs.Acknowledged(ack.JobID, ack.MessageID)
		}
	}
	return nil
}

func (c *Channel) job(m *mgs.Message) error {
	job, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
	if err != nil {
		c.answer(m, "", mgs.JobUnreadable)
		return err
	}
	c.cfg.Jobs.Job(job, func(code string) { c.answer(m, job.JobID, code) })
	return nil
}

// answer acknowledges a job. If the connection ends first, the answer is lost and
// the server sends the job again.
func (c *Channel) answer(m *mgs.Message, job, code string) {
	c.mu.Lock()
	if len(c.answers) < maxAnswers {
		c.answers = append(c.answers, mgs.NewJobAck(m, job, code))
	}
	c.mu.Unlock()
	c.wakeUp()
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
	// A user is waiting for this session: report the failure at once.
	if id.ValidSession(task.TaskID) {
		c.Complete(
			mgs.TaskComplete{
				TaskID:          task.TaskID,
				FinalTaskStatus: mgs.TaskFailed,
				Output:          "The message that starts this session is malformed.",
			},
		)
	}
	return err
}

// acknowledged drops a report that the server has acknowledged, and reports
// whether it was pending.
func (c *Channel) acknowledged(about string, id mgs.UUID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.pending)
	c.pending = slices.DeleteFunc(c.pending, func(t *report) bool { return t.id == id && t.about == about })
	return len(c.pending) < before
}

// sendReports sends pending reports: at once on a new connection, then at growing
// intervals.
func (c *Channel) sendReports(ctx context.Context, conn *link.Conn) error {
	for {
		m, wait := c.next(time.Now())
		if m != nil {
			if err := conn.Write(ctx, link.Binary, m.AppendTo(nil)); err != nil {
				return err
			}
			continue
		}
		t := time.NewTimer(wait)
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

// next returns the message to send now, or nil and when to call it again. It
// returns one at a time because replies can be large and many.
func (c *Channel) next(now time.Time) (*mgs.Message, time.Duration) {
	for {
		answer, t, wait := c.due(now)
		if t == nil {
			return answer, wait
		}
		m, err := t.message()
		if err == nil {
			m.ID = t.id // an acknowledgement of any copy counts
			return &m, 0
		}
		c.cfg.Log.Error("lost a reply about a command", "job", t.about, "error", err)
		c.acknowledged(t.about, t.id)
	}
}

// due returns the first answer, else the first report that is due, else the time
// when one will be.
func (c *Channel) due(now time.Time) (answer *mgs.Message, t *report, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) > 0 {
		answer = &c.answers[0]
		c.answers = c.answers[1:]
		return answer, nil, 0
	}
	wait = maxResend
	for _, t := range c.pending {
		if !t.due.After(now) {
			t.due = now.Add(t.resend)
			t.resend = min(2*t.resend, maxResend)
			return nil, t, 0
		}
		wait = min(wait, t.due.Sub(now))
	}
	return nil, nil, wait
}

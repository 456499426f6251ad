// Package control is the server's end of the control channels: the permanent
// connections over which the server has agents start and end sessions. A node whose
// control channel is open is connected.
//
// Lock order: slot.edge before Channels.mu. Presence is called with only edge held.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// Conn is an agent's connection. Read returns one binary frame. Write is safe
// for concurrent use.
type Conn interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, frames ...[]byte) error
	// Ping asks the agent for a sign of life.
	Ping(ctx context.Context) error
	Close(reason string)
}

// Presence is notified when nodes connect and disconnect.
type Presence interface {
	Connected(ctx context.Context, node sekisho.NodeID, sourceIP string) error
	Disconnected(ctx context.Context, node sekisho.NodeID, reason string) error
	// Doubled reports that a second agent with node's identity was refused.
	Doubled(ctx context.Context, node sekisho.NodeID, first, second string)
}

// Tasks receives what agents report about their sessions.
type Tasks interface {
	// AgentConnected reports that node's channel has opened, and which process
	// of the agent opened it: empty for AWS's agent. No session of an earlier
	// process is left on the node.
	AgentConnected(ctx context.Context, node sekisho.NodeID, process string)
	// TaskComplete reports that a session has ended on its node. It may come
	// more than once.
	TaskComplete(ctx context.Context, node sekisho.NodeID, done mgs.TaskComplete)
}

// Jobs receives the reports of agents about commands.
type Jobs interface {
	// NodeConnected reports that node's channel has opened.
	NodeConnected(node sekisho.NodeID)
	// JobAck reports whether node's agent has accepted a job.
	JobAck(ctx context.Context, node sekisho.NodeID, ack mgs.JobAck) error
	// JobReply is how far a job has come. It may come more than once. What
	// ends in an error is not acknowledged, so that the agent says it again.
	JobReply(ctx context.Context, node sekisho.NodeID, reply mgs.JobReply) error
}

// Channels holds the control channels of this process.
type Channels struct {
	log *slog.Logger

	mu    sync.Mutex
	links map[sekisho.NodeID]*channel
	slots map[sekisho.NodeID]*slot
}

type channel struct {
	conn    Conn
	source  string
	process string // of the agent; empty for AWS's
	cancel  context.CancelCauseFunc
}

// slot keeps the edges of one node in order: when its channel is replaced,
// the end of the old one must not be noted after the beginning of the new.
type slot struct {
	edge  chan struct{} // holds one element while somebody notes an edge
	users int           // guarded by Channels.mu
}

// New returns an empty Channels.
func New(log *slog.Logger) *Channels {
	return &Channels{log: log, links: map[sekisho.NodeID]*channel{}, slots: map[sekisho.NodeID]*slot{}}
}

// Connected reports whether node's control channel is open.
func (h *Channels) Connected(node sekisho.NodeID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[node] != nil
}

// Source is the address that node's channel comes from, empty when it is not
// open.
func (h *Channels) Source(node sekisho.NodeID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.links[node]; c != nil {
		return c.source
	}
	return ""
}

// Process names the process of node's agent, as the agent did when it opened
// its channel. It is empty when the channel is not open, and for AWS's agent.
func (h *Channels) Process(node sekisho.NodeID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.links[node]; c != nil {
		return c.process
	}
	return ""
}

// Alive reports whether node's agent answers on its channel.
func (h *Channels) Alive(ctx context.Context, node sekisho.NodeID) bool {
	h.mu.Lock()
	c := h.links[node]
	h.mu.Unlock()
	return c != nil && c.alive(ctx)
}

// aliveTimeout is how long an agent may take to show that it lives. It delays
// the return of a node whose old channel is dead.
const aliveTimeout = 2 * time.Second

func (c *channel) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	return c.conn.Ping(ctx) == nil
}

// Count is the number of open channels.
func (h *Channels) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.links)
}

// deliverTimeout is how long an agent that does not read may hold up a caller.
const deliverTimeout = 10 * time.Second

// Deliver sends a frame to node's agent. The agent does not answer: what it
// does is its answer.
//
// A caller who goes away does not interrupt it: a frame cut in its middle
// would cost the agent its channel.
func (h *Channels) Deliver(ctx context.Context, node sekisho.NodeID, frame []byte) error {
	h.mu.Lock()
	c := h.links[node]
	h.mu.Unlock()
	if c == nil {
		return sekisho.Errorf(sekisho.CodeUnreachable, "%s is not connected.", node)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliverTimeout)
	defer cancel()
	return c.conn.Write(ctx, frame)
}

var errReplaced = errors.New("replaced by a newer control channel of the same node")

// Drop closes node's channel, if it has one: its credentials are no longer
// good.
func (h *Channels) Drop(node sekisho.NodeID, reason string) {
	h.mu.Lock()
	c := h.links[node]
	h.mu.Unlock()
	if c != nil {
		c.cancel(errors.New(reason))
	}
}

// Reopen has node's agent close its channel and open another.
func (h *Channels) Reopen(node sekisho.NodeID, reason string) {
	h.mu.Lock()
	c := h.links[node]
	h.mu.Unlock()
	if c != nil {
		go c.conn.Close(reason) // waits a while for the agent to answer
	}
}

// Agent is what an agent says of itself when it opens its channel.
type Agent struct {
	Source  string // the address it comes from
	Process string // see [mgs.OpenControlChannel]
}

// Serve runs node's control channel over conn until it fails, is replaced by
// a newer one, or ctx ends. A newer one replaces one that is dead. While the
// older answers there are two agents of one identity, and the newer is
// refused.
func (h *Channels) Serve(
	ctx context.Context,
	node sekisho.NodeID,
	agent Agent,
	conn Conn,
	presence Presence,
	tasks Tasks,
	jobs Jobs,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &channel{conn: conn, source: agent.Source, process: agent.Process, cancel: cancel}
	s := h.enter(node)
	defer h.leave(node, s)
	if err := h.open(ctx, s, node, c, presence); err != nil {
		reason := "the control channel was not accepted"
		if sekisho.CodeOf(err) == sekisho.CodeInUse {
			reason = err.Error()
		}
		conn.Close(reason)
		return err
	}
	h.log.Info("node connected", "node", node, "source_ip", agent.Source)
	tasks.AgentConnected(ctx, node, agent.Process)
	jobs.NodeConnected(node)
	err := h.read(ctx, node, conn, tasks, jobs)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	perr := h.close(ctx, s, node, c, presence, err)
	// Only now: a peer that does not answer makes this slow.
	conn.Close(reasonOf(err))
	if perr != nil {
		return perr
	}
	return err
}

func (h *Channels) enter(node sekisho.NodeID) *slot {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.slots[node]
	if s == nil {
		s = &slot{edge: make(chan struct{}, 1)}
		h.slots[node] = s
	}
	s.users++
	return s
}

func (h *Channels) leave(node sekisho.NodeID, s *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(h.slots, node)
	}
}

// open makes c node's channel, in the place of any that is dead.
func (h *Channels) open(ctx context.Context, s *slot, node sekisho.NodeID, c *channel, presence Presence) error {
	s.edge <- struct{}{}
	defer func() { <-s.edge }()
	h.mu.Lock()
	old := h.links[node]
	h.mu.Unlock()
	if old != nil && old.alive(ctx) {
		presence.Doubled(ctx, node, old.source, c.source)
		return sekisho.Errorf(sekisho.CodeInUse, "another machine with this identity is connected from %s", old.source)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	h.mu.Lock()
	h.links[node] = c
	h.mu.Unlock()
	if old != nil {
		old.cancel(errReplaced)
	}
	err := presence.Connected(ctx, node, c.source)
	if err == nil {
		return nil
	}
	h.remove(node, c)
	if old != nil {
		// The old channel leaves this edge to whoever replaced it.
		err = errors.Join(err, presence.Disconnected(context.WithoutCancel(ctx), node, errReplaced.Error()))
	}
	return err
}

// close notes the end of c, unless another channel has taken its place.
func (h *Channels) close(
	ctx context.Context,
	s *slot,
	node sekisho.NodeID,
	c *channel,
	presence Presence,
	why error,
) error {
	s.edge <- struct{}{}
	defer func() { <-s.edge }()
	if !h.remove(node, c) {
		return nil
	}
	h.log.Info("node disconnected", "node", node, "reason", why)
	// The edge is kept although the request it belongs to is over.
	return presence.Disconnected(context.WithoutCancel(ctx), node, reasonOf(why))
}

// reasonOf words the end of a channel for people.
func reasonOf(err error) string {
	switch {
	case err == nil:
		return "the channel was closed"
	case errors.Is(err, context.Canceled):
		return "the server stopped"
	}
	const most = 200
	s := err.Error()
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// remove forgets c and reports whether it was still node's channel.
func (h *Channels) remove(node sekisho.NodeID, c *channel) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links[node] != c {
		return false
	}
	delete(h.links, node)
	return true
}

func malformed(err error) error { return fmt.Errorf("protocol error: %w", err) }

func (h *Channels) read(ctx context.Context, node sekisho.NodeID, conn Conn, tasks Tasks, jobs Jobs) error {
	for {
		frame, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := mgs.Parse(frame)
		if err != nil {
			return malformed(err)
		}
		var answer *mgs.Message
		switch m.Type {
		case mgs.TypeAgentTaskComplete:
			answer, err = taskComplete(ctx, node, &m, tasks)
		case mgs.TypeAgentJobAck:
			h.jobAck(ctx, node, &m, jobs)
		case mgs.TypeAgentJobReply:
			answer = h.jobReply(ctx, node, &m, jobs)
		default: // telemetry and what later agents may add
		}
		if err == nil && answer != nil {
			err = conn.Write(ctx, answer.AppendTo(nil))
		}
		if err != nil {
			return err
		}
	}
}

func taskComplete(ctx context.Context, node sekisho.NodeID, m *mgs.Message, tasks Tasks) (*mgs.Message, error) {
	done, err := mgs.ParseBody[mgs.TaskComplete](m.Payload)
	if err != nil {
		return nil, malformed(err)
	}
	tasks.TaskComplete(ctx, node, done)
	ack := mgs.NewTaskAcknowledge(m, done.TaskID)
	return &ack, nil
}

// An agent sends what it could not deliver again and again: what cannot be
// read must not cost it its channel each time.

func (h *Channels) jobAck(ctx context.Context, node sekisho.NodeID, m *mgs.Message, jobs Jobs) {
	ack, err := mgs.ParseBody[mgs.JobAck](m.Payload)
	if err != nil {
		err = sekisho.Errorf(sekisho.CodeInvalid, "%w", err)
	} else {
		err = jobs.JobAck(ctx, node, ack)
	}
	if err != nil {
		h.notTaken(ctx, node, m, err)
	}
}

// notTaken notes that what an agent said was not understood or not kept. What
// an agent can cause, it can cause often.
func (h *Channels) notTaken(ctx context.Context, node sekisho.NodeID, m *mgs.Message, err error) {
	level := slog.LevelError
	if code := sekisho.CodeOf(err); code == sekisho.CodeInvalid || code == sekisho.CodeDenied {
		level = slog.LevelDebug
	}
	h.log.Log(ctx, level, "message of an agent not taken", "node", node, "type", m.Type, "error", err)
}

func (h *Channels) jobReply(ctx context.Context, node sekisho.NodeID, m *mgs.Message, jobs Jobs) *mgs.Message {
	reply, err := mgs.ParseBody[mgs.JobReply](m.Payload)
	if err != nil {
		err = sekisho.Errorf(sekisho.CodeInvalid, "%w", err)
	} else {
		err = jobs.JobReply(ctx, node, reply)
	}
	if err != nil {
		h.notTaken(ctx, node, m, err)
		return nil
	}
	ack := mgs.NewJobReplyAck(m, reply.JobID)
	return &ack
}

// Package control is the server's end of the control channels: the permanent connections over which
// the server makes agents start and end sessions. A node is connected if its control channel is
// open.
//
// Lock order: slot.edge before Channels.mu. Presence is called with only edge held.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/mgs"
)

// Conn is an agent's connection. Read returns one binary frame. Write is safe
// for concurrent use.
type Conn interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, frames ...[]byte) error
	// Ping sends a ping to the agent and waits for the answer.
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

// Tasks receives agents' reports about sessions.
type Tasks interface {
	// AgentConnected is called when node's channel has opened. process identifies the agent's
	// process; it is empty for AWS's agent. No session of an earlier process is left on the node.
	AgentConnected(ctx context.Context, node sekisho.NodeID, process string)
	// TaskComplete is called when a session has ended on its node, possibly more than once.
	TaskComplete(ctx context.Context, node sekisho.NodeID, done mgs.TaskComplete)
}

// Jobs receives agents' reports about commands.
type Jobs interface {
	// NodeConnected is called when node's channel has opened.
	NodeConnected(node sekisho.NodeID)
	// JobAck is called when node's agent has accepted or refused a job.
	JobAck(ctx context.Context, node sekisho.NodeID, ack mgs.JobAck) error
	// JobReply is called with a job's progress, possibly more than once. After an error, the reply
	// is not acknowledged, so that the agent repeats it.
	JobReply(ctx context.Context, node sekisho.NodeID, reply mgs.JobReply) error
}

// Channels manages the control channels of this process.
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
	closing sync.WaitGroup // started by Reopen, awaited by Serve
}

// slot keeps the connection events of one node in order: when its channel is replaced, the end of
// the old one must not be recorded after the start of the new one.
type slot struct {
	edge  chan struct{} // holds one element while an event is being recorded
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

// Source returns the peer address of node's channel, "" if it is not open.
func (h *Channels) Source(node sekisho.NodeID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.links[node]; c != nil {
		return c.source
	}
	return ""
}

// Process returns the process ID that node's agent reported when it opened its channel. It is empty
// if the channel is not open, and for AWS's agent.
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

// aliveTimeout bounds the wait for an agent's answer to a ping. It delays the reconnection of a
// node whose old channel is dead.
const aliveTimeout = 2 * time.Second

func (c *channel) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	return c.conn.Ping(ctx) == nil
}

// Count returns the number of open channels.
func (h *Channels) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.links)
}

// deliverTimeout bounds how long an agent that does not read can block a caller.
const deliverTimeout = 10 * time.Second

// Deliver sends a frame to node's agent. There is no answer.
//
// Cancelling ctx does not interrupt it, because an incomplete frame would break the agent's
// channel.
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

// Drop closes node's channel, if it is open, because its credentials have become invalid.
func (h *Channels) Drop(node sekisho.NodeID, reason string) {
	h.mu.Lock()
	c := h.links[node]
	h.mu.Unlock()
	if c != nil {
		c.cancel(errors.New(reason))
	}
}

// DropAll closes every channel.
func (h *Channels) DropAll(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.links {
		c.cancel(errors.New(reason))
	}
}

// Reopen makes node's agent close its channel and open a new one.
func (h *Channels) Reopen(node sekisho.NodeID, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.links[node]; c != nil {
		c.closing.Go(func() { c.conn.Close(reason) }) // waits for the agent's answer for a while
	}
}

// Agent describes the agent that opens a channel.
type Agent struct {
	Source  string // peer address
	Process string // see [mgs.OpenControlChannel]
}

// Serve runs node's control channel over conn until it fails, is replaced by a newer one, or ctx ends. A newer channel
// replaces a dead one. If the older one still answers, two agents have the same identity, and the newer one is refused.
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
	defer c.closing.Wait() // after remove: nothing is added any longer
	if err := h.open(ctx, s, node, c, presence); err != nil {
		reason := "could not accept a control channel"
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
	// Last, because a peer that does not answer makes this slow.
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

// open makes c node's channel, replacing a dead one.
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
		// The old channel leaves recording its end to the channel that replaced it.
		err = errors.Join(err, presence.Disconnected(context.WithoutCancel(ctx), node, errReplaced.Error()))
	}
	return err
}

// close records the end of c, unless another channel has replaced it.
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
	// The end is recorded although the request has ended.
	return presence.Disconnected(context.WithoutCancel(ctx), node, reasonOf(why))
}

// reasonOf describes the end of a channel for people.
func reasonOf(err error) string {
	switch {
	case err == nil:
		return "the channel was closed"
	case errors.Is(err, context.Canceled):
		return "the server stopped"
	}
	return safetext.Line(err.Error(), 200)
}

// remove removes c and reports whether it was still node's channel.
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
		default: // telemetry, and message types of later agents
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

// An agent keeps resending undelivered messages, so a malformed one must not close its channel each
// time.

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

// notTaken logs that an agent's message was malformed or could not be stored, at a bounded rate.
func (h *Channels) notTaken(ctx context.Context, node sekisho.NodeID, m *mgs.Message, err error) {
	level := slog.LevelError
	if code := sekisho.CodeOf(err); code == sekisho.CodeInvalid || code == sekisho.CodeDenied {
		level = slog.LevelDebug
	}
	h.log.Log(ctx, level, "ignored a message from an agent", "node", node, "type", m.Type, "error", err)
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

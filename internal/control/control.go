// Package control is the server's end of the control channels: the standing
// connections over which agents are told to start and to end sessions. A node
// whose control channel is open is connected.
package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"sekisho"
	"sekisho/internal/mgs"
)

// Conn is an agent's connection. Read returns one binary frame. Write is safe
// for concurrent use.
type Conn interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, frame []byte) error
	Close(reason string)
}

// Presence is told when nodes come and go.
type Presence interface {
	Connected(ctx context.Context, node sekisho.NodeID, sourceIP string) error
	Disconnected(ctx context.Context, node sekisho.NodeID, reason string) error
}

// Tasks is told what agents report of their sessions.
type Tasks interface {
	// TaskComplete reports that a session has ended on its node. It may come
	// more than once.
	TaskComplete(ctx context.Context, node sekisho.NodeID, done mgs.TaskComplete)
}

// Hub holds the control channels of this process.
type Hub struct {
	log *slog.Logger

	mu    sync.Mutex
	links map[sekisho.NodeID]*channel
}

type channel struct {
	conn   Conn
	cancel context.CancelCauseFunc
}

// NewHub returns an empty Hub.
func NewHub(log *slog.Logger) *Hub {
	return &Hub{log: log, links: map[sekisho.NodeID]*channel{}}
}

// Connected reports whether node's control channel is open.
func (h *Hub) Connected(node sekisho.NodeID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[node] != nil
}

// Count is the number of open channels.
func (h *Hub) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.links)
}

// Deliver sends a frame to node's agent. The agent does not answer: what it
// does is its answer.
func (h *Hub) Deliver(ctx context.Context, node sekisho.NodeID, frame []byte) error {
	h.mu.Lock()
	c := h.links[node]
	h.mu.Unlock()
	if c == nil {
		return sekisho.Errorf(sekisho.CodeUnreachable, "%s is not connected.", node)
	}
	return c.conn.Write(ctx, frame)
}

var errReplaced = errors.New("replaced by a newer control channel of the same node")

// Drop closes node's channel, if it has one: its credentials are no longer
// good.
func (h *Hub) Drop(node sekisho.NodeID, reason string) {
	h.mu.Lock()
	c := h.links[node]
	h.mu.Unlock()
	if c != nil {
		c.cancel(errors.New(reason))
	}
}

// Serve runs node's control channel over conn until it fails, is replaced by
// a newer one, or ctx ends.
func (h *Hub) Serve(ctx context.Context, node sekisho.NodeID, sourceIP string, conn Conn, presence Presence, tasks Tasks) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &channel{conn, cancel}
	h.mu.Lock()
	old := h.links[node]
	h.links[node] = c
	h.mu.Unlock()
	if old != nil {
		old.cancel(errReplaced)
	}
	if err := presence.Connected(ctx, node, sourceIP); err != nil {
		h.remove(node, c)
		conn.Close("not accepted")
		return err
	}
	h.log.Info("node connected", "node", node, "source_ip", sourceIP)
	err := h.read(ctx, node, conn, tasks)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	conn.Close("the control channel ended")
	if h.remove(node, c) {
		h.log.Info("node disconnected", "node", node, "reason", err)
		// The edge is kept although the request it belongs to is over.
		if perr := presence.Disconnected(context.WithoutCancel(ctx), node, reasonOf(err)); perr != nil {
			return perr
		}
	}
	return err
}

// reasonOf words the end of a channel for people.
func reasonOf(err error) string {
	if err == nil {
		return "the channel was closed"
	}
	const most = 200
	s := err.Error()
	if len(s) > most {
		s = s[:most]
	}
	return s
}

// remove forgets c and reports whether it was still node's channel.
func (h *Hub) remove(node sekisho.NodeID, c *channel) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links[node] != c {
		return false
	}
	delete(h.links, node)
	return true
}

func (h *Hub) read(ctx context.Context, node sekisho.NodeID, conn Conn, tasks Tasks) error {
	for {
		frame, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := mgs.Parse(frame)
		if err != nil {
			return err
		}
		if m.Type != mgs.TypeAgentTaskComplete {
			continue // telemetry and what later agents may add
		}
		done, err := mgs.ParseBody[mgs.TaskComplete](m.Payload)
		if err != nil {
			return err
		}
		tasks.TaskComplete(ctx, node, done)
		ack := mgs.NewTaskAcknowledge(&m, done.TaskID)
		if err := conn.Write(ctx, ack.AppendTo(nil)); err != nil {
			return err
		}
	}
}

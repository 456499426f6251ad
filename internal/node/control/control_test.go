package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/node/control"
	"sekisho/internal/wire/mgs"
)

const node = sekisho.NodeID("mi-0123456789abcdef0")

// conn is the agent's end of a channel.
type conn struct {
	in, out chan []byte
	stuck   bool // Write returns only when its context ends
	alive   bool // pings are answered

	mu     sync.Mutex
	closed []string
}

func newConn() *conn { return &conn{in: make(chan []byte, 8), out: make(chan []byte, 8)} }

func (c *conn) Read(ctx context.Context) ([]byte, error) {
	select {
	case b, ok := <-c.in:
		if !ok {
			return nil, io.EOF
		}
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *conn) Write(ctx context.Context, frames ...[]byte) error {
	b := bytes.Join(frames, nil) // the control channel writes one at a time
	if c.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.out <- b
	return nil
}

func (c *conn) Ping(ctx context.Context) error {
	if c.alive {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (c *conn) Close(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = append(c.closed, reason)
}

func (c *conn) reasons() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.closed)
}

// world records the calls of the control channels.
type world struct {
	mu     sync.Mutex
	edges  []string
	done   []mgs.TaskComplete
	refuse error         // of Connected
	slow   chan struct{} // awaited by Disconnected, if not nil
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.edges = append(w.edges, fmt.Sprintf(format, args...))
}

func (w *world) Connected(_ context.Context, n sekisho.NodeID, ip string) error {
	if w.refuse != nil {
		return w.refuse
	}
	w.note("up %s", ip)
	return nil
}

func (w *world) Disconnected(ctx context.Context, n sekisho.NodeID, reason string) error {
	if w.slow != nil {
		<-w.slow
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.note("down %s", reason)
	return nil
}

func (w *world) Doubled(_ context.Context, _ sekisho.NodeID, first, second string) {
	w.note("twice %s %s", first, second)
}

func (w *world) TaskComplete(_ context.Context, _ sekisho.NodeID, done mgs.TaskComplete) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, done)
}

func (w *world) NodeConnected(sekisho.NodeID) {}

func (w *world) AgentConnected(context.Context, sekisho.NodeID, string) {}

func (w *world) JobAck(_ context.Context, n sekisho.NodeID, ack mgs.JobAck) error {
	w.note("ack %s %s", ack.JobID, ack.StatusCode)
	return nil
}

func (w *world) JobReply(_ context.Context, n sekisho.NodeID, reply mgs.JobReply) error {
	if reply.JobID == "another's" {
		return errors.New("not its own")
	}
	w.note("reply %s", reply.JobID)
	return nil
}

func (w *world) want(t *testing.T, edges ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.edges, edges) {
		t.Errorf("edges %q, want %q", w.edges, edges)
	}
}

func newChannels() *control.Channels { return control.New(slog.New(slog.DiscardHandler)) }

// serve runs a channel; its error can be read from the result.
func serve(ctx context.Context, h *control.Channels, n sekisho.NodeID, ip string, c *conn, w *world) chan error {
	end := make(chan error, 1)
	go func() { end <- h.Serve(ctx, n, control.Agent{Source: ip}, c, w, w, w) }()
	return end
}

func frame(m mgs.Message) []byte { return m.AppendTo(nil) }

func TestConnectAndDisconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, c, w := newChannels(), newConn(), &world{}
		if err := h.Deliver(t.Context(), node, nil); sekisho.CodeOf(err) != sekisho.CodeUnreachable {
			t.Errorf("delivered to nobody: %v", err)
		}
		end := serve(t.Context(), h, node, "192.0.2.1", c, w)
		synctest.Wait()
		if !h.Connected(node) || h.Connected("mi-0123456789abcdef1") || h.Count() != 1 {
			t.Error("not connected")
		}
		if err := h.Deliver(t.Context(), node, []byte("task")); err != nil {
			t.Error(err)
		}
		if b := <-c.out; string(b) != "task" {
			t.Errorf("delivered %q", b)
		}
		w.want(t, "up 192.0.2.1")
		close(c.in)
		if err := <-end; !errors.Is(err, io.EOF) {
			t.Errorf("ended with %v", err)
		}
		if h.Connected(node) || h.Count() != 0 {
			t.Error("still connected")
		}
		w.want(t, "up 192.0.2.1", "down EOF")
		if got := c.reasons(); len(got) != 1 {
			t.Errorf("closed with %q", got)
		}
	})
}

func TestTheServerStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, c, w := newChannels(), newConn(), &world{}
		ctx, stop := context.WithCancelCause(t.Context())
		end := serve(ctx, h, node, "", c, w)
		synctest.Wait()
		stop(errors.New("the server is stopping"))
		<-end
		w.want(t, "up ", "down the server is stopping") // recorded although the context has ended

		ctx, cancel := context.WithCancel(t.Context())
		end = serve(ctx, h, node, "", newConn(), w)
		synctest.Wait()
		cancel()
		<-end
		w.want(t, "up ", "down the server is stopping", "up ", "down the server stopped") // as users read it
	})
}

func TestANewerChannelReplaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, w := newChannels(), &world{}
		older, newer := newConn(), newConn()
		endOlder := serve(t.Context(), h, node, "old", older, w)
		synctest.Wait()
		endNewer := serve(t.Context(), h, node, "new", newer, w)
		if err := <-endOlder; err == nil || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("the old channel ended with %v", err)
		}
		synctest.Wait()
		if err := h.Deliver(t.Context(), node, []byte("x")); err != nil || string(<-newer.out) != "x" ||
			len(older.out) != 0 {
			t.Errorf("delivered to the wrong one: %v", err)
		}
		w.want(t, "up old", "up new") // the node was never disconnected
		close(newer.in)
		<-endNewer
		w.want(t, "up old", "up new", "down EOF")
	})
}

// While the first agent answers, a second one with its identity is refused,
// and both addresses are reported.
func TestTwoAgentsWithOneIdentity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, w := newChannels(), &world{}
		first, second := newConn(), newConn()
		first.alive = true
		end := serve(t.Context(), h, node, "192.0.2.1", first, w)
		synctest.Wait()
		if !h.Alive(t.Context(), node) || h.Source(node) != "192.0.2.1" || h.Source("mi-0123456789abcdef1") != "" {
			t.Errorf("alive %v, from %q", h.Alive(t.Context(), node), h.Source(node))
		}
		err := h.Serve(t.Context(), node, control.Agent{Source: "192.0.2.2"}, second, w, w, w)
		if sekisho.CodeOf(err) != sekisho.CodeInUse || len(second.reasons()) != 1 ||
			!strings.Contains(second.reasons()[0], "192.0.2.1") {
			t.Errorf("got %v, reasons %q", err, second.reasons())
		}
		if err := h.Deliver(t.Context(), node, []byte("x")); err != nil || string(<-first.out) != "x" {
			t.Errorf("the first has lost its channel: %v", err)
		}
		close(first.in)
		<-end
		w.want(t, "up 192.0.2.1", "twice 192.0.2.1 192.0.2.2", "down EOF")
	})
}

// A dead channel delays the return of its node by seconds only.
func TestDeadChannelGivesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, w := newChannels(), &world{}
		dead, back := newConn(), newConn()
		end := serve(t.Context(), h, node, "192.0.2.1", dead, w)
		synctest.Wait()
		began := time.Now()
		endBack := serve(t.Context(), h, node, "198.51.100.1", back, w)
		<-end
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if h.Source(node) != "198.51.100.1" {
			t.Errorf("connected from %q", h.Source(node))
		}
		close(back.in)
		<-endBack
		w.want(t, "up 192.0.2.1", "up 198.51.100.1", "down EOF")
	})
}

// A channel that opens while the end of its predecessor is being recorded is
// recorded after it.
func TestConnectionsAreRecordedInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, w := newChannels(), &world{slow: make(chan struct{})}
		older, newer, other := newConn(), newConn(), newConn()
		endOlder := serve(t.Context(), h, node, "old", older, w)
		synctest.Wait()
		close(older.in)
		synctest.Wait()
		endNewer := serve(t.Context(), h, node, "new", newer, w)
		endOther := serve(t.Context(), h, "mi-0123456789abcdef1", "other", other, w)
		synctest.Wait()
		w.want(t, "up old", "up other") // one node does not wait for another
		close(w.slow)
		<-endOlder
		synctest.Wait()
		w.want(t, "up old", "up other", "down EOF", "up new")
		close(newer.in)
		close(other.in)
		<-endNewer
		<-endOther
	})
}

func TestNotAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, c, w := newChannels(), newConn(), &world{refuse: sekisho.Errorf(sekisho.CodeNotFound, "deregistered")}
		if err := h.Serve(t.Context(), node, control.Agent{Source: ""}, c, w, w, w); !sekisho.IsNotFound(err) {
			t.Errorf("got %v", err)
		}
		if h.Connected(node) || len(c.reasons()) != 1 {
			t.Errorf("connected %v, closed %v", h.Connected(node), c.reasons())
		}
		w.want(t)

		// The channel that it would have replaced has ended, and this is
		// recorded.
		w.refuse = nil
		end := serve(t.Context(), h, node, "old", newConn(), w)
		synctest.Wait()
		w.refuse = errors.New("disk")
		if err := h.Serve(t.Context(), node, control.Agent{Source: "new"}, newConn(), w, w, w); err == nil {
			t.Error("accepted")
		}
		<-end
		if h.Connected(node) {
			t.Error("still connected")
		}
		w.want(t, "up old", "down replaced by a newer control channel of the same node")
	})
}

func TestDrop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, c, w := newChannels(), newConn(), &world{}
		h.Drop(node, "nobody is there")
		end := serve(t.Context(), h, node, "", c, w)
		synctest.Wait()
		h.Drop(node, "the node was deregistered")
		h.Drop(node, "twice")
		<-end
		w.want(t, "up ", "down the node was deregistered")
		h.Drop(node, "gone")
	})
}

func TestTaskComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, c, w := newChannels(), newConn(), &world{}
		end := serve(t.Context(), h, node, "", c, w)
		c.in <- frame(mgs.New(mgs.TypeAgentTelemetry, []byte("whatever")))
		c.in <- frame(mgs.New("of_a_later_version", nil))
		m := mgs.NewTaskComplete(mgs.TaskComplete{TaskID: "alice-1", FinalTaskStatus: mgs.TaskSuccess})
		c.in <- frame(m)
		c.in <- frame(m) // the acknowledgement was lost
		for range 2 {
			got, err := mgs.Parse(<-c.out)
			if err != nil {
				t.Fatal(err)
			}
			ack, err := mgs.ParseBody[mgs.TaskAcknowledge](got.Payload)
			if err != nil || got.Type != mgs.TypeAgentTaskAcknowledge || ack.TaskID != "alice-1" ||
				ack.MessageID != m.ID {
				t.Errorf("%s %+v, %v", got.Type, ack, err)
			}
		}
		synctest.Wait()
		w.mu.Lock()
		if len(w.done) != 2 || w.done[0].TaskID != "alice-1" || w.done[0].FinalTaskStatus != mgs.TaskSuccess {
			t.Errorf("completed %+v", w.done)
		}
		w.mu.Unlock()
		close(c.in)
		<-end
	})
}

func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	complete := frame(mgs.NewTaskComplete(mgs.TaskComplete{TaskID: "alice-1"}))
	flipped := slices.Clone(complete)
	flipped[len(flipped)-1] ^= 1
	for name, bad := range map[string][]byte{
		"empty":      {},
		"truncated":  complete[:60],
		"cut off":    complete[:len(complete)-1],
		"altered":    flipped,
		"trailing":   append(slices.Clone(complete), 0),
		"noise":      []byte(strings.Repeat("\xff", 200)),
		"not JSON":   frame(mgs.New(mgs.TypeAgentTaskComplete, []byte("{"))),
		"wrong JSON": frame(mgs.New(mgs.TypeAgentTaskComplete, []byte(`[]`))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, w := newChannels(), &world{}
				c, other := newConn(), newConn()
				endOther := serve(t.Context(), h, "mi-0123456789abcdef1", "other", other, w)
				synctest.Wait()
				end := serve(t.Context(), h, node, "", c, w)
				c.in <- bad
				if err := <-end; err == nil || !strings.Contains(err.Error(), "protocol error") {
					t.Errorf("ended with %v", err)
				}
				if got := c.reasons(); len(got) != 1 || !strings.Contains(got[0], "protocol error") ||
					len(got[0]) > 210 {
					t.Errorf("closed with %q", got)
				}
				if h.Connected(node) || len(w.done) != 0 {
					t.Errorf("connected %v, completed %v", h.Connected(node), w.done)
				}
				if !h.Connected("mi-0123456789abcdef1") || len(other.reasons()) != 0 {
					t.Error("another node's channel noticed")
				}
				close(other.in)
				<-endOther
			})
		})
	}
}

func TestDeliverOutlivesItsCallerAndTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, c, w := newChannels(), newConn(), &world{}
		end := serve(t.Context(), h, node, "", c, w)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.Deliver(ctx, node, []byte("x")); err != nil {
			t.Errorf("a frame was cut off with its caller: %v", err)
		}
		<-c.out
		c.stuck = true
		began := time.Now()
		if err := h.Deliver(t.Context(), node, []byte("x")); err == nil || time.Since(began) > 15*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		close(c.in)
		<-end
	})
}

// TestJobs: messages of agents about commands are forwarded, and acknowledged
// once they are stored. Unreadable messages do not harm the agent.
func TestJobs(t *testing.T) {
	t.Parallel()
	h, w, c := newChannels(), &world{}, newConn()
	end := serve(t.Context(), h, node, "192.0.2.1", c, w)
	send := func(m mgs.Message) mgs.Message {
		c.in <- m.AppendTo(nil)
		return m
	}
	job := mgs.New(mgs.TypeAgentJob, []byte("{}"))
	send(mgs.NewJobAck(&job, "a", mgs.JobAccepted))
	send(mgs.New(mgs.TypeAgentJobAck, []byte("x")))
	send(mgs.New(mgs.TypeAgentJobReply, []byte("x")))
	reply := func(job string) mgs.Message {
		t.Helper()
		m, err := mgs.NewJobReply(job, mgs.CommandReply{DocumentStatus: mgs.CommandSuccess})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	send(reply("another's"))
	m := send(reply("b"))
	got, err := mgs.Parse(<-c.out)
	if err != nil || got.Type != mgs.TypeAgentJobReplyAck {
		t.Fatalf("%+v, %v", got, err)
	}
	ack, err := mgs.ParseBody[mgs.JobReplyAck](got.Payload)
	if err != nil || ack.JobID != "b" || ack.MessageID != m.ID {
		t.Errorf("%+v, %v", ack, err)
	}
	w.want(t, "up 192.0.2.1", "ack a 200", "reply b")
	close(c.in)
	<-end
}

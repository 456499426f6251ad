package relay_test

import (
	"context"
	"testing"
	"testing/synctest"

	"sekisho"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/mgs"
)

// TestAcknowledgedFramesAreRecycled: a frame returns to its connection when
// its receiver has acknowledged it, unless an earlier connection of the
// receiver sent it, too: a write to that may be stuck.
func TestAcknowledgedFramesAreRecycled(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		acknowledge := func(m mgs.Message) { client.send(mgs.NewAck(&m)); synctest.Wait() }
		first, second := output(0, "first"), output(1, "second")
		agent.send(first)
		agent.send(second)
		if got := say(client.drain(t)); got != "0=first, 1=second" {
			t.Fatal(got)
		}
		acknowledge(first)
		if agent.recycled != 1 {
			t.Errorf("%d frames were recycled, want the acknowledged one", agent.recycled)
		}
		client = w.client()
		if got := say(client.drain(t)); got != "1=second" {
			t.Fatal(got)
		}
		acknowledge(second)
		if agent.recycled != 1 {
			t.Error("a frame was recycled that an earlier connection carried")
		}
	})
}

// together is a connection that delivers several frames at once, and counts
// writes.
type together struct {
	*pipe
	batches chan [][]byte
	rest    [][]byte
	writes  int
}

func newTogether() *together {
	return &together{pipe: newPipe(), batches: make(chan [][]byte, 1)}
}

func (c *together) Read(ctx context.Context) ([]byte, error) {
	for len(c.rest) == 0 {
		select {
		case c.rest = <-c.batches:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b, nil
}

func (c *together) Buffered() bool { return len(c.rest) > 0 }

func (c *together) Write(ctx context.Context, frames ...[]byte) error {
	c.writes++
	return c.pipe.Write(ctx, frames...)
}

// TestFramesThatArriveTogetherAreOneWrite: an acknowledgement and a keystroke
// after it become one write to the agent.
func TestFramesThatArriveTogetherAreOneWrite(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := newTogether(), newTogether()
		go func() { _ = w.ServeAgent(w.ctx, sid, agent, relay.Peer{}) }()
		synctest.Wait()
		prompt, key := output(0, "prompt"), input(0, "k")
		agent.batches <- [][]byte{prompt.AppendTo(nil)}
		go func() { _ = w.ServeClient(w.ctx, sid, client, relay.Peer{}) }()
		synctest.Wait()
		client.drain(t)
		ack := mgs.NewAck(&prompt)
		client.batches <- [][]byte{ack.AppendTo(nil), key.AppendTo(nil)}
		if got := say(agent.drain(t)); got != "ack 0, 0=k" {
			t.Error(got)
		}
		if agent.writes != 1 {
			t.Errorf("%d writes", agent.writes)
		}
	})
}

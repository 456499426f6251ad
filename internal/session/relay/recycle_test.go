package relay_test

import (
	"testing"
	"testing/synctest"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// TestAcknowledgedFramesAreRecycled: a frame goes back to its connection when its
// receiver has acknowledged it, unless an earlier connection of the receiver carried
// it too: a write to that may be stuck.
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

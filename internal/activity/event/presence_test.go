package event_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/event"
)

const node = sekisho.NodeID("mi-0123456789abcdef0")

// set changes a node as the fleet does, and reports it.
func (f *fixture) set(change func(n *sekisho.Node)) {
	f.nodes.mu.Lock()
	n := f.nodes.all[node]
	if n == nil {
		n = &sekisho.Node{ID: node, RegisteredAt: time.Now()}
		f.nodes.all[node] = n
	}
	change(n)
	f.nodes.mu.Unlock()
	f.NodeChanged(node)
}

func connect(n *sekisho.Node) { n.ConnectedAt, n.LastPingAt = time.Now(), time.Now() }
func disconnect(n *sekisho.Node) {
	n.ConnectedAt, n.DisconnectedAt, n.DisconnectReason = time.Time{}, time.Now(), "no answer to a ping"
}

// states are the events of nodes so far, oldest first.
func (f *fixture) states() []string {
	f.t.Helper()
	all, err := f.Events(f.t.Context(), event.Query{Limit: 100, Subject: string(node)})
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for i := range all {
		out = append(out, string(all[len(all)-1-i].Type))
	}
	return out
}

func (f *fixture) wantStates(want ...string) {
	f.t.Helper()
	if d := cmp.Diff(want, f.states()); d != "" {
		f.t.Errorf("(-want +got)\n%s", d)
	}
}

// A node is up when it connects, and down when it has been away for a while:
// a short break is neither.
func TestPresence(t *testing.T) {
	t.Parallel()
	bubble(t, event.Config{}, func(t *testing.T, f *fixture) {
		f.set(func(*sekisho.Node) {}) // registered only
		f.after(time.Hour)
		f.wantStates()
		f.set(connect)
		f.after(time.Second)
		f.wantStates("Node Up")
		for range 5 { // it flaps
			f.set(disconnect)
			f.after(55 * time.Second)
			f.set(connect)
			f.after(time.Second)
		}
		f.wantStates("Node Up")
		f.set(disconnect)
		f.after(58 * time.Second)
		f.wantStates("Node Up")
		f.after(4 * time.Second)
		f.wantStates("Node Up", "Node Down")
		f.after(time.Hour)
		f.set(func(n *sekisho.Node) { n.LastPingAt = time.Now() }) // it speaks, without a channel
		f.after(time.Hour)
		f.wantStates("Node Up", "Node Down")
		f.set(connect)
		f.after(time.Second)
		f.wantStates("Node Up", "Node Down", "Node Up")
	})
}

// A restart of the server publishes no events of nodes that reconnect, and NodeDown for
// the others.
func TestPresenceOverRestarts(t *testing.T) {
	t.Parallel()
	bubble(t, event.Config{DownAfter: 2 * time.Minute}, func(t *testing.T, f *fixture) {
		f.set(connect)
		f.after(time.Second)
		f.set(disconnect) // as at the server's stop
		f.stop()
		f.after(time.Hour) // upgrades take time
		f.start()
		f.after(time.Minute)
		f.set(connect)
		f.after(time.Hour)
		f.wantStates("Node Up")

		f.stop()
		f.set(disconnect)
		f.after(time.Hour)
		f.start()
		f.after(time.Minute)
		f.wantStates("Node Up")
		f.after(time.Minute + 2*time.Second)
		f.wantStates("Node Up", "Node Down")
		f.restart()
		f.after(time.Hour)
		f.wantStates("Node Up", "Node Down")

		// It connects while nobody looks.
		f.stop()
		f.set(connect)
		f.start()
		f.after(time.Second)
		f.wantStates("Node Up", "Node Down", "Node Up")
	})
}

// A node that is deregistered is down at once, also while the server is
// stopped.
func TestPresenceOfTheDeregistered(t *testing.T) {
	t.Parallel()
	bubble(t, event.Config{}, func(t *testing.T, f *fixture) {
		gone := func(n *sekisho.Node) { n.DeregisteredAt = time.Now() }
		f.set(connect)
		f.after(time.Second)
		f.set(gone)
		f.after(time.Second)
		f.wantStates("Node Up", "Node Down")
		f.set(func(n *sekisho.Node) { n.DeregisteredAt = time.Time{} }) // registered again under its ID
		f.after(time.Second)
		f.stop()
		f.set(gone)
		f.start()
		f.after(time.Second)
		f.wantStates("Node Up", "Node Down", "Node Up", "Node Down")
	})
}

// A store that does not answer delays the news.
func TestPresenceWithABrokenStore(t *testing.T) {
	t.Parallel()
	bubble(t, event.Config{}, func(t *testing.T, f *fixture) {
		f.nodes.mu.Lock()
		f.nodes.err = errors.New("disk")
		f.nodes.mu.Unlock()
		f.set(connect)
		f.after(10 * time.Second)
		f.wantStates()
		f.nodes.mu.Lock()
		f.nodes.err = nil
		f.nodes.mu.Unlock()
		f.after(2 * time.Second)
		f.wantStates("Node Up")
	})
}

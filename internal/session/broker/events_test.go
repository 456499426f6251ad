package broker_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/session/broker"
)

// Each session has one event for its start and one for its end, however it
// ended.
func TestStartAndEndEvents(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	var events []string
	f.Broker = broker.New(broker.Config{
		Store: f.store, Relay: relay{f}, Links: links{f}, Nodes: nodes{}, Log: slog.New(slog.DiscardHandler),
		Started: func(s sekisho.Session) {
			events = append(events, "started "+string(s.Status)+" "+s.Reason+" "+string(s.Target))
		},
		Ended: func(s sekisho.Session) {
			if s.EndedAt.IsZero() || s.StartedAt.After(s.EndedAt) {
				t.Errorf("%s ended at %v", s.ID, s.EndedAt)
			}
			events = append(events, "ended "+string(s.Status)+" "+s.Details)
		},
	})
	want := func(text ...string) {
		t.Helper()
		if d := cmp.Diff(text, events); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		events = nil
	}
	started := "started Connecting ticket 7 " + string(nodeA)

	s := f.begin(nodeA)
	f.SessionStatus(f.t.Context(), s.ID, sekisho.SessionConnected)
	must(t, f.Terminate(ctx, s.ID, "by bob"))
	must(t, f.Terminate(ctx, s.ID, "again"))
	f.SessionEnded(f.t.Context(), s.ID, sekisho.SessionFailed, "late")
	want(started, "ended Terminated by bob")

	f.openErr = errors.New("disk full")
	if _, err := f.Start(ctx, f.request(nodeA)); err == nil {
		t.Error("a session that cannot be recorded was started")
	}
	want(started, "ended Failed The session could not be recorded.")
	f.openErr = nil

	f.linkErr = errors.New("broken pipe")
	if _, err := f.Start(ctx, f.request(nodeA)); err == nil {
		t.Error("a session was started that the agent does not know of")
	}
	want(started, "ended Failed The node's agent is unreachable.")
	f.linkErr = nil

	delete(f.links, nodeB)
	if _, err := f.Start(ctx, f.request(nodeB)); err == nil {
		t.Error("a session was started on a node that is away")
	}
	want([]string(nil)...)
}

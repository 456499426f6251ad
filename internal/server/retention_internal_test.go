package server

import (
	"log/slog"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/runcommand"
)

// TestRemovalsAreAudited: what retention removes of events and commands is in the audit trail.
func TestRemovalsAreAudited(t *testing.T) {
	t.Parallel()
	s, err := New(t.Context(), Config{
		DataDir: t.TempDir(), Account: "123456789012", Region: "us-east-1", Log: slog.New(slog.DiscardHandler),
		EventMaxAge: time.Nanosecond, CommandMaxAge: time.Nanosecond,
	})
	must(t, err)
	defer s.Close()
	s.bus.Publish(s.bus.Origin().Started(&sekisho.Session{ID: "alice-00000000000000000000000001", StartedAt: time.Now()}))
	must(t, s.bus.Flush(t.Context()))
	must(t, s.db.Commands.CreateCommand(t.Context(), &runcommand.Command{
		ID: "11111111-2222-3333-4444-555555555555", Status: runcommand.Success, RequestedAt: time.Now().Add(-time.Hour),
	}, nil))
	for range 2 { // the second has nothing to remove, and records nothing
		must(t, s.bus.Expire(t.Context()))
		must(t, s.expireCommands(t.Context()))
	}
	for name, member := range map[string]string{"EventsRemoved": "events", "CommandsRemoved": "commands"} {
		events, _, err := s.trail.Lookup(t.Context(), audit.Query{EventName: name, Limit: 10})
		must(t, err)
		if len(events) != 1 || events[0].Additional[member] != 1.0 {
			t.Errorf("%s: %+v", name, events)
		}
	}
}

package server

import (
	"context"

	"sekisho/internal/node/fleet"
)

// nodeAlarm records in the audit trail that a node's identity is in doubt.
func (s *Server) nodeAlarm(ctx context.Context, seen fleet.Sighting) {
	ev := s.serverEvent("Node"+string(seen.Kind), map[string]any{
		"instanceId": string(seen.Node), "otherAddress": seen.Other, "detail": seen.Detail,
	})
	ev.SourceIP = seen.SourceIP
	if err := s.trail.Record(ctx, ev); err != nil {
		s.cfg.Log.Error("audit event lost", "event", ev.EventName, "node", seen.Node, "error", err)
	}
}

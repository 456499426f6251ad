package server

import (
	"context"

	"sekisho"
)

// foreignJob records in the audit trail that a node reported on another node's command.
func (s *Server) foreignJob(ctx context.Context, node sekisho.NodeID, job string) {
	if !s.foreign.Allow(node) {
		return
	}
	ev := s.serverEvent("ForeignCommandReply", map[string]any{"instanceId": string(node), "jobId": job})
	ev.SourceIP = s.Channels.Source(node)
	if err := s.trail.Record(context.WithoutCancel(ctx), ev); err != nil {
		s.cfg.Log.Error("audit event lost", "event", ev.EventName, "node", node, "error", err)
	}
}

// expireCommands removes the commands whose retention has ended, and records how many.
func (s *Server) expireCommands(ctx context.Context) error {
	n, err := s.commands.Expire(ctx)
	if err != nil || n == 0 {
		return err
	}
	return s.trail.Record(ctx, s.serverEvent("CommandsRemoved", map[string]any{"commands": n}))
}

// outputs are the server's buckets, as destinations of commands' output.
type outputs struct{ s *Server }

// HasBucket implements the ssm door's Outputs.
func (o outputs) HasBucket(ctx context.Context, name string) (bool, error) {
	_, err := o.s.objects.Bucket(ctx, name)
	if sekisho.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

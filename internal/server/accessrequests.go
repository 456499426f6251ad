package server

import (
	"context"
	"time"

	"sekisho"
	"sekisho/internal/activity/event"
	"sekisho/internal/api/ssm"
	"sekisho/internal/iam/identity"
	"sekisho/internal/session/access"
)

// accessChanged publishes a change of an access request. Access without approval
// raises an alarm: in the log, in the audit trail, and as an event of its own.
func (s *Server) accessChanged(r access.Request) {
	change := event.AccessChange{
		At: r.CreatedAt, ID: r.ID, Status: string(r.Status), Requester: r.Owner, Reason: r.Reason, Rule: r.Rule,
		ExpiresAt: r.ExpiresAt,
	}
	for _, n := range r.Nodes {
		change.Nodes = append(change.Nodes, string(n))
	}
	if n := len(r.Decisions); n > 0 {
		last := r.Decisions[n-1]
		change.At, change.DecidedBy, change.DecisionNote = last.At, last.By, last.Reason
	}
	s.bus.Publish(s.bus.Origin().Access(change))
	if !r.BreakGlass || len(r.Decisions) > 0 {
		return
	}
	s.cfg.Log.Warn("access without approval", "access_request", r.ID, "requester", r.Owner, "reason", r.Reason)
	ev := s.serverEvent("BreakGlassUsed", map[string]any{
		"accessRequestId": r.ID, "requester": r.Owner, "reason": r.Reason, "instanceIds": change.Nodes,
	})
	ctx, cancel := context.WithTimeout(s.done, alarmTimeout)
	defer cancel()
	if err := s.trail.Record(ctx, ev); err != nil {
		s.cfg.Log.Error("audit event lost", "event", ev.EventName, "access_request", r.ID, "error", err)
	}
	s.bus.Publish(s.bus.Origin().BreakGlass(change))
}

// alarmTimeout bounds storing an alarm.
const alarmTimeout = 10 * time.Second

// userTokens issues temporary credentials to users.
type userTokens struct {
	*identity.Credentials
	groups *identity.Groups
}

// GroupsOf implements [ssm.UserTokens].
func (u userTokens) GroupsOf(ctx context.Context, p *sekisho.Principal) ([]string, error) {
	groups, err := u.groups.Of(ctx, p.UserName)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, g := range groups {
		out = append(out, g.Name, g.ID)
	}
	return out, nil
}

func (u userTokens) AccessToken(ctx context.Context, p *sekisho.Principal, ttl time.Duration) (ssm.Credentials, error) {
	c, err := u.SessionToken(ctx, p, ttl, p.MFATime)
	return ssm.Credentials(c), err
}

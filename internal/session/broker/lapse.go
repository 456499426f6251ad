package broker

import (
	"context"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// ClientAt records the address from which the client of a session is connected, for sessions whose
// permission can depend on it.
func (b *Broker) ClientAt(ctx context.Context, s *sekisho.Session, ip string) error {
	if s.Permission == nil || s.Permission.ClientIP == ip {
		return nil
	}
	return b.cfg.Store.UpdateSession(ctx, s.ID, func(s *sekisho.Session) error {
		if s.Permission != nil {
			s.Permission.ClientIP = ip
		}
		return nil
	})
}

// EachLapsing calls check for every active session that ends when its permission lapses. If
// check returns a reason, the permission has lapsed and the session ends.
func (b *Broker) EachLapsing(ctx context.Context, check func(s *sekisho.Session) (why string, err error)) error {
	return b.eachMine(ctx, Query{Lapsing: true}, func(s *sekisho.Session) error {
		why, err := check(s)
		if err != nil || why == "" {
			return err
		}
		return b.Terminate(ctx, s.ID, why)
	})
}

// Type sends input to the terminal of a session on behalf of a person who joined it.
func (b *Broker) Type(ctx context.Context, s *sekisho.Session, data []byte) error {
	if !b.cfg.Links.Connected(s.Target) {
		return sekisho.Errorf(sekisho.CodeUnreachable, "%s is not connected.", s.Target)
	}
	input := mgs.NewSessionInput(string(s.ID), data)
	return b.cfg.Links.Deliver(ctx, s.Target, input.AppendTo(nil))
}

// Notify shows a text in the terminal of a session. It does nothing for sessions of AWS's agent,
// which cannot show it, and while the node is not connected.
func (b *Broker) Notify(ctx context.Context, s *sekisho.Session, text string) error {
	if !b.Notifiable(s) {
		return nil
	}
	notice := mgs.NewSessionNotice(string(s.ID), text)
	return b.cfg.Links.Deliver(ctx, s.Target, notice.AppendTo(nil))
}

// Notifiable reports whether Notify can show a text in the terminal of a session now.
func (b *Broker) Notifiable(s *sekisho.Session) bool {
	return s.AgentProcess != "" && b.cfg.Links.Connected(s.Target)
}

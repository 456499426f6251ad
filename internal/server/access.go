package server

import (
	"context"
	"time"

	"sekisho/internal/session/broker"
)

// How long a session may outlive the access of its owner.
const (
	watchEvery   = time.Second
	recheckEvery = 10 * time.Second
)

// watchAccess ends the sessions of those whose access is taken away, until ctx
// ends.
func (s *Server) watchAccess(ctx context.Context) {
	if s.cfg.KeepSessions {
		return
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	seen, checked := int64(-1), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := s.Directory.Generation(ctx)
		// A session may begin while the access of its owner ends: everybody is
		// looked at now and then, too.
		if err == nil && now == seen && time.Since(checked) < recheckEvery {
			continue
		}
		if err == nil {
			err = s.broker.EndRevoked(ctx, s.Directory.Stands)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Log.Error("sessions of revoked access not ended", "error", err)
			}
			continue // with the next tick
		}
		seen, checked = now, time.Now()
	}
}

// signedOut ends the sessions that a console sign-in has begun.
func (s *Server) signedOut(ctx context.Context, accessKeyID string) {
	if s.cfg.KeepSessions {
		return
	}
	if err := s.broker.EndCredential(context.WithoutCancel(ctx), accessKeyID, broker.Revoked); err != nil {
		s.cfg.Log.Error("sessions of a sign-in not ended", "error", err)
	}
}

package server

import (
	"context"
	"time"

	"sekisho/internal/session/broker"
)

// Intervals that bound how long a session outlives its owner's access.
const (
	watchEvery   = time.Second
	recheckEvery = 10 * time.Second
)

// watchAccess ends the sessions of principals whose access was revoked, until ctx ends.
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
		now, err := s.Directory.Credentials.Generation(ctx)
		// A session can begin just as its owner's access ends, so all sessions are also checked
		// periodically.
		if err == nil && now == seen && time.Since(checked) < recheckEvery {
			continue
		}
		if err == nil {
			err = s.broker.EndRevoked(ctx, s.Directory.Credentials.Stands)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Log.Error("could not end the sessions of revoked access", "error", err)
			}
			continue // retry at the next tick
		}
		seen, checked = now, time.Now()
	}
}

// signedOut ends the sessions that a console sign-in has started.
func (s *Server) signedOut(ctx context.Context, accessKeyID string) {
	if s.cfg.KeepSessions {
		return
	}
	if err := s.broker.EndCredential(context.WithoutCancel(ctx), accessKeyID, broker.Revoked); err != nil {
		s.cfg.Log.Error("could not end the sessions of a sign-in", "error", err)
	}
}

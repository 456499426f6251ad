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
	seen, checked := int64(-1), time.Time{}
	s.whileActive(ctx, s.startedForAccess, watchEvery, broker.Query{}, func(ctx context.Context) error {
		now, err := s.Directory.Credentials.Generation(ctx)
		if err != nil {
			return err
		}
		// A session can begin just as its owner's access ends, so all sessions are also checked
		// periodically.
		if now == seen && time.Since(checked) < recheckEvery {
			return nil
		}
		if err := s.broker.EndRevoked(ctx, s.Directory.Credentials.Stands); err != nil {
			return err
		}
		seen, checked = now, time.Now()
		return nil
	}, "access of the owners of sessions")
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

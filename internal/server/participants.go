package server

import (
	"context"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/participants"
)

// sessionParticipants shows the owner of a session who watches and who types.
type sessionParticipants struct {
	*participants.Registry
	broker *broker.Broker
}

func (p sessionParticipants) Watch(ctx context.Context, s *sekisho.Session, principal string) error {
	change, err := p.Registry.Watch(s.ID, principal)
	return p.show(ctx, s, principal, change, err)
}

func (p sessionParticipants) Join(ctx context.Context, s *sekisho.Session, principal string, typed bool) error {
	change, err := p.Registry.Join(s.ID, principal, typed)
	return p.show(ctx, s, principal, change, err)
}

func (p sessionParticipants) Leave(ctx context.Context, s *sekisho.Session, principal string) error {
	if !p.Registry.Leave(s.ID, principal) {
		return nil
	}
	return p.broker.Notify(ctx, s, shortName(principal)+" left this session.")
}

func (p sessionParticipants) Type(ctx context.Context, s *sekisho.Session, data []byte) error {
	return p.broker.Type(ctx, s, data)
}

func (p sessionParticipants) show(
	ctx context.Context, s *sekisho.Session, principal string, change participants.Change, err error,
) error {
	if err != nil {
		return err
	}
	switch change {
	case participants.Watches:
		return p.broker.Notify(ctx, s, shortName(principal)+" is watching this session.")
	case participants.Joined:
		return p.broker.Notify(ctx, s, shortName(principal)+" joined this session and can type.")
	case participants.Nothing:
	}
	return nil
}

// shortName is the last part of an ARN.
func shortName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// expireEvery is how often participants are looked for who are gone.
const expireEvery = 5 * time.Second

// watchParticipants shows owners who left, until ctx ends.
func (s *Server) watchParticipants(ctx context.Context) {
	every(ctx, expireEvery, func() {
		for _, left := range s.participants.Expire() {
			session, err := s.broker.Session(ctx, left.Session)
			if err == nil && session.Status.Active() {
				err = s.broker.Notify(ctx, session, shortName(left.Principal)+" left this session.")
			}
			if err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("the owner of a session was not shown who left", "session", left.Session, "error", err)
			}
		}
	})
}

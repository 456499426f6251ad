package server

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/event"
	"sekisho/internal/activity/webhook"
	"sekisho/internal/config"
	"sekisho/internal/node/fleet"
)

// openEvents opens the event bus. Engines publish to it through the functions here, so that it
// depends on none of them.
func (s *Server) openEvents(ctx context.Context) error {
	var err error
	s.bus, err = event.New(ctx, event.Config{
		Store: s.db.Events, Nodes: s.db.Fleet, Origin: event.Origin{Account: s.cfg.Account, Region: s.cfg.Region},
		Name:     s.names.Of,
		Webhooks: s.cfg.Webhooks, DownAfter: s.cfg.NodeDownAfter, Log: s.cfg.Log,
		Limits: event.Limits{Keep: s.cfg.EventsKept}, MaxAge: s.cfg.EventMaxAge, Removed: s.eventsRemoved,
	})
	return err
}

// eventsRemoved records that retention has removed events.
func (s *Server) eventsRemoved(ctx context.Context, r event.Removal) {
	if err := s.trail.Record(ctx, s.serverEvent("EventsRemoved", map[string]any{
		"events": r.Events, "first": r.First, "last": r.Last,
	})); err != nil {
		s.cfg.Log.Error("could not record in the audit trail that events were removed", "events", r.Events, "error", err)
	}
}

func (s *Server) sessionStarted(x sekisho.Session) {
	s.startedForAccess.send()
	s.startedForLapses.send()
	s.bus.Publish(s.bus.Origin().Started(&x))
}

func (s *Server) sessionEnded(x sekisho.Session) {
	if s.member != nil {
		s.member.Forget(x.ID)
	}
	s.bus.Publish(s.bus.Origin().Ended(&x))
}

// machineSeen publishes sightings of the fleet as events.
func (s *Server) machineSeen(_ context.Context, x fleet.Sighting) {
	t := event.NodeIdentityInDoubt
	switch {
	case x.Kind.Registration():
		t = event.RegistrationRefused
	case x.Kind == fleet.SeenAddressChanged:
		t = event.NodeAddressChanged
	case x.Kind == fleet.SeenNewFingerprint:
		t = event.NodeIdentityChanged
	}
	s.bus.Publish(s.bus.Origin().Seen(event.Sight{
		Type: t, At: x.LastAt, Node: x.Node, Kind: string(x.Kind), SourceIP: x.SourceIP, Other: x.Other,
		Fingerprint: x.Fingerprint, Message: x.Detail,
	}))
}

// recorded publishes audit events about sessions: calls that start, resume and end them, and calls
// that policy denied. Unauthenticated callers cause no events.
func (s *Server) recorded(e audit.Event) {
	if e.EventSource != "ssm.amazonaws.com" || e.UserIdentity.Type == audit.IdentityNobody ||
		!slices.Contains([]string{"StartSession", "ResumeSession", "TerminateSession"}, e.EventName) {
		return
	}
	record, err := e.CloudTrail(s.cfg.Account)
	if err == nil && len(record) > maxCall {
		short := e
		short.RequestParameters = map[string]any{"omitted": "the audit trail has them"}
		record, err = short.CloudTrail(s.cfg.Account)
	}
	if err != nil {
		s.cfg.Log.Error("event lost", "call", e.EventName, "request_id", e.RequestID, "error", err)
	} else {
		s.bus.Publish(s.bus.Origin().Call("ssm", e.Time, record))
	}
	if e.EventName == "TerminateSession" || e.ErrorCode != "AccessDeniedException" {
		return
	}
	asked, _ := e.RequestParameters.(map[string]any)
	text := func(name string) string {
		v, _ := asked[name].(string)
		return v
	}
	s.bus.Publish(s.bus.Origin().Denied(event.Denial{
		At: e.Time, Operation: e.EventName, Principal: e.UserIdentity.ARN, Target: text("target"),
		SessionID: text("sessionId"),
		Document: text(
			"documentName",
		), Reason: text("reason"), SourceIP: e.SourceIP, UserAgent: e.UserAgent, RequestID: e.RequestID,
		Code: e.ErrorCode, Message: e.ErrorMessage,
	}))
}

// maxCall bounds the record of a call in an event.
const maxCall = 32 << 10

// webhooksOf returns the webhooks of a configuration.
func webhooksOf(all []config.Webhook) ([]event.Webhook, error) {
	var out []event.Webhook
	for i := range all {
		c := &all[i]
		pattern, err := c.Filter()
		if err != nil {
			return nil, err
		}
		networks, err := c.Networks()
		if err != nil {
			return nil, err
		}
		roots, err := c.Roots()
		if err != nil {
			return nil, err
		}
		end, err := webhook.New(webhook.Config{
			URL: c.URL, Allow: networks, Roots: roots,
			Secrets: func() ([]webhook.Secret, error) {
				text, err := c.Secret()
				if err != nil {
					return nil, err
				}
				return webhook.ParseSecrets(text)
			},
		})
		if err != nil {
			return nil, err
		}
		words := strings.Join(c.Events, ", ")
		if len(c.Pattern) > 0 {
			words = "those of a pattern"
		}
		out = append(out, event.Webhook{
			Name: c.Name, Endpoint: end, Pattern: pattern, Events: words, GiveUpAfter: c.GiveUpAfter, Concurrency: c.Concurrency,
		})
	}
	return out, nil
}

// DevWebhook returns a receiver on this machine, for sekishod dev.
func DevWebhook(url, secret string) (event.Webhook, error) {
	secrets, err := webhook.ParseSecrets(secret)
	if err != nil {
		return event.Webhook{}, err
	}
	end, err := webhook.New(webhook.Config{
		URL: url, Secrets: func() ([]webhook.Secret, error) { return secrets, nil },
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	})
	return event.Webhook{Name: "dev", Endpoint: end}, err
}

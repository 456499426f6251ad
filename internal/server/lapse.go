package server

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"sekisho"
	"sekisho/internal/api/ssm"
	"sekisho/internal/iam/authz"
	"sekisho/internal/session/access"
	"sekisho/internal/session/broker"
)

// lapseEvery is the interval at which the permissions of sessions that depend on them are checked.
const lapseEvery = 2 * time.Second

// lapseWarnings are the times before the end of a session at which its user is warned.
var lapseWarnings = []time.Duration{time.Minute, 5 * time.Minute}

// lapseWatch ends sessions whose permission lapses because a policy, a tag, the client's address or
// the time changed. It is used by one goroutine.
type lapseWatch struct {
	s          *Server
	requests   *ssm.PolicyRequests
	authorizer *authz.Authorizer
	// warned is the last warning that each session has had.
	warned map[sekisho.SessionID]time.Duration
}

func (s *Server) now() time.Time {
	if s.cfg.Now != nil {
		return s.cfg.Now()
	}
	return time.Now()
}

// lapsedBecause begins the reason shown to the user.
const lapsedBecause = "The permission for this session lapsed: "

// watchLapses checks sessions until ctx ends.
func (s *Server) watchLapses(ctx context.Context) {
	w := &lapseWatch{
		s:          s,
		requests:   s.requests,
		authorizer: authz.New(s.Directory.Sets),
		warned:     map[sekisho.SessionID]time.Duration{},
	}
	s.whileActive(ctx, s.startedForLapses, lapseEvery, broker.Query{Lapsing: true}, w.check,
		"permissions of sessions")
}

func (w *lapseWatch) check(ctx context.Context) error {
	seen := map[sekisho.SessionID]bool{}
	err := w.s.broker.EachLapsing(ctx, func(x *sekisho.Session) (string, error) {
		seen[x.ID] = true
		return w.lapsed(ctx, x)
	})
	for id := range w.warned {
		if !seen[id] && err == nil {
			delete(w.warned, id)
		}
	}
	return err
}

// lapsed returns why the permission of a session has lapsed, or "". It warns the user of an
// approaching lapse.
func (w *lapseWatch) lapsed(ctx context.Context, x *sekisho.Session) (string, error) {
	allowed, err := w.allowance(ctx, x)
	if err != nil {
		return "", err
	}
	now := w.s.now()
	ok, why, err := allowed(now)
	if sekisho.CodeOf(err) == sekisho.CodeUnauthenticated {
		return lapsedBecause + "the owner no longer exists.", nil
	}
	if err != nil {
		return "", err
	}
	if !ok {
		text, err := why()
		return lapsedBecause + text, err
	}
	for _, ahead := range lapseWarnings {
		end, err := w.firstDenied(ctx, x, now, now.Add(ahead), allowed)
		if err != nil {
			return "", err
		}
		if end.IsZero() {
			continue
		}
		if had := w.warned[x.ID]; had != 0 && had <= ahead {
			return "", nil
		}
		if !w.s.broker.Notifiable(x) {
			return "", nil // the next check tries again
		}
		w.warned[x.ID] = ahead
		left := max(end.Sub(now), time.Second).Round(time.Second)
		return "", w.s.broker.Notify(
			ctx,
			x,
			fmt.Sprintf("Your permission for this session ends in %s, at %s. The session ends then.",
				left, end.UTC().Format("15:04:05 MST")),
		)
	}
	delete(w.warned, x.ID) // an earlier end has been postponed
	return "", nil
}

// allowance decides whether policy allows the owner of a session to start it at a time. why returns the
// reason of a denial, and must be called before the next decision.
type allowance func(at time.Time) (ok bool, why func() (string, error), err error)

func because(text string) func() (string, error) {
	return func() (string, error) { return text, nil }
}

func (w *lapseWatch) allowance(ctx context.Context, x *sekisho.Session) (allowance, error) {
	p := x.Permission.Principal
	if p.Type == sekisho.PrincipalUser {
		// Policies may depend on tags, which may have changed.
		now, err := w.s.Directory.Sets.PrincipalOf(ctx, p.ARN)
		if sekisho.IsNotFound(err) {
			return func(time.Time) (bool, func() (string, error), error) {
				return false, because("the user was deleted."), nil
			}, nil
		}
		if err != nil {
			return nil, err
		}
		p.Tags = now.Tags
	}
	request, err := w.requests.StartSession(ctx, string(x.Target), x.Permission.Document)
	if err != nil {
		return nil, err
	}
	var granted *access.Request
	if requestID := x.Permission.AccessRequest; requestID != "" {
		if granted, err = w.s.access.Request(ctx, requestID); err != nil {
			return nil, err
		}
	}
	facts := authz.Facts{Principal: &p, Secure: true, UserAgent: x.Permission.UserAgent, Region: w.s.cfg.Region}
	facts.SourceIP, _ = netip.ParseAddr(x.Permission.ClientIP) // an unknown address matches no condition
	return func(at time.Time) (bool, func() (string, error), error) {
		facts.Time = at
		v, _, err := request.Decide(
			ctx,
			func(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
				return w.authorizer.Decide(ctx, &facts, action, resource, keys...)
			},
		)
		if err != nil || v.Allowed || v.Explicit || granted == nil {
			return v.Allowed, func() (string, error) {
				d, err := w.authorizer.Denial(ctx, &facts, request.Decide)
				return v.Message + ". " + d.Remedy, err
			}, err
		}
		status := granted.At(at)
		return status == access.Approved, because("the access request " + granted.ID + " is " + string(status) + "."), nil
	}, nil
}

// firstDenied returns the first second in (from, to] at which policy denies the
// session, or the zero time. Policies may name the seconds at which they change;
// otherwise it compares the two ends.
func (w *lapseWatch) firstDenied(
	ctx context.Context, x *sekisho.Session, from, to time.Time, allowed allowance,
) (time.Time, error) {
	changes, _, err := w.authorizer.Times(ctx, &x.Permission.Principal, from, to)
	if err != nil {
		return time.Time{}, err
	}
	last := from
	for _, at := range append(changes, to) {
		if !at.After(last) || at.After(to) {
			continue
		}
		ok, _, err := allowed(at)
		if err != nil {
			return time.Time{}, err
		}
		if !ok {
			return bisect(last, at, allowed)
		}
		last = at
	}
	return time.Time{}, nil
}

// bisect returns the first denied second after allowed, an allowed time, up to denied, a denied
// one.
func bisect(allowed, denied time.Time, decide allowance) (time.Time, error) {
	for denied.Sub(allowed) > time.Second {
		middle := allowed.Add(denied.Sub(allowed) / 2)
		ok, _, err := decide(middle)
		if err != nil {
			return time.Time{}, err
		}
		if ok {
			allowed = middle
		} else {
			denied = middle
		}
	}
	return denied, nil
}

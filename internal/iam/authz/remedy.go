package authz

import (
	"context"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/policy"
)

const (
	// lookAhead is how far ahead Denial looks for the next time at which a denied
	// request is allowed.
	lookAhead = 31 * 24 * time.Hour
	// maxEvaluations bounds the evaluations for one Denial, which take about 1 µs each.
	maxEvaluations = 4096
)

// WithSecondFactor returns f with a second factor verified just now. Only users can have one: ok is
// false for other principals.
func (f *Facts) WithSecondFactor() (with *Facts, ok bool) {
	if f.Principal == nil || f.Principal.Type != sekisho.PrincipalUser {
		return f, false
	}
	p, out := *f.Principal, *f
	if p.TokenIssueTime.IsZero() {
		p.TokenIssueTime = f.Time
	}
	p.MFATime = f.Time
	out.Principal = &p
	return &out, true
}

// Denial says which aspects caused a denial, and what would satisfy the policies. It reveals nothing about policies but
// what the caller could find out by retrying at other times, unless the caller is allowed to simulate its own policies.
type Denial struct {
	Failed []policy.Aspect
	Remedy string
	// SecondFactor is true if a fresh second factor alone would turn the denial into an allowed request.
	SecondFactor bool
}

// Question makes the decisions that a call requires. It must not depend on anything else.
type Question func(ctx context.Context, decide DecideFunc) (Verdict, []Step, error)

// denied is everything that a decision to deny depended on.
type denied struct {
	set      *policy.Set
	facts    Facts
	action   string
	resource string
	keys     []Key
	reason   string
}

// Denial says why v denies; it is zero if v allows.
func (v *Verdict) Denial(ctx context.Context) Denial {
	if v.denied == nil {
		return Denial{}
	}
	d := v.denied
	ask := func(ctx context.Context, decide DecideFunc) (Verdict, []Step, error) {
		v, err := decide(ctx, d.action, d.resource, d.keys...)
		return v, nil, err
	}
	return newSearch(d.set, &d.facts, ask).denial(ctx, d.reason)
}

// Denial says why several decisions together deny; it is zero if they allow.
func (a *Authorizer) Denial(ctx context.Context, f *Facts, ask Question) (Denial, error) {
	v, _, err := ask(ctx, func(ctx context.Context, action, resource string, keys ...Key) (Verdict, error) {
		return a.Decide(ctx, f, action, resource, keys...)
	})
	if err != nil || v.Allowed {
		return Denial{}, err
	}
	set, err := a.policies.Policies(ctx, f.Principal)
	if err != nil {
		return Denial{}, err
	}
	return newSearch(set, f, ask).denial(ctx, v.Reason), nil
}

// search evaluates a denied question under changed circumstances.
type search struct {
	set   *policy.Set
	facts *Facts
	ask   Question
	who   policy.Principal

	original *policy.Context // of the denied request, without the keys of a resource
	plain    *policy.Context // reused at other times
	factor   *policy.Context // likewise, with a fresh second factor; nil if the principal cannot have one
	times    []time.Time     // after now, at which a decision can change
	timed    bool            // times is set
	left     int             // evaluations
}

func newSearch(set *policy.Set, f *Facts, ask Question) *search {
	s := &search{
		set: set, facts: f, ask: ask, who: PolicyPrincipal(f.Principal), left: maxEvaluations,
		original: contextOf(f, nil), plain: contextOf(f, nil),
	}
	if with, ok := f.WithSecondFactor(); ok {
		s.factor = contextOf(with, nil)
	}
	return s
}

// mode says how exactly a search considers two aspects. What is not exact counts as satisfied.
type mode struct {
	time   bool // evaluate at the times within lookAhead
	factor bool // evaluate with a fresh second factor
}

// denial finds the aspects that must change, and describes them.
func (s *search) denial(ctx context.Context, reason string) Denial {
	d := Denial{SecondFactor: s.factor != nil && s.evaluate(ctx, s.factor, s.factor)}
	change, used := policy.ChangeMFA, mode{time: true, factor: true}
	if !d.SecondFactor {
		change, used = s.smallest(ctx)
	}
	d.Failed = change.List()
	at, _ := s.opens(ctx, change, used)
	parts := make([]string, 0, len(d.Failed)+1)
	for _, a := range d.Failed {
		parts = append(parts, s.remedy(ctx, a, change, used, at))
	}
	if s.set.Evaluate(&policy.Request{
		Action: "iam:SimulatePrincipalPolicy", Resource: s.facts.Principal.PolicyARN, Context: s.original, Principal: s.who,
	}).Effect == policy.Allowed {
		parts = append(parts, "Details: "+reason+".")
	}
	d.Remedy = strings.Join(parts, " ")
	return d
}

// smallest returns the smallest set of aspects that must change, and how exactly the time and the
// second factor among them are known to satisfy the policies.
func (s *search) smallest(ctx context.Context) (policy.Aspects, mode) {
	find := func(m mode) (policy.Aspects, bool) {
		return policy.Smallest(func(change policy.Aspects) bool {
			_, ok := s.opens(ctx, change, m)
			return ok
		})
	}
	if _, ok := find(mode{}); !ok {
		return policy.ChangeWho, mode{}
	}
	for _, m := range []mode{{time: true, factor: true}, {time: true}, {factor: true}} {
		if m.factor && s.factor == nil {
			continue
		}
		if change, ok := find(m); ok {
			return change, m
		}
	}
	change, _ := find(mode{})
	return change, mode{}
}

// opens returns the first time from now on at which the question would be allowed if aspects were
// different. It is now unless the mode considers the time exactly.
func (s *search) opens(ctx context.Context, change policy.Aspects, m mode) (at time.Time, ok bool) {
	now := s.facts.Time
	rest := change &^ policy.ChangeWhen
	if s.allowed(ctx, now, rest, m) {
		return now, true
	}
	// If the time does not matter, no time needs to be tried.
	if change == rest || !s.allowed(ctx, now, change, m) {
		return now, false
	}
	if !m.time {
		return now, true
	}
	if !s.timed {
		s.times, _ = s.set.Times(now, now.Add(lookAhead))
		s.times = slices.DeleteFunc(s.times, func(t time.Time) bool { return !t.After(now) })
		s.timed = true
	}
	for _, t := range s.times {
		if s.left <= 0 {
			break
		}
		if s.allowed(ctx, t, rest, m) {
			return t, true
		}
	}
	return now, false
}

// allowed evaluates the question at a time, with some aspects different and with any value of the
// unknown keys.
func (s *search) allowed(
	ctx context.Context, at time.Time, change policy.Aspects, m mode, unknown ...string,
) bool {
	c, f := s.plain, *s.facts
	f.Time = at
	if m.factor && change&policy.ChangeMFA != 0 {
		c, change = s.factor, change&^policy.ChangeMFA
		with, _ := f.WithSecondFactor()
		f = *with
	}
	setTimes(func(k, v string) { c.Set(k, policy.Single(v)) }, &f)
	if len(unknown) > 0 {
		c = c.Clone()
		c.SetUnknown(unknown...)
	}
	return s.evaluate(ctx, c, c.Changing(change, s.original))
}

// evaluate evaluates the question with the context assumed, which shares its keys with c.
func (s *search) evaluate(ctx context.Context, c, assumed *policy.Context) bool {
	v, _, err := s.ask(ctx, func(_ context.Context, action, resource string, keys ...Key) (v Verdict, _ error) {
		s.left--
		with(c, keys, func() {
			with(s.original, keys, func() {
				d := s.set.Evaluate(&policy.Request{Action: action, Resource: resource, Context: assumed, Principal: s.who})
				v = Verdict{Allowed: d.Effect == policy.Allowed, Explicit: d.Effect == policy.ExplicitDeny}
			})
		})
		return v, nil
	})
	return err == nil && v.Allowed
}

// remedy says what would satisfy one of the aspects that must change, at a time.
func (s *search) remedy(ctx context.Context, a policy.Aspect, change policy.Aspects, m mode, at time.Time) string {
	switch a {
	case policy.AspectWhere:
		return "Where: it is not allowed " + s.where(ctx, change&^policy.ChangeWhere, m, at) + "."
	case policy.AspectWhich:
		return "Which: it is not allowed on this resource; use one that your policies cover."
	case policy.AspectWhen:
		if m.time {
			return "When: it is not allowed now; it is allowed from " + at.UTC().Format(time.RFC3339) + "."
		}
		return "When: it is not allowed at this time."
	case policy.AspectMFA:
		switch {
		case s.factor == nil:
			return "MFA: get new credentials with a second factor."
		case m.factor:
			return "MFA: sign in with a second factor, or verify it again."
		}
		return "MFA: your second factor does not satisfy your policies."
	case policy.AspectWho:
	}
	return "Who: you have no permission for this; ask an administrator."
}

// where says which properties of the connection must change, in addition to other aspects.
func (s *search) where(ctx context.Context, others policy.Aspects, m mode, at time.Time) string {
	if m.time {
		others &^= policy.ChangeWhen // at is the time
	}
	address, transport := "over this connection", "over this connection; use TLS"
	if s.facts.SourceIP.IsValid() {
		address = "from " + s.facts.SourceIP.Unmap().String() + "; use a network that your policies allow"
	}
	if s.facts.Secure {
		transport = "over TLS"
	}
	properties := []struct {
		text string
		keys []string
	}{
		{address, []string{"aws:SourceIp", "aws:VpcSourceIp", "aws:SourceVpc", "aws:SourceVpce"}},
		{transport, []string{"aws:SecureTransport"}},
		{"with this program", []string{"aws:UserAgent", "aws:Referer"}},
	}
	changed := make([]bool, len(properties))
	suffices := func() bool {
		var unknown []string
		for i, p := range properties {
			if changed[i] {
				unknown = append(unknown, p.keys...)
			}
		}
		return s.allowed(ctx, at, others, m, unknown...)
	}
	for i := range changed {
		changed[i] = true
	}
	for i := range changed {
		if changed[i] = false; !suffices() {
			changed[i] = true
		}
	}
	var texts []string
	for i, p := range properties {
		if changed[i] {
			texts = append(texts, p.text)
		}
	}
	return strings.Join(texts, ", and ")
}

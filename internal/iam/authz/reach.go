package authz

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// unknownKeys are the condition keys whose values are only known once a principal makes a
// request. Facts that the query specifies are known.
func unknownKeys(f *Facts, mfaKnown bool) []string {
	keys := []string{"aws:UserAgent", "aws:Referer"}
	if !f.SourceIP.IsValid() {
		keys = append(keys, "aws:SourceIp", "aws:VpcSourceIp")
	}
	if !mfaKnown {
		keys = append(keys, "aws:MultiFactorAuthPresent", "aws:MultiFactorAuthAge", "aws:TokenIssueTime")
	}
	if f.Principal.Type == sekisho.PrincipalAssumedRole {
		keys = append(keys, "aws:userid", "aws:SourceIdentity", "aws:FederatedProvider")
	}
	return keys
}

// ReachSpan is a period with constant reach.
type ReachSpan struct {
	From, To  time.Time // To is exclusive
	Reach     policy.Reach
	DependsOn []string // conditions on values that are only known at request time
}

// Reacher determines what one principal can reach under the policies at the time of its creation.
// It is not safe for concurrent use.
type Reacher struct {
	set      *policy.Set
	facts    Facts
	mfaKnown bool
	from, to time.Time
	at       []time.Time
	exact    bool
	contexts map[time.Time]*policy.Context
	ever     *policy.Context // without a time

	mentioned  map[string]bool // condition keys that policies mention, in lower case
	told       map[string]bool // whether a condition key, as written, is among these
	classifier *policy.Classifier
	alike      map[string][]ReachSpan // spans by class, see classify
	class      []byte                 // reused
	keys       []int                  // reused
}

const startSessionAction = "ssm:StartSession"

// Reachers creates Reachers for one query about many principals. Principals with the same policies
// that do not distinguish them share one. It is not safe for concurrent use.
type Reachers struct {
	authorizer *Authorizer
	mfaKnown   bool
	from, to   time.Time
	shared     map[string]*Reacher
	mentioned  map[*policy.Set][]string // sorted
}

// Reachers returns Reachers for a period.
func (a *Authorizer) Reachers(mfaKnown bool, from, to time.Time) *Reachers {
	return &Reachers{
		authorizer: a,
		mfaKnown:   mfaKnown,
		from:       from,
		to:         to,
		shared:     map[string]*Reacher{},
		mentioned:  map[*policy.Set][]string{},
	}
}

// Reacher returns a Reacher for the principal of f: see [Authorizer.Reacher].
func (rs *Reachers) Reacher(ctx context.Context, f Facts) (*Reacher, error) {
	set, err := rs.authorizer.policies.Policies(ctx, f.Principal)
	if err != nil {
		return nil, fmt.Errorf("policies of %s: %w", f.Principal.ARN, err)
	}
	mentioned, ok := rs.mentioned[set]
	if !ok {
		mentioned = slices.Sorted(maps.Keys(set.Mentioned()))
		rs.mentioned[set] = mentioned
	}
	c := contextOf(&f, nil)
	key := fmt.Appendf(nil, "%p %s %t %s", set, f.Principal.Type, f.Principal.MFATime.IsZero(), f.SourceIP)
	for _, name := range mentioned {
		if v, ok := c.Get(name); ok {
			key = fmt.Appendf(key, " %s=%q", name, v.Strings())
		}
	}
	if r := rs.shared[string(key)]; r != nil {
		return r, nil
	}
	r := newReacher(set, f, rs.mfaKnown, rs.from, rs.to)
	rs.shared[string(key)] = r
	return r, nil
}

// Reacher returns a Reacher for the principal of f in a period. Without a source address in f, any
// address counts; mfaKnown means that f specifies whether the principal has a second factor.
func (a *Authorizer) Reacher(ctx context.Context, f Facts, mfaKnown bool, from, to time.Time) (*Reacher, error) {
	return a.Reachers(mfaKnown, from, to).Reacher(ctx, f)
}

func newReacher(set *policy.Set, f Facts, mfaKnown bool, from, to time.Time) *Reacher {
	r := &Reacher{
		set:       set,
		facts:     f,
		mfaKnown:  mfaKnown,
		from:      from.Truncate(time.Second),
		to:        to.Truncate(time.Second),
		contexts:  map[time.Time]*policy.Context{},
		mentioned: set.Mentioned(),
		told:      map[string]bool{},
		alike:     map[string][]ReachSpan{},
	}
	r.at, r.exact = set.Times(r.from, r.to)
	if c, ok := set.Classifier(startSessionAction); ok {
		r.classifier = c
	}
	return r
}

// Exact reports whether the spans are exact: it is false if a policy uses the
// time as text.
func (r *Reacher) Exact() bool { return r.exact }

// maxAlike bounds how many answers a Reacher keeps.
const maxAlike = 4096

// StartSession returns the reach over the period, without gaps. Nodes that the policies do not
// distinguish share one answer, which the caller must not modify.
func (r *Reacher) StartSession(ctx context.Context, s StartSession) ([]ReachSpan, error) {
	if r.classifier == nil {
		return r.startSession(ctx, s)
	}
	r.classify(&s)
	if spans, found := r.alike[string(r.class)]; found {
		return spans, nil
	}
	spans, err := r.startSession(ctx, s)
	if err == nil && len(r.alike) < maxAlike {
		r.alike[string(r.class)] = spans
	}
	return spans, err
}

// classify sets r.class to everything about a call that the policies could distinguish it by.
func (r *Reacher) classify(s *StartSession) {
	r.class = r.classifier.Append(r.class[:0], s.Node)
	r.class = append(r.class, s.Document...)
	flags := byte(0)
	if s.Named {
		flags |= 1
	}
	if s.Strict {
		flags |= 2
	}
	r.class = append(r.class, 0, flags)
	r.appendKeys(s.NodeKeys)
	r.class = append(r.class, 0)
	r.appendKeys(s.DocumentKeys)
}

// appendKeys appends the keys that policies mention, in order, to r.class.
func (r *Reacher) appendKeys(keys []Key) {
	r.keys = r.keys[:0]
	for i := range keys {
		if r.mentions(keys[i].Name) {
			r.keys = append(r.keys, i)
		}
	}
	if len(r.keys) > 1 {
		slices.SortFunc(r.keys, func(a, b int) int { return strings.Compare(keys[a].Name, keys[b].Name) })
	}
	for _, i := range r.keys {
		r.class = append(append(r.class, keys[i].Name...), 0)
		r.class = binary.AppendUvarint(r.class, uint64(len(keys[i].Values)))
		for _, v := range keys[i].Values {
			r.class = binary.AppendUvarint(r.class, uint64(len(v)))
			r.class = append(r.class, v...)
		}
	}
}

func (r *Reacher) mentions(name string) bool {
	known, found := r.told[name]
	if !found {
		known = r.mentioned[strings.ToLower(name)]
		if len(r.told) < maxAlike {
			r.told[name] = known
		}
	}
	return known
}

func (r *Reacher) startSession(ctx context.Context, s StartSession) ([]ReachSpan, error) {
	// Most nodes are never reachable: one decision shows that.
	if r.ever == nil {
		f := r.facts
		f.Time = r.from
		r.ever = contextOf(&f, nil)
		r.ever.SetUnknown(append(unknownKeys(&f, r.mfaKnown),
			"aws:CurrentTime", "aws:EpochTime", "aws:TokenIssueTime", "aws:MultiFactorAuthAge")...)
	}
	best, err := r.best(ctx, s, r.ever, nil)
	if err != nil {
		return nil, err
	}
	if !best && r.exact {
		return []ReachSpan{{From: r.from, To: r.to, Reach: policy.ReachNever}}, nil
	}
	var out []ReachSpan
	for _, t := range append([]time.Time{r.from}, r.at...) {
		if !t.Before(r.to) {
			break
		}
		reach, depends, err := r.startSessionAt(ctx, s, t)
		if err != nil {
			return nil, err
		}
		if n := len(out); n > 0 {
			if out[n-1].Reach == reach && slices.Equal(out[n-1].DependsOn, depends) {
				continue
			}
			out[n-1].To = t
		}
		out = append(out, ReachSpan{From: t, To: r.to, Reach: reach, DependsOn: depends})
	}
	return out, nil
}

// decision is an evaluated request.
type decision struct {
	action, resource string
	keys             []Key
}

// contextAt returns the condition keys at a time, without those of a resource. It is cached per
// time, because building it is most of the work of a decision.
func (r *Reacher) contextAt(t time.Time) *policy.Context {
	c := r.contexts[t]
	if c == nil {
		facts := r.facts
		facts.Time = t
		c = contextOf(&facts, nil)
		c.SetUnknown(unknownKeys(&facts, r.mfaKnown)...)
		r.contexts[t] = c
	}
	return c
}

// with calls f with the keys of a resource added to a context.
func with(c *policy.Context, keys []Key, f func()) {
	setKeys(c, keys)
	f()
	for _, k := range keys {
		c.Delete(k.Name)
	}
}

// under decides under an assumption about the unknown keys of c, and appends to decisions unless it
// is nil.
func (r *Reacher) under(c, assumed *policy.Context, decisions *[]decision) DecideFunc {
	who := PolicyPrincipal(r.facts.Principal)
	return func(_ context.Context, action, resource string, keys ...Key) (v Verdict, _ error) {
		with(c, keys, func() {
			d := r.set.Evaluate(&policy.Request{Action: action, Resource: resource, Context: assumed, Principal: who})
			v = Verdict{Allowed: d.Effect == policy.Allowed, Explicit: d.Effect == policy.ExplicitDeny}
		})
		if decisions != nil {
			*decisions = append(*decisions, decision{action, resource, keys})
		}
		return v, nil
	}
}

// best reports whether a session can start if unknown keys allow it.
func (r *Reacher) best(ctx context.Context, s StartSession, c *policy.Context, decisions *[]decision) (bool, error) {
	v, _, err := s.Decide(ctx, r.under(c, c.AtBest(), decisions))
	return v.Allowed, err
}

func (r *Reacher) startSessionAt(ctx context.Context, s StartSession, t time.Time) (policy.Reach, []string, error) {
	c := r.contextAt(t)
	who := PolicyPrincipal(r.facts.Principal)
	var decisions []decision
	best, err := r.best(ctx, s, c, &decisions)
	if err != nil || !best {
		return policy.ReachNever, nil, err
	}
	worst, _, err := s.Decide(ctx, r.under(c, c.AtWorst(), &decisions))
	if err != nil || worst.Allowed {
		return policy.ReachAlways, nil, err
	}
	var depends []string
	for _, d := range decisions {
		with(c, d.keys, func() {
			depends = append(
				depends,
				r.set.DependsOn(&policy.Request{Action: d.action, Resource: d.resource, Context: c, Principal: who})...)
		})
	}
	slices.Sort(depends)
	return policy.ReachDepends, slices.Compact(depends), nil
}

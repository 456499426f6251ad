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

// Factor is what a query knows about the second factor of future requests.
type Factor uint8

// Values of Factor.
const (
	FactorUnknown Factor = iota
	FactorFresh          // each request has a second factor verified just before it
	FactorNone           // users have access keys, roles were assumed without a second factor
)

// ReachQuery is what a query about reach specifies besides principals and resources.
type ReachQuery struct {
	Factor   Factor
	From, To time.Time
	// Session means that principals are those of credentials in use, so that the name of a role
	// session and everything else about them is known.
	Session bool
}

// unknownKeys are the condition keys whose values are only known once a principal makes a
// request. Facts that the query specifies are known.
func (q *ReachQuery) unknownKeys(f *Facts) []string {
	keys := []string{"aws:UserAgent", "aws:Referer"}
	if !f.SourceIP.IsValid() {
		keys = append(keys, "aws:SourceIp", "aws:VpcSourceIp")
	}
	role := f.Principal.Type == sekisho.PrincipalAssumedRole
	if role && !q.Session {
		keys = append(keys, "aws:userid", "aws:SourceIdentity", "aws:FederatedProvider")
	}
	if q.Factor == FactorUnknown {
		keys = append(keys, "aws:MultiFactorAuthPresent", "aws:MultiFactorAuthAge")
	}
	if q.Factor == FactorUnknown || q.Factor == FactorNone && role {
		keys = append(keys, "aws:TokenIssueTime")
	}
	return keys
}

// facts returns the facts of a request at a time.
func (q *ReachQuery) facts(f Facts, at time.Time) Facts {
	f.Time = at
	p := *f.Principal
	switch q.Factor {
	case FactorFresh:
		p.TokenIssueTime, p.MFATime = at, at
	case FactorNone:
		p.TokenIssueTime, p.MFATime = time.Time{}, time.Time{}
		if p.Type == sekisho.PrincipalAssumedRole {
			p.TokenIssueTime = at // temporary credentials; the time itself is unknown
		}
	case FactorUnknown:
	}
	f.Principal = &p
	return f
}

// ReachSpan is a period with constant reach.
type ReachSpan struct {
	From, To  time.Time // To is exclusive
	Reach     policy.Reach
	DependsOn []policy.Dependency
}

// Reacher determines what one principal can reach under the policies at the time of its creation.
// It is not safe for concurrent use.
type Reacher struct {
	set      *policy.Set
	facts    Facts
	query    ReachQuery
	from, to time.Time
	at       []time.Time
	exact    bool
	contexts map[time.Time]*policy.Context
	ever     *policy.Context // without a time

	mentioned  map[string]bool // condition keys that policies mention, in lower case
	known      map[string]bool // results of mentions, by the key as written
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
	query      ReachQuery
	shared     map[string]*Reacher
	mentioned  map[*policy.Set][]string // sorted
}

// Reachers returns Reachers for a query.
func (a *Authorizer) Reachers(q ReachQuery) *Reachers {
	return &Reachers{
		authorizer: a,
		query:      q,
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
	if f.Time.IsZero() {
		f.Time = rs.query.From
	}
	f = rs.query.facts(f, f.Time)
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
	r := newReacher(set, f, rs.query)
	rs.shared[string(key)] = r
	return r, nil
}

// Reacher returns a Reacher for the principal of f. Without a source address in f, any address
// counts.
func (a *Authorizer) Reacher(ctx context.Context, f Facts, q ReachQuery) (*Reacher, error) {
	return a.Reachers(q).Reacher(ctx, f)
}

func newReacher(set *policy.Set, f Facts, q ReachQuery) *Reacher {
	r := &Reacher{
		set:       set,
		facts:     f,
		query:     q,
		from:      q.From.Truncate(time.Second),
		to:        q.To.Truncate(time.Second),
		contexts:  map[time.Time]*policy.Context{},
		mentioned: set.Mentioned(),
		known:     map[string]bool{},
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
		return r.startSession(ctx, s, nil)
	}
	r.classify(&s)
	if spans, found := r.alike[string(r.class)]; found {
		return spans, nil
	}
	spans, err := r.startSession(ctx, s, nil)
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
	known, found := r.known[name]
	if !found {
		known = r.mentioned[strings.ToLower(name)]
		if len(r.known) < maxAlike {
			r.known[name] = known
		}
	}
	return known
}

// Grant is access that replaces a missing Allow until a time. It does not override a Deny.
type Grant struct {
	Name  string // for Dependency.Condition
	Until time.Time
}

// StartSessionUnder is like StartSession, with grants.
func (r *Reacher) StartSessionUnder(ctx context.Context, s StartSession, grants []Grant) ([]ReachSpan, error) {
	if len(grants) == 0 {
		return r.StartSession(ctx, s)
	}
	return r.startSession(ctx, s, grants)
}

func (r *Reacher) startSession(ctx context.Context, s StartSession, grants []Grant) ([]ReachSpan, error) {
	// Most nodes are never reachable: one decision shows that.
	if r.ever == nil {
		f := r.query.facts(r.facts, r.from)
		r.ever = contextOf(&f, nil)
		r.ever.SetUnknown(append(r.query.unknownKeys(&f),
			"aws:CurrentTime", "aws:EpochTime", "aws:TokenIssueTime", "aws:MultiFactorAuthAge")...)
	}
	best, _, err := s.Decide(ctx, r.under(r.ever, r.ever.AtBest(), nil))
	if err != nil {
		return nil, err
	}
	if !best.Allowed && r.exact && (len(grants) == 0 || best.Explicit) {
		return []ReachSpan{{From: r.from, To: r.to, Reach: policy.ReachNever}}, nil
	}
	times := append([]time.Time{r.from}, r.at...)
	for _, g := range grants {
		// A grant ends with the second that its end is in.
		if end := g.Until.Add(time.Second - time.Nanosecond).Truncate(time.Second); end.After(r.from) {
			times = append(times, end)
		}
	}
	if len(grants) > 0 {
		slices.SortFunc(times, time.Time.Compare)
	}
	var out []ReachSpan
	for _, t := range times {
		if !t.Before(r.to) {
			break
		}
		reach, depends, err := r.startSessionAt(ctx, s, t, grants)
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
		facts := r.query.facts(r.facts, t)
		c = contextOf(&facts, nil)
		c.SetUnknown(r.query.unknownKeys(&facts)...)
		r.contexts[t] = c
	}
	return c
}

// with calls f with the keys of a resource added to a context.
func with(c *policy.Context, keys []Key, f func()) {
	var replaced map[string]policy.Value
	for _, k := range keys {
		if v, found := c.Get(k.Name); found && replaced == nil {
			replaced = map[string]policy.Value{k.Name: v}
		} else if found {
			replaced[k.Name] = v
		}
	}
	setKeys(c, keys)
	f()
	for _, k := range keys {
		c.Delete(k.Name)
	}
	for name, v := range replaced {
		c.Set(name, v)
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

func (r *Reacher) startSessionAt(
	ctx context.Context, s StartSession, t time.Time, grants []Grant,
) (policy.Reach, []policy.Dependency, error) {
	c := r.contextAt(t)
	who := PolicyPrincipal(r.facts.Principal)
	var decisions []decision
	best, _, err := s.Decide(ctx, r.under(c, c.AtBest(), &decisions))
	if err != nil {
		return policy.ReachNever, nil, err
	}
	var granted []policy.Dependency
	if i := slices.IndexFunc(grants, func(g Grant) bool { return t.Before(g.Until) }); i >= 0 && !best.Explicit {
		granted = []policy.Dependency{{Condition: grants[i].Name, Aspect: policy.AspectWho}}
	}
	if !best.Allowed && granted == nil {
		return policy.ReachNever, nil, nil
	}
	worst, _, err := s.Decide(ctx, r.under(c, c.AtWorst(), &decisions))
	if err != nil || worst.Allowed {
		return policy.ReachAlways, nil, err
	}
	if granted != nil && !worst.Explicit {
		return policy.ReachDepends, granted, nil
	}
	depends := granted
	for _, d := range decisions {
		with(c, d.keys, func() {
			depends = append(
				depends,
				r.set.DependsOn(&policy.Request{Action: d.action, Resource: d.resource, Context: c, Principal: who})...)
		})
	}
	slices.SortFunc(depends, policy.CompareDependencies)
	return policy.ReachDepends, slices.Compact(depends), nil
}

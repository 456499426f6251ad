package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// StatementRef identifies a statement.
type StatementRef struct {
	SourcePolicyID   string
	SourcePolicyType string // one of the Source constants
	PolicyType       PolicyType
	Sid              string
	Index            int // from 0
	Start            Position
	End              Position // just behind the closing brace
}

// Element is the part of a statement that a request did not match.
type Element string

// Elements of a statement.
const (
	ElementAction    Element = "Action"
	ElementResource  Element = "Resource"
	ElementPrincipal Element = "Principal"
	ElementCondition Element = "Condition"
)

// Failure is one reason why a statement did not apply.
type Failure struct {
	Element  Element
	Operator string   // conditions: as written
	Key      string   // conditions: as written
	Present  bool     // conditions: the request has the key
	Have     []string // the request's values
	Want     []string // the statement's values
	Reason   string   // "aws:CurrentTime: window opens 2026-04-15T00:00:00Z"
}

// Miss is an Allow statement that did not apply, and why.
type Miss struct {
	Statement StatementRef
	Failed    []Failure
}

// Explanation is a decision with its reasons.
type Explanation struct {
	Decision
	// Matched are the statements that made the decision: for an allowed request
	// the Allow statements of identity, resource and trust policies, for an
	// explicit deny the Deny statements, otherwise none. The policy simulator
	// never shows those of PolicySCP.
	Matched []StatementRef
	// Missing are the condition keys that the policies mention and the request
	// lacks, in the policies' spelling, sorted.
	Missing []string
	// Nearest are, for an implicit deny, the Allow statements that came closest to matching,
	// closest first.
	Nearest []Miss
	// AllowedByBoundary and AllowedBySCP are nil if no such policies apply.
	AllowedByBoundary *bool
	AllowedBySCP      *bool
	// Failed are, for a denial, the aspects that caused it. They reveal nothing about the policies
	// of resources and roles.
	Failed []Aspect
	// Sentence is the explanation in one sentence.
	Sentence string
}

// maxNearest bounds Explanation.Nearest.
const maxNearest = 3

// Explain decides r as Evaluate does, and returns the reasons. It checks every statement, so it is
// not for the hot path.
func (s *Set) Explain(r *Request) Explanation {
	e := Explanation{Decision: s.Evaluate(r), Missing: s.missing(r.Context)}
	root := r.Principal.Type == TypeRoot
	if s.boundary != nil {
		ok := root || !s.boundary.denies(r) && s.boundary.allows(r) != grantNone
		e.AllowedByBoundary = &ok
	}
	if len(s.scp) > 0 {
		ok := true
		for _, sc := range s.scp {
			ok = ok && !sc.denies(r) && sc.allows(r) != grantNone
		}
		e.AllowedBySCP = &ok
	}
	switch e.Effect {
	case Allowed:
		granting := []*scope{s.resource, s.trust}
		if !root {
			granting = append(granting, s.identity)
		}
		for _, sc := range granting {
			e.Matched = append(e.Matched, sc.matched(r, false)...)
		}
	case ExplicitDeny:
		denying := append(slices.Clone(s.scp), s.resource, s.trust, s.session)
		if !root {
			denying = append(denying, s.identity, s.boundary)
		}
		for _, sc := range denying {
			e.Matched = append(e.Matched, sc.matched(r, true)...)
		}
	case ImplicitDeny:
		e.Nearest = s.nearest(r, e.DeniedBy)
	}
	e.Failed = s.failed(r, &e)
	e.Sentence = e.sentence()
	return e
}

func (e *Explanation) sentence() string {
	switch e.Effect {
	case Allowed:
		for _, m := range e.Matched {
			return "allowed by " + m.String()
		}
		return "allowed"
	case ExplicitDeny:
		for _, m := range e.Matched {
			if m.PolicyType == e.DeniedBy {
				return "denied by " + m.String()
			}
		}
		return "denied by a " + string(e.DeniedBy)
	case ImplicitDeny:
	}
	if len(e.Nearest) == 0 || e.Nearest[0].failedAction() {
		return "no " + string(e.DeniedBy) + " allows the action"
	}
	var reasons []string
	for _, f := range e.Nearest[0].Failed {
		reasons = append(reasons, f.Reason)
	}
	return "allowed but for " + strings.Join(reasons, "; and for ")
}

// Statement returns the statement that decided or, for an implicit deny, the
// Allow statement that came closest, if it covers the action. It is nil if there
// is none.
func (e *Explanation) Statement() *StatementRef {
	for i := range e.Matched {
		if e.Effect == Allowed || e.Matched[i].PolicyType == e.DeniedBy {
			return &e.Matched[i]
		}
	}
	if e.Effect != ImplicitDeny || len(e.Nearest) == 0 || e.Nearest[0].failedAction() {
		return nil
	}
	return &e.Nearest[0].Statement
}

// failedAction reports whether the statement is about other actions.
func (m *Miss) failedAction() bool {
	return slices.ContainsFunc(m.Failed, func(f Failure) bool { return f.Element == ElementAction })
}

// String returns the names of the statement and its policy.
func (ref *StatementRef) String() string {
	name := "statement " + strconv.Itoa(ref.Index+1)
	if ref.Sid != "" {
		name = "statement " + ref.Sid
	}
	if ref.SourcePolicyID != "" {
		name += " of " + ref.SourcePolicyID
	}
	return name + " (" + string(ref.PolicyType) + ")"
}

// missing returns the keys of all documents but SCPs that ctx lacks.
func (s *Set) missing(ctx *Context) []string {
	lacking := map[string]string{}
	for _, sc := range []*scope{s.identity, s.resource, s.trust, s.boundary, s.session} {
		if sc == nil {
			continue
		}
		for _, d := range sc.docs {
			if d == nil {
				continue
			}
			for _, raw := range d.keys {
				key := strings.ToLower(raw)
				if strings.HasPrefix(key, ownPrefix) {
					key, raw = currentTimeKey, "aws:CurrentTime" // derived from the current time
				}
				if _, ok := ctx.lookup(slots[key], key); ok {
					continue
				}
				if _, ok := lacking[key]; !ok {
					lacking[key] = raw
				}
			}
		}
	}
	return sortedKeys(lacking)
}

func refOf(sc *scope, d *Document, st *statement) StatementRef {
	return StatementRef{
		SourcePolicyID:   d.id,
		SourcePolicyType: d.sourceType,
		PolicyType:       sc.kind,
		Sid:              st.sid,
		Index:            st.index,
		Start:            st.start,
		End:              st.end,
	}
}

// matched returns the statements of one effect that apply to r.
func (sc *scope) matched(r *Request, deny bool) []StatementRef {
	if sc == nil {
		return nil
	}
	var refs []StatementRef
	for _, d := range sc.docs {
		if d.Err() != nil {
			continue
		}
		for _, st := range d.statements {
			if st.deny == deny && sc.canMatch(st) && st.matchesAction(r.Action) && sc.matchesResource(st, r) &&
				sc.grantOf(st, r) != grantNone {
				refs = append(refs, refOf(sc, d, st))
			}
		}
	}
	return refs
}

// nearest returns the closest Allow statements for r, from the policies that lack a grant.
func (s *Set) nearest(r *Request, by PolicyType) []Miss {
	var scopes []*scope
	switch by {
	case PolicyIdentity:
		// A resource policy could also have granted it.
		scopes = []*scope{s.identity, s.resource}
	case PolicyBoundary:
		scopes = []*scope{s.boundary}
	case PolicySession:
		scopes = []*scope{s.session}
	case PolicyResource:
		scopes = []*scope{s.resource}
	case PolicyTrust:
		scopes = []*scope{s.trust}
	case PolicySCP:
		for _, sc := range s.scp {
			if sc.allows(r) == grantNone {
				scopes = []*scope{sc}
				break
			}
		}
	case PolicyEndpoint:
	}
	type scored struct {
		Miss
		score int
	}
	var misses []scored
	for _, sc := range scopes {
		if sc == nil || sc.broken {
			continue
		}
		for _, d := range sc.docs {
			for _, st := range d.statements {
				if st.deny || !sc.canMatch(st) {
					continue
				}
				failed, score := sc.failures(st, r)
				if len(failed) > 0 {
					misses = append(misses, scored{Miss{refOf(sc, d, st), failed}, score})
				}
			}
		}
	}
	slices.SortStableFunc(misses, func(a, b scored) int { return cmp.Compare(a.score, b.score) })
	var out []Miss
	for _, m := range misses[:min(len(misses), maxNearest)] {
		out = append(out, m.Miss)
	}
	return out
}

// failures returns the reasons why an Allow statement does not apply to r, and
// a distance: a different action weighs most, then the set of aspects that must change.
func (sc *scope) failures(st *statement, r *Request) (failed []Failure, score int) {
	const actionScore = 10000
	var change Aspects
	if !st.matchesAction(r.Action) {
		f := Failure{Element: ElementAction, Have: []string{r.Action}, Present: true}
		for _, a := range st.actions {
			f.Want = append(f.Want, a.glob)
		}
		f.Reason = "the action: the statement is about " + list(st.notAction, f.Want)
		failed, score = append(failed, f), actionScore
	}
	if !sc.matchesResource(st, r) {
		f := Failure{Element: ElementResource, Have: []string{r.Resource}, Present: true}
		for i := range st.resources {
			f.Want = append(f.Want, st.resources[i].src)
		}
		f.Reason = "the resource: the statement covers " + list(st.notRes, f.Want)
		failed, change = append(failed, f), change|ChangeWhich
	}
	if sc.namesPrincipals() && st.who.grant(&r.Principal, false, sc.bounded) == grantNone {
		f := Failure{Element: ElementPrincipal, Have: []string{r.Principal.ARN}, Present: r.Principal.ARN != ""}
		for i := range st.who.entries {
			f.Want = append(f.Want, st.who.entries[i].ref.Value)
		}
		f.Reason = "the principal: the statement names " + list(st.who.not, f.Want)
		failed, change = append(failed, f), change|ChangeWho
	}
	for _, c := range st.conditions {
		if !c.holds(r.Context) {
			failed, change = append(failed, c.failure(r.Context)), change|c.aspect
		}
	}
	// Of two statements with the same aspects, the one with fewer reasons is closer.
	const most = 100
	return failed, score + most*int(change) + min(len(failed), most-1)
}

// maxListed is how many values an explanation lists: room for all weekdays.
const maxListed = 7

func list(not bool, values []string) string {
	text := strings.Join(values, ", ")
	if len(values) > maxListed {
		text = strings.Join(values[:maxListed], ", ") + ", …"
	}
	if not {
		return "everything but " + text
	}
	return text
}

// failure returns why the condition did not hold.
func (c *condition) failure(ctx *Context) Failure {
	v, present := ctx.lookup(c.slot, c.key)
	if c.recurs != nil {
		var text string
		text, present = c.recurs.textAt(ctx)
		v = Single(text)
	}
	f := Failure{Element: ElementCondition, Operator: c.name, Key: c.rawKey, Present: present, Want: c.raw}
	if present {
		f.Have = v.Strings()
	}
	f.Reason = c.rawKey + ": " + c.reason(v, present && !v.empty(), ctx)
	return f
}

func (c *condition) reason(v Value, present bool, ctx *Context) string {
	want := list(false, c.expand(ctx))
	switch {
	case c.cmp == cmpNull && present:
		return "must not be in the request"
	case c.cmp == cmpNull:
		return "must be in the request"
	case !present && c.neg:
		return "is not in the request"
	case !present:
		return "is not in the request, must be " + c.bound() + want
	case v.multi && c.set == setNone:
		return "has several values, but the policy compares one"
	}
	have := list(false, v.Strings())
	if len(v.Strings()) == 1 && len(c.raw) == 1 && c.cmp == cmpDate && !c.neg && c.recurs == nil {
		if text := c.window(v.Strings()[0]); text != "" {
			return text
		}
	}
	if c.neg {
		return "is " + have + ", must not be " + want
	}
	return "is " + have + ", must be " + c.bound() + want
}

// bound returns what precedes the policy's values in a requirement.
func (c *condition) bound() string {
	switch c.rel {
	case relLess:
		return "less than "
	case relLessEqual:
		return "at most "
	case relGreater:
		return "more than "
	case relGreaterEqual:
		return "at least "
	case relEqual:
	}
	return ""
}

// window describes a bound in time.
func (c *condition) window(have string) string {
	t, ok := parseInstant(have)
	if !ok || len(c.instants) == 0 {
		return ""
	}
	bound := c.instants[0]
	switch {
	case (c.rel == relGreater || c.rel == relGreaterEqual) && t.compare(bound) <= 0:
		return "window opens " + bound.String()
	case (c.rel == relLess || c.rel == relLessEqual) && t.compare(bound) >= 0:
		return "window closed " + bound.String()
	}
	return ""
}

// expand returns the policy values with variables replaced where they have a
// value.
func (c *condition) expand(ctx *Context) []string {
	var out []string
	for i, raw := range c.raw {
		if i >= len(c.patterns) || len(c.patterns) != len(c.raw) || !c.patterns[i].vars {
			out = append(out, raw)
			continue
		}
		var b strings.Builder
		for _, t := range c.patterns[i].toks {
			switch t.kind {
			case tokStar:
				b.WriteByte('*')
			case tokOne:
				b.WriteByte('?')
			case tokLiteral:
				b.WriteString(t.text)
			case tokVar:
				if s, ok := t.value(ctx); ok {
					b.WriteString(s)
				} else {
					b.WriteString("${" + t.rawKey + "}")
				}
			}
		}
		out = append(out, b.String())
	}
	return out
}

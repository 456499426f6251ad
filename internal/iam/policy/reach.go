package policy

import (
	"slices"
	"strings"
)

// assumption says how conditions on unknown keys are decided.
type assumption uint8

const (
	assumeNothing  assumption = iota // keys without a value are absent
	assumeAllowing                   // they hold in an Allow and not in a Deny
	assumeDenying                    // the other way round
)

// Reach says whether a request would be allowed.
type Reach string

// Whether a request would be allowed, whatever the values of unknown keys.
const (
	ReachAlways  Reach = "Always"
	ReachNever   Reach = "Never"
	ReachDepends Reach = "Depends" // on the values of unknown keys
)

// SetUnknown removes keys whose value is only known at request time, such as
// the caller's address. Only the assumptions below treat them differently from
// absent keys.
func (c *Context) SetUnknown(keys ...string) {
	if c.unknown == nil {
		c.unknown = map[string]bool{}
	}
	for _, k := range keys {
		c.unknown[strings.ToLower(k)] = true
		c.Delete(k)
	}
}

// isUnknown reports whether a condition is on an unknown key. Recurring times
// follow from the current time.
func (c *Context) isUnknown(on *condition) bool {
	return c.unknown[on.key] || on.recurs != nil && c.unknown[currentTimeKey]
}

// AtBest returns c for an evaluation in which the values of unknown keys allow
// as much as possible. Each condition is taken by itself: two conditions that
// no single value satisfies are not detected.
func (c *Context) AtBest() *Context { return c.assuming(assumeAllowing) }

// AtWorst returns c for an evaluation in which they allow as little as possible.
func (c *Context) AtWorst() *Context { return c.assuming(assumeDenying) }

func (c *Context) assuming(a assumption) *Context {
	out := *c // the maps are shared
	out.assume = a
	return &out
}

// DependsOn describes the conditions on unknown keys that a request, which is
// allowed at best and denied at worst, depends on. Sorted, each once.
func (s *Set) DependsOn(r *Request) []string {
	best := *r
	best.Context = r.Context.AtBest()
	worst := *r
	worst.Context = r.Context.AtWorst()
	var out []string
	for _, sc := range append(slices.Clone(s.scp), s.resource, s.trust, s.identity, s.boundary, s.session) {
		if sc == nil {
			continue
		}
		for _, d := range sc.docs {
			if d.Err() != nil {
				continue
			}
			for _, st := range d.statements {
				// A Deny that may apply applies at worst, an Allow at best.
				as := &best
				if st.deny {
					as = &worst
				}
				if !sc.canMatch(st) || !st.matchesAction(r.Action) || !sc.matchesResource(st, as) ||
					sc.grantOf(st, as) == grantNone {
					continue
				}
				for _, c := range st.conditions {
					if r.Context.isUnknown(c) {
						out = append(out, c.describe(r.Context))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// describe words a condition: "aws:SourceIp IpAddress 203.0.113.0/24".
func (c *condition) describe(ctx *Context) string {
	text := c.rawKey + " " + c.name + " " + list(false, c.expand(ctx))
	if c.deny {
		return "not " + text
	}
	return text
}

// Mentions reports whether a policy of the set has a condition on key or uses it
// as a variable.
func (s *Set) Mentions(key string) bool {
	for _, sc := range s.scopes() {
		for _, d := range sc.docs {
			if d != nil && slices.ContainsFunc(d.keys, func(raw string) bool { return strings.EqualFold(raw, key) }) {
				return true
			}
		}
	}
	return false
}

// ResourceClass appends to class which statements on action cover resource: two
// resources of the same class, with the same values of the keys that the set
// mentions, are treated alike. ok is false if that also depends on variables.
func (s *Set) ResourceClass(class []byte, action, resource string) (out []byte, ok bool) {
	r := Request{Action: action, Resource: resource, Context: &Context{}}
	for _, sc := range s.scopes() {
		for _, d := range sc.docs {
			if d.Err() != nil {
				continue
			}
			for _, st := range d.statements {
				if !st.matchesAction(action) {
					continue
				}
				if slices.ContainsFunc(st.resources, func(p pattern) bool { return p.vars }) {
					return class, false
				}
				covered := byte('0')
				if sc.matchesResource(st, &r) {
					covered = '1'
				}
				class = append(class, covered)
			}
		}
	}
	return class, true
}

// scopes returns the scopes that there are.
func (s *Set) scopes() []*scope {
	all := append(slices.Clone(s.scp), s.resource, s.trust, s.identity, s.boundary, s.session)
	return slices.DeleteFunc(all, func(sc *scope) bool { return sc == nil })
}

package policy

import (
	"cmp"
	"slices"
	"strings"
)

// assumption says how conditions on unknown keys are decided.
type assumption uint8

const (
	assumeNothing  assumption = iota // keys without a value are absent
	assumeAllowing                   // they hold in an Allow and not in a Deny
	assumeDenying                    // they do not hold in an Allow, and hold in a Deny
)

// Reach says whether a request would be allowed.
type Reach string

// Values of Reach.
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

// isUnknown reports whether a condition is on an unknown key, or on an aspect that changes. Recurring
// times follow from the current time.
func (c *Context) isUnknown(on *condition) bool {
	return c.change&on.aspect != 0 || c.unknown[on.key] || on.recurs != nil && c.unknown[currentTimeKey]
}

// AtBest returns c for an evaluation in which the values of unknown keys allow as much as possible. Each condition is
// considered separately: two conditions that no single value satisfies are not detected.
func (c *Context) AtBest() *Context { return c.assuming(assumeAllowing) }

// AtWorst returns c for an evaluation in which the values of unknown keys allow as little as
// possible.
func (c *Context) AtWorst() *Context { return c.assuming(assumeDenying) }

func (c *Context) assuming(a assumption) *Context {
	out := *c // the maps are shared
	out.assume = a
	return &out
}

// Dependency is a condition on a value that is only known at request time.
type Dependency struct {
	Condition string // "aws:SourceIp IpAddress 203.0.113.0/24"
	Aspect    Aspect
}

// CompareDependencies orders dependencies.
func CompareDependencies(a, b Dependency) int {
	return cmp.Or(strings.Compare(a.Condition, b.Condition), strings.Compare(string(a.Aspect), string(b.Aspect)))
}

// DependsOn returns the conditions on unknown keys that determine a request that is allowed at
// best and denied at worst. They are sorted, without duplicates.
func (s *Set) DependsOn(r *Request) []Dependency {
	best := *r
	best.Context = r.Context.AtBest()
	worst := *r
	worst.Context = r.Context.AtWorst()
	var out []Dependency
	for _, sc := range s.scopes() {
		for _, d := range sc.docs {
			if d.Err() != nil {
				continue
			}
			for _, st := range d.statements {
				// A Deny that might apply applies at worst, an Allow at best.
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
						out = append(out, Dependency{c.describe(r.Context), c.aspect.List()[0]})
					}
				}
			}
		}
	}
	slices.SortFunc(out, CompareDependencies)
	return slices.Compact(out)
}

// describe describes a condition: "aws:SourceIp IpAddress 203.0.113.0/24".
func (c *condition) describe(ctx *Context) string {
	text := c.rawKey + " " + c.name + " " + list(false, c.expand(ctx))
	if c.deny {
		return "not " + text
	}
	return text
}

// Mentioned returns the condition keys, in lower case, that conditions and
// variables of the set mention.
func (s *Set) Mentioned() map[string]bool {
	keys := map[string]bool{}
	for _, sc := range s.scopes() {
		for _, d := range sc.docs {
			if d != nil {
				for _, key := range d.keys {
					keys[strings.ToLower(key)] = true
				}
			}
		}
	}
	return keys
}

// Classifier tells resources apart as the statements of a set on one action do.
type Classifier struct {
	statements []*statement
	scopes     []*scope // of each statement
}

// Classifier returns the Classifier of an action. ok is false if policies
// also distinguish resources by variables, so that they have no class.
func (s *Set) Classifier(action string) (c *Classifier, ok bool) {
	c = &Classifier{}
	for _, sc := range s.scopes() {
		for _, d := range sc.docs {
			if d.Err() != nil {
				continue
			}
			for _, st := range d.statements {
				switch {
				case !st.matchesAction(action), sc.ignoresResource(st):
				case slices.ContainsFunc(st.resources, func(p pattern) bool { return p.vars }):
					return nil, false
				case slices.ContainsFunc(st.resources, func(p pattern) bool { return p.kind == patAny }):
					// It treats all resources alike.
				default:
					c.statements, c.scopes = append(c.statements, st), append(c.scopes, sc)
				}
			}
		}
	}
	return c, true
}

// Append appends to class which of the statements cover resource. The set
// treats two resources of one class alike if the keys that it mentions have the
// same values.
func (c *Classifier) Append(class []byte, resource string) []byte {
	r := Request{Resource: resource}
	for i, st := range c.statements {
		if i%8 == 0 {
			class = append(class, 0)
		}
		if c.scopes[i].matchesResource(st, &r) {
			class[len(class)-1] |= 1 << (i % 8)
		}
	}
	return class
}

// scopes returns the scopes of the set that are not nil.
func (s *Set) scopes() []*scope {
	all := append(slices.Clone(s.scp), s.resource, s.trust, s.identity, s.boundary, s.session)
	return slices.DeleteFunc(all, func(sc *scope) bool { return sc == nil })
}

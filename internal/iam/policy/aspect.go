package policy

import (
	"slices"
	"strings"
)

// Aspect is one of the five things on which access depends.
type Aspect string

// Values of Aspect.
const (
	AspectWho   Aspect = "Who"
	AspectWhere Aspect = "Where"
	AspectWhich Aspect = "Which"
	AspectWhen  Aspect = "When"
	AspectMFA   Aspect = "MFA"
)

// Aspects is a set of aspects. As a number it is larger the harder it is for a caller to change them:
// verifying a second factor again is easy, and another principal or another permission needs an
// administrator.
type Aspects uint8

// Members of Aspects.
const (
	ChangeMFA Aspects = 1 << iota
	ChangeWhen
	ChangeWhere
	ChangeWhich
	ChangeWho

	changeAll = 1<<iota - 1
)

// aspectOrder is the order in which aspects are listed.
var aspectOrder = []struct {
	aspect Aspect
	bit    Aspects
}{
	{AspectWho, ChangeWho}, {AspectWhere, ChangeWhere}, {AspectWhich, ChangeWhich}, {AspectWhen, ChangeWhen},
	{AspectMFA, ChangeMFA},
}

// List returns the members of s in the order in which aspects are listed.
func (s Aspects) List() []Aspect {
	var out []Aspect
	for _, a := range aspectOrder {
		if s&a.bit != 0 {
			out = append(out, a.aspect)
		}
	}
	return out
}

// Smallest returns the smallest set for which allowed is true, that is, the one that is the easiest to change. allowed
// must remain true as sets grow. ok is false if it is false even for all aspects together.
func Smallest(allowed func(change Aspects) bool) (smallest Aspects, ok bool) {
	if !allowed(changeAll) {
		return 0, false
	}
	smallest = changeAll
	for i := range slices.Backward(aspectOrder) {
		if without := smallest &^ (1 << i); without != smallest && allowed(without) {
			smallest = without
		}
	}
	return smallest, true
}

// whereKeys are the condition keys that say how a request reached the server.
var whereKeys = []string{
	"aws:sourceip", "aws:vpcsourceip", "aws:sourcevpc", "aws:sourcevpce", "aws:securetransport", "aws:useragent",
	"aws:referer",
}

// whoKeys are prefixes of the condition keys that describe the caller.
var whoKeys = []string{
	"aws:principal", "aws:userid", "aws:username", "aws:tokenissuetime", "aws:sourceidentity", "aws:federatedprovider",
	"sts:", "ssm:sourceinstancearn", "ec2:sourceinstancearn",
}

// aspectOf returns the aspect of a condition. Keys that describe neither the caller, the time nor
// the network describe the resource.
func aspectOf(c *condition) Aspects {
	switch {
	case c.recurs != nil || c.key == currentTimeKey || c.key == "aws:epochtime":
		return ChangeWhen
	case c.key == "aws:multifactorauthpresent" || c.key == "aws:multifactorauthage":
		return ChangeMFA
	case slices.Contains(whereKeys, c.key):
		return ChangeWhere
	case slices.ContainsFunc(whoKeys, func(prefix string) bool { return strings.HasPrefix(c.key, prefix) }):
		return ChangeWho
	}
	return ChangeWhich
}

// failed returns the aspects that must differ for r to be allowed. Policies of resources and roles belong to other
// principals: callers only learn that these do not name them.
func (s *Set) failed(r *Request, e *Explanation) []Aspect {
	if e.Effect == Allowed {
		return nil
	}
	smallest, ok := Smallest(func(change Aspects) bool {
		changed := *r
		changed.Context = r.Context.Changing(change, r.Context)
		return s.Evaluate(&changed).Effect == Allowed
	})
	if !ok {
		return []Aspect{AspectWho}
	}
	return smallest.List()
}

// Changing returns c for an evaluation in which aspects of the request differ in the caller's favor: conditions on them
// hold in an Allow and do not hold in a Deny. Policies of resources and roles, and service control policies, are
// evaluated with foreign, so that the result reveals nothing about them.
func (c *Context) Changing(change Aspects, foreign *Context) *Context {
	out := &Context{}
	if c != nil {
		*out = *c // the maps are shared
	}
	if foreign == nil {
		foreign = &Context{}
	}
	out.assume, out.change, out.foreign = assumeAllowing, change, foreign
	return out
}

// changes reports whether c is from Changing.
func (c *Context) changes() bool { return c != nil && c.foreign != nil }

// bestChanged is the best grant of the scope's statements of one effect for a request whose context is from Changing.
func (sc *scope) bestChanged(r *Request, deny bool) grant {
	change := r.Context.change
	switch sc.kind {
	case PolicyResource, PolicyTrust, PolicySCP, PolicyEndpoint:
		strict := *r
		strict.Context = r.Context.foreign
		r, change = &strict, 0
	case PolicyIdentity, PolicyBoundary, PolicySession:
	}
	best := grantNone
	for _, d := range sc.docs {
		if d.Err() != nil {
			continue
		}
		for _, st := range d.statements {
			if st.deny != deny || !sc.canMatch(st) || !st.matchesAction(r.Action) {
				continue
			}
			if change&ChangeWhich == 0 {
				if !sc.matchesResource(st, r) {
					continue
				}
			} else if deny && !st.coversEverything() {
				continue
			}
			best = max(best, sc.grantOf(st, r))
		}
	}
	return best
}

// coversEverything reports whether no resource is outside of a statement.
func (st *statement) coversEverything() bool {
	return !st.hasRes || len(st.resources) == 1 && st.resources[0].src == "*" && !st.notRes
}

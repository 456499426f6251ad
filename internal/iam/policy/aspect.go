package policy

import (
	"slices"
	"strings"
	"time"
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

// aspectOrder is the order in which aspects are listed.
var aspectOrder = []Aspect{AspectWho, AspectWhere, AspectWhich, AspectWhen, AspectMFA}

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
func aspectOf(c *condition) Aspect {
	switch {
	case c.recurs != nil || c.key == currentTimeKey || c.key == "aws:epochtime":
		return AspectWhen
	case c.key == "aws:multifactorauthpresent" || c.key == "aws:multifactorauthage":
		return AspectMFA
	case slices.Contains(whereKeys, c.key):
		return AspectWhere
	case slices.ContainsFunc(whoKeys, func(prefix string) bool { return strings.HasPrefix(c.key, prefix) }):
		return AspectWho
	}
	return AspectWhich
}

// aspects returns the aspects in which the Allow statement st does not match r.
func (sc *scope) aspects(st *statement, r *Request) []Aspect {
	if !st.matchesAction(r.Action) {
		return []Aspect{AspectWho}
	}
	var out []Aspect
	if !sc.matchesResource(st, r) {
		out = append(out, AspectWhich)
	}
	if sc.namesPrincipals() && st.who.grant(&r.Principal, false, sc.bounded) == grantNone {
		out = append(out, AspectWho)
	}
	for _, c := range st.conditions {
		if !c.holds(r.Context) {
			out = append(out, aspectOf(c))
		}
	}
	return inOrder(out)
}

// denyAspects returns the aspects that make the Deny statement st apply: a
// request that differs in one of them might not be denied.
func (sc *scope) denyAspects(st *statement) []Aspect {
	var out []Aspect
	for _, c := range st.conditions {
		out = append(out, aspectOf(c))
	}
	everything := !st.hasRes || len(st.resources) == 1 && st.resources[0].src == "*" && !st.notRes
	switch {
	case !everything:
		out = append(out, AspectWhich)
	case len(out) == 0:
		out = append(out, AspectWho)
	}
	return inOrder(out)
}

// inOrder sorts aspects and removes duplicates.
func inOrder(in []Aspect) []Aspect {
	var out []Aspect
	for _, a := range aspectOrder {
		if slices.Contains(in, a) {
			out = append(out, a)
		}
	}
	return out
}

// failed returns the aspects that caused a denial. Policies of resources and roles belong to other
// principals: callers only learn that these do not name them.
func (s *Set) failed(r *Request, e *Explanation) []Aspect {
	var found []Aspect
	switch {
	case e.Effect == Allowed:
		return nil
	case e.DeniedBy == PolicyResource || e.DeniedBy == PolicyTrust || e.DeniedBy == PolicySCP:
	case e.Effect == ExplicitDeny:
		ref := e.Statement()
		for _, sc := range []*scope{s.session, s.identity, s.boundary} {
			if st := sc.statementOf(ref); st != nil {
				found = sc.denyAspects(st)
			}
		}
	case len(e.Nearest) > 0:
		for _, sc := range []*scope{s.session, s.identity, s.boundary} {
			if st := sc.statementOf(&e.Nearest[0].Statement); st != nil {
				found = sc.aspects(st, r)
			}
		}
	}
	if len(found) == 0 {
		return []Aspect{AspectWho}
	}
	return found
}

// statementOf finds the statement that ref names; nil if it is in another scope.
func (sc *scope) statementOf(ref *StatementRef) *statement {
	if sc == nil || ref == nil || ref.PolicyType != sc.kind {
		return nil
	}
	for _, d := range sc.docs {
		if d.Err() != nil || d.id != ref.SourcePolicyID || d.sourceType != ref.SourcePolicyType {
			continue
		}
		for _, st := range d.statements {
			if st.index == ref.Index && st.start == ref.Start && st.end == ref.End {
				return st
			}
		}
	}
	return nil
}

// maxOpenings bounds the number of times that Opens tries.
const maxOpenings = 256

// Opens returns the first time after now, and before until, at which r would be
// allowed if nothing but the time changed; ok is false if there is none or if
// the policies name too many times. at gives r's context at a time.
func (s *Set) Opens(r *Request, now, until time.Time, at func(t time.Time) *Context) (opens time.Time, ok bool) {
	times, _ := s.Times(now, until)
	then := *r
	for _, t := range times[:min(len(times), maxOpenings)] {
		if !t.After(now) {
			continue
		}
		then.Context = at(t)
		if s.Evaluate(&then).Effect == Allowed {
			return t, true
		}
	}
	return time.Time{}, false
}

package authz

import (
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// lookAhead is how far ahead Decide looks for the next time at which a denied
// request is allowed.
const lookAhead = 31 * 24 * time.Hour

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

// remedy sets the failed aspects and what would satisfy them. Callers learn which aspects failed
// and what they could find out by retrying at other times. They learn nothing else about the
// policies, unless they are allowed to simulate their own policies.
func (v *Verdict) remedy(set *policy.Set, req *policy.Request, f *Facts, keys []Key, e *policy.Explanation) {
	if v.Allowed {
		return
	}
	v.Failed = e.Failed
	if with, ok := f.WithSecondFactor(); ok {
		shown := *req
		shown.Context = contextOf(with, keys)
		v.SecondFactor = set.Evaluate(&shown).Effect == policy.Allowed
	}
	parts := make([]string, 0, len(v.Failed)+1)
	for _, a := range v.Failed {
		parts = append(parts, v.remedyOf(a, set, req, f, keys))
	}
	simulate := *req
	simulate.Action, simulate.Resource, simulate.Context = "iam:SimulatePrincipalPolicy", f.Principal.PolicyARN, contextOf(
		f,
		nil,
	)
	if set.Evaluate(&simulate).Effect == policy.Allowed {
		parts = append(parts, "Details: "+e.Sentence+".")
	}
	v.Remedy = strings.Join(parts, " ")
}

func (v *Verdict) remedyOf(a policy.Aspect, set *policy.Set, req *policy.Request, f *Facts, keys []Key) string {
	switch a {
	case policy.AspectWhere:
		if !f.SourceIP.IsValid() {
			return "Where: it is not allowed over this connection."
		}
		return "Where: it is not allowed from " + f.SourceIP.Unmap().
			String() +
			"; use a network that your policies allow."
	case policy.AspectWhich:
		return "Which: it is not allowed on this resource; use one that your policies cover."
	case policy.AspectWhen:
		opens, ok := set.Opens(req, f.Time, f.Time.Add(lookAhead), func(t time.Time) *policy.Context {
			then := *f
			then.Time = t
			return contextOf(&then, keys)
		})
		if ok {
			return "When: it is not allowed now; it is allowed from " + opens.UTC().Format(time.RFC3339) + "."
		}
		return "When: it is not allowed at this time."
	case policy.AspectMFA:
		return "MFA: sign in with a second factor, or verify it again."
	case policy.AspectWho:
	}
	return "Who: you have no permission for this; ask an administrator."
}

package policy

import "strings"

// AllowsSomewhere reports whether the set may allow an action on some resource. It evaluates the
// action on the resources that Allow statements name, with wildcards filled in, and assumes that
// keys without a value, such as tags of the resource, have the values that allow most. So it errs
// towards true, except for two patterns that no filled-in resource satisfies together.
func (s *Set) AllowsSomewhere(r *Request) bool {
	ctx := r.Context.Clone()
	for key := range s.Mentioned() {
		if _, known := ctx.Get(key); !known {
			ctx.SetUnknown(key)
		}
	}
	best := *r
	best.Context = ctx.AtBest()
	best.Resource = "*"
	if s.Evaluate(&best).Allowed() {
		return true
	}
	for _, resource := range s.named(r.Action, ctx) {
		best.Resource = resource
		if s.Evaluate(&best).Allowed() {
			return true
		}
	}
	return false
}

// named returns resources that Allow statements for an action name.
func (s *Set) named(action string, ctx *Context) []string {
	var out []string
	for _, sc := range s.scopes() {
		if sc == nil {
			continue
		}
		for _, d := range sc.docs {
			if d == nil || d.Err() != nil {
				continue
			}
			for _, st := range d.statements {
				if st.deny || st.notRes || !st.matchesAction(action) {
					continue
				}
				for i := range st.resources {
					out = append(out, st.resources[i].example(ctx))
				}
			}
		}
	}
	return out
}

// example returns a text that a pattern matches, unless it has variables without a value.
func (p *pattern) example(ctx *Context) string {
	var b strings.Builder
	for i := range p.toks {
		switch t := &p.toks[i]; t.kind {
		case tokLiteral:
			b.WriteString(t.text)
		case tokVar:
			value, _ := t.value(ctx)
			b.WriteString(value)
		default:
			b.WriteByte('x')
		}
	}
	return b.String()
}

package policy

import "strings"

// sessionTag is the condition key of the tag that names a session's owner.
const sessionTag = "resourcetag/aws:ssmmessages:session-id"

// CoversSessions returns the Allow statement of a user's document, if any, whose resource pattern uses ${aws:username}
// and matches another principal's sessions. A session's ID is its owner's name, a hyphen and a random part, so
// session/${aws:username}-* of the user ann also matches the sessions of ann-b, and those of a role session named ann.
// Statements that check the session's own tag are safe.
func (d *Document) CoversSessions(username, owner string) (StatementRef, bool) {
	if d.Err() != nil {
		return StatementRef{}, false
	}
	ctx := NewContext()
	ctx.Set("aws:username", Single(username))
	session := owner + "-" + strings.Repeat("a", 26)
	for _, st := range d.statements {
		if st.deny || st.notRes || st.checksSessionTag() {
			continue
		}
		for i := range st.resources {
			if st.resources[i].coversSession(session, ctx) {
				return StatementRef{
					SourcePolicyID: d.id, SourcePolicyType: d.sourceType, PolicyType: PolicyIdentity,
					Sid: st.sid, Index: st.index, Start: st.start, End: st.end,
				}, true
			}
		}
	}
	return StatementRef{}, false
}

// Name describes a statement for people.
func (ref *StatementRef) Name() string { return ref.String() }

func (st *statement) checksSessionTag() bool {
	for _, c := range st.conditions {
		if strings.HasSuffix(c.key, sessionTag) && !c.neg && !c.ifExists && (c.cmp == cmpString || c.cmp == cmpLike) {
			return true
		}
	}
	return false
}

func (p *pattern) coversSession(session string, ctx *Context) bool {
	_, rest, ok := strings.Cut(p.src, ":session/")
	if !ok {
		return false
	}
	like := compilePattern(rest, modeLike, p.vars)
	for _, t := range like.toks {
		if t.kind == tokVar && t.key == "aws:username" {
			return like.match(session, ctx)
		}
	}
	return false
}

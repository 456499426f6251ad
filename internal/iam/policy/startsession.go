package policy

// SessionDocumentKey is the condition key StartSession's two passes set.
const SessionDocumentKey = "ssm:SessionDocumentAccessCheck"

// SessionResource is the node or the document of a StartSession call.
type SessionResource struct {
	ARN     string
	Account string // owner; "" = the caller's account
	// Context is the complete context of this resource: the tags of the node are absent when the
	// document is evaluated, and vice versa.
	Context *Context
}

// StartSession is a StartSession call to be authorized.
type StartSession struct {
	Action    string // "" = ssm:StartSession
	Principal Principal
	Node      SessionResource
	Document  SessionResource // the default session document if the request names none
	Named     bool            // the caller named the document
	// Strict requires a grant on the default document too, as AWS's documentation does since 2025. Otherwise a grant on
	// the node implies it, unless the policy checks ssm:SessionDocumentAccessCheck.
	Strict bool
}

// SessionDecision is the outcome of a StartSession call.
type SessionDecision struct {
	Decision
	// Request is the request that decided: for a denial it names the resource
	// to report and can be explained.
	Request Request
}

// EvaluateStartSession authorizes a StartSession call on node and document.
func (s *Set) EvaluateStartSession(c StartSession) SessionDecision {
	if !c.Strict {
		resources := []SessionResource{c.Node}
		if c.Named {
			resources = append(resources, c.Document)
		}
		if d := s.sessionPass(&c, false, resources); d.Effect != ImplicitDeny {
			return d
		}
	}
	return s.sessionPass(&c, true, []SessionResource{c.Node, c.Document})
}

// sessionPass evaluates every resource. An explicit deny on any of them wins;
// otherwise the first that is not allowed decides.
func (s *Set) sessionPass(c *StartSession, check bool, resources []SessionResource) SessionDecision {
	var out SessionDecision
	for i, res := range resources {
		ctx := res.Context.Clone()
		ctx.Set(SessionDocumentKey, Bool(check))
		r := Request{
			Action:          c.Action,
			Resource:        res.ARN,
			Context:         ctx,
			Principal:       c.Principal,
			ResourceAccount: res.Account,
		}
		if r.Action == "" {
			r.Action = "ssm:StartSession"
		}
		d := s.Evaluate(&r)
		if d.Effect == ExplicitDeny {
			return SessionDecision{d, r}
		}
		if i == 0 || out.Effect == Allowed && d.Effect != Allowed {
			out = SessionDecision{d, r}
		}
	}
	return out
}

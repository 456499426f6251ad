package authz

import "context"

// DocumentCheck is the condition key that the two passes of StartSession set.
const DocumentCheck = "ssm:SessionDocumentAccessCheck"

// StartSession is a StartSession call to be decided.
type StartSession struct {
	Node         string // ARN
	NodeKeys     []Key
	Document     string // ARN; the default session document's when none is named
	DocumentKeys []Key
	Named        bool // the request names the document
	// Strict asks for a grant on the default document too.
	Strict bool
}

// Step is one question that was asked of the policies, and its answer.
type Step struct {
	Resource string
	Check    bool // the value of ssm:SessionDocumentAccessCheck
	Verdict  Verdict
}

// Ask decides one action on one resource.
type Ask func(ctx context.Context, action, resource string, keys ...Key) (Verdict, error)

// Decide decides on the node and on the document by ask. As AWS has it, a grant on the node is enough for the
// default document when the request names none, unless the grant asks for
// ssm:SessionDocumentAccessCheck; a document that is named must always be
// granted. So there are two passes: one without the check, and one with it
// that counts when the first does not allow. The steps are what was asked, in
// order; the last one decided.
func (s StartSession) Decide(ctx context.Context, ask Ask) (Verdict, []Step, error) {
	const action = "ssm:StartSession"
	var steps []Step
	pass := func(check string, withDocument bool) (Verdict, error) {
		mark := One(DocumentCheck, check)
		v, err := ask(ctx, action, s.Node, append(s.NodeKeys[:len(s.NodeKeys):len(s.NodeKeys)], mark)...)
		if err != nil {
			return v, err
		}
		steps = append(steps, Step{s.Node, check == "true", v})
		if !v.Allowed || !withDocument {
			return v, nil
		}
		v, err = ask(ctx, action, s.Document, append(s.DocumentKeys[:len(s.DocumentKeys):len(s.DocumentKeys)], mark)...)
		if err != nil {
			return v, err
		}
		steps = append(steps, Step{s.Document, check == "true", v})
		return v, nil
	}
	if !s.Strict {
		v, err := pass("false", s.Named)
		if err != nil || v.Allowed || v.Explicit {
			return v, steps, err
		}
	}
	v, err := pass("true", true)
	return v, steps, err
}

// AnyName decides on a resource that has several names: one that is allowed is
// enough, one that is explicitly denied is final.
func AnyName(ctx context.Context, ask Ask, action string, names []string, keys []Key) (Verdict, []Step, error) {
	var steps []Step
	var out Verdict
	for i, name := range names {
		v, err := ask(ctx, action, name, keys...)
		if err != nil {
			return v, steps, err
		}
		steps = append(steps, Step{Resource: name, Verdict: v})
		if v.Explicit {
			return v, steps, nil
		}
		if i == 0 || v.Allowed && !out.Allowed {
			out = v
		}
	}
	return out, steps, nil
}

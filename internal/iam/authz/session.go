package authz

import "context"

// DocumentCheck is the condition key that the two passes of StartSession set.
const DocumentCheck = "ssm:SessionDocumentAccessCheck"

// StartSession is a StartSession call to be decided.
type StartSession struct {
	Node         string // ARN
	NodeKeys     []Key
	Document     string // ARN; the default session document's if the request names none
	DocumentKeys []Key
	Named        bool // the request names the document
	// Strict requires a grant on the default document too.
	Strict bool
}

// Step is one evaluation of the policies and its result.
type Step struct {
	Resource string
	Check    bool // the value of ssm:SessionDocumentAccessCheck
	Verdict  Verdict
}

// DecideFunc decides one action on one resource.
type DecideFunc func(ctx context.Context, action, resource string, keys ...Key) (Verdict, error)

// Decide decides on the node and on the document. As in AWS, a grant on the
// node suffices for the default document, unless the grant requires
// ssm:SessionDocumentAccessCheck; a document that the request names must always
// be granted. Hence two passes: one without the check, and, if that does not
// allow, one with it. The steps are in order; the last one decided.
func (s StartSession) Decide(ctx context.Context, decide DecideFunc) (Verdict, []Step, error) {
	const action = startSessionAction
	var steps []Step
	pass := func(check string, withDocument bool) (Verdict, error) {
		mark := One(DocumentCheck, check)
		v, err := decide(ctx, action, s.Node, append(s.NodeKeys[:len(s.NodeKeys):len(s.NodeKeys)], mark)...)
		if err != nil {
			return v, err
		}
		steps = append(steps, Step{s.Node, check == "true", v})
		if !v.Allowed || !withDocument {
			return v, nil
		}
		v, err = decide(
			ctx,
			action,
			s.Document,
			append(s.DocumentKeys[:len(s.DocumentKeys):len(s.DocumentKeys)], mark)...)
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

// AnyOf returns the question that AnyName decides.
func AnyOf(action string, names []string, keys []Key) Question {
	return func(ctx context.Context, decide DecideFunc) (Verdict, []Step, error) {
		return AnyName(ctx, decide, action, names, keys)
	}
}

// AnyName decides on a resource with several names. One allowed name suffices; one explicitly
// denied name denies.
func AnyName(
	ctx context.Context,
	decide DecideFunc,
	action string,
	names []string,
	keys []Key,
) (Verdict, []Step, error) {
	var steps []Step
	var out Verdict
	for i, name := range names {
		v, err := decide(ctx, action, name, keys...)
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

package ssm

import (
	"context"
	"strings"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/id"
)

// PolicyRequests knows what policies are asked about the door's resources, for
// those who want to know the answer without making the call.
type PolicyRequests struct{ door door }

// NewPolicyRequests returns the questions of a door with the same configuration.
func NewPolicyRequests(cfg Config) *PolicyRequests { return &PolicyRequests{door{cfg}} }

// StartSession is what starting a session on target asks.
func (q *PolicyRequests) StartSession(ctx context.Context, target, docName string) (authz.StartSession, error) {
	s, _, err := q.door.startPolicyRequest(ctx, target, docName)
	return s, err
}

// Session returns the ARNs that a session is known by, and its condition keys.
func (q *PolicyRequests) Session(ctx context.Context, name string) (arns []string, keys []authz.Key, err error) {
	_, arns, keys, err = q.door.sessionResource(ctx, name)
	return arns, keys, err
}

// startPolicyRequest is what starting a session asks. The node is nil when there is
// none of that name.
func (d *door) startPolicyRequest(
	ctx context.Context,
	target, docName string,
) (authz.StartSession, *sekisho.Node, error) {
	q := authz.StartSession{Node: "*", Named: docName != "", Strict: d.StrictDocuments}
	var node *sekisho.Node
	if knownNode(target) {
		q.Node = d.nodeARN(target)
		n, err := d.Fleet.Node(ctx, sekisho.NodeID(target))
		switch {
		case err == nil:
			node, q.NodeKeys = n, authz.ResourceTags("ssm", n.Tags)
		case !sekisho.IsNotFound(err):
			return q, nil, err
		}
	}
	name := docName
	if name == "" {
		name = ssmdoc.Default
	}
	q.Document = d.documentARN(name)
	var err error
	q.DocumentKeys, err = d.documentKeys(ctx, name)
	return q, node, err
}

// sessionResource finds a session as policies know it: by its ID, which begins
// with the owner's name, and by the same with the owner's unique ID, so that
// the sample policies with ${aws:username} and with ${aws:userid} both mean
// what they say. The session is nil when there is none.
func (d *door) sessionResource(
	ctx context.Context,
	name string,
) (s *sekisho.Session, arns []string, keys []authz.Key, err error) {
	if !id.ValidSession(name) {
		return nil, []string{"*"}, nil, nil
	}
	arns = []string{d.sessionARN(name)}
	s, err = d.Broker.Session(ctx, sekisho.SessionID(name))
	if sekisho.IsNotFound(err) {
		return nil, arns, nil, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if i := strings.LastIndexByte(name, '-'); i > 0 && s.OwnerUserID != "" {
		arns = append(arns, d.sessionARN(s.OwnerUserID+name[i:]))
	}
	return s, arns, authz.SessionTags(s.OwnerUserID, s.Target), nil
}

// Document returns a document's ARN and its condition keys.
func (q *PolicyRequests) Document(ctx context.Context, name string) (arn string, keys []authz.Key, err error) {
	keys, err = q.door.documentKeys(ctx, name)
	return q.door.documentARN(name), keys, err
}

// Settings are the preferences that a session by the document docName would
// have, the default one when it is empty.
func (q *PolicyRequests) Settings(ctx context.Context, docName string) (ssmdoc.Settings, error) {
	doc, err := q.door.Documents.ForSession(ctx, docName)
	if err != nil {
		return ssmdoc.Settings{}, err
	}
	return doc.SettingsFor(doc.Account)
}

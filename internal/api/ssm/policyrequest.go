package ssm

import (
	"context"
	"strings"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/id"
)

// PolicyRequests says what policies are asked about the door's resources, so that
// a caller can learn the answer without making the call.
type PolicyRequests struct {
	*shared
	documents documentDoor
}

// NewPolicyRequests returns the policy requests of a door with the same
// configuration.
func NewPolicyRequests(cfg Config) *PolicyRequests {
	all := &shared{cfg}
	return &PolicyRequests{all, documentDoor{all, settingDoor{all}}}
}

// StartSession returns the policy request of starting a session on target.
func (q *PolicyRequests) StartSession(ctx context.Context, target, docName string) (authz.StartSession, error) {
	s, _, err := q.startPolicyRequest(ctx, target, docName)
	return s, err
}

// Session returns the ARNs of a session in policies, and its condition keys.
func (q *PolicyRequests) Session(ctx context.Context, name string) (arns []string, keys []authz.Key, err error) {
	_, arns, keys, err = q.sessionResource(ctx, name)
	return arns, keys, err
}

// startPolicyRequest returns the policy request of starting a session. The node is nil if target
// does not exist.
func (q *PolicyRequests) startPolicyRequest(
	ctx context.Context,
	target, docName string,
) (authz.StartSession, *sekisho.Node, error) {
	s := authz.StartSession{Node: "*", Named: docName != "", Strict: q.StrictDocuments}
	var node *sekisho.Node
	if knownNode(target) {
		s.Node = q.nodeARN(target)
		n, err := q.Fleet.Node(ctx, sekisho.NodeID(target))
		switch {
		case err == nil:
			node, s.NodeKeys = n, authz.ResourceTags("ssm", n.Tags)
		case !sekisho.IsNotFound(err):
			return s, nil, err
		}
	}
	name := docName
	if name == "" {
		name = ssmdoc.Default
	}
	s.Document = q.documentARN(name)
	var err error
	s.DocumentKeys, err = q.documents.documentKeys(ctx, name)
	return s, node, err
}

// sessionResource returns a session's ARNs in policies: one with its ID, which begins with the
// owner's name, and one with the owner's unique ID instead, so that AWS's sample policies with
// ${aws:username} and with ${aws:userid} both work. The session is nil if it does not exist.
func (q *PolicyRequests) sessionResource(
	ctx context.Context,
	name string,
) (s *sekisho.Session, arns []string, keys []authz.Key, err error) {
	if !id.ValidSession(name) {
		return nil, []string{"*"}, nil, nil
	}
	arns = []string{q.sessionARN(name)}
	s, err = q.Broker.Session(ctx, sekisho.SessionID(name))
	if sekisho.IsNotFound(err) {
		return nil, arns, nil, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if i := strings.LastIndexByte(name, '-'); i > 0 && s.OwnerUserID != "" {
		arns = append(arns, q.sessionARN(s.OwnerUserID+name[i:]))
	}
	return s, arns, authz.SessionTags(s.OwnerUserID, s.Target), nil
}

// Document returns a document's ARN and its condition keys.
func (q *PolicyRequests) Document(ctx context.Context, name string) (arn string, keys []authz.Key, err error) {
	keys, err = q.documents.documentKeys(ctx, name)
	return q.documentARN(name), keys, err
}

// Settings returns the preferences of a session with the document docName, or with the default
// document if docName is empty.
func (q *PolicyRequests) Settings(ctx context.Context, docName string) (ssmdoc.Settings, error) {
	doc, err := q.Documents.ForSession(ctx, docName)
	if err != nil {
		return ssmdoc.Settings{}, err
	}
	return doc.SettingsFor(doc.Account)
}

package ssm

import (
	"context"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/session/access"
	"sekisho/internal/session/autoapproval"
	"sekisho/internal/wire/awsproto"
)

func (d accessDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"StartAccessRequest": api.Write(d.startAccess),
		"GetAccessToken":     api.Write(d.getAccessToken),
	}
}

// UserTokens issues credentials to users.
type UserTokens interface {
	// GroupsOf returns the names and unique IDs of the groups of the user p.
	GroupsOf(ctx context.Context, p *sekisho.Principal) ([]string, error)
	// AccessToken issues temporary credentials of the user p itself.
	AccessToken(ctx context.Context, p *sekisho.Principal, ttl time.Duration) (Credentials, error)
}

type startAccessRequest struct {
	Reason  string
	Targets []commandTarget
	Tags    []tag
	// BreakGlass requests immediate access without approval. AWS's shape lacks it.
	BreakGlass bool
}

type startAccessAnswer struct {
	AccessRequestID string `json:"AccessRequestId"`
}

// maxAccessTargets bounds the nodes of one request.
const maxAccessTargets = 50

// breakGlassAction is the action that allows access without approval.
const breakGlassAction = "sekisho:BreakGlass"

// startAccess creates a request for access to nodes.
func (d accessDoor) startAccess(ctx context.Context, c *api.Call, in *startAccessRequest) (*startAccessAnswer, error) {
	var v awsproto.Constraints
	v.Length("reason", in.Reason, 1, 256)
	v.Pattern("reason", in.Reason, linePattern)
	v.Count("targets", len(in.Targets), 1, 5)
	v.Count("tags", len(in.Tags), 0, maxTags)
	if err := v.Err(); err != nil {
		return nil, err
	}
	var ids []string
	for _, t := range in.Targets {
		if t.Key != "InstanceIds" {
			return nil, awsproto.SenderError(
				"ValidationException",
				"The target key %.64q is not valid: use InstanceIds.",
				t.Key,
			)
		}
		ids = append(ids, t.Values...)
	}
	v.Count("targets.member.values", len(ids), 1, maxAccessTargets)
	for _, node := range ids {
		v.Pattern("targets.member.values.member", node, nodeIDPattern)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	nodes, missing, err := d.authorizeAccess(ctx, c, ids, in.BreakGlass)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, awsproto.SenderError("ResourceNotFoundException", "%s is not registered.", missing[0])
	}
	approvedBy, err := d.autoApproval(ctx, c.Principal, nodes)
	if err != nil {
		return nil, err
	}
	r, err := d.Access.Start(ctx, access.CallerOf(c.Principal), nodes,
		access.NewRequest{Reason: in.Reason, BreakGlass: in.BreakGlass, ApprovedBy: approvedBy})
	switch sekisho.CodeOf(err) {
	case sekisho.CodeLimit:
		return nil, awsproto.SenderError("ServiceQuotaExceededException", "%s", err)
	case sekisho.CodeConflict:
		return nil, awsproto.SenderError("ValidationException", "%s", err)
	}
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"accessRequestId": r.ID, "status": string(r.Status)})
	return &startAccessAnswer{r.ID}, nil
}

// autoApproval returns the name of the auto-approval policy that approves access
// of p to nodes; empty if none does. Attributes are the tags of p; only users
// have groups.
func (d accessDoor) autoApproval(ctx context.Context, p *sekisho.Principal, nodes []*sekisho.Node) (string, error) {
	rule, name, err := d.Documents.AutoApproval(ctx)
	if err != nil || rule == nil {
		return "", err
	}
	who := autoapproval.Requester{ID: p.UserID, Tags: p.Tags}
	if p.Type == sekisho.PrincipalUser {
		if who.Groups, err = d.Tokens.GroupsOf(ctx, p); err != nil {
			return "", err
		}
	}
	if !rule.Approves(who, nodes) {
		return "", nil
	}
	return name, nil
}

// authorizeAccess authorizes a request for access to every node that it names. Unregistered
// nodes are omitted.
func (d accessDoor) authorizeAccess(
	ctx context.Context, c *api.Call, ids []string, breakGlass bool,
) (nodes []*sekisho.Node, missing []string, err error) {
	var resources []api.Resource
	for _, node := range ids {
		r := api.Resource{ARN: d.nodeARN(node)}
		n, err := d.Fleet.Node(ctx, sekisho.NodeID(node))
		switch {
		case err == nil:
			nodes, r.Keys = append(nodes, n), authz.ResourceTags("ssm", n.Tags)
		case sekisho.IsNotFound(err):
			missing = append(missing, node)
		default:
			return nil, nil, err
		}
		resources = append(resources, r)
	}
	if err := c.AuthorizeAll(ctx, "ssm:StartAccessRequest", resources); err != nil || !breakGlass {
		return nodes, missing, err
	}
	return nodes, missing, c.AuthorizeAll(ctx, breakGlassAction, resources)
}

type accessTokenRequest struct {
	AccessRequestID string `json:"AccessRequestId"`
}

type accessCredentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	ExpirationTime  awsproto.Epoch
}

type accessTokenAnswer struct {
	Credentials         *accessCredentials `json:",omitempty"`
	AccessRequestStatus string
}

// accessRequestARN returns the ARN of a request, which in AWS is an OpsItem.
func (d accessDoor) accessRequestARN(requestID string) string {
	return "arn:aws:ssm:" + d.Region + ":" + d.Account + ":opsitem/" + requestID
}

// minTokenTTL is the minimum lifetime of the credentials. Their additional permissions end with the
// access in any case.
const minTokenTTL = 15 * time.Minute

// getAccessToken returns the status of the caller's request and, if it is approved, credentials
// that expire with the access.
func (d accessDoor) getAccessToken(
	ctx context.Context, c *api.Call, in *accessTokenRequest,
) (*accessTokenAnswer, error) {
	if !access.ValidID(in.AccessRequestID) {
		return nil, awsproto.SenderError(
			"ValidationException",
			"%.64q is not the ID of an access request.",
			in.AccessRequestID,
		)
	}
	if err := c.Authorize(ctx, "ssm:GetAccessToken", d.accessRequestARN(in.AccessRequestID)); err != nil {
		return nil, err
	}
	r, err := d.Access.Request(ctx, in.AccessRequestID)
	// Another principal's request is answered like a missing one.
	if sekisho.IsNotFound(err) || err == nil && r.UserID != access.CallerOf(c.Principal).UserID {
		return nil, awsproto.SenderError(
			"ResourceNotFoundException",
			"You have no access request %s.",
			in.AccessRequestID,
		)
	}
	if err != nil {
		return nil, err
	}
	now := d.Access.Now()
	out := &accessTokenAnswer{AccessRequestStatus: string(r.At(now))}
	if r.At(now) != access.Approved {
		return out, nil
	}
	creds, err := d.Tokens.AccessToken(ctx, c.Principal, max(r.ExpiresAt.Sub(now), minTokenTTL))
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"accessRequestId": r.ID})
	out.Credentials = &accessCredentials{
		creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken, awsproto.NewEpoch(r.ExpiresAt),
	}
	return out, nil
}

// granted returns the approved access request that lets the caller start a
// session on a node, or nil.
func (d accessDoor) granted(ctx context.Context, c *api.Call, node *sekisho.Node) (*access.Request, error) {
	if node == nil || d.Access == nil || !access.Usable(c.Principal) {
		return nil, nil
	}
	return d.Access.Granted(ctx, access.CallerOf(c.Principal), node.ID)
}

package sekishoapi

import (
	"context"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/session/access"
	"sekisho/internal/wire/awsproto"
)

func (d *door) accessOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"ListAccessRequests":   api.Read(d.listAccessRequests),
		"ApproveAccessRequest": api.Write(d.approveAccessRequest),
		"RejectAccessRequest":  api.Write(d.rejectAccessRequest),
		"RevokeAccessRequest":  api.Write(d.revokeAccessRequest),
		"PutAccessRule":        api.Write(d.putAccessRule),
		"ListAccessRules":      api.Read(d.listAccessRules),
		"DeleteAccessRule":     api.Write(d.deleteAccessRule),
	}
}

type accessDecision struct {
	Status string
	By     string
	Reason string
	At     awsproto.Epoch
}

type accessRequestShape struct {
	AccessRequestID string `json:"AccessRequestId"`
	Status          string
	Requester       string
	InstanceIDs     []string `json:"InstanceIds"`
	Reason          string
	Rule            string `json:",omitempty"`
	BreakGlass      bool   `json:",omitempty"`
	ApprovalsNeeded int
	DurationSeconds int64
	Decisions       []accessDecision
	CreatedAt       awsproto.Epoch
	ExpiresAt       awsproto.Epoch // of a pending request, or of the access
}

func accessShape(r *access.Request, now time.Time) accessRequestShape {
	out := accessRequestShape{
		AccessRequestID: r.ID, Status: string(r.At(now)), Requester: r.Owner, InstanceIDs: []string{}, Reason: r.Reason,
		Rule:       r.Rule,
		BreakGlass: r.BreakGlass, ApprovalsNeeded: r.Needed, DurationSeconds: int64(r.Duration / time.Second),
		Decisions: []accessDecision{}, CreatedAt: awsproto.NewEpoch(r.CreatedAt), ExpiresAt: awsproto.NewEpoch(r.ExpiresAt),
	}
	for _, n := range r.Nodes {
		out.InstanceIDs = append(out.InstanceIDs, string(n))
	}
	for _, x := range r.Decisions {
		out.Decisions = append(out.Decisions, accessDecision{string(x.Status), x.By, x.Reason, awsproto.NewEpoch(x.At)})
	}
	return out
}

const maxAccessPage = 200

type listAccessRequest struct {
	Mine       bool // only the caller's own
	Open       bool // only pending and approved ones
	MaxResults int64
	NextToken  string // the ID of the last request of the previous page
}

type listAccessAnswer struct {
	AccessRequests []accessRequestShape
	NextToken      string `json:",omitempty"`
}

func (d *door) listAccessRequests(ctx context.Context, c *api.Call, in *listAccessRequest) (*listAccessAnswer, error) {
	var v awsproto.Constraints
	limit := int64(50)
	if in.MaxResults != 0 {
		limit = in.MaxResults
		v.Range("maxResults", limit, 1, maxAccessPage)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if in.NextToken != "" && !access.ValidID(in.NextToken) {
		return nil, root.Errorf(root.CodeInvalid,
			"This operation did not return the NextToken. Repeat the request without it.")
	}
	if err := authorizeList(ctx, c, in.Mine); err != nil {
		return nil, err
	}
	q := access.Query{Open: in.Open, After: in.NextToken, Limit: int(limit) + 1}
	if in.Mine {
		q.UserID = access.CallerOf(c.Principal).UserID
	}
	all, err := d.Access.Requests(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &listAccessAnswer{AccessRequests: []accessRequestShape{}}
	if len(all) > int(limit) {
		all = all[:limit]
		out.NextToken = all[limit-1].ID
	}
	now := d.Access.Now()
	for _, r := range all {
		if status := r.At(now); !in.Open || status == access.Pending || status == access.Approved {
			out.AccessRequests = append(out.AccessRequests, accessShape(r, now))
		}
	}
	return out, nil
}

// authorizeList authorizes listing requests. Callers can list their own without a permission, unless
// a policy denies it.
func authorizeList(ctx context.Context, c *api.Call, mine bool) error {
	const action = "sekisho:ListAccessRequests"
	if !mine {
		return c.Authorize(ctx, action, "*")
	}
	v, err := c.Decide(ctx, action, "*")
	if err != nil {
		return err
	}
	if v.Explicit {
		return api.Denied(ctx, v)
	}
	c.Allow()
	return nil
}

type decideRequest struct {
	AccessRequestID string `json:"AccessRequestId"`
	Reason          string
}

func (d *door) approveAccessRequest(ctx context.Context, c *api.Call, in *decideRequest) (*accessRequestShape, error) {
	return d.decide(ctx, c, in, access.Approved)
}

func (d *door) rejectAccessRequest(ctx context.Context, c *api.Call, in *decideRequest) (*accessRequestShape, error) {
	return d.decide(ctx, c, in, access.Rejected)
}

func (d *door) revokeAccessRequest(ctx context.Context, c *api.Call, in *decideRequest) (*accessRequestShape, error) {
	return d.decide(ctx, c, in, access.Revoked)
}

// decide records a decision of the caller. Sessions that a revoked request
// opened end within seconds.
func (d *door) decide(
	ctx context.Context,
	c *api.Call,
	in *decideRequest,
	decision access.Status,
) (*accessRequestShape, error) {
	if !access.ValidID(in.AccessRequestID) {
		return nil, root.Errorf(root.CodeInvalid, "%.64q is not the ID of an access request.", in.AccessRequestID)
	}
	arn := "arn:aws:ssm:" + d.Region + ":" + d.Account + ":opsitem/" + in.AccessRequestID
	if err := c.Authorize(ctx, "sekisho:"+c.Operation, arn); err != nil {
		return nil, err
	}
	r, err := d.Access.Decide(ctx, access.CallerOf(c.Principal), in.AccessRequestID, decision, in.Reason)
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"accessRequestId": r.ID, "status": string(r.Status)})
	out := accessShape(r, d.Access.Now())
	return &out, nil
}

type accessRule struct {
	Name            string
	Tags            []chosenTag
	Requesters      []string
	Approvers       []string
	Approvals       int
	DurationSeconds int64
}

func (d *door) ruleARN(name string) string {
	return "arn:aws:sekisho:" + d.Region + ":" + d.Account + ":access-rule/" + name
}

func (d *door) putAccessRule(ctx context.Context, c *api.Call, in *accessRule) (*struct{}, error) {
	if err := c.Authorize(ctx, "sekisho:PutAccessRule", d.ruleARN(in.Name)); err != nil {
		return nil, err
	}
	r := &access.Rule{
		Name: in.Name, Tags: map[string]string{}, Requesters: in.Requesters, Approvers: in.Approvers, Approvals: in.Approvals,
		Duration: time.Duration(min(max(in.DurationSeconds, 0), 1<<31)) * time.Second,
	}
	for _, t := range in.Tags {
		r.Tags[t.Key] = t.Value
	}
	return &struct{}{}, d.Access.PutRule(ctx, r)
}

type accessRulesAnswer struct{ AccessRules []accessRule }

func (d *door) listAccessRules(ctx context.Context, c *api.Call, _ *struct{}) (*accessRulesAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:ListAccessRules", "*"); err != nil {
		return nil, err
	}
	rules, err := d.Access.Rules(ctx)
	if err != nil {
		return nil, err
	}
	out := &accessRulesAnswer{AccessRules: []accessRule{}}
	for _, r := range rules {
		x := accessRule{
			Name: r.Name, Requesters: r.Requesters, Approvers: r.Approvers, Approvals: r.Approvals,
			DurationSeconds: int64(r.Duration / time.Second),
		}
		for k, v := range r.Tags {
			x.Tags = append(x.Tags, chosenTag{k, v})
		}
		out.AccessRules = append(out.AccessRules, x)
	}
	return out, nil
}

func (d *door) deleteAccessRule(ctx context.Context, c *api.Call, in *struct{ Name string }) (*struct{}, error) {
	if err := c.Authorize(ctx, "sekisho:DeleteAccessRule", d.ruleARN(in.Name)); err != nil {
		return nil, err
	}
	return &struct{}{}, d.Access.DeleteRule(ctx, in.Name)
}

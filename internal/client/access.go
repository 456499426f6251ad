package client

import "context"

// AccessDecision is one person's decision on an access request.
type AccessDecision struct {
	Status string
	By     string
	Reason string
	At     Time
}

// AccessRequest is a request for just-in-time access.
type AccessRequest struct {
	AccessRequestID string `json:"AccessRequestId"`
	Status          string
	Requester       string
	InstanceIDs     []string `json:"InstanceIds"`
	Reason          string
	Rule            string
	BreakGlass      bool
	ApprovalsNeeded int
	DurationSeconds int64
	Decisions       []AccessDecision
	CreatedAt       Time
	ExpiresAt       Time
}

// AccessRule says who can get access to which nodes.
type AccessRule struct {
	Name            string
	Tags            []Tag    `json:",omitempty"`
	Requesters      []string `json:",omitempty"`
	Approvers       []string `json:",omitempty"`
	Approvals       int
	DurationSeconds int64
}

// RequestAccess creates a request for access to nodes and returns its ID.
func (c *Client) RequestAccess(ctx context.Context, nodes []string, reason string, breakGlass bool) (string, error) {
	type target struct {
		Key    string
		Values []string
	}
	in := struct {
		Reason     string
		Targets    []target
		BreakGlass bool `json:",omitempty"`
	}{reason, []target{{"InstanceIds", nodes}}, breakGlass}
	var out struct {
		AccessRequestID string `json:"AccessRequestId"`
	}
	err := c.ssm(ctx, "StartAccessRequest", in, &out)
	return out.AccessRequestID, err
}

// AccessRequests lists access requests, newest first.
func (c *Client) AccessRequests(ctx context.Context, mine, open bool) ([]AccessRequest, error) {
	in := struct {
		Mine, Open bool
		MaxResults int
		NextToken  string `json:",omitempty"`
	}{Mine: mine, Open: open, MaxResults: 200}
	var all []AccessRequest
	for range maxPages {
		var out struct {
			AccessRequests []AccessRequest
			NextToken      string
		}
		if err := c.call(ctx, "sekisho", "Sekisho.ListAccessRequests", in, &out); err != nil {
			return nil, err
		}
		all = append(all, out.AccessRequests...)
		if out.NextToken == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	return all, nil
}

// Decisions on an access request, for [Client.DecideAccess].
const (
	ApproveAccess = "Approve"
	RejectAccess  = "Reject"
	RevokeAccess  = "Revoke"
)

// DecideAccess approves, rejects or revokes an access request.
func (c *Client) DecideAccess(ctx context.Context, decision, requestID, reason string) (AccessRequest, error) {
	in := struct {
		AccessRequestID string `json:"AccessRequestId"`
		Reason          string
	}{requestID, reason}
	var out AccessRequest
	err := c.call(ctx, "sekisho", "Sekisho."+decision+"AccessRequest", in, &out)
	return out, err
}

// AccessRules lists the rules.
func (c *Client) AccessRules(ctx context.Context) ([]AccessRule, error) {
	var out struct{ AccessRules []AccessRule }
	err := c.call(ctx, "sekisho", "Sekisho.ListAccessRules", struct{}{}, &out)
	return out.AccessRules, err
}

// PutAccessRule creates or replaces a rule.
func (c *Client) PutAccessRule(ctx context.Context, r AccessRule) error {
	return c.call(ctx, "sekisho", "Sekisho.PutAccessRule", r, &struct{}{})
}

// DeleteAccessRule deletes a rule.
func (c *Client) DeleteAccessRule(ctx context.Context, name string) error {
	return c.call(ctx, "sekisho", "Sekisho.DeleteAccessRule", map[string]string{"Name": name}, &struct{}{})
}

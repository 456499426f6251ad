package client

import "context"

// GrantInput says who may reach what, when and from where.
type GrantInput struct {
	UserName   string `json:",omitempty"`
	GroupName  string `json:",omitempty"`
	RoleName   string `json:",omitempty"`
	PolicyName string `json:",omitempty"`

	Targets   []string
	Documents []string `json:",omitempty"`
	Weekdays  []string `json:",omitempty"`
	From      string   `json:",omitempty"`
	To        string   `json:",omitempty"`
	Zone      string   `json:",omitempty"`
	FirstDay  string   `json:",omitempty"` // local dates
	LastDay   string   `json:",omitempty"`
	NotBefore float64  `json:",omitempty"` // seconds since 1970
	NotAfter  float64  `json:",omitempty"`
	SourceIPs []string `json:"SourceIps,omitempty"`
	MFA       bool     `json:",omitempty"`
	MFAWithin int64    `json:"MFAWithinSeconds,omitempty"`
	During    []string `json:",omitempty"`
	Except    []string `json:",omitempty"`
}

// BuildPolicy returns the policy of a grant and changes nothing.
func (c *Client) BuildPolicy(ctx context.Context, in GrantInput) (string, error) {
	var out struct{ PolicyDocument string }
	err := c.call(ctx, "sekisho", "Sekisho.BuildPolicy", in, &out)
	return out.PolicyDocument, err
}

// GrantAccess attaches the policy of a grant and returns it.
func (c *Client) GrantAccess(ctx context.Context, in GrantInput) (string, error) {
	var out struct{ PolicyDocument string }
	err := c.call(ctx, "sekisho", "Sekisho.GrantAccess", in, &out)
	return out.PolicyDocument, err
}

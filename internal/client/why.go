package client

import (
	"context"
	"time"
)

// WhyInput describes a call whose authorization is to be explained.
type WhyInput struct {
	UserName     string  `json:",omitempty"`
	PrincipalArn string  `json:",omitempty"` // instead of UserName
	Action       string  `json:",omitempty"`
	Target       string  `json:",omitempty"`
	ResourceArn  string  `json:",omitempty"`
	DocumentName string  `json:",omitempty"`
	SourceIP     string  `json:"SourceIp,omitempty"`
	At           float64 `json:",omitempty"` // seconds since 1970; now when zero
	From         float64 `json:",omitempty"`
	To           float64 `json:",omitempty"`
	MFA          bool    `json:",omitempty"`
}

// Seconds returns t as JSON 1.1 encodes it.
func Seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// WhyStep is one policy decision.
type WhyStep struct {
	ResourceArn   string
	DocumentCheck bool
	Decision      string
	Reason        string
	Statement     string // that decided, or came closest
}

// Window is a period in which the call is allowed.
type Window struct{ From, To Time }

// Why explains whether a call would be allowed.
type Why struct {
	PrincipalArn string
	Action       string
	At           Time
	Allowed      bool
	Decision     string
	Reason       string
	Statement    string // that decided, or came closest
	Steps        []WhyStep
	Failed       []string `json:",omitempty"` // of Who, Where, Which, When and MFA
	SecondFactor bool     `json:",omitempty"` // a fresh second factor would allow it
	Notes        []string // warnings of grants that may be unintended
	Windows      []Window
	Sampled      bool // short windows may be missing
}

// ExplainAccess returns whether a call would be allowed, and why.
func (c *Client) ExplainAccess(ctx context.Context, in WhyInput) (Why, error) {
	var out Why
	err := c.call(ctx, "sekisho", "Sekisho.ExplainAccess", in, &out)
	return out, err
}

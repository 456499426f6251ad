package client

import (
	"context"
	"time"
)

// WhyInput asks whether somebody could do something.
type WhyInput struct {
	UserName     string  `json:",omitempty"`
	PrincipalArn string  `json:",omitempty"` // in place of UserName
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

// Seconds is a time as JSON 1.1 has it.
func Seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// WhyStep is one question that the policies were asked.
type WhyStep struct {
	ResourceArn   string
	DocumentCheck bool
	Decision      string
	Reason        string
}

// Window is a span of time in which the answer is yes.
type Window struct{ From, To Time }

// Why is the answer.
type Why struct {
	PrincipalArn string
	Action       string
	At           Time
	Allowed      bool
	Decision     string
	Reason       string
	Steps        []WhyStep
	Windows      []Window
	Sampled      bool // short windows may be missing
}

// ExplainAccess asks whether somebody could do something, and why not.
func (c *Client) ExplainAccess(ctx context.Context, in WhyInput) (Why, error) {
	var out Why
	err := c.call(ctx, "sekisho", "Sekisho.ExplainAccess", in, &out)
	return out, err
}

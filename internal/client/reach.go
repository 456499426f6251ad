package client

import "context"

// ReachInput selects what to list: who can reach a node (Target), which nodes a principal can reach
// (UserName or PrincipalArn) or, without these, which nodes the caller can reach.
type ReachInput struct {
	Target       string  `json:",omitempty"`
	UserName     string  `json:",omitempty"`
	PrincipalArn string  `json:",omitempty"`
	DocumentName string  `json:",omitempty"`
	SourceIP     string  `json:"SourceIp,omitempty"`
	MFA          *bool   `json:",omitempty"` // either, if nil
	From         float64 `json:",omitempty"` // seconds since 1970; now when zero
	To           float64 `json:",omitempty"` // a week later when zero
	NextToken    string  `json:",omitempty"`
}

// ReachSpan is a span of time in which access is the same.
type ReachSpan struct {
	From, To  Time
	Access    string // Always or Depends
	DependsOn []string
}

// ReachEntry is a principal that can reach the node, or a node it can reach.
type ReachEntry struct {
	PrincipalArn string
	NodeID       string `json:"NodeId"`
	NodeName     string
	// ConnectionStatus is that of the node, if the list is about the caller.
	ConnectionStatus string
	Spans            []ReachSpan
	Sampled          bool
}

// Reach returns every entry, from all pages.
func (c *Client) Reach(ctx context.Context, in ReachInput) ([]ReachEntry, error) {
	operation := "Sekisho.ListMyAccess"
	switch {
	case in.Target != "":
		operation = "Sekisho.ListNodeAccess"
	case in.UserName != "" || in.PrincipalArn != "":
		operation = "Sekisho.ListPrincipalAccess"
	}
	var all []ReachEntry
	for {
		var out struct {
			Access    []ReachEntry
			From, To  Time
			NextToken string
		}
		if err := c.call(ctx, "sekisho", operation, in, &out); err != nil {
			return nil, err
		}
		all = append(all, out.Access...)
		if out.NextToken == "" {
			return all, nil
		}
		// Later pages are about the same span of time.
		in.NextToken, in.From, in.To = out.NextToken, Seconds(out.From.Time), Seconds(out.To.Time)
	}
}

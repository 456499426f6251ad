// Package access manages just-in-time access: people request access to nodes and state a reason,
// others approve or reject the request under rules that administrators write, and an approval lasts
// for a limited time or until it is revoked.
//
// An approval allows what policies do not allow; it never overrides a Deny.
package access

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/id"
)

// Status is the status of a request, as GetAccessToken reports it.
type Status string

// Values of Status.
const (
	Pending  Status = "Pending"
	Approved Status = "Approved"
	Rejected Status = "Rejected"
	Revoked  Status = "Revoked"
	Expired  Status = "Expired"
)

// Decision is what one person decided about a request.
type Decision struct {
	Status Status // Approved, Rejected or Revoked
	By     string // ARN
	UserID string // see Caller
	Reason string
	At     time.Time
}

// Request is a request for access to nodes.
type Request struct {
	ID         string
	Owner      string // ARN
	UserID     string // see Caller
	Nodes      []sekisho.NodeID
	Reason     string
	Rule       string   // that applied; empty for break-glass access
	Needed     int      // approvals
	Approvers  []string // patterns of ARNs; empty for everybody with the permission
	Duration   time.Duration
	BreakGlass bool
	Status     Status
	Decisions  []Decision
	CreatedAt  time.Time
	ExpiresAt  time.Time // of a pending request, or of the access
}

// At returns the status of r at a time.
func (r *Request) At(now time.Time) Status {
	if (r.Status == Pending || r.Status == Approved) && !now.Before(r.ExpiresAt) {
		return Expired
	}
	return r.Status
}

// Rule says who may get access to which nodes, and who must approve it.
type Rule struct {
	Name       string
	Tags       map[string]string // a node must have all of them
	Requesters []string          // patterns of ARNs; empty for everybody
	Approvers  []string          // patterns of ARNs; empty for everybody with the permission
	Approvals  int               // how many people must approve; 0 approves at once
	Duration   time.Duration     // of the access
}

func (r *Rule) covers(n *sekisho.Node, requester string) bool {
	for k, v := range r.Tags {
		if got, ok := n.Tags[k]; !ok || got != v {
			return false
		}
	}
	return anyPattern(r.Requesters, requester)
}

// Caller identifies who makes a call. UserID is the unique ID of the long-term identity, or of the
// identity provider's subject, from which the credentials originate. Comparing it prevents people
// from approving their own requests through a role or under another role session name.
type Caller struct {
	ARN, UserID string
}

// CallerOf returns the caller p.
func CallerOf(p *sekisho.Principal) Caller {
	c := Caller{ARN: p.ARN, UserID: p.UserID}
	if s := p.Session; s != nil {
		c.UserID = cmp.Or(s.SourceUserID, s.FederatedPerson, p.UserID)
	}
	return c
}

// Usable reports whether access requests can give p access. It cannot if the credentials are
// limited by session policies, as those of every federated user are: whoever issued them did not
// intend to pass on access that was approved for themselves.
func Usable(p *sekisho.Principal) bool {
	limited := p.Session != nil && len(p.Session.Policies)+len(p.Session.PolicyARNs) > 0
	return !limited && p.Type != sekisho.PrincipalFederatedUser
}

// Covers reports whether approved access includes sessions with a document, by its name in the call. Reverse
// forwarding has the node listen for the client. Whoever approves access to a node does not approve that: a policy must
// allow it.
func Covers(docName string) bool { return docName != ssmdoc.ReverseForwarding }

// Query selects requests. Zero fields select everything.
type Query struct {
	UserID string
	Open   bool   // only pending and approved ones
	After  string // the ID of the last request of the previous page
	Limit  int
}

// Store keeps requests and rules.
type Store interface {
	CreateAccessRequest(ctx context.Context, r *Request) error
	AccessRequest(ctx context.Context, requestID string) (*Request, error)
	// UpdateAccessRequest reads a request, calls change, and stores the result,
	// in one transaction. If change fails, nothing is stored.
	UpdateAccessRequest(ctx context.Context, requestID string, change func(r *Request) error) error
	// AccessRequests returns at most q.Limit requests, newest first.
	AccessRequests(ctx context.Context, q Query) ([]*Request, error)
	PutAccessRule(ctx context.Context, r *Rule) error
	// AccessRules returns all rules, by name.
	AccessRules(ctx context.Context) ([]*Rule, error)
	DeleteAccessRule(ctx context.Context, name string) error
}

// Config configures a Service.
type Config struct {
	Store Store
	Now   func() time.Time // nil = time.Now
	// Changed is called after a request has been created or decided. It must not block, and can be
	// nil.
	Changed func(r Request)
}

// Service manages requests. It is safe for concurrent use.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Changed == nil {
		cfg.Changed = func(Request) {}
	}
	return &Service{cfg}
}

// Limits of requests and rules.
const (
	maxNodes      = 50
	maxReason     = 256
	maxOpen       = 50 // requests of one person
	maxRules      = 200
	maxPatterns   = 50
	maxPattern    = 512
	maxApprovals  = 10
	maxDecisions  = 20
	minDuration   = time.Minute
	maxDuration   = 24 * time.Hour
	pendingFor    = 7 * 24 * time.Hour
	breakGlassFor = time.Hour
	// autoApprovedFor is how long access approved by an auto-approval policy lasts, as in AWS.
	autoApprovedFor = time.Hour
)

var (
	ruleName  = regexp.MustCompile(`^[A-Za-z0-9_.-]{3,64}$`)
	requestID = regexp.MustCompile(`^oi-[0-9a-f]{12}$`)
)

// ValidID reports whether s has the form of a request's ID.
func ValidID(s string) bool { return requestID.MatchString(s) }

func checkReason(reason string) error {
	if n := utf8.RuneCountInString(reason); n < 1 || n > maxReason || safetext.Line(reason, 4*maxReason) != reason {
		return sekisho.Errorf(sekisho.CodeInvalid, "The reason must be one line of 1 to %d characters.", maxReason)
	}
	return nil
}

// NewRequest describes a request to be made.
type NewRequest struct {
	Reason string
	// BreakGlass requests access immediately, without a rule.
	BreakGlass bool
	// ApprovedBy names the auto-approval policy that approves the request; empty
	// if none does.
	ApprovedBy string
}

// Start creates caller's request for access to nodes. The rule that covers all of them applies.
// With break-glass or an auto-approval policy no rule is needed, and access begins immediately.
func (s *Service) Start(
	ctx context.Context, caller Caller, nodes []*sekisho.Node, in NewRequest,
) (*Request, error) {
	reason, breakGlass := in.Reason, in.BreakGlass
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	if len(nodes) == 0 || len(nodes) > maxNodes {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"A request names %d nodes; it must name 1 to %d.",
			len(nodes),
			maxNodes,
		)
	}
	open, err := s.cfg.Store.AccessRequests(ctx, Query{UserID: caller.UserID, Open: true, Limit: maxOpen})
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now().UTC().Truncate(time.Microsecond)
	open = slices.DeleteFunc(open, func(r *Request) bool { return r.At(now) == Expired })
	if len(open) >= maxOpen {
		return nil, sekisho.Errorf(
			sekisho.CodeLimit,
			"You already have the maximum of %d open access requests.",
			len(open),
		)
	}
	r := &Request{
		ID: id.AccessRequest(), Owner: caller.ARN, UserID: caller.UserID, Reason: reason, BreakGlass: breakGlass,
		CreatedAt: now,
		Status:    Pending, ExpiresAt: now.Add(pendingFor),
	}
	for _, n := range nodes {
		r.Nodes = append(r.Nodes, n.ID)
	}
	if breakGlass {
		r.Duration = breakGlassFor
	} else if in.ApprovedBy != "" {
		r.Rule, r.Duration = in.ApprovedBy, autoApprovedFor
	} else if err := s.applyRule(ctx, r, nodes); err != nil {
		return nil, err
	}
	if r.Needed == 0 {
		r.Status, r.ExpiresAt = Approved, now.Add(r.Duration)
	}
	if err := s.cfg.Store.CreateAccessRequest(ctx, r); err != nil {
		return nil, err
	}
	s.cfg.Changed(*r)
	return r, nil
}

// applyRule finds the rule that covers all nodes. Rules that approve immediately take precedence.
// Among the others, it is an error if more than one applies.
func (s *Service) applyRule(ctx context.Context, r *Request, nodes []*sekisho.Node) error {
	rules, err := s.cfg.Store.AccessRules(ctx)
	if err != nil {
		return err
	}
	rules = slices.DeleteFunc(rules, func(rule *Rule) bool {
		return slices.ContainsFunc(nodes, func(n *sekisho.Node) bool { return !rule.covers(n, r.Owner) })
	})
	i := slices.IndexFunc(rules, func(rule *Rule) bool { return rule.Approvals == 0 })
	switch {
	case len(rules) == 0:
		return sekisho.Errorf(sekisho.CodeDenied, "No access rule covers all of these nodes for %s.", r.Owner).
			WithHint("Ask an administrator for a rule, or request fewer nodes.")
	case i < 0 && len(rules) > 1:
		return sekisho.Errorf(sekisho.CodeConflict, "The access rules %s and %s both apply.", rules[0].Name, rules[1].Name).
			WithHint("An administrator must make them exclude each other.")
	}
	rule := rules[max(i, 0)]
	r.Rule, r.Needed, r.Approvers, r.Duration = rule.Name, rule.Approvals, rule.Approvers, rule.Duration
	return nil
}

// Decide records caller's decision about a request. Nobody can approve their own request, or
// approve twice. The person who made a request can revoke it.
func (s *Service) Decide(
	ctx context.Context,
	caller Caller,
	requestID string,
	decision Status,
	reason string,
) (*Request, error) {
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	var out Request
	err := s.cfg.Store.UpdateAccessRequest(ctx, requestID, func(r *Request) error {
		now := s.cfg.Now().UTC().Truncate(time.Microsecond)
		if err := r.mayDecide(caller, decision, now); err != nil {
			return err
		}
		r.Decisions = append(
			r.Decisions,
			Decision{Status: decision, By: caller.ARN, UserID: caller.UserID, Reason: reason, At: now},
		)
		switch {
		case decision != Approved:
			r.Status = decision
		case r.approvals() >= r.Needed:
			r.Status, r.ExpiresAt = Approved, now.Add(r.Duration)
		}
		out = *r
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Changed(out)
	return &out, nil
}

func (r *Request) approvals() (n int) {
	for _, d := range r.Decisions {
		if d.Status == Approved {
			n++
		}
	}
	return n
}

func (r *Request) mayDecide(caller Caller, decision Status, now time.Time) error {
	status := r.At(now)
	want := Pending
	if decision == Revoked {
		want = Approved
	}
	own := caller.UserID == r.UserID
	switch {
	case status != want && !(decision == Revoked && status == Pending):
		return sekisho.Errorf(sekisho.CodeConflict, "The access request %s is %s.", r.ID, status)
	case own && decision != Revoked:
		return sekisho.Errorf(sekisho.CodeDenied, "You cannot approve or reject your own access request.")
	case decision != Revoked && !anyPattern(r.Approvers, caller.ARN):
		return sekisho.Errorf(
			sekisho.CodeDenied,
			"The access rule %s does not name %s as an approver.",
			r.Rule,
			caller.ARN,
		)
	case len(r.Decisions) >= maxDecisions:
		return sekisho.Errorf(sekisho.CodeLimit, "The access request %s has too many decisions.", r.ID)
	case decision == Approved && slices.ContainsFunc(r.Decisions, func(d Decision) bool {
		return d.Status == Approved && d.UserID == caller.UserID
	}):
		return sekisho.Errorf(sekisho.CodeConflict, "You have already approved the access request %s.", r.ID)
	}
	return nil
}

// Granted returns the approved request of caller that gives access to node now,
// or nil.
func (s *Service) Granted(ctx context.Context, caller Caller, node sekisho.NodeID) (*Request, error) {
	open, err := s.cfg.Store.AccessRequests(ctx, Query{UserID: caller.UserID, Open: true, Limit: maxOpen})
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	for _, r := range open {
		if r.At(now) == Approved && slices.Contains(r.Nodes, node) {
			return r, nil
		}
	}
	return nil, nil
}

// Request returns a request.
func (s *Service) Request(ctx context.Context, requestID string) (*Request, error) {
	return s.cfg.Store.AccessRequest(ctx, requestID)
}

// Requests returns requests, newest first.
func (s *Service) Requests(ctx context.Context, q Query) ([]*Request, error) {
	return s.cfg.Store.AccessRequests(ctx, q)
}

// Now returns the current time of the clock by which requests expire.
func (s *Service) Now() time.Time { return s.cfg.Now() }

// PutRule creates or replaces a rule. Existing requests keep their terms.
func (s *Service) PutRule(ctx context.Context, r *Rule) error {
	switch {
	case !ruleName.MatchString(r.Name):
		return sekisho.Errorf(sekisho.CodeInvalid, "%q is not a rule name: use 3 to 64 letters, digits, and _ . -",
			safetext.Line(r.Name, 64))
	case r.Approvals < 0 || r.Approvals > maxApprovals:
		return sekisho.Errorf(sekisho.CodeInvalid, "Approvals is %d; it must be 0 to %d.", r.Approvals, maxApprovals)
	case r.Duration < minDuration || r.Duration > maxDuration:
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The duration is %s; it must be %s to %s.",
			r.Duration,
			minDuration,
			maxDuration,
		)
	case len(r.Tags) > maxPatterns || len(r.Requesters) > maxPatterns || len(r.Approvers) > maxPatterns:
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"A rule can have at most %d tags, %[1]d requesters and %[1]d approvers.",
			maxPatterns,
		)
	}
	for _, p := range slices.Concat(r.Requesters, r.Approvers) {
		if !strings.HasPrefix(p, "arn:") || len(p) > maxPattern {
			return sekisho.Errorf(
				sekisho.CodeInvalid,
				"%q is not the ARN of a principal; * matches any text.",
				safetext.Line(p, 100),
			)
		}
	}
	rules, err := s.cfg.Store.AccessRules(ctx)
	if err != nil {
		return err
	}
	if len(rules) >= maxRules && !slices.ContainsFunc(rules, func(x *Rule) bool { return x.Name == r.Name }) {
		return sekisho.Errorf(sekisho.CodeLimit, "The account already has the maximum of %d access rules.", len(rules))
	}
	return s.cfg.Store.PutAccessRule(ctx, r)
}

// Rules returns all rules, by name.
func (s *Service) Rules(ctx context.Context) ([]*Rule, error) { return s.cfg.Store.AccessRules(ctx) }

// DeleteRule deletes a rule. Existing requests keep their terms.
func (s *Service) DeleteRule(ctx context.Context, name string) error {
	return s.cfg.Store.DeleteAccessRule(ctx, name)
}

// anyPattern reports whether arn matches one of the patterns, in which * matches any text. An empty
// list matches everything.
func anyPattern(patterns []string, arn string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		first, rest, wild := strings.Cut(p, "*")
		if !wild {
			return p == arn
		}
		text, ok := strings.CutPrefix(arn, first)
		for ok {
			part, more, again := strings.Cut(rest, "*")
			if !again {
				return strings.HasSuffix(text, part)
			}
			var i int
			if i = strings.Index(text, part); i < 0 {
				return false
			}
			text, rest = text[i+len(part):], more
		}
		return false
	})
}

package sekishoapi

import (
	"context"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/session/access"
	"sekisho/internal/wire/awsproto"
)

func (d *door) reachOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"ListNodeAccess":      api.Read(d.listNodeAccess),
		"ListPrincipalAccess": api.Read(d.listPrincipalAccess),
		"ListMyAccess": api.Read(d.listMyAccess, api.NoPolicy(ownAccess),
			api.Polled("the console shows every user the nodes in reach")),
	}
}

const (
	// defaultReach is the default period. A week contains every weekly window.
	defaultReach    = 7 * 24 * time.Hour
	defaultReachMax = 100
	maxReachResults = 1000
)

// reachRequest has the parameters that both operations share.
type reachRequest struct {
	DocumentName string
	SourceIP     string `json:"SourceIp"` // any if empty
	MFA          *bool  // either if absent
	From, To     awsproto.Epoch
	MaxResults   int
	NextToken    string
}

// reachSpan is a part of the period with the same access.
type reachSpan struct {
	From, To  awsproto.Epoch
	Access    policy.Reach // Always, or Depends on the conditions below
	DependsOn []string     `json:",omitempty"`
}

// reachEntry is a principal that can reach a node, or a node that can be reached.
type reachEntry struct {
	PrincipalArn string `json:",omitempty"`
	NodeID       string `json:"NodeId,omitempty"`
	NodeName     string `json:",omitempty"`
	// ConnectionStatus is that of the node, as GetConnectionStatus returns it. Only ListMyAccess sets it.
	ConnectionStatus string `json:",omitempty"`
	Spans            []reachSpan
	// Sampled means that a policy compares the time as text, so that some spans may be missing.
	Sampled bool `json:",omitempty"`
}

type reachAnswer struct {
	From, To  awsproto.Epoch
	Access    []reachEntry // only entries with access
	NextToken string       `json:",omitempty"`
}

func (in *reachRequest) check(c *api.Call) (source netip.Addr, err error) {
	var v awsproto.Constraints
	v.Length("documentName", in.DocumentName, 0, 128)
	v.Length("sourceIp", in.SourceIP, 0, 64)
	v.Length("nextToken", in.NextToken, 0, 4096)
	v.Range("maxResults", int64(in.MaxResults), 0, maxReachResults)
	if err := v.Err(); err != nil {
		return source, err
	}
	if in.MaxResults == 0 {
		in.MaxResults = defaultReachMax
	}
	if in.From.IsZero() {
		in.From = awsproto.NewEpoch(c.Time)
	}
	if in.To.IsZero() {
		in.To = awsproto.NewEpoch(in.From.Add(defaultReach))
	}
	if span := in.To.Sub(in.From.Time); span < time.Second || span > maxSpan {
		return source, root.Errorf(root.CodeInvalid, "To must be later than From, by at most 31 days.")
	}
	if in.SourceIP != "" {
		if source, err = netip.ParseAddr(in.SourceIP); err != nil {
			return source, root.Errorf(root.CodeInvalid, "SourceIp %q is not an IP address.", in.SourceIP)
		}
	}
	return source, nil
}

func (in *reachRequest) query() authz.ReachQuery {
	q := authz.ReachQuery{From: in.From.Time, To: in.To.Time}
	switch {
	case in.MFA == nil:
	case *in.MFA:
		q.Factor = authz.FactorFresh
	default:
		q.Factor = authz.FactorNone
	}
	return q
}

// reacher prepares the decisions about one principal.
func (d *door) reacher(
	ctx context.Context,
	rs *authz.Reachers,
	p *root.Principal,
	source netip.Addr,
) (*authz.Reacher, error) {
	return rs.Reacher(ctx, authz.Facts{Principal: p, SourceIP: source, Secure: true, Region: d.Region})
}

// add adds the spans of one answer that have access.
func (e *reachEntry) add(spans []authz.ReachSpan, describe func(policy.Dependency) string) {
	for _, s := range spans {
		if s.Reach == policy.ReachNever {
			continue
		}
		span := reachSpan{From: awsproto.NewEpoch(s.From), To: awsproto.NewEpoch(s.To), Access: s.Reach}
		for _, dep := range s.DependsOn {
			span.DependsOn = append(span.DependsOn, describe(dep))
		}
		slices.Sort(span.DependsOn)
		span.DependsOn = slices.Compact(span.DependsOn)
		e.Spans = append(e.Spans, span)
	}
}

// condition describes a dependency in full.
func condition(dep policy.Dependency) string { return dep.Condition }

// pages processes items in order, starting after NextToken, until an answer is full.
func pages[T any](
	in *reachRequest,
	out *reachAnswer,
	all []T,
	key func(T) string,
	try func(T) (reachEntry, bool, error),
) error {
	after, err := base64.RawURLEncoding.DecodeString(in.NextToken)
	if err != nil {
		return root.Errorf(root.CodeInvalid, "The NextToken does not belong to this request.")
	}
	out.From, out.To, out.Access = in.From, in.To, []reachEntry{}
	for _, item := range all {
		if key(item) <= string(after) {
			continue
		}
		e, ok, err := try(item)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if len(out.Access) == in.MaxResults {
			out.NextToken = base64.RawURLEncoding.EncodeToString(after)
			return nil
		}
		out.Access = append(out.Access, e)
		after = []byte(key(item))
	}
	return nil
}

// approvedAccess are the approved access requests, by the user ID of their
// requester.
type approvedAccess map[string][]*access.Request

// approvedAccess returns the approved requests of a requester, or of everybody if userID is empty.
func (d *door) approvedAccess(ctx context.Context, userID string) (approvedAccess, error) {
	found := approvedAccess{}
	if d.Access == nil {
		return found, nil
	}
	q := access.Query{UserID: userID, Open: true, Limit: maxAccessPage}
	for {
		page, err := d.Access.Requests(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if r.At(d.Access.Now()) == access.Approved {
				found[r.UserID] = append(found[r.UserID], r)
			}
		}
		if len(page) < q.Limit {
			return found, nil
		}
		q.After = page[len(page)-1].ID
	}
}

// requestPrefix begins the dependency on an access request.
const requestPrefix = "access request "

// grants returns the access that approved requests of a requester give to a node with a document.
func (found approvedAccess) grants(userID string, node root.NodeID, docName string) []authz.Grant {
	var out []authz.Grant
	for _, r := range found[userID] {
		if slices.Contains(r.Nodes, node) && access.Covers(docName) {
			out = append(out, authz.Grant{Name: requestPrefix + r.ID, Until: r.ExpiresAt})
		}
	}
	return out
}

type nodeAccessRequest struct {
	Target string // a node
	reachRequest
}

// listNodeAccess lists the users and roles that can open a session on a node, and when. A role
// counts with any role session name.
func (d *door) listNodeAccess(ctx context.Context, c *api.Call, in *nodeAccessRequest) (*reachAnswer, error) {
	source, err := in.check(c)
	if err != nil {
		return nil, err
	}
	if in.Target == "" || len(in.Target) > 400 {
		return nil, root.Errorf(root.CodeInvalid, "Target is missing: it must be a node ID.")
	}
	if err := c.Authorize(ctx, "iam:SimulatePrincipalPolicy", "*"); err != nil {
		return nil, err
	}
	n, err := d.Fleet.Node(ctx, root.NodeID(in.Target))
	if err != nil {
		return nil, err
	}
	call, err := d.Requests.StartSession(ctx, string(n.ID), in.DocumentName)
	if err != nil {
		return nil, err
	}
	principals, err := d.Directory.Sets.Principals(ctx)
	if err != nil {
		return nil, err
	}
	approved, err := d.approvedAccess(ctx, "")
	if err != nil {
		return nil, err
	}
	out, reachers := &reachAnswer{}, d.Authorizer.Reachers(in.query())
	return out, pages(
		&in.reachRequest,
		out,
		principals,
		func(p *root.Principal) string { return p.PolicyARN },
		func(p *root.Principal) (reachEntry, bool, error) {
			r, err := d.reacher(ctx, reachers, p, source)
			if err != nil {
				return reachEntry{}, false, err
			}
			spans, err := r.StartSessionUnder(ctx, call, approved.grants(p.UserID, n.ID, in.DocumentName))
			e := reachEntry{PrincipalArn: p.PolicyARN, Sampled: !r.Exact()}
			e.add(spans, condition)
			return e, len(e.Spans) > 0, err
		},
	)
}

type principalAccessRequest struct {
	PrincipalArn string
	UserName     string // instead of PrincipalArn
	reachRequest
}

// listPrincipalAccess lists the nodes on which a user or role can open sessions, and when.
func (d *door) listPrincipalAccess(ctx context.Context, c *api.Call, in *principalAccessRequest) (*reachAnswer, error) {
	source, err := in.check(c)
	if err != nil {
		return nil, err
	}
	if in.PrincipalArn == "" && in.UserName == "" || len(in.PrincipalArn) > 2048 || len(in.UserName) > 64 {
		return nil, root.Errorf(root.CodeInvalid, "Set UserName, or PrincipalArn to the ARN of a user or role.")
	}
	if in.PrincipalArn == "" {
		in.PrincipalArn = "arn:aws:iam::" + c.Account + ":user/" + in.UserName
	}
	if err := c.Authorize(ctx, "iam:SimulatePrincipalPolicy", in.PrincipalArn); err != nil {
		return nil, err
	}
	p, err := d.Directory.Sets.PrincipalOf(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	r, err := d.reacher(ctx, d.Authorizer.Reachers(in.query()), p, source)
	if err != nil {
		return nil, err
	}
	describe := func(e *reachEntry, _ *root.Node, spans []authz.ReachSpan) { e.add(spans, condition) }
	return d.nodesInReach(ctx, &in.reachRequest, r, p.UserID, "", describe)
}

// nodesInReach lists the nodes on which a principal can open sessions. userID is that of the
// requester whose access requests count. target selects nodes, all if it is empty. describe completes
// an entry.
func (d *door) nodesInReach(
	ctx context.Context,
	in *reachRequest,
	r *authz.Reacher,
	userID, target string,
	describe func(e *reachEntry, n *root.Node, spans []authz.ReachSpan),
) (*reachAnswer, error) {
	// The document is the same for all nodes.
	call, err := d.Requests.StartSession(ctx, "*", in.DocumentName)
	if err != nil {
		return nil, err
	}
	nodes, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(nodes, func(a, b *root.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	rule, err := d.Names.Naming(ctx)
	if err != nil {
		return nil, err
	}
	if target != "" {
		nodes = rule.Select(nodes, target)
	}
	approved := approvedAccess{}
	if userID != "" {
		if approved, err = d.approvedAccess(ctx, userID); err != nil {
			return nil, err
		}
	}
	out := &reachAnswer{}
	return out, pages(
		in,
		out,
		nodes,
		func(n *root.Node) string { return string(n.ID) },
		func(n *root.Node) (reachEntry, bool, error) {
			one := call
			one.Node, one.NodeKeys = d.nodeARN(string(n.ID)), authz.ResourceTags("ssm", n.Tags)
			spans, err := r.StartSessionUnder(ctx, one, approved.grants(userID, n.ID, in.DocumentName))
			e := reachEntry{NodeID: string(n.ID), NodeName: rule.Display(n), Sampled: !r.Exact()}
			describe(&e, n, spans)
			return e, len(e.Spans) > 0, err
		},
	)
}

type myAccessRequest struct {
	DocumentName string
	From, To     awsproto.Epoch
	MaxResults   int
	NextToken    string
	// Target selects nodes by ID, name, or KEY=VALUE of a tag; all if empty.
	Target string
}

// listMyAccess lists the nodes on which the caller can open sessions from its present address, and
// when. Callers who cannot simulate their own policies learn of each condition only which aspect it
// is about, as in a refusal.
func (d *door) listMyAccess(ctx context.Context, c *api.Call, in *myAccessRequest) (*reachAnswer, error) {
	ask := &reachRequest{
		DocumentName: in.DocumentName, From: in.From, To: in.To, MaxResults: in.MaxResults, NextToken: in.NextToken,
	}
	var v awsproto.Constraints
	v.Length("target", in.Target, 0, 400)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if _, err := ask.check(c); err != nil {
		return nil, err
	}
	f := c.Facts()
	simulate, err := d.Authorizer.Decide(ctx, &f, "iam:SimulatePrincipalPolicy", c.Principal.PolicyARN)
	if err != nil {
		return nil, err
	}
	describe := func(dep policy.Dependency) string {
		if simulate.Allowed || strings.HasPrefix(dep.Condition, requestPrefix) {
			return dep.Condition
		}
		return string(dep.Aspect)
	}
	q := ask.query()
	q.Session = true
	r, err := d.Authorizer.Reacher(ctx, f, q)
	if err != nil {
		return nil, err
	}
	userID := ""
	if access.Usable(c.Principal) {
		userID = access.CallerOf(c.Principal).UserID
	}
	return d.nodesInReach(ctx, ask, r, userID, in.Target, func(e *reachEntry, n *root.Node, spans []authz.ReachSpan) {
		if e.add(spans, describe); len(e.Spans) == 0 {
			return
		}
		e.ConnectionStatus = "connected"
		if d.StartChecks.NotConnected(n) != "" {
			e.ConnectionStatus = "notconnected"
		}
	})
}

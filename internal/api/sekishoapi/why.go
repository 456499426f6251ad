package sekishoapi

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// PolicyRequests describes the policy decisions of operations.
type PolicyRequests interface {
	StartSession(ctx context.Context, target, docName string) (authz.StartSession, error)
	Session(ctx context.Context, name string) (arns []string, keys []authz.Key, err error)
	Document(ctx context.Context, name string) (arn string, keys []authz.Key, err error)
	// Settings returns the preferences of a session with a document.
	Settings(ctx context.Context, docName string) (ssmdoc.Settings, error)
}

// windowSteps is the number of steps into which a period is divided to find the moments when the
// decision changes, if policies do not name these. Between two steps, the moment is found to the
// second.
const windowSteps = 288

// maxSpan bounds the period: a step is then two and a half hours.
const maxSpan = 31 * 24 * time.Hour

type explainRequest struct {
	PrincipalArn string
	UserName     string // in place of PrincipalArn
	Action       string // ssm:StartSession if empty
	Target       string // a node, or a session
	ResourceArn  string // instead of Target, for actions on other resources
	DocumentName string
	SourceIP     string `json:"SourceIp"`
	At           awsproto.Epoch
	From, To     awsproto.Epoch // period in which to find when the call is allowed
	MFA          bool
	Insecure     bool // without TLS
}

type explainStep struct {
	ResourceArn   string
	DocumentCheck bool // the value of ssm:SessionDocumentAccessCheck
	Decision      string
	Reason        string
	Statement     string `json:",omitempty"` // that decided, or came closest
}

type window struct{ From, To awsproto.Epoch }

type explainAnswer struct {
	PrincipalArn string
	Action       string
	At           awsproto.Epoch
	Allowed      bool
	Decision     string // allowed, implicitDeny or explicitDeny, as in the policy simulator
	Reason       string // why, in one sentence
	Statement    string `json:",omitempty"` // that decided, or came closest, with its policy
	Message      string `json:",omitempty"` // of the error that the caller receives
	Steps        []explainStep
	// Failed are the aspects that caused a denial, SecondFactor whether a fresh
	// second factor would turn it into an allowed request.
	Failed       []policy.Aspect `json:",omitempty"`
	SecondFactor bool            `json:",omitempty"`
	// Notes warn of grants that may be unintended.
	Notes   []string `json:",omitempty"`
	Windows []window `json:",omitzero"` // when the call is allowed within the period
	// Sampled means that policies compare the time as text, so that windows shorter than 1/288 of
	// the period may be missing.
	Sampled bool `json:",omitempty"`
}

// explainAccess returns whether a principal could make a call, from an address and at a time, and
// why or why not. It evaluates the same decisions as the call itself.
func (d *door) explainAccess(ctx context.Context, c *api.Call, in *explainRequest) (*explainAnswer, error) {
	if err := in.check(c); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "iam:SimulatePrincipalPolicy", in.PrincipalArn); err != nil {
		return nil, err
	}
	p, err := d.Directory.Sets.PrincipalOf(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	f := authz.Facts{Principal: p, Time: in.At.Time, Secure: !in.Insecure, Region: d.Region}
	if in.SourceIP != "" {
		if f.SourceIP, err = netip.ParseAddr(in.SourceIP); err != nil {
			return nil, root.Errorf(root.CodeInvalid, "SourceIp is not an IP address.")
		}
	}
	ask, err := d.question(ctx, in)
	if err != nil {
		return nil, err
	}
	called := assumed(f, in.MFA)
	v, steps, err := ask(ctx, d.explaining(called))
	if err != nil {
		return nil, err
	}
	denial, err := d.Authorizer.Denial(ctx, &called, ask)
	if err != nil {
		return nil, err
	}
	out := &explainAnswer{
		PrincipalArn: in.PrincipalArn, Action: in.Action, At: in.At, Allowed: v.Allowed, Decision: decision(v),
		Reason: v.Reason, Statement: v.Statement,
		Message: v.Message, Steps: []explainStep{}, Failed: denial.Failed, SecondFactor: denial.SecondFactor,
	}
	for _, s := range steps {
		out.Steps = append(
			out.Steps,
			explainStep{s.Resource, s.Check, decision(s.Verdict), s.Verdict.Reason, s.Verdict.Statement},
		)
	}
	if out.Notes, err = d.notes(ctx, in, p, v); err != nil {
		return nil, err
	}
	logNotes, err := d.logNotes(ctx, f, in.DocumentName)
	if err != nil {
		return nil, err
	}
	out.Notes = append(out.Notes, logNotes...)
	if !in.From.IsZero() {
		at, exact, err := d.Authorizer.Times(ctx, p, in.From.Time, in.To.Time)
		if err != nil {
			return nil, err
		}
		out.Sampled = !exact
		out.Windows, err = windows(in.From.Time, in.To.Time, at, exact, func(t time.Time) (bool, error) {
			at := f
			at.Time = t
			v, _, err := ask(ctx, d.asks(assumed(at, in.MFA)))
			return v.Allowed, err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// notes warns if an action on another principal's session is allowed only because the two names are
// similar.
func (d *door) notes(ctx context.Context, in *explainRequest, p *root.Principal, v authz.Verdict) ([]string, error) {
	if !v.Allowed || in.ResourceArn != "" || !id.ValidSession(in.Target) {
		return nil, nil
	}
	owner := in.Target[:strings.LastIndexByte(in.Target, '-')]
	statement, err := d.Directory.Sets.CoversSessions(ctx, p, owner)
	if err != nil || statement == "" {
		return nil, err
	}
	return []string{
		"The session belongs to " + owner + ". " + statement + " covers it because its pattern uses ${aws:username} " +
			"and the names " +
			"have a common prefix; use ${aws:userid} instead.",
	}, nil
}

func (in *explainRequest) check(c *api.Call) error {
	var v awsproto.Constraints
	v.Require("principalArn", in.PrincipalArn != "" || in.UserName != "")
	v.Length("principalArn", in.PrincipalArn, 0, 2048)
	v.Length("userName", in.UserName, 0, 64)
	v.Length("action", in.Action, 0, 128)
	v.Length("target", in.Target, 0, 400)
	v.Length("resourceArn", in.ResourceArn, 0, 2048)
	v.Length("documentName", in.DocumentName, 0, 128)
	if err := v.Err(); err != nil {
		return err
	}
	if in.PrincipalArn == "" {
		in.PrincipalArn = "arn:aws:iam::" + c.Account + ":user/" + in.UserName
	}
	if in.Action == "" {
		in.Action = "ssm:StartSession"
	}
	if strings.Count(in.Action, ":") != 1 || strings.ContainsAny(in.Action, "*?") {
		return root.Errorf(root.CodeInvalid, "Action must be one action, such as ssm:StartSession.")
	}
	if in.At.IsZero() {
		in.At = awsproto.NewEpoch(c.Facts().Time)
	}
	switch span := in.To.Sub(in.From.Time); {
	case in.From.IsZero() != in.To.IsZero():
		return root.Errorf(root.CodeInvalid, "From and To must be given together.")
	case !in.From.IsZero() && (span <= 0 || span > maxSpan):
		return root.Errorf(root.CodeInvalid, "To must be later than From, by at most 31 days.")
	}
	return nil
}

// assumed returns f with the credentials that a call of f's principal is assumed to have.
func assumed(f authz.Facts, mfa bool) authz.Facts {
	p := *f.Principal
	if p.Type != root.PrincipalUser || mfa {
		// A user with a second factor has temporary credentials, like a role.
		p.TokenIssueTime = f.Time
	}
	if mfa {
		p.MFATime = f.Time
	}
	f.Principal = &p
	return f
}

// explaining returns a function that decides like a call with the facts f, with all reasons.
func (d *door) explaining(f authz.Facts) authz.DecideFunc {
	return func(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
		return d.Authorizer.Explain(ctx, &f, action, resource, keys...)
	}
}

// question returns the decisions that the call would require.
func (d *door) question(ctx context.Context, in *explainRequest) (authz.Question, error) {
	action := strings.ToLower(in.Action)
	if in.ResourceArn == "" && (action == "ssm:startsession" || in.Target != "") {
		// An answer about a missing resource would mislead, because policies deny resources that
		// they do not name.
		if err := d.targetExists(ctx, in.Target, action == "ssm:startsession"); err != nil {
			return nil, err
		}
	}
	switch {
	case in.ResourceArn == "" && action == "ssm:startsession":
		q, err := d.Requests.StartSession(ctx, in.Target, in.DocumentName)
		return q.Decide, err
	case in.ResourceArn == "" && id.ValidNode(in.Target):
		q, err := d.Requests.StartSession(ctx, in.Target, "")
		return authz.AnyOf(in.Action, []string{q.Node}, q.NodeKeys), err
	case in.ResourceArn == "" && in.Target != "":
		names, keys, err := d.Requests.Session(ctx, in.Target)
		return authz.AnyOf(in.Action, names, keys), err
	case in.ResourceArn == "":
		return authz.AnyOf(in.Action, []string{"*"}, nil), nil
	}
	return authz.AnyOf(in.Action, []string{in.ResourceArn}, nil), nil
}

// targetExists checks that target is a managed node or, unless nodeOnly, a
// session.
func (d *door) targetExists(ctx context.Context, target string, nodeOnly bool) error {
	if !nodeOnly && !id.ValidNode(target) && id.ValidSession(target) {
		if _, err := d.Sessions.Session(ctx, root.SessionID(target)); root.IsNotFound(err) {
			return root.Errorf(root.CodeNotFound, "Unknown session %q.", target)
		} else if err != nil {
			return err
		}
		return nil
	}
	if _, err := d.node(ctx, target); root.IsNotFound(err) {
		return root.Errorf(root.CodeNotFound, "Unknown node %q: Target must be the ID of a managed node.", target)
	} else if err != nil {
		return err
	}
	return nil
}

func decision(v authz.Verdict) string {
	switch {
	case v.Allowed:
		return "allowed"
	case v.Explicit:
		return "explicitDeny"
	}
	return "implicitDeny"
}

// windows returns the parts of a period in which allowed holds. To is the first second in which it
// does not. at are the seconds at which it can change; unless exact, windows also searches between
// them.
func windows(
	from, to time.Time,
	at []time.Time,
	exact bool,
	allowed func(t time.Time) (bool, error),
) ([]window, error) {
	from, to = from.Truncate(time.Second), to.Truncate(time.Second)
	places := []time.Time{from}
	for _, t := range at {
		if t.After(from) && t.Before(to) {
			places = append(places, t)
		}
	}
	if !exact {
		step := max(to.Sub(from)/windowSteps, time.Second).Round(time.Second)
		for t := from.Add(step); t.Before(to); t = t.Add(step) {
			places = append(places, t)
		}
		slices.SortFunc(places, time.Time.Compare)
	}
	out := []window{}
	open := false
	var begin time.Time
	for i, t := range places {
		now, err := allowed(t)
		if err != nil {
			return nil, err
		}
		if now == open {
			continue
		}
		if !exact && i > 0 {
			if t, err = changeBetween(places[i-1], t, open, allowed); err != nil {
				return nil, err
			}
		}
		if open {
			out = append(out, window{awsproto.NewEpoch(begin), awsproto.NewEpoch(t)})
		}
		begin, open = t, now
	}
	if open {
		out = append(out, window{awsproto.NewEpoch(begin), awsproto.NewEpoch(to)})
	}
	return out, nil
}

// changeBetween returns the second between low and high at which the answer changes from before.
func changeBetween(low, high time.Time, before bool, allowed func(t time.Time) (bool, error)) (time.Time, error) {
	for high.Sub(low) > time.Second {
		middle := low.Add(high.Sub(low) / 2).Truncate(time.Second)
		ok, err := allowed(middle)
		if err != nil {
			return high, err
		}
		if ok == before {
			low = middle
		} else {
			high = middle
		}
	}
	return high, nil
}

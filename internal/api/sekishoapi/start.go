package sekishoapi

import (
	"context"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/session/access"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// StartChecks checks what a session requires besides permission.
type StartChecks interface {
	// NotConnected returns why a node is not connected; "" if it is.
	NotConnected(n *root.Node) string
	// CheckNodeLogs returns an error if a node could not deliver logs to the destinations in s.
	CheckNodeLogs(ctx context.Context, n *root.Node, s *ssmdoc.Settings) error
}

// Outcomes of a check.
const (
	startReady   = "Ready"
	startWarning = "Warning" // the session would start
	startFailing = "Failing"
)

// Names of checks.
const (
	checkAccess    = "Access"
	checkNode      = "Node"
	checkLogs      = "Logs"
	checkRecording = "Recording"
)

// ownAccess is why the operations here need no policy decision.
const ownAccess = "callers learn only what an attempt would tell them"

// lookAhead is how far ahead permission windows are searched.
const lookAhead = maxSpan

// maxQuestions bounds the questions in a DescribeMyAccess request.
const maxQuestions = 25

func (d *door) startOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"CheckSessionStart": api.Read(d.checkSessionStart, api.NoPolicy(ownAccess)),
		"DescribeMyAccess": api.Read(d.describeMyAccess, api.NoPolicy(ownAccess),
			api.Polled("every page of the console asks what to offer")),
	}
}

type checkStartRequest struct {
	Target       string
	DocumentName string
}

type startCheck struct {
	Kind    string
	Outcome string
	Text    string
	// Hint is the remedy.
	Hint string `json:",omitempty"`
}

type checkStartAnswer struct {
	Checks []startCheck
	// Ready means that no check failed or warned.
	Ready bool
	// Windows are the periods within the next month in which policy allows it; empty if it does not
	// depend on the time.
	Windows []window `json:",omitempty"`
	// Failed are the aspects that caused a denial, SecondFactor whether a fresh
	// second factor would turn it into an allowed request.
	Failed       []policy.Aspect `json:",omitempty"`
	SecondFactor bool            `json:",omitempty"`
	// ReasonRequired and ReasonPattern are the requirements for the request's reason.
	ReasonRequired bool   `json:",omitempty"`
	ReasonPattern  string `json:",omitempty"`
}

func (a *checkStartAnswer) add(kind, outcome, text, hint string) {
	a.Checks = append(a.Checks, startCheck{kind, outcome, text, hint})
	a.Ready = a.Ready && outcome == startReady
}

// checkSessionStart reports whether a session would start now, and with which settings.
// A caller who cannot start one learns only that.
func (d *door) checkSessionStart(ctx context.Context, c *api.Call, in *checkStartRequest) (*checkStartAnswer, error) {
	var v awsproto.Constraints
	v.Require("target", in.Target != "")
	v.Length("target", in.Target, 0, 400)
	v.Length("documentName", in.DocumentName, 0, 128)
	if err := v.Err(); err != nil {
		return nil, err
	}
	out := &checkStartAnswer{Ready: true}
	allowed, err := d.checkAccess(ctx, c, in, out)
	if err != nil || !allowed {
		return out, err
	}
	settings, err := d.Requests.Settings(ctx, in.DocumentName)
	if err != nil {
		return nil, err
	}
	out.ReasonRequired, out.ReasonPattern = settings.Extensions.ReasonRequired, settings.Extensions.ReasonPattern
	d.checkRecording(&settings, out)
	n, err := d.node(ctx, in.Target)
	switch {
	case err == nil:
		if why := d.StartChecks.NotConnected(n); why != "" {
			out.add(checkNode, startFailing, "The node is not connected: "+why, "")
		} else {
			out.add(checkNode, startReady, "The node is connected.", "")
		}
	case root.IsNotFound(err):
		out.add(checkNode, startFailing, "The node does not exist.", "")
		return out, nil
	default:
		return nil, err
	}
	if settings.S3BucketName == "" && settings.CloudWatchLogGroupName == "" {
		return out, nil
	}
	// The session would start, unless encryption is required, but its log would be missing.
	switch err := d.StartChecks.CheckNodeLogs(ctx, n, &settings); {
	case err == nil:
		out.add(checkLogs, startReady, "The session's log can be delivered to "+logPlaces(&settings)+".", "")
	case root.CodeOf(err) == root.CodeInternal:
		return nil, err
	default:
		out.add(checkLogs, startWarning, err.Error(), "")
	}
	return out, nil
}

func (d *door) node(ctx context.Context, target string) (*root.Node, error) {
	if !id.ValidNode(target) {
		return nil, root.Errorf(root.CodeNotFound, "no node %q", target)
	}
	return d.Fleet.Node(ctx, root.NodeID(target))
}

// checkAccess evaluates policy as StartSession would, for now and for the coming month.
func (d *door) checkAccess(
	ctx context.Context,
	c *api.Call,
	in *checkStartRequest,
	out *checkStartAnswer,
) (bool, error) {
	q, err := d.Requests.StartSession(ctx, in.Target, in.DocumentName)
	if err != nil {
		return false, err
	}
	f := c.Facts()
	at := func(t time.Time) (authz.Verdict, error) {
		then := f
		then.Time = t
		v, _, err := q.Decide(ctx, d.asks(then))
		return v, err
	}
	verdict, err := at(f.Time)
	if err != nil {
		return false, err
	}
	granted, err := d.granted(ctx, c.Principal, in, verdict)
	if err != nil {
		return false, err
	}
	switch {
	case verdict.Allowed:
		out.add(checkAccess, startReady, "Policy allows it.", "")
	case granted != nil:
		out.add(checkAccess, startReady, "The access request "+granted.ID+" allows it.", "")
		out.Windows = []window{{awsproto.NewEpoch(f.Time), awsproto.NewEpoch(granted.ExpiresAt)}}
		return true, nil
	default:
		denial, err := d.Authorizer.Denial(ctx, &f, q.Decide)
		if err != nil {
			return false, err
		}
		out.add(checkAccess, startFailing, verdict.Message, denial.Remedy)
		out.Failed, out.SecondFactor = denial.Failed, denial.SecondFactor
	}
	times, exact, err := d.Authorizer.Times(ctx, f.Principal, f.Time, f.Time.Add(lookAhead))
	if err != nil || len(times) == 0 && exact {
		return verdict.Allowed, err
	}
	out.Windows, err = windows(f.Time, f.Time.Add(lookAhead), times, exact, func(t time.Time) (bool, error) {
		v, err := at(t)
		return v.Allowed, err
	})
	if len(out.Windows) == 1 && !out.Windows[0].From.After(f.Time) &&
		!out.Windows[0].To.Before(f.Time.Add(lookAhead).Truncate(time.Second)) {
		out.Windows = nil // it does not depend on the time
	}
	return verdict.Allowed, err
}

// granted returns the approved access request by which p can start a session on
// a node although no policy allows it; nil if there is none.
func (d *door) granted(
	ctx context.Context, p *root.Principal, in *checkStartRequest, v authz.Verdict,
) (*access.Request, error) {
	if v.Allowed || v.Explicit || d.Access == nil || !access.Usable(p) || !access.Covers(in.DocumentName) {
		return nil, nil
	}
	return d.Access.Granted(ctx, access.CallerOf(p), root.NodeID(in.Target))
}

// asks returns a function that decides for the caller without recording the decisions in the call's
// audit event.
func (d *door) asks(f authz.Facts) authz.DecideFunc {
	return func(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
		return d.Authorizer.Decide(ctx, &f, action, resource, keys...)
	}
}

func (d *door) checkRecording(s *ssmdoc.Settings, out *checkStartAnswer) {
	switch err := d.Recorder.Ready(); {
	case s.KMSKeyID != "" && s.Extensions.RequireServerRecording:
		out.add(
			checkRecording,
			startFailing,
			"The preferences require both end-to-end encryption and a recording by the server, which exclude each other.",
			"Remove the KMS key or requireServerRecording from the preferences.",
		)
	case s.KMSKeyID != "":
		out.add(
			checkRecording,
			startReady,
			"The session is encrypted end to end: the server records that it took place, but not its content.",
			"",
		)
	case err != nil:
		out.add(
			checkRecording,
			startFailing,
			"The server cannot write recordings.",
			"Check the server's disk: it is full or not writable.",
		)
	case s.Extensions.OmitInput:
		out.add(checkRecording, startReady, "The session is recorded, without its input.", "")
	default:
		out.add(checkRecording, startReady, "The session is recorded.", "")
	}
}

func logPlaces(s *ssmdoc.Settings) string {
	out := ""
	if s.S3BucketName != "" {
		out = "s3://" + ssmdoc.LogKey(s.S3BucketName+"/"+s.S3KeyPrefix, "SESSION-ID")
	}
	if s.CloudWatchLogGroupName != "" {
		if out != "" {
			out += " and "
		}
		out += "the log group " + s.CloudWatchLogGroupName
	}
	return out
}

type accessQuestion struct {
	Action string
	// At most one of these selects the resource; without one it is "*".
	ResourceArn  string `json:",omitempty"`
	Target       string `json:",omitempty"` // a node, or a session
	DocumentName string `json:",omitempty"`
	// AnyResource asks whether policy may allow the action on some resource.
	AnyResource bool `json:",omitempty"`
}

type accessRequest struct{ Questions []accessQuestion }

type accessAnswer struct {
	Action  string
	Allowed bool
	Message string `json:",omitempty"` // the error of an attempt
}

type accessAnswers struct{ Answers []accessAnswer }

// describeMyAccess returns which of several actions policy allows the caller now, from its current
// address.
func (d *door) describeMyAccess(ctx context.Context, c *api.Call, in *accessRequest) (*accessAnswers, error) {
	var v awsproto.Constraints
	v.Count("questions", len(in.Questions), 1, maxQuestions)
	if err := v.Err(); err != nil {
		return nil, err
	}
	out := &accessAnswers{Answers: []accessAnswer{}}
	for _, asked := range in.Questions {
		if asked.AnyResource {
			if err := checkAction(c, asked); err != nil {
				return nil, err
			}
			f := c.Facts()
			allowed, err := d.Authorizer.AllowsSomewhere(ctx, &f, asked.Action)
			if err != nil {
				return nil, err
			}
			out.Answers = append(out.Answers, accessAnswer{Action: asked.Action, Allowed: allowed})
			continue
		}
		ask, err := d.ownQuestion(ctx, c, asked)
		if err != nil {
			return nil, err
		}
		verdict, _, err := ask(ctx, d.asks(c.Facts()))
		if err != nil {
			return nil, err
		}
		out.Answers = append(out.Answers, accessAnswer{asked.Action, verdict.Allowed, verdict.Message})
	}
	return out, nil
}

// checkAction refuses a question without a valid action.
func checkAction(c *api.Call, q accessQuestion) error {
	if q.Action == "" {
		return root.Errorf(root.CodeInvalid, "Action is missing in a question.")
	}
	in := explainRequest{PrincipalArn: c.Principal.ARN, Action: q.Action, ResourceArn: "*"}
	return in.check(c)
}

func (d *door) ownQuestion(ctx context.Context, c *api.Call, q accessQuestion) (authz.Question, error) {
	if err := checkAction(c, q); err != nil {
		return nil, err
	}
	in := explainRequest{PrincipalArn: c.Principal.ARN, Action: q.Action, Target: q.Target, ResourceArn: q.ResourceArn}
	if err := in.check(c); err != nil {
		return nil, err
	}
	if q.DocumentName == "" {
		return d.question(ctx, &in)
	}
	arn, keys, err := d.Requests.Document(ctx, q.DocumentName)
	return authz.AnyOf(q.Action, []string{arn}, keys), err
}

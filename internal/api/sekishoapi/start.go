package sekishoapi

import (
	"context"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// StartChecks reports what a session needs beyond permission.
type StartChecks interface {
	// NotConnected says why a node is not connected; "" when it is.
	NotConnected(n *root.Node) string
	// CheckNodeLogs says why a node's logs could not go where s wants them.
	CheckNodeLogs(ctx context.Context, n *root.Node, s *ssmdoc.Settings) error
}

// How a check of a start came out.
const (
	startReady   = "Ready"
	startWarning = "Warning" // the session would start
	startFailing = "Failing"
)

// What is checked.
const (
	checkAccess    = "Access"
	checkNode      = "Node"
	checkLogs      = "Logs"
	checkRecording = "Recording"
)

// ownAccess is why no policy is asked by the operations here.
const ownAccess = "callers hear of themselves what an attempt would tell them"

// lookAhead is how far ahead it is looked for when a permission opens.
const lookAhead = maxSpan

// maxQuestions bounds a request of DescribeMyAccess.
const maxQuestions = 25

func (d *door) startOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"CheckSessionStart": api.Read(d.checkSessionStart, api.NoPolicy(ownAccess)),
		"DescribeMyAccess":  api.Read(d.describeMyAccess, api.NoPolicy(ownAccess)),
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
	// Hint is what can be done about it.
	Hint string `json:",omitempty"`
}

type checkStartAnswer struct {
	Checks []startCheck
	// Ready is whether nothing is failing and nothing is to be warned of.
	Ready bool
	// Windows are when policy allows it, from now on for a month; empty where
	// it does not depend on the time.
	Windows []window `json:",omitempty"`
	// Failed are the aspects that caused a denial, SecondFactor whether a fresh
	// second factor would turn it into an allowed request.
	Failed       []policy.Aspect `json:",omitempty"`
	SecondFactor bool            `json:",omitempty"`
	// ReasonRequired and ReasonPattern are what a request must bring.
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
		out.add(checkNode, startFailing, "There is no such node.", "")
		return out, nil
	default:
		return nil, err
	}
	if settings.S3BucketName == "" && settings.CloudWatchLogGroupName == "" {
		return out, nil
	}
	// The session starts all the same, but where encryption is demanded; its
	// log would be missing.
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

// checkAccess asks policy as StartSession would, now and from now on.
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
	switch {
	case verdict.Allowed:
		out.add(checkAccess, startReady, "Policy allows it.", "")
	default:
		out.add(checkAccess, startFailing, verdict.Message, verdict.Remedy)
		out.Failed = verdict.Failed
		if with, ok := f.WithSecondFactor(); ok {
			shown, _, err := q.Decide(ctx, d.asks(*with))
			if err != nil {
				return false, err
			}
			out.SecondFactor = shown.Allowed
		}
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
		out.Windows = nil // the time makes no difference
	}
	return verdict.Allowed, err
}

// asks decides for the caller itself, apart from the call's own decisions.
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
			"The preferences encrypt sessions from end to end, and demand a recording by the server, which then cannot be made.",
			"Take the KMS key or requireServerRecording out of the preferences.",
		)
	case s.KMSKeyID != "":
		out.add(
			checkRecording,
			startReady,
			"The session is encrypted from end to end: the server records that it was, and not what it showed.",
			"",
		)
	case err != nil:
		out.add(
			checkRecording,
			startFailing,
			"The server cannot write recordings.",
			"See to the disk of the server: it is full, or not to be written to.",
		)
	case s.Extensions.OmitInput:
		out.add(checkRecording, startReady, "The session is recorded, without what is typed.", "")
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
	// One of these names the resource; none is "*".
	ResourceArn  string `json:",omitempty"`
	Target       string `json:",omitempty"` // a node, or a session
	DocumentName string `json:",omitempty"`
}

type accessRequest struct{ Questions []accessQuestion }

type accessAnswer struct {
	Action  string
	Allowed bool
	Message string `json:",omitempty"` // the error of an attempt
}

type accessAnswers struct{ Answers []accessAnswer }

// describeMyAccess tells the caller which of several actions policy allows it
// now, from where it is.
func (d *door) describeMyAccess(ctx context.Context, c *api.Call, in *accessRequest) (*accessAnswers, error) {
	var v awsproto.Constraints
	v.Count("questions", len(in.Questions), 1, maxQuestions)
	if err := v.Err(); err != nil {
		return nil, err
	}
	out := &accessAnswers{Answers: []accessAnswer{}}
	for _, asked := range in.Questions {
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

func (d *door) ownQuestion(ctx context.Context, c *api.Call, q accessQuestion) (asked, error) {
	in := explainRequest{PrincipalArn: c.Principal.ARN, Action: q.Action, Target: q.Target, ResourceArn: q.ResourceArn}
	if q.Action == "" {
		return nil, root.Errorf(root.CodeInvalid, "A question needs an Action.")
	}
	if err := in.check(c); err != nil {
		return nil, err
	}
	if q.DocumentName == "" {
		return d.question(ctx, &in)
	}
	arn, keys, err := d.Requests.Document(ctx, q.DocumentName)
	return one(q.Action, arn, keys), err
}

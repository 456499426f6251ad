package ssm

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/safetext"
	"sekisho/internal/session/access"
	"sekisho/internal/session/broker"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/awsproto"
)

func (d sessionDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"StartSession":        api.Write(d.startSession),
		"ResumeSession":       api.Write(d.resumeSession),
		"TerminateSession":    api.Write(d.terminateSession),
		"DescribeSessions":    api.Read(d.describeSessions),
		"GetConnectionStatus": api.Read(d.getConnectionStatus),
	}
}

type startSessionRequest struct {
	Target       string
	DocumentName string
	Reason       string
	Parameters   map[string][]string
}

// channelAnswer is the answer of StartSession and ResumeSession.
type channelAnswer struct {
	SessionID  string `json:"SessionId"`
	TokenValue string
	StreamURL  string `json:"StreamUrl"`
	// Beyond AWS's shape: what the session preferences keep the console's terminal from doing.
	DisableCopy  bool `json:",omitempty"`
	DisablePaste bool `json:",omitempty"`
}

// streamURL returns the URL of a session's client leg, at the address that the client called.
func streamURL(c *api.Call, session sekisho.SessionID) string {
	return "wss://" + c.Host + "/v1/data-channel/" + string(session) + "?role=publish_subscribe"
}

// linePattern matches one line without control characters, for text that is shown in terminals and
// logs.
var linePattern = regexp.MustCompile(`^\P{Cc}*$`)

func (d sessionDoor) startSession(ctx context.Context, c *api.Call, in *startSessionRequest) (*channelAnswer, error) {
	var v awsproto.Constraints
	v.Require("target", in.Target != "")
	v.Length("target", in.Target, 0, 400)
	if in.Reason != "" {
		v.Length("reason", in.Reason, 1, 256)
		v.Pattern("reason", in.Reason, linePattern)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	name, err := d.documents.documentName(in.DocumentName)
	if err != nil {
		return nil, err
	}
	node, requestID, err := d.authorizeStart(ctx, c, in.Target, name)
	if err != nil {
		return nil, err
	}
	// After the policy decision: callers who are not allowed to start a session must not learn
	// which documents and nodes exist.
	doc, err := d.Documents.ForSession(ctx, name)
	if err != nil {
		return nil, documentError(err)
	}
	ask := ssmdoc.SessionRequest{
		Parameters: in.Parameters, Reason: in.Reason, RunAs: c.Principal.Tags[ssmdoc.RunAsTag],
		Person: personal(c.UserAgent), Node: sekisho.NodeID(in.Target),
	}
	if node != nil {
		ask.NodeName, ask.NodeTags = d.Names.Of(ctx, node), node.Tags
	}
	plan, err := doc.Plan(doc.Account, ask)
	if errors.Is(err, ssmdoc.ErrParameters) {
		return nil, awsproto.SenderError("InvalidParameters", "%s", err)
	}
	if err != nil {
		return nil, err
	}
	s, err := d.Broker.Start(ctx, broker.Request{
		Target: sekisho.NodeID(in.Target), Plan: plan, Document: doc.Name, Version: doc.Version,
		Reason: in.Reason, Owner: c.Principal, SourceIP: c.SourceIP.String(),
		Permission: sekisho.SessionPermission{
			Principal: *c.Principal, Document: name, UserAgent: safetext.Line(c.UserAgent, maxUserAgent),
			ClientIP:      c.SourceIP.String(),
			AccessRequest: requestID,
		},
	})
	if err != nil {
		return nil, err
	}
	out := &channelAnswer{
		SessionID: string(s.ID), TokenValue: s.Token, StreamURL: streamURL(c, s.ID),
		DisableCopy: plan.DisableCopy, DisablePaste: plan.DisablePaste,
	}
	notes := map[string]any{"sessionId": out.SessionID, "tokenValue": out.TokenValue, "streamUrl": out.StreamURL}
	if requestID != "" {
		notes["accessRequestId"] = requestID
	}
	c.Annotate(notes)
	return out, nil
}

// maxUserAgent bounds the user agent stored with a session.
const maxUserAgent = 256

// personal reports whether a user agent is that of an interactive program. It affects only a
// shell's greeting, never permissions.
func personal(userAgent string) bool {
	for _, p := range []string{"aws-cli/", "sekisho/", "sekisho-", "Mozilla/"} {
		if strings.HasPrefix(userAgent, p) {
			return true
		}
	}
	return false
}

// authorizeStart authorizes the node and the document, in the two passes of [authz.StartSession].
// It returns the node, nil if it does not exist. An approved access request, whose ID it returns,
// replaces a missing Allow but does not override a Deny.
func (d sessionDoor) authorizeStart(
	ctx context.Context, c *api.Call, target, docName string,
) (node *sekisho.Node, requestID string, err error) {
	question, node, err := d.requests.startPolicyRequest(ctx, target, docName)
	if err != nil {
		return nil, "", err
	}
	v, _, err := question.Decide(ctx, c.Decide)
	if err != nil {
		return nil, "", err
	}
	if !v.Allowed && !v.Explicit && access.Covers(docName) {
		r, err := d.access.granted(ctx, c, node)
		if err != nil {
			return nil, "", err
		}
		if r != nil {
			c.Allow()
			return node, r.ID, nil
		}
	}
	if !v.Allowed {
		return nil, "", c.DeniedAll(ctx, v, question.Decide)
	}
	c.Allow()
	return node, "", nil
}

type sessionRequest struct {
	SessionID string `json:"SessionId"`
}

func (r *sessionRequest) check() error {
	var v awsproto.Constraints
	v.Require("sessionId", r.SessionID != "")
	v.Length("sessionId", r.SessionID, 0, 96)
	return v.Err()
}

// authorizeSession authorizes a call on one session. If the session does not exist and the caller
// is allowed to know that, it returns nil without an error.
func (d sessionDoor) authorizeSession(ctx context.Context, c *api.Call, action, name string) (*sekisho.Session, error) {
	s, arns, keys, err := d.requests.sessionResource(ctx, name)
	if err != nil {
		return nil, err
	}
	return s, c.AuthorizeAny(ctx, action, arns, keys...)
}

func (d sessionDoor) resumeSession(ctx context.Context, c *api.Call, in *sessionRequest) (*channelAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	s, err := d.authorizeSession(ctx, c, "ssm:ResumeSession", in.SessionID)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, awsproto.SenderError("DoesNotExistException", "Session with ID %s does not exist.", in.SessionID)
	}
	token, err := d.Broker.Resume(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	out := &channelAnswer{
		SessionID: in.SessionID, TokenValue: token, StreamURL: streamURL(c, s.ID),
		DisableCopy: s.DisableCopy, DisablePaste: s.DisablePaste,
	}
	c.Annotate(map[string]any{"sessionId": out.SessionID, "tokenValue": out.TokenValue, "streamUrl": out.StreamURL})
	return out, nil
}

type sessionIDAnswer struct {
	SessionID string `json:"SessionId"`
}

func (d sessionDoor) terminateSession(ctx context.Context, c *api.Call, in *sessionRequest) (*sessionIDAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	s, err := d.authorizeSession(ctx, c, "ssm:TerminateSession", in.SessionID)
	if err != nil {
		return nil, err
	}
	if s != nil { // ending an unknown session succeeds, as in AWS
		why := ""
		if c.Principal.ARN != s.Owner {
			why = broker.TerminatedBy + c.Principal.ARN + "."
		}
		if err := d.Broker.Terminate(ctx, s.ID, why); err != nil {
			return nil, err
		}
	}
	return &sessionIDAnswer{in.SessionID}, nil
}

type describeSessionsRequest struct {
	State      string
	MaxResults *int64
	NextToken  string
	Filters    []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
}

type session struct {
	SessionID    string         `json:"SessionId"`
	Target       string         `json:"Target"`
	Status       string         `json:"Status"`
	StartDate    awsproto.Epoch `json:"StartDate"`
	EndDate      awsproto.Epoch `json:"EndDate,omitzero"`
	DocumentName string         `json:"DocumentName"`
	Owner        string         `json:"Owner"`
	Reason       string         `json:"Reason,omitempty"`
	Details      string         `json:"Details,omitempty"`
	OutputURL    outputURL      `json:"OutputUrl"`
	MaxDuration  string         `json:"MaxSessionDuration,omitempty"`
	AccessType   string         `json:"AccessType"`

	// Beyond AWS's shape: whether the server can record the content, Server or Encrypted.
	Recording string `json:"Recording,omitempty"`
	// Why the session's log is not at OutputURL.
	LogNotDelivered string `json:"LogNotDelivered,omitempty"`
	// Why it ended: Details without the part about the log.
	EndReason string `json:"EndReason,omitempty"`
	// The access request that the session was started under.
	AccessRequestID string `json:"AccessRequestId,omitempty"`
	// The run-as user on the node, empty for the agent's default, and the idle timeout
	// in minutes.
	RunAsUser string `json:"RunAsUser,omitempty"`
	// The OS user that the agent reports, while the session runs; empty from AWS's agent.
	OSUser string `json:"OSUser,omitempty"`
	// The credentials and the address that StartSession came with.
	AccessKeyID string `json:"AccessKeyId,omitempty"`
	SourceIP    string `json:"SourceIPAddress,omitempty"`
	IdleTimeout string `json:"IdleSessionTimeout,omitempty"`
	// The display name of the node, empty if it is no longer managed.
	NodeName string `json:"NodeName,omitempty"`
}

// Access types of sessions.
const (
	accessStandard   = "Standard"
	accessJustInTime = "JustInTime"
)

// outputURL is the location of a session's log.
type outputURL struct {
	S3         string `json:"S3OutputUrl,omitempty"`
	CloudWatch string `json:"CloudWatchOutputUrl,omitempty"`
}

type describeSessionsAnswer struct {
	Sessions  []session `json:"Sessions"`
	NextToken string    `json:"NextToken,omitempty"`
}

// historyDays is how far back DescribeSessions looks, as in AWS.
const historyDays = 30

const maxSessionPage = 200

func (d sessionDoor) describeSessions(
	ctx context.Context,
	c *api.Call,
	in *describeSessionsRequest,
) (*describeSessionsAnswer, error) {
	var v awsproto.Constraints
	v.Require("state", in.State != "")
	if in.State != "" {
		v.Enum("state", in.State, "Active", "History")
	}
	limit := int64(maxSessionPage)
	if in.MaxResults != nil {
		limit = *in.MaxResults
		v.Range("maxResults", limit, 1, maxSessionPage)
	}
	if in.Filters != nil {
		v.Count("filters", len(in.Filters), 1, 6)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:DescribeSessions", "*"); err != nil {
		return nil, err
	}
	q := broker.Query{Active: in.State == "Active", Limit: int(limit) + 1}
	if !q.Active {
		q.StartedAfter = time.Now().AddDate(0, 0, -historyDays)
	}
	given := map[string]bool{}
	for _, f := range in.Filters {
		if given[f.Key] {
			return nil, awsproto.SenderError("ValidationException", "The filter %s is given twice.", f.Key)
		}
		given[f.Key] = true
		if f.Value == "" || len(f.Value) > 400 {
			return nil, awsproto.SenderError(
				"ValidationException",
				"The value of filter %s must have 1 to 400 characters.",
				f.Key,
			)
		}
		if err := sessionFilter(&q, f.Key, f.Value); err != nil {
			return nil, err
		}
	}
	if in.NextToken != "" {
		after, err := readToken(in.NextToken)
		if err != nil {
			return nil, err
		}
		q.After = sekisho.SessionID(after)
	}
	found, err := d.Broker.Sessions(ctx, q)
	if err != nil {
		if q.After != "" && sekisho.IsNotFound(err) {
			return nil, errToken
		}
		return nil, err
	}
	out := &describeSessionsAnswer{Sessions: []session{}}
	if len(found) > int(limit) {
		found = found[:limit]
		out.NextToken = makeToken(string(found[limit-1].ID))
	}
	names, err := d.nodeNames(ctx, found)
	if err != nil {
		return nil, err
	}
	for _, s := range found {
		one := d.describeSession(s)
		one.NodeName = names[s.Target]
		out.Sessions = append(out.Sessions, one)
	}
	return out, nil
}

// nodeNames returns the display names of the nodes of sessions.
func (d sessionDoor) nodeNames(ctx context.Context, found []*sekisho.Session) (map[sekisho.NodeID]string, error) {
	rule, err := d.Names.Naming(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]sekisho.NodeID, len(found))
	for i, s := range found {
		ids[i] = s.Target
	}
	nodes, err := d.Fleet.Named(ctx, ids)
	if err != nil {
		return nil, err
	}
	names := make(map[sekisho.NodeID]string, len(nodes))
	for _, n := range nodes {
		names[n.ID] = rule.Display(n)
	}
	return names, nil
}

func sessionFilter(q *broker.Query, key, value string) error {
	switch key {
	case "InvokedAfter", "InvokedBefore":
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return awsproto.SenderError(
				"ValidationException",
				"The value of filter %s must be a time such as 2026-04-15T00:00:00Z.",
				key,
			)
		}
		if key == "InvokedBefore" {
			q.StartedBefore = t
		} else if t.After(q.StartedAfter) {
			q.StartedAfter = t
		}
	case "Target":
		q.Target = value
	case "Owner":
		q.Owner = value
	case "Status":
		q.Status = sekisho.SessionStatus(value)
	case "SessionId":
		q.ID = value
	case "AccessType":
		switch value {
		case accessStandard, accessJustInTime:
			q.AccessType = value
		default:
			q.ID = "-" // matches no session: there are no other access types
		}
	default:
		return awsproto.SenderError(
			"InvalidFilterKey",
			"The specified filter key %q is not valid: use InvokedAfter, InvokedBefore, Target, Owner, Status, SessionId "+
				"or AccessType.",
			key,
		)
	}
	return nil
}

func (d sessionDoor) describeSession(s *sekisho.Session) session {
	out := session{
		SessionID: string(s.ID), Target: string(s.Target), Status: string(s.Status),
		StartDate: awsproto.NewEpoch(s.StartedAt), EndDate: awsproto.NewEpoch(s.EndedAt),
		DocumentName: s.DocumentName, Owner: s.Owner, Reason: s.Reason, Details: s.Details, EndReason: s.Details,
		AccessType: accessStandard,
		Recording:  string(s.Recording), LogNotDelivered: s.Missing(),
	}
	if s.Permission != nil && s.Permission.AccessRequest != "" {
		out.AccessType, out.AccessRequestID = accessJustInTime, s.Permission.AccessRequest
	}
	if s.Logs.Bucket != "" {
		out.OutputURL.S3 = "s3://" + s.Logs.Bucket + "/" + s.Logs.Key
	}
	if s.Logs.Group != "" {
		out.OutputURL.CloudWatch = "arn:aws:logs:" + d.Region + ":" + d.Account + ":log-group:" + s.Logs.Group +
			":log-stream:" + s.Logs.Stream
	}
	if out.LogNotDelivered != "" { // AWS's programs do not show that field
		out.Details = strings.TrimSpace(out.Details + " The session's log was not delivered: " + out.LogNotDelivered)
	}
	out.RunAsUser, out.AccessKeyID, out.SourceIP = s.RunAsUser, s.AccessKeyID, s.SourceIP
	if s.Status.Active() && d.OSUser != nil {
		out.OSUser = d.OSUser(s.ID)
	}
	if s.IdleTimeout > 0 {
		out.IdleTimeout = strconv.Itoa(int(s.IdleTimeout / time.Minute))
	}
	if s.MaxDuration > 0 {
		out.MaxDuration = strconv.Itoa(int(s.MaxDuration / time.Minute))
	}
	return out
}

type targetRequest struct{ Target string }

type connectionStatusAnswer struct {
	Target string
	Status string
}

func (d sessionDoor) getConnectionStatus(
	ctx context.Context,
	c *api.Call,
	in *targetRequest,
) (*connectionStatusAnswer, error) {
	var v awsproto.Constraints
	v.Require("target", in.Target != "")
	v.Length("target", in.Target, 0, 400)
	if err := v.Err(); err != nil {
		return nil, err
	}
	resource, keys := "*", []authz.Key(nil)
	if knownNode(in.Target) {
		resource = d.nodeARN(in.Target)
		if n, err := d.Fleet.Node(ctx, sekisho.NodeID(in.Target)); err == nil {
			keys = authz.ResourceTags("ssm", n.Tags)
		}
	}
	if err := c.Authorize(ctx, "ssm:GetConnectionStatus", resource, keys...); err != nil {
		return nil, err
	}
	status := "notconnected"
	if d.Fleet.IsConnected(sekisho.NodeID(in.Target)) {
		status = "connected"
	}
	return &connectionStatusAnswer{in.Target, status}, nil
}

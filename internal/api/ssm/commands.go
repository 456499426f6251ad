package ssm

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/runcommand"
	"sekisho/internal/wire/awsproto"
)

func (d commandDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"SendCommand":            api.Write(d.sendCommand, api.Hide("Parameters")),
		"GetCommandInvocation":   api.Read(d.getCommandInvocation),
		"ListCommands":           api.Read(d.listCommands),
		"ListCommandInvocations": api.Read(d.listCommandInvocations),
		"CancelCommand":          api.Write(d.cancelCommand),
	}
}

type sendCommandAnswer struct{ Command commandInfo }

// commandInfo is a command on the wire.
type commandInfo struct {
	CommandID              string `json:"CommandId"`
	DocumentName           string
	DocumentVersion        string
	Comment                string
	ExpiresAfter           awsproto.Epoch
	Parameters             map[string][]string
	InstanceIDs            []string `json:"InstanceIds"`
	Targets                []commandTarget
	RequestedDateTime      awsproto.Epoch
	Status                 string
	StatusDetails          string
	OutputS3Region         string
	OutputS3BucketName     string
	OutputS3KeyPrefix      string
	MaxConcurrency         string
	MaxErrors              string
	TargetCount            int
	CompletedCount         int
	ErrorCount             int
	DeliveryTimedOutCount  int
	ServiceRole            string
	NotificationConfig     notificationConfig
	CloudWatchOutputConfig cloudWatchOutput
	TimeoutSeconds         int64
}

// noNotification is AWS's answer for commands without notifications.
var noNotification = notificationConfig{NotificationEvents: []string{}}

func outputLogs(o runcommand.Output) cloudWatchOutput { return cloudWatchOutput{o.LogGroup, o.Logs} }

func describeCommand(c *runcommand.Command) commandInfo {
	out := commandInfo{
		CommandID: c.ID, DocumentName: c.Document, DocumentVersion: c.Version, Comment: c.Comment,
		ExpiresAfter: awsproto.NewEpoch(c.ExpiresAt()),
		Parameters:   c.Job.Parameters, InstanceIDs: []string{}, Targets: []commandTarget{},
		RequestedDateTime: awsproto.NewEpoch(c.RequestedAt),
		Status: commandStatus(
			c.Status,
		), StatusDetails: string(c.Status), OutputS3Region: c.Output.Region, OutputS3BucketName: c.Output.Bucket,
		OutputS3KeyPrefix: c.Output.KeyPrefix, MaxConcurrency: c.Concurrency, MaxErrors: c.ErrorLimit, TargetCount: c.Count,
		CompletedCount: c.Completed, ErrorCount: c.Errors, DeliveryTimedOutCount: c.TimedOut,
		NotificationConfig:     noNotification,
		CloudWatchOutputConfig: outputLogs(c.Output), TimeoutSeconds: int64(c.Timeout / time.Second),
	}
	if out.Parameters == nil {
		out.Parameters = map[string][]string{}
	}
	for _, n := range c.Nodes {
		out.InstanceIDs = append(out.InstanceIDs, string(n))
	}
	for _, t := range c.Targets {
		out.Targets = append(out.Targets, commandTarget(t))
	}
	return out
}

// commandStatus returns the status of a whole command, which is never Delayed.
func commandStatus(s runcommand.Status) string {
	if s == runcommand.Delayed {
		return string(runcommand.Pending)
	}
	return s.Short()
}

type getInvocationRequest struct {
	CommandID  string `json:"CommandId"`
	InstanceID string `json:"InstanceId"`
	PluginName string
}

type getInvocationAnswer struct {
	CommandID              string `json:"CommandId"`
	InstanceID             string `json:"InstanceId"`
	Comment                string
	DocumentName           string
	DocumentVersion        string
	PluginName             string
	ResponseCode           int
	ExecutionStartDateTime string
	ExecutionElapsedTime   string
	ExecutionEndDateTime   string
	Status                 string
	StatusDetails          string
	StandardOutputContent  string
	StandardOutputURL      string `json:"StandardOutputUrl"`
	StandardErrorContent   string
	StandardErrorURL       string `json:"StandardErrorUrl"`
	CloudWatchOutputConfig cloudWatchOutput
}

func (d commandDoor) getCommandInvocation(
	ctx context.Context,
	c *api.Call,
	in *getInvocationRequest,
) (*getInvocationAnswer, error) {
	var v awsproto.Constraints
	v.Length("commandId", in.CommandID, 36, 36)
	v.Pattern("instanceId", in.InstanceID, nodeIDPattern)
	if in.PluginName != "" {
		v.Length("pluginName", in.PluginName, 4, 128)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:GetCommandInvocation", "*"); err != nil {
		return nil, err
	}
	cmd, err := d.Commands.Command(ctx, in.CommandID)
	var inv *runcommand.Invocation
	if err == nil {
		inv, err = d.Commands.Invocation(ctx, in.CommandID, sekisho.NodeID(in.InstanceID))
	}
	if sekisho.IsNotFound(err) {
		return nil, awsproto.SenderError(
			"InvocationDoesNotExist",
			"The command %s was not sent to %s, or there is no such command.",
			in.CommandID,
			in.InstanceID,
		)
	}
	if err != nil {
		return nil, err
	}
	out := &getInvocationAnswer{
		CommandID: cmd.ID, InstanceID: in.InstanceID, Comment: cmd.Comment, DocumentName: cmd.Document,
		DocumentVersion: cmd.Version,
		ResponseCode:    -1, Status: inv.Status.Short(), StatusDetails: string(inv.Status),
		CloudWatchOutputConfig: outputLogs(cmd.Output),
	}
	name := in.PluginName
	if name == "" && len(cmd.Steps) == 1 {
		name = cmd.Steps[0].Name
	}
	if name == "" { // several steps, none of which was requested
		out.StandardErrorContent = inv.Trace
		return out, nil
	}
	i := slices.IndexFunc(cmd.Steps, func(s runcommand.StepName) bool { return s.Name == name })
	if i < 0 {
		return nil, awsproto.SenderError("InvalidPluginName", "The document %s has no step %q.", cmd.Document, name)
	}
	out.PluginName = name
	var step *runcommand.Step
	for _, s := range inv.Steps {
		if s.Index == i {
			step = s
		}
	}
	if step == nil {
		out.StandardErrorContent = inv.Trace
		if in.PluginName != "" && len(cmd.Steps) > 1 && !inv.Status.Over() {
			out.Status, out.StatusDetails = runcommand.Pending.Short(), string(runcommand.Pending)
		}
		return out, nil
	}
	if in.PluginName != "" {
		out.Status, out.StatusDetails = step.Status.Short(), string(step.Status)
	}
	out.fill(c, step)
	return out, nil
}

func (out *getInvocationAnswer) fill(c *api.Call, s *runcommand.Step) {
	if s.Status.Over() {
		out.ResponseCode = s.Code
	}
	out.StandardOutputContent, out.StandardErrorContent = s.Stdout, s.Stderr
	out.StandardOutputURL, out.StandardErrorURL = outputOf(c, s)
	if s.StartedAt.IsZero() {
		return
	}
	out.ExecutionStartDateTime = isoTime(s.StartedAt)
	if !s.EndedAt.IsZero() {
		out.ExecutionEndDateTime = isoTime(s.EndedAt)
		out.ExecutionElapsedTime = isoDuration(s.EndedAt.Sub(s.StartedAt))
	}
}

func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// isoDuration returns d in ISO 8601 form: PT1M2.5S.
func isoDuration(d time.Duration) string {
	d = max(0, d.Truncate(time.Millisecond))
	out := "PT"
	if h := d / time.Hour; h > 0 {
		out += fmt.Sprintf("%dH", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		out += fmt.Sprintf("%dM", m)
	}
	if s := d % time.Minute; s > 0 || out == "PT" {
		out += strconv.FormatFloat(s.Seconds(), 'f', -1, 64) + "S"
	}
	return out
}

// outputOf returns the URLs of a step's full output, at the address that the client called.
func outputOf(c *api.Call, s *runcommand.Step) (stdout, stderr string) {
	if s.Bucket == "" {
		return "", ""
	}
	base := "https://" + c.Host + "/" + path.Join(s.Bucket, s.KeyPrefix, s.Folder)
	return base + "/stdout", base + "/stderr"
}

type commandFilter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type listCommandsRequest struct {
	CommandID  string `json:"CommandId"`
	InstanceID string `json:"InstanceId"`
	MaxResults *int64
	NextToken  string
	Filters    []commandFilter
	Details    bool
}

const maxCommandPage = 50

// query parses the parameters that ListCommands and ListCommandInvocations share.
func (in *listCommandsRequest) query() (q runcommand.Query, limit int, err error) {
	var v awsproto.Constraints
	limit = pageSize(&v, in.MaxResults, maxCommandPage)
	if limit == 0 {
		limit = maxCommandPage
	}
	if in.CommandID != "" {
		v.Length("commandId", in.CommandID, 36, 36)
	}
	if in.InstanceID != "" {
		v.Pattern("instanceId", in.InstanceID, nodeIDPattern)
	}
	if in.Filters != nil {
		v.Count("filters", len(in.Filters), 1, 5)
	}
	for _, f := range in.Filters {
		v.Length("filters.member.value", f.Value, 1, 128)
	}
	if err := v.Err(); err != nil {
		return q, 0, err
	}
	q = runcommand.Query{Command: in.CommandID, Node: sekisho.NodeID(in.InstanceID), Limit: limit + 1}
	given := map[string]bool{}
	for _, f := range in.Filters {
		if given[f.Key] {
			return q, 0, awsproto.SenderError("ValidationException", "The filter %s is given twice.", f.Key)
		}
		given[f.Key] = true
		if err := f.narrow(&q); err != nil {
			return q, 0, err
		}
	}
	if given["Status"] && given["ExecutionStage"] {
		return q, 0, awsproto.SenderError("ValidationException",
			"Use either the filter Status or the filter ExecutionStage, not both.")
	}
	return q, limit, in.past(&q)
}

// past parses the place where the previous page ended.
func (in *listCommandsRequest) past(q *runcommand.Query) error {
	if in.NextToken == "" {
		return nil
	}
	after, err := readToken(in.NextToken)
	if err != nil {
		return err
	}
	seq, node, _ := strings.Cut(after, " ")
	if q.PastSeq, err = strconv.ParseInt(seq, 10, 64); err != nil || q.PastSeq < 1 {
		return errToken
	}
	q.PastNode = sekisho.NodeID(node)
	return nil
}

// statuses are all statuses of commands and invocations.
var statuses = []runcommand.Status{
	runcommand.Pending, runcommand.InProgress, runcommand.Delayed, runcommand.Cancelling, runcommand.Success,
	runcommand.Failed, runcommand.Cancelled,
	runcommand.DeliveryTimedOut, runcommand.ExecutionTimedOut, runcommand.Undeliverable, runcommand.Terminated,
	runcommand.InvalidPlatform,
	runcommand.Incomplete, runcommand.RateExceeded, runcommand.NoInstancesInTag,
}

func (f *commandFilter) narrow(q *runcommand.Query) error {
	switch f.Key {
	case "InvokedAfter", "InvokedBefore":
		t, err := time.Parse(time.RFC3339, f.Value)
		if err != nil {
			return awsproto.SenderError(
				"ValidationException",
				"The value of filter %s must be a time such as 2026-04-15T00:00:00Z.",
				f.Key,
			)
		}
		if f.Key == "InvokedAfter" {
			q.After = t
		} else {
			q.Before = t
		}
	case "DocumentName":
		q.Document = f.Value
	case "Status":
		for _, s := range statuses {
			if s.Short() == f.Value || string(s) == f.Value {
				q.Statuses = append(q.Statuses, s)
			}
		}
		if len(q.Statuses) == 0 {
			return awsproto.SenderError(
				"ValidationException",
				"The filter Status has no value %q: use Pending, InProgress, Delayed, Success, Cancelling, Cancelled, "+
					"TimedOut or Failed.",
				f.Value,
			)
		}
	case "ExecutionStage":
		if f.Value != "Executing" && f.Value != "Complete" {
			return awsproto.SenderError(
				"ValidationException",
				"The value of filter ExecutionStage must be Executing or Complete.",
			)
		}
		for _, s := range statuses {
			if s.Over() == (f.Value == "Complete") {
				q.Statuses = append(q.Statuses, s)
			}
		}
	default:
		return awsproto.SenderError(
			"InvalidFilterKey",
			"The specified filter key %q is not valid: use InvokedAfter, InvokedBefore, Status, ExecutionStage or DocumentName.",
			f.Key,
		)
	}
	return nil
}

type listCommandsAnswer struct {
	Commands  []commandInfo
	NextToken string `json:",omitempty"`
}

func (d commandDoor) listCommands(
	ctx context.Context, c *api.Call, in *listCommandsRequest,
) (*listCommandsAnswer, error) {
	q, limit, err := in.query()
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:ListCommands", "*"); err != nil {
		return nil, err
	}
	all, err := d.Commands.Commands(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &listCommandsAnswer{Commands: []commandInfo{}}
	if len(all) > limit {
		all = all[:limit]
		out.NextToken = makeToken(strconv.FormatInt(all[limit-1].Seq, 10))
	}
	for _, cmd := range all {
		out.Commands = append(out.Commands, describeCommand(cmd))
	}
	return out, nil
}

type commandPlugin struct {
	Name                   string
	Status                 string
	StatusDetails          string
	ResponseCode           int
	ResponseStartDateTime  awsproto.Epoch `json:",omitzero"`
	ResponseFinishDateTime awsproto.Epoch `json:",omitzero"`
	Output                 string
	StandardOutputURL      string `json:"StandardOutputUrl"`
	StandardErrorURL       string `json:"StandardErrorUrl"`
	OutputS3Region         string
	OutputS3BucketName     string
	OutputS3KeyPrefix      string
}

type commandInvocation struct {
	CommandID              string `json:"CommandId"`
	InstanceID             string `json:"InstanceId"`
	InstanceName           string
	Comment                string
	DocumentName           string
	DocumentVersion        string
	RequestedDateTime      awsproto.Epoch
	Status                 string
	StatusDetails          string
	TraceOutput            string `json:",omitempty"`
	StandardOutputURL      string `json:"StandardOutputUrl"`
	StandardErrorURL       string `json:"StandardErrorUrl"`
	CommandPlugins         []commandPlugin
	ServiceRole            string
	NotificationConfig     notificationConfig
	CloudWatchOutputConfig cloudWatchOutput
}

type listInvocationsAnswer struct {
	CommandInvocations []commandInvocation
	NextToken          string `json:",omitempty"`
}

func (d commandDoor) listCommandInvocations(
	ctx context.Context,
	c *api.Call,
	in *listCommandsRequest,
) (*listInvocationsAnswer, error) {
	q, limit, err := in.query()
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:ListCommandInvocations", "*"); err != nil {
		return nil, err
	}
	q.Steps = true // the output's location is included even without Details
	all, err := d.Commands.Invocations(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &listInvocationsAnswer{CommandInvocations: []commandInvocation{}}
	if len(all) > limit {
		all = all[:limit]
		last := all[limit-1]
		out.NextToken = makeToken(strconv.FormatInt(last.Seq, 10) + " " + string(last.Node))
	}
	of := map[string]*runcommand.Command{}
	for _, inv := range all {
		cmd := of[inv.Command]
		if cmd == nil {
			if cmd, err = d.Commands.Command(ctx, inv.Command); err != nil {
				return nil, err
			}
			of[inv.Command] = cmd
		}
		out.CommandInvocations = append(out.CommandInvocations, describeInvocation(c, cmd, inv, in.Details))
	}
	return out, nil
}

func describeInvocation(
	c *api.Call,
	cmd *runcommand.Command,
	inv *runcommand.Invocation,
	details bool,
) commandInvocation {
	out := commandInvocation{
		CommandID: cmd.ID, InstanceID: string(inv.Node), InstanceName: inv.NodeName, Comment: cmd.Comment,
		DocumentName:    cmd.Document,
		DocumentVersion: cmd.Version, RequestedDateTime: awsproto.NewEpoch(inv.RequestedAt), Status: inv.Status.Short(),
		StatusDetails: string(inv.Status),
		TraceOutput:   inv.Trace, CommandPlugins: []commandPlugin{}, NotificationConfig: noNotification,
		CloudWatchOutputConfig: outputLogs(cmd.Output),
	}
	if len(cmd.Steps) == 1 && len(inv.Steps) == 1 {
		out.StandardOutputURL, out.StandardErrorURL = outputOf(c, inv.Steps[0])
	}
	if !details {
		return out
	}
	for _, s := range inv.Steps {
		p := commandPlugin{
			Name: s.Name, Status: s.Status.Short(), StatusDetails: string(s.Status), ResponseCode: s.Code,
			ResponseStartDateTime: awsproto.NewEpoch(s.StartedAt), ResponseFinishDateTime: awsproto.NewEpoch(s.EndedAt),
			Output: s.Output, OutputS3Region: cmd.Output.Region, OutputS3BucketName: s.Bucket, OutputS3KeyPrefix: s.KeyPrefix,
		}
		p.StandardOutputURL, p.StandardErrorURL = outputOf(c, s)
		out.CommandPlugins = append(out.CommandPlugins, p)
	}
	return out
}

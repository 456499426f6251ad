package ssm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/runcommand"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/wire/awsproto"
)

// Patterns of the SSM model, and limits of a request.
var (
	nodeIDPattern      = regexp.MustCompile(`^(i-(\w{8}|\w{17})|mi-\w{17})$`)
	concurrencyPattern = regexp.MustCompile(`^([1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%)$`)
	errorLimitPattern  = regexp.MustCompile(`^([1-9][0-9]*|0|[1-9][0-9]%|[0-9]%|100%)$`)
	bucketPattern      = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	keyPrefixPattern   = regexp.MustCompile(`^[^\x00-\x1f\x7f]*$`)
	targetKeyPattern   = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=\-@]+$`)
	logGroupPattern    = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]+$`)
)

const (
	maxInstanceIDs   = 50
	maxTargets       = 5
	maxTargetValues  = 50
	maxTargetKey     = 163
	maxParameterSize = 64 << 10 // of all parameters
)

type commandTarget struct {
	Key    string
	Values []string
}

type cloudWatchOutput struct {
	CloudWatchLogGroupName  string
	CloudWatchOutputEnabled bool
}

type notificationConfig struct {
	NotificationArn    string
	NotificationEvents []string
	NotificationType   string
}

type sendCommandRequest struct {
	InstanceIDs            []string `json:"InstanceIds"`
	Targets                []commandTarget
	DocumentName           string
	DocumentVersion        string
	DocumentHash           string
	DocumentHashType       string
	TimeoutSeconds         *int64
	Comment                string
	Parameters             map[string][]string
	OutputS3Region         string
	OutputS3BucketName     string
	OutputS3KeyPrefix      string
	MaxConcurrency         string
	MaxErrors              string
	ServiceRoleArn         string
	NotificationConfig     *notificationConfig
	CloudWatchOutputConfig *cloudWatchOutput
	AlarmConfiguration     *struct{}
}

func (in *sendCommandRequest) check() error {
	var v awsproto.Constraints
	v.Require("documentName", in.DocumentName != "")
	checkVersion(&v, in.DocumentVersion)
	v.Count("instanceIds", len(in.InstanceIDs), 0, maxInstanceIDs)
	for _, n := range in.InstanceIDs {
		v.Pattern("instanceIds.member", n, nodeIDPattern)
	}
	v.Count("targets", len(in.Targets), 0, maxTargets)
	for _, t := range in.Targets {
		v.Length("targets.member.key", t.Key, 1, maxTargetKey)
		v.Pattern("targets.member.key", t.Key, targetKeyPattern)
		v.Count("targets.member.values", len(t.Values), 0, maxTargetValues)
		for _, value := range t.Values {
			v.Length("targets.member.values.member", value, 0, maxTagValue)
		}
	}
	v.Length("documentHash", in.DocumentHash, 0, 256)
	if in.DocumentHashType != "" {
		v.Enum("documentHashType", in.DocumentHashType, "Sha256", "Sha1")
	}
	if in.TimeoutSeconds != nil {
		v.Range("timeoutSeconds", *in.TimeoutSeconds, 30, 2592000)
	}
	v.Length("comment", in.Comment, 0, 100)
	if in.OutputS3Region != "" {
		v.Length("outputS3Region", in.OutputS3Region, 3, 20)
	}
	if in.OutputS3BucketName != "" {
		v.Length("outputS3BucketName", in.OutputS3BucketName, 3, 63)
	}
	v.Length("outputS3KeyPrefix", in.OutputS3KeyPrefix, 0, 500)
	v.Pattern("outputS3KeyPrefix", in.OutputS3KeyPrefix, keyPrefixPattern)
	if in.MaxConcurrency != "" {
		v.Length("maxConcurrency", in.MaxConcurrency, 1, 7)
		v.Pattern("maxConcurrency", in.MaxConcurrency, concurrencyPattern)
	}
	if in.MaxErrors != "" {
		v.Length("maxErrors", in.MaxErrors, 1, 7)
		v.Pattern("maxErrors", in.MaxErrors, errorLimitPattern)
	}
	if cw := in.CloudWatchOutputConfig; cw != nil && cw.CloudWatchLogGroupName != "" {
		v.Length("cloudWatchOutputConfig.cloudWatchLogGroupName", cw.CloudWatchLogGroupName, 1, 512)
		v.Pattern("cloudWatchOutputConfig.cloudWatchLogGroupName", cw.CloudWatchLogGroupName, logGroupPattern)
	}
	if err := v.Err(); err != nil {
		return err
	}
	return in.checkKnown()
}

// checkKnown refuses unsupported features instead of ignoring them.
func (in *sendCommandRequest) checkKnown() error {
	size := 0
	for name, values := range in.Parameters {
		size += len(name)
		for _, value := range values {
			size += len(value)
		}
	}
	n := in.NotificationConfig
	switch {
	case len(in.InstanceIDs) > 0 && len(in.Targets) > 0:
		return awsproto.SenderError("ValidationException", "Give InstanceIds or Targets, not both.")
	case len(in.InstanceIDs) == 0 && len(in.Targets) == 0:
		return awsproto.SenderError("ValidationException", "The request names no nodes: give InstanceIds or Targets.")
	case size > maxParameterSize:
		return awsproto.SenderError(
			"InvalidParameters",
			"The parameters have %d bytes in total; the limit is %d.",
			size,
			maxParameterSize,
		)
	case n != nil && (n.NotificationArn != "" || len(n.NotificationEvents) > 0 || n.NotificationType != ""):
		return awsproto.SenderError(
			"InvalidNotificationConfig",
			"NotificationConfig requires Amazon SNS, which Sekisho does not have. Omit it.",
		)
	case in.ServiceRoleArn != "":
		return awsproto.SenderError(
			"InvalidRole",
			"ServiceRoleArn requires Amazon SNS, which Sekisho does not have. Omit it.",
		)
	case in.AlarmConfiguration != nil:
		return awsproto.SenderError(
			"ValidationException",
			"AlarmConfiguration requires CloudWatch alarms, which Sekisho does not have. Omit it.",
		)
	case in.DocumentHashType == "Sha1" && in.DocumentHash != "":
		return awsproto.SenderError(
			"ValidationException",
			"DocumentHashType must be Sha256.",
		)
	case in.OutputS3BucketName != "" && !bucketPattern.MatchString(in.OutputS3BucketName):
		return awsproto.SenderError("InvalidOutputFolder", "%q is not a bucket name.", in.OutputS3BucketName)
	case slices.ContainsFunc(strings.Split(in.OutputS3KeyPrefix, "/"),
		func(p string) bool { return p == "." || p == ".." }):
		return awsproto.SenderError("InvalidOutputFolder", "OutputS3KeyPrefix must not contain . or .. as a path element.")
	}
	seen := map[string]bool{}
	for _, id := range in.InstanceIDs {
		if seen[id] {
			return awsproto.SenderError("DuplicateInstanceId", "The instance ID %s is given twice.", id)
		}
		seen[id] = true
	}
	for _, t := range in.Targets {
		if err := checkTarget(t); err != nil {
			return err
		}
	}
	return nil
}

func checkTarget(t commandTarget) error {
	key, isTag := strings.CutPrefix(t.Key, "tag:")
	switch {
	case strings.HasPrefix(t.Key, "resource-groups:"):
		return awsproto.SenderError(
			"ValidationException",
			"Sekisho has no resource groups: use the target key tag:KEY, tag-key or InstanceIds.",
		)
	case !isTag && t.Key != "tag-key" && t.Key != "InstanceIds" || isTag && key == "":
		return awsproto.SenderError(
			"ValidationException",
			"The target key %q is not valid: use tag:KEY, tag-key or InstanceIds.",
			t.Key,
		)
	case len(t.Values) == 0:
		return awsproto.SenderError("ValidationException", "The target %s has no values.", t.Key)
	}
	return nil
}

// matches reports whether the target selects a node.
func (t *commandTarget) matches(n *sekisho.Node) bool {
	switch key, isTag := strings.CutPrefix(t.Key, "tag:"); {
	case isTag:
		value, ok := n.Tags[key]
		return ok && slices.Contains(t.Values, value)
	case t.Key == "tag-key":
		return slices.ContainsFunc(t.Values, func(k string) bool { _, ok := n.Tags[k]; return ok })
	}
	return slices.Contains(t.Values, string(n.ID))
}

func (d commandDoor) sendCommand(ctx context.Context, c *api.Call, in *sendCommandRequest) (*sendCommandAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	name, err := d.documents.documentName(in.DocumentName)
	if err != nil {
		return nil, err
	}
	if err := d.documents.authorizeDocument(ctx, c, "ssm:SendCommand", name); err != nil {
		return nil, err
	}
	nodes, missing, err := d.authorizeNodes(ctx, c, in)
	if err != nil {
		return nil, err
	}
	// After the policy decision: callers who are not allowed to send the command must not learn
	// which documents and nodes exist.
	doc, err := d.Documents.ForCommand(ctx, name, in.DocumentVersion)
	if err != nil {
		return nil, documentError(err)
	}
	if in.DocumentHash != "" && !strings.EqualFold(in.DocumentHash, doc.Hash) {
		return nil, awsproto.SenderError(
			"InvalidDocument",
			"Version %s of %s does not have the hash in the request: it was changed.",
			doc.Version,
			name,
		)
	}
	if len(missing) > 0 {
		return nil, awsproto.SenderError(
			"InvalidInstanceId",
			"Instances [%s] are not managed by this account.",
			strings.Join(missing, ", "),
		)
	}
	if err := d.checkOutput(ctx, in); err != nil {
		return nil, err
	}
	req, err := in.request(doc, nodes)
	if err != nil {
		return nil, err
	}
	req.Owner = c.Principal.ARN
	rule, err := d.Names.Naming(ctx)
	if err != nil {
		return nil, err
	}
	req.NodeName = rule.Display
	sent, err := d.Commands.Send(ctx, *req)
	if err != nil {
		if sekisho.CodeOf(err) == sekisho.CodeInvalid {
			return nil, awsproto.SenderError("MaxDocumentSizeExceeded", "%s", err)
		}
		return nil, err
	}
	c.Annotate(map[string]any{"command": map[string]any{
		"commandId": sent.ID, "documentName": sent.Document, "documentVersion": sent.Version, "status": sent.Status.Short(),
		"targetCount": sent.Count,
	}})
	return &sendCommandAnswer{describeCommand(sent)}, nil
}

// request builds the command.
func (in *sendCommandRequest) request(doc *doclibrary.Command, nodes []*sekisho.Node) (*runcommand.Request, error) {
	plan, err := doc.Command(in.Parameters)
	if errors.Is(err, ssmdoc.ErrParameters) {
		return nil, awsproto.SenderError("InvalidParameters", "%s", err)
	}
	if err != nil {
		return nil, err
	}
	req := &runcommand.Request{
		Document: doc.Name, Version: doc.Version, Plan: plan, Platforms: doc.Platforms(), Parameters: in.Parameters,
		Comment: in.Comment, Nodes: nodes,
		Concurrency: in.MaxConcurrency, ErrorLimit: in.MaxErrors,
		Output: runcommand.Output{
			Bucket:    in.OutputS3BucketName,
			KeyPrefix: in.OutputS3KeyPrefix,
			Region:    in.OutputS3Region,
		},
	}
	if in.TimeoutSeconds != nil {
		req.Timeout = time.Duration(*in.TimeoutSeconds) * time.Second
	}
	if cw := in.CloudWatchOutputConfig; cw != nil {
		req.Output.Logs, req.Output.LogGroup = cw.CloudWatchOutputEnabled, cw.CloudWatchLogGroupName
	}
	for _, id := range in.InstanceIDs {
		req.Named = append(req.Named, sekisho.NodeID(id))
	}
	for _, t := range in.Targets {
		req.Targets = append(req.Targets, runcommand.Target(t))
	}
	if len(in.InstanceIDs) == 0 {
		return req, nil
	}
	for _, n := range nodes {
		if n.PlatformType != "" && !slices.Contains(req.Platforms, n.PlatformType) {
			return nil, awsproto.SenderError(
				"UnsupportedPlatformType",
				"The document %s is for %s, and %s is %s.",
				doc.Name,
				strings.Join(req.Platforms, ", "),
				n.ID,
				n.PlatformType,
			)
		}
	}
	return req, nil
}

// authorizeNodes authorizes every node that a request selects. Named nodes that are not managed are
// omitted.
func (d commandDoor) authorizeNodes(
	ctx context.Context,
	c *api.Call,
	in *sendCommandRequest,
) (nodes []*sekisho.Node, missing []string, err error) {
	var resources []api.Resource
	for _, id := range in.InstanceIDs {
		r := api.Resource{ARN: d.nodeARN(id)}
		n, err := d.Fleet.Node(ctx, sekisho.NodeID(id))
		switch {
		case err == nil:
			nodes, r.Keys = append(nodes, n), authz.ResourceTags("ssm", n.Tags)
		case sekisho.IsNotFound(err):
			missing = append(missing, id)
		default:
			return nil, nil, err
		}
		resources = append(resources, r)
	}
	if len(in.Targets) > 0 {
		all, err := d.Fleet.Nodes(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range all {
			hit := n.DeregisteredAt.IsZero()
			for _, t := range in.Targets {
				hit = hit && t.matches(n)
			}
			if hit {
				nodes = append(nodes, n)
				resources = append(
					resources,
					api.Resource{ARN: d.nodeARN(string(n.ID)), Keys: authz.ResourceTags("ssm", n.Tags)},
				)
			}
		}
	}
	return nodes, missing, c.AuthorizeAll(ctx, "ssm:SendCommand", resources)
}

func (d commandDoor) checkOutput(ctx context.Context, in *sendCommandRequest) error {
	if in.OutputS3BucketName == "" || d.Outputs == nil {
		return nil
	}
	ok, err := d.Outputs.HasBucket(ctx, in.OutputS3BucketName)
	if err == nil && !ok {
		err = awsproto.SenderError(
			"InvalidOutputFolder",
			"The bucket %q does not exist: output could not be delivered to it. Create it first (aws s3api create-bucket "+
				"--bucket %s).",
			in.OutputS3BucketName,
			in.OutputS3BucketName,
		)
	}
	return err
}

type cancelCommandRequest struct {
	CommandID   string   `json:"CommandId"`
	InstanceIDs []string `json:"InstanceIds"`
}

func (d commandDoor) cancelCommand(ctx context.Context, c *api.Call, in *cancelCommandRequest) (*struct{}, error) {
	var v awsproto.Constraints
	v.Length("commandId", in.CommandID, 36, 36)
	v.Count("instanceIds", len(in.InstanceIDs), 0, maxInstanceIDs)
	for _, n := range in.InstanceIDs {
		v.Pattern("instanceIds.member", n, nodeIDPattern)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:CancelCommand", "*"); err != nil {
		return nil, err
	}
	var nodes []sekisho.NodeID
	for _, id := range in.InstanceIDs {
		if slices.Contains(nodes, sekisho.NodeID(id)) {
			return nil, awsproto.SenderError("DuplicateInstanceId", "The instance ID %s is given twice.", id)
		}
		nodes = append(nodes, sekisho.NodeID(id))
	}
	for _, n := range nodes {
		_, err := d.Commands.Invocation(ctx, in.CommandID, n)
		if sekisho.IsNotFound(err) {
			return nil, awsproto.SenderError("InvalidInstanceId", "The command was not sent to %s.", n)
		}
		if err != nil {
			return nil, err
		}
	}
	err := d.Commands.Cancel(ctx, in.CommandID, nodes)
	if sekisho.IsNotFound(err) {
		return nil, noCommand(in.CommandID)
	}
	return &struct{}{}, err
}

func noCommand(id string) error {
	return awsproto.SenderError("InvalidCommandId", "There is no command %s.", fmt.Sprintf("%.36q", id))
}

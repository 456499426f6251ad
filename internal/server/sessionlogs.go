package server

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/activity/event"
	"sekisho/internal/api/s3"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/iam/authz"
	"sekisho/internal/session/broker"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/storage/objects"
	"sekisho/internal/wire/id"
)

// sessionLogs are the server's buckets and log groups, as destinations of session logs.
type sessionLogs struct{ s *Server }

var (
	_ broker.Logs       = sessionLogs{}
	_ doclibrary.Places = sessionLogs{}
)

// Absent implements [broker.Logs]. AWS's agent reports a log as delivered even if delivery failed.
func (l sessionLogs) Absent(ctx context.Context, s *sekisho.Session) string {
	if problem := l.absentObject(ctx, s.Logs); problem != "" {
		return problem
	}
	return l.absentStream(ctx, s)
}

func (l sessionLogs) absentObject(ctx context.Context, at sekisho.SessionLogs) string {
	if at.Bucket == "" {
		return ""
	}
	_, err := l.s.objects.Head(ctx, at.Bucket, at.Key, "")
	if !sekisho.IsNotFound(err) {
		return ""
	}
	return fmt.Sprintf(
		"s3://%s/%s does not exist: the node did not write it. Its role may lack s3:PutObject.",
		at.Bucket,
		at.Key,
	)
}

// absentStream looks for the session's log stream and, if AWS's agent should have written it,
// for events in it. Sekisho's agent reports events that it could not write.
func (l sessionLogs) absentStream(ctx context.Context, s *sekisho.Session) string {
	at := s.Logs
	if at.Group == "" {
		return ""
	}
	stream, err := l.s.logs.Stream(ctx, at.Group, at.Stream)
	switch {
	case sekisho.IsNotFound(err):
		return fmt.Sprintf(
			"the log group %s has no stream %s: the node did not create it. Its role may lack logs:CreateLogStream.",
			at.Group,
			at.Stream,
		)
	case err == nil && stream.LastEvent.IsZero() && s.AgentProcess == "":
		return fmt.Sprintf(
			"the stream %s of the log group %s is empty: the session showed nothing, or the node's role lacks "+
				"logs:PutLogEvents.",
			at.Stream,
			at.Group,
		)
	}
	return ""
}

// CheckLogs implements [documents.Places]. Every bucket of this server encrypts, so
// s3EncryptionEnabled makes no difference.
func (l sessionLogs) CheckLogs(ctx context.Context, s *ssmdoc.Settings) error {
	if s.S3BucketName != "" {
		_, err := l.s.objects.Bucket(ctx, s.S3BucketName)
		if sekisho.IsNotFound(err) {
			return sekisho.Errorf(sekisho.CodeInvalid,
				"The bucket %q of s3BucketName does not exist: session logs could not be delivered to it.", s.S3BucketName).
				WithHint("Create it (aws s3api create-bucket --bucket %s), or name another bucket or none.", s.S3BucketName).
				WithReason(reasonBucketMissing)
		}
		if err != nil {
			return err
		}
	}
	name := s.CloudWatchLogGroupName
	if name == "" {
		return nil
	}
	g, err := l.s.logs.Group(ctx, name)
	switch {
	case sekisho.IsNotFound(err):
		return sekisho.Errorf(sekisho.CodeInvalid,
			"The log group %q of cloudWatchLogGroupName does not exist: session logs could not be delivered to it.", name).
			WithHint("Create it (aws logs create-log-group --log-group-name %s), or name another log group or none.", name).
			WithReason(reasonGroupMissing)
	case err != nil:
		return err
	case s.CloudWatchEncryptionEnabled && g.KMSKey == "":
		return sekisho.Errorf(sekisho.CodeInvalid,
			"The log group %q has no KMS key, but cloudWatchEncryptionEnabled requires one: no session could start.", name).
			WithHint(
				"Associate a key with it (aws logs associate-kms-key --log-group-name %s --kms-key-id KEY), or "+
					"turn off cloudWatchEncryptionEnabled.", name).
			WithReason(reasonGroupNotEncrypted)
	}
	return nil
}

// Reasons for refusing a destination of session logs, for programs that offer a remedy.
const (
	reasonBucketMissing     = "BucketMissing"
	reasonGroupMissing      = "LogGroupMissing"
	reasonGroupNotEncrypted = "LogGroupNotEncrypted"
)

var _ s3.SessionLogs = sessionLogs{}

// SessionOfLog implements [s3.SessionLogs].
func (l sessionLogs) SessionOfLog(ctx context.Context, bucket, key string) (*sekisho.Session, error) {
	name, ok := strings.CutSuffix(path.Base(key), ".log")
	if !ok || !id.ValidSession(name) {
		return nil, nil
	}
	x, err := l.s.broker.Session(ctx, sekisho.SessionID(name))
	if sekisho.IsNotFound(err) {
		return nil, nil
	}
	if err != nil || x.Logs.Bucket != bucket || x.Logs.Key != key {
		return nil, err
	}
	return x, nil
}

// LogRewritten implements [s3.SessionLogs]: the audit trail and the
// event bus report it.
func (l sessionLogs) LogRewritten(ctx context.Context, x s3.LogRewrite) {
	ctx = context.WithoutCancel(ctx)
	ev := l.s.serverEvent("SessionLogRewritten", map[string]any{
		"sessionId": string(
			x.Session.ID,
		), "instanceId": string(x.Node), "bucketName": x.Bucket, "key": x.Key, "versionId": x.Version,
		"formerVersionId": x.Former, "outcome": x.Outcome, "operation": x.Operation, "requestID": x.RequestID,
	})
	ev.SourceIP, ev.UserAgent = x.SourceIP, x.UserAgent
	if err := l.s.trail.Record(ctx, ev); err != nil {
		l.s.cfg.Log.Error("audit event lost", "event", ev.EventName, "session", x.Session.ID, "error", err)
	}
	l.s.bus.Publish(l.s.bus.Origin().Rewritten(event.Rewrite{
		At: x.Time, Session: x.Session, Node: x.Node, Principal: x.Principal, SourceIP: x.SourceIP, RequestID: x.RequestID,
		Operation: x.Operation,
		Bucket:    x.Bucket, Key: x.Key, Version: x.Version, Former: x.Former, Outcome: x.Outcome,
	}))
}

// startChecks checks whether sessions could start.
type startChecks struct{ s *Server }

var _ sekishoapi.StartChecks = startChecks{}

// NotConnected implements [sekishoapi.StartChecks].
func (x startChecks) NotConnected(n *sekisho.Node) string { return x.s.Fleet.WhyNot(n) }

// CheckNodeLogs implements [sekishoapi.StartChecks]: it checks that the destinations exist and the
// node's role can write to them.
func (x startChecks) CheckNodeLogs(ctx context.Context, n *sekisho.Node, s *ssmdoc.Settings) error {
	if err := sessionLogs(x).CheckLogs(ctx, s); err != nil {
		return err
	}
	role, err := x.s.Directory.Roles.Get(ctx, n.IAMRole)
	if sekisho.IsNotFound(err) {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The session's log would not be delivered: the node's role %s does not exist.",
			n.IAMRole,
		)
	}
	if err != nil {
		return err
	}
	p, err := x.s.Directory.Sets.PrincipalOf(ctx, role.ARN)
	if err != nil {
		return err
	}
	p.Node = n.ID
	facts := authz.Facts{Principal: p, Time: time.Now(), Secure: true, Region: x.s.cfg.Region}
	if x.s.cfg.Now != nil {
		facts.Time = x.s.cfg.Now()
	}
	policies := authz.New(x.s.Directory.Sets)
	facts.SourceIP, _ = netip.ParseAddr(n.LastSourceIP) // an unknown address matches no condition
	for _, need := range x.needs(ctx, s) {
		v, err := policies.Decide(ctx, &facts, need.action, need.resource)
		if err != nil {
			return err
		}
		if !v.Allowed && (v.Explicit || !need.elsewhere) {
			return sekisho.Errorf(
				sekisho.CodeInvalid,
				"The session's log would not be delivered: the node's role %s does not allow %s on %s.",
				n.IAMRole,
				need.action,
				need.resource,
			)
		}
	}
	return nil
}

type need struct {
	action, resource string
	// elsewhere means that a policy other than the role's own can grant it.
	elsewhere bool
}

// needs returns the permissions that a node requires to deliver logs.
func (x startChecks) needs(ctx context.Context, s *ssmdoc.Settings) []need {
	var all []need
	if name := s.S3BucketName; name != "" {
		b, err := x.s.objects.Bucket(ctx, name)
		elsewhere := err == nil && b.Settings.Policy != ""
		all = append(
			all,
			need{"s3:PutObject", objects.ObjectARN(name, ssmdoc.LogKey(s.S3KeyPrefix, "session")), elsewhere},
		)
		if s.S3EncryptionEnabled {
			all = append(all, need{"s3:GetEncryptionConfiguration", "arn:aws:s3:::" + name, elsewhere})
		}
	}
	if name := s.CloudWatchLogGroupName; name != "" {
		group := "arn:aws:logs:" + x.s.cfg.Region + ":" + x.s.cfg.Account + ":log-group:" + name
		all = append(
			all,
			need{"logs:CreateLogStream", group + ":log-stream:session", false},
			need{"logs:PutLogEvents", group + ":log-stream:session", false},
		)
	}
	return all
}

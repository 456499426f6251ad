package s3

import (
	"context"
	"errors"
	"time"

	"sekisho"
	"sekisho/internal/storage/objects"
)

// SessionLogs finds the sessions behind objects.
type SessionLogs interface {
	// SessionOfLog returns the session whose log has this key; nil if the key is not a session log.
	SessionOfLog(ctx context.Context, bucket, key string) (*sekisho.Session, error)
	// LogRewritten is called when a node has overwritten or deleted a log, or tried to.
	LogRewritten(ctx context.Context, x LogRewrite)
}

// Values of LogRewrite.Outcome.
const (
	RewriteKept    = "NewVersion" // the former version is kept
	RewriteDeleted = "DeleteMarker"
	RewriteRefused = "Refused"
)

// LogRewrite is a node's second write to the log of a session, or its deletion.
type LogRewrite struct {
	Time      time.Time
	Session   *sekisho.Session
	Node      sekisho.NodeID // whose credentials were used
	Principal string         // ARN
	SourceIP  string
	UserAgent string
	RequestID string
	Operation string
	Bucket    string
	Key       string
	Version   string // the new one
	Former    string // the version before; "" = none
	Outcome   string
}

// lateDelivery is how long after a session's end its node can repeat the delivery of its log to a
// bucket without versioning.
const lateDelivery = 10 * time.Minute

// rewrite protects a session log from a second write. A nil rewrite protects nothing.
type rewrite struct {
	q       *request
	report  LogRewrite
	former  *objects.Version // nil = there was none
	foreign bool             // the caller is not the agent of the session's node
}

// rewriteOf checks whether the key is a session log that the caller's write would change. Nodes can
// write a session log only once, although their roles allow putting objects. A second write creates
// a new version and is reported; it is refused if it would replace the first.
func (q *request) rewriteOf(ctx context.Context, key, version string) (*rewrite, error) {
	if q.SessionLogs == nil || q.Principal == nil || q.Principal.Node == "" || q.config == nil {
		return nil, nil
	}
	s, err := q.SessionLogs.SessionOfLog(ctx, q.bucket, key)
	if err != nil || s == nil {
		return nil, err
	}
	g := &rewrite{q: q, foreign: !q.Principal.Agent(s.Target), report: LogRewrite{
		Time: q.Time, Session: s, Node: q.Principal.Node, Principal: q.Principal.ARN, SourceIP: q.SourceIP.String(),
		UserAgent: q.UserAgent,
		RequestID: q.RequestID, Operation: q.Operation, Bucket: q.bucket, Key: key,
	}}
	v, err := q.Objects.Head(ctx, q.bucket, key, version)
	switch {
	case err == nil:
		g.former, g.report.Former = v, v.ID
	case !errors.Is(err, objects.ErrNoKey) && !errors.Is(err, objects.ErrNoVersion) && !errors.Is(err,
		objects.ErrDeleteMarker):
		return nil, err
	}
	return g, nil
}

// write calls do, which creates a version of the log, unless that would replace another version.
func (g *rewrite) write(ctx context.Context, do func() (*objects.Version, error)) (*objects.Version, error) {
	if g == nil || g.former == nil && !g.foreign {
		return do()
	}
	s := g.report.Session
	// A node that did not get the response delivers the log again.
	again := !g.foreign && !s.Logs.Reported && (s.EndedAt.IsZero() || g.q.Time.Sub(s.EndedAt) < lateDelivery)
	if g.q.RefuseLogRewrites && !again || g.q.config.Versioning != objects.VersioningEnabled && !again {
		return nil, g.refuse(ctx)
	}
	v, err := do()
	if err != nil {
		return nil, err
	}
	if g.foreign || g.former.ETag != v.ETag {
		g.report.Version, g.report.Outcome = v.ID, RewriteKept
		g.q.SessionLogs.LogRewritten(ctx, g.report)
	}
	return v, nil
}

// remove calls do, which deletes the log, unless that would be permanent.
func (g *rewrite) remove(ctx context.Context, version string, do func() (objects.Deleted, error)) (objects.Deleted,
	error) {
	if g == nil || g.former == nil {
		return do()
	}
	if version != "" || g.q.RefuseLogRewrites || g.q.config.Versioning != objects.VersioningEnabled {
		return objects.Deleted{}, g.refuse(ctx)
	}
	gone, err := do()
	if err == nil {
		g.report.Version, g.report.Outcome = gone.VersionID, RewriteDeleted
		g.q.SessionLogs.LogRewritten(ctx, g.report)
	}
	return gone, err
}

func (g *rewrite) refuse(ctx context.Context) error {
	g.report.Outcome = RewriteRefused
	g.q.SessionLogs.LogRewritten(ctx, g.report)
	id := g.report.Session.ID
	switch {
	case g.foreign && g.former == nil:
		return sekisho.Errorf(
			sekisho.CodeDenied,
			"s3://%s/%s is the log of session %s, which did not run on %s. A node can write only the logs of its own sessions.",
			g.report.Bucket,
			clip(g.report.Key),
			id,
			g.report.Node,
		)
	case g.q.RefuseLogRewrites || g.q.config.Versioning == objects.VersioningEnabled:
		return sekisho.Errorf(sekisho.CodeDenied,
			"s3://%s/%s is the log of session %s. Nodes write a log once and cannot delete it.", g.report.Bucket,
			clip(g.report.Key), id)
	}
	return sekisho.Errorf(sekisho.CodeDenied,
		"s3://%s/%s is the log of session %s, and the bucket has no versioning. Nodes write a log once and cannot "+
			"delete it.", g.report.Bucket, clip(g.report.Key), id).
		WithHint("Enable versioning to keep a second write beside the first: aws s3api put-bucket-versioning --bucket "+
			"%s --versioning-configuration Status=Enabled", g.report.Bucket)
}

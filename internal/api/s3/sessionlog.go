package s3

import (
	"context"
	"errors"
	"time"

	"sekisho"
	"sekisho/internal/storage/objects"
)

// SessionLogs knows which objects are logs of sessions.
type SessionLogs interface {
	// SessionOfLog finds the session whose log is kept under a key; nil for a
	// key that is none's.
	SessionOfLog(ctx context.Context, bucket, key string) (*sekisho.Session, error)
	// LogRewritten is told of a node that wrote to a log again, or tried to.
	LogRewritten(ctx context.Context, x LogRewrite)
}

// The outcomes of a rewrite.
const (
	RewriteKept    = "NewVersion" // what was there stays beside it
	RewriteDeleted = "DeleteMarker"
	RewriteRefused = "Refused"
)

// LogRewrite is what a node did to the log of a session.
type LogRewrite struct {
	Time      time.Time
	Session   *sekisho.Session
	Node      sekisho.NodeID // whose credentials it was done with
	Principal string         // ARN
	SourceIP  string
	UserAgent string
	RequestID string
	Operation string
	Bucket    string
	Key       string
	Version   string // the new one
	Former    string // what was there before; "" = nothing
	Outcome   string
}

// lateDelivery is how long after a session's end its node may still repeat the
// delivery of its log to a bucket that keeps no versions.
const lateDelivery = 10 * time.Minute

// rewrite is what guards a log of a session against a second writing. The nil
// one guards nothing.
type rewrite struct {
	q       *request
	told    LogRewrite
	former  *objects.Version // nil: nothing was there
	foreign bool             // the caller is not the agent of the session's node
}

// rewriteOf finds out what a write of the caller to a key would do to the log
// of a session. The logs of sessions are write-once for nodes, whose roles must
// be allowed to put objects: a second write becomes a version beside the first,
// which is told of, and is refused where it would take its place.
func (q *request) rewriteOf(ctx context.Context, key, version string) (*rewrite, error) {
	if q.SessionLogs == nil || q.Principal == nil || q.Principal.Node == "" || q.config == nil {
		return nil, nil
	}
	s, err := q.SessionLogs.SessionOfLog(ctx, q.bucket, key)
	if err != nil || s == nil {
		return nil, err
	}
	g := &rewrite{q: q, foreign: !q.Principal.Agent(s.Target), told: LogRewrite{
		Time: q.Time, Session: s, Node: q.Principal.Node, Principal: q.Principal.ARN, SourceIP: q.SourceIP.String(), UserAgent: q.UserAgent,
		RequestID: q.RequestID, Operation: q.Operation, Bucket: q.bucket, Key: key,
	}}
	v, err := q.Objects.Head(ctx, q.bucket, key, version)
	switch {
	case err == nil:
		g.former, g.told.Former = v, v.ID
	case !errors.Is(err, objects.ErrNoKey) && !errors.Is(err, objects.ErrNoVersion) && !errors.Is(err, objects.ErrDeleteMarker):
		return nil, err
	}
	return g, nil
}

// write has do make a version of a log, unless that would put it in the place
// of another one.
func (g *rewrite) write(ctx context.Context, do func() (*objects.Version, error)) (*objects.Version, error) {
	if g == nil || g.former == nil && !g.foreign {
		return do()
	}
	s := g.told.Session
	// The answer to a node may be lost, and the node then delivers once more.
	again := !g.foreign && !s.Logs.Told && (s.EndedAt.IsZero() || g.q.Time.Sub(s.EndedAt) < lateDelivery)
	if g.q.RefuseLogRewrites && !again || g.q.config.Versioning != objects.VersioningEnabled && !again {
		return nil, g.refuse(ctx)
	}
	v, err := do()
	if err != nil {
		return nil, err
	}
	if g.foreign || g.former.ETag != v.ETag {
		g.told.Version, g.told.Outcome = v.ID, RewriteKept
		g.q.SessionLogs.LogRewritten(ctx, g.told)
	}
	return v, nil
}

// remove has do delete a log, unless it would be gone for good.
func (g *rewrite) remove(ctx context.Context, version string, do func() (objects.Deleted, error)) (objects.Deleted, error) {
	if g == nil || g.former == nil {
		return do()
	}
	if version != "" || g.q.RefuseLogRewrites || g.q.config.Versioning != objects.VersioningEnabled {
		return objects.Deleted{}, g.refuse(ctx)
	}
	gone, err := do()
	if err == nil {
		g.told.Version, g.told.Outcome = gone.VersionID, RewriteDeleted
		g.q.SessionLogs.LogRewritten(ctx, g.told)
	}
	return gone, err
}

func (g *rewrite) refuse(ctx context.Context) error {
	g.told.Outcome = RewriteRefused
	g.q.SessionLogs.LogRewritten(ctx, g.told)
	id := g.told.Session.ID
	switch {
	case g.foreign && g.former == nil:
		return sekisho.Errorf(sekisho.CodeDenied, "s3://%s/%s is the place for the log of session %s, which is not one of %s: a node writes the logs of its own sessions only.", g.told.Bucket, clip(g.told.Key), id, g.told.Node)
	case g.q.RefuseLogRewrites || g.q.config.Versioning == objects.VersioningEnabled:
		return sekisho.Errorf(sekisho.CodeDenied, "s3://%s/%s is the log of session %s: nodes write logs once, and do not delete them.", g.told.Bucket, clip(g.told.Key), id)
	}
	return sekisho.Errorf(sekisho.CodeDenied, "s3://%s/%s is the log of session %s, and the bucket keeps no former versions: nodes write logs once, and do not delete them.", g.told.Bucket, clip(g.told.Key), id).
		WithHint("With versioning (aws s3api put-bucket-versioning --bucket %s --versioning-configuration Status=Enabled) a second writing is kept beside the first.", g.told.Bucket)
}

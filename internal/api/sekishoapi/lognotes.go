package sekishoapi

import (
	"context"
	"strings"

	root "sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/storage/objects"
)

// logRisk is an action with which a node that writes session logs can destroy them.
type logRisk struct{ action, effect string }

// objectRisks, bucketRisks and groupRisks are risky actions that writing a log does not require.
var (
	objectRisks = []logRisk{
		{"s3:DeleteObject", "delete session logs"},
		{"s3:DeleteObjectVersion", "permanently delete versions of session logs"},
	}
	bucketRisks = []logRisk{
		{"s3:PutBucketVersioning", "stop the bucket from keeping earlier versions of logs"},
		{"s3:PutLifecycleConfiguration", "make session logs expire"},
		{"s3:PutBucketPolicy", "allow others to change session logs"},
	}
	groupRisks = []logRisk{
		{"logs:DeleteLogStream", "delete session logs"},
		{"logs:DeleteLogGroup", "delete all session logs"},
		{"logs:PutRetentionPolicy", "make session logs expire"},
	}
)

// logNotes warns of a node role that allows more than writing session logs: an attacker who
// controls a node could cover their tracks.
func (d *door) logNotes(ctx context.Context, f authz.Facts, document string) ([]string, error) {
	_, name, isRole := strings.Cut(f.Principal.PolicyARN, ":role/")
	if !isRole {
		return nil, nil
	}
	role, err := d.Directory.Roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(role.Trust, "ssm.amazonaws.com") && !strings.Contains(role.Trust, "ec2.amazonaws.com") {
		return nil, nil // not a role of nodes
	}
	s, err := d.Requests.Settings(ctx, document)
	if root.IsNotFound(err) || root.CodeOf(err) == root.CodeInvalid {
		return nil, nil // no document, no logs
	}
	if err != nil {
		return nil, err
	}
	var notes []string
	check := func(resource string, risks []logRisk) error {
		for _, r := range risks {
			v, err := d.Authorizer.Decide(ctx, &f, r.action, resource)
			if err != nil {
				return err
			}
			if v.Allowed {
				notes = append(notes, "Nodes with this role can "+r.effect+": "+r.action+" is allowed on "+resource+
					". Writing logs requires only s3:PutObject, or logs:CreateLogStream and logs:PutLogEvents.")
			}
		}
		return nil
	}
	if s.S3BucketName != "" {
		// Delivering a log requires this action, so it is a property of the design, not a mistake.
		log := objects.ObjectARN(s.S3BucketName, ssmdoc.LogKey(s.S3KeyPrefix, "session"))
		v, err := d.Authorizer.Decide(ctx, &f, "s3:PutObject", log)
		if err != nil {
			return nil, err
		}
		if v.Allowed {
			notes = append(notes, "Nodes with this role can overwrite every session log in the bucket "+s.S3BucketName+
				": s3:PutObject is allowed on "+log+". The server refuses it in a bucket without versioning; with versioning, the "+
				"earlier version stays. refuse_log_rewrites in the server's configuration refuses it there too.")
		}
		if err := check(objects.ObjectARN(s.S3BucketName, ssmdoc.LogKey(s.S3KeyPrefix, "session")), objectRisks); err != nil {
			return nil, err
		}
		if err := check(objects.ARN(s.S3BucketName), bucketRisks); err != nil {
			return nil, err
		}
	}
	if s.CloudWatchLogGroupName != "" {
		group := "arn:aws:logs:" + d.Region + ":" + d.Account + ":log-group:" + s.CloudWatchLogGroupName
		if err := check(group+":log-stream:session", groupRisks); err != nil {
			return nil, err
		}
	}
	return notes, nil
}

package server

import (
	"context"
	"fmt"

	"sekisho"
	"sekisho/internal/broker"
	"sekisho/internal/document"
	"sekisho/internal/documents"
)

// sessionLogs are the server's buckets and log groups, as places of session
// logs.
type sessionLogs struct{ s *Server }

var (
	_ broker.Logs      = sessionLogs{}
	_ documents.Places = sessionLogs{}
)

// Absent implements [broker.Logs]. AWS's agent says that it has delivered
// what it has only tried to deliver. A group's stream is not looked into: it
// may rightly be empty.
func (l sessionLogs) Absent(ctx context.Context, at sekisho.SessionLogs) string {
	if at.Bucket == "" {
		return ""
	}
	_, err := l.s.objects.Head(ctx, at.Bucket, at.Key, "")
	if !sekisho.IsNotFound(err) {
		return ""
	}
	return fmt.Sprintf("there is no s3://%s/%s: the node did not put it there. Its role may lack s3:PutObject.", at.Bucket, at.Key)
}

// CheckLogs implements [documents.Places]. Every bucket of this server
// encrypts, so that it suits s3EncryptionEnabled on and off.
func (l sessionLogs) CheckLogs(ctx context.Context, s *document.Settings) error {
	if s.S3BucketName != "" {
		_, err := l.s.objects.Bucket(ctx, s.S3BucketName)
		if sekisho.IsNotFound(err) {
			return sekisho.Errorf(sekisho.CodeInvalid, "The bucket %q of s3BucketName does not exist, so that no session's log could be delivered to it.", s.S3BucketName).
				WithHint("Create it (aws s3api create-bucket --bucket %s), or name another one or none.", s.S3BucketName)
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
		return sekisho.Errorf(sekisho.CodeInvalid, "The log group %q of cloudWatchLogGroupName does not exist, so that no session's log could be delivered to it.", name).
			WithHint("Create it (aws logs create-log-group --log-group-name %s), or name another one or none.", name)
	case err != nil:
		return err
	case s.CloudWatchEncryptionEnabled && g.KMSKey == "":
		return sekisho.Errorf(sekisho.CodeInvalid, "The log group %q has no key, and cloudWatchEncryptionEnabled demands one: no session could be started.", name).
			WithHint("Associate a key with it (aws logs associate-kms-key --log-group-name %s --kms-key-id KEY), or switch off cloudWatchEncryptionEnabled.", name)
	}
	return nil
}

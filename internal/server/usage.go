package server

import (
	"bytes"
	"context"

	"sekisho"
	"sekisho/internal/activity/usage"
	"sekisho/internal/api"
	"sekisho/internal/storage/objects"
)

func (s *Server) newUsage() *usage.Reporter {
	return usage.New(usage.Config{Store: s.db.Usage, Volume: s.volume, Put: s.putReport, Now: s.now, Log: s.cfg.Log})
}

// volume measures a session by its recording and its log. A missing or removed part counts as 0.
func (s *Server) volume(ctx context.Context, x *sekisho.Session) (v usage.Volume, err error) {
	recording, err := s.recorder.Stat(x.ID)
	if err != nil && !sekisho.IsNotFound(err) {
		// The integrity check reports damaged recordings.
		s.cfg.Log.Warn("the usage report lacks the recording of a session", "session", x.ID, "error", err)
	} else if err == nil {
		v.In, v.Out, v.Recording = recording.BytesIn, recording.BytesOut, recording.Size
	}
	if x.Logs.Bucket == "" {
		return v, nil
	}
	log, err := s.objects.Head(ctx, x.Logs.Bucket, x.Logs.Key, "")
	switch {
	case err == nil:
		v.Log = log.Size
	case sekisho.IsNotFound(err):
		err = nil
	}
	return v, err
}

// putReport stores a file of a usage report.
func (s *Server) putReport(ctx context.Context, bucket, key, contentType string, content []byte) error {
	if _, err := s.objects.Bucket(ctx, bucket); err != nil {
		return err
	}
	_, err := s.objects.Put(ctx, bucket, key, objects.Facts{ContentType: contentType},
		objects.Content{Body: bytes.NewReader(content), Size: int64(len(content))}, objects.Condition{})
	return err
}

// allowPut calls the S3 door, which is created after the doors that use it.
func (s *Server) allowPut(ctx context.Context, c *api.Call, bucket, key string) error {
	return s.buckets.AllowPut(ctx, c, bucket, key)
}

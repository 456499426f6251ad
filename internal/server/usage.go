package server

import (
	"bytes"
	"context"
	"time"

	"sekisho"
	"sekisho/internal/activity/usage"
	"sekisho/internal/api"
	"sekisho/internal/api/sekishoapi"
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

// usageRows returns the usage of days, for the API.
func (s *Server) usageRows(ctx context.Context, from time.Time, days int) ([]sekishoapi.UsageRow, error) {
	rows, err := s.Usage.Rows(ctx, from, days)
	out := make([]sekishoapi.UsageRow, len(rows))
	for i, r := range rows {
		out[i] = sekishoapi.UsageRow{
			Date: r.Day.Format(time.DateOnly), PrincipalARN: r.Person, NodeID: r.Node, DocumentName: r.Document,
			Sessions: r.Sessions, Minutes: r.Time.Minutes(), BytesIn: r.Volume.In, BytesOut: r.Volume.Out,
			RecordingBytes: r.Volume.Recording, LogBytes: r.Volume.Log,
		}
	}
	return out, err
}

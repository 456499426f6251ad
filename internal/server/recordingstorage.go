package server

import (
	"time"

	"sekisho/internal/api/sekishoapi"
)

// recordingStorage returns what recordings take and the state of their store, for the API.
func (s *Server) recordingStorage() (*sekishoapi.RecordingStorage, error) {
	m, err := s.recorder.Storage()
	if err != nil {
		return nil, err
	}
	out := &sekishoapi.RecordingStorage{
		State: sekishoapi.StorageWorking, Problems: []string{},
		Recordings: m.Recordings, HeldRecordings: m.Held, TotalBytes: m.TotalBytes, DiskBytes: m.DiskBytes,
		LimitBytes: s.cfg.Retention.MaxBytes, LimitDays: int64(s.cfg.Retention.MaxAge / (24 * time.Hour)),
	}
	problem := func(state, text string) {
		out.State = state
		out.Problems = append(out.Problems, text)
	}
	if limit := out.LimitBytes; limit > 0 && out.TotalBytes > limit {
		problem(sekishoapi.StorageWorking, "recordings take more than the limit: those in progress, unsealed or "+
			"under a hold "+
			"are not removed")
	}
	x := s.recorder.StoreState()
	if x.Problem != "" {
		problem(sekishoapi.StorageFailing, x.Problem)
	}
	if err := s.recorder.Ready(); err != nil {
		problem(sekishoapi.StorageFull, err.Error())
	}
	if x.Store == "" {
		return out, nil
	}
	checked := s.stored.state()
	out.Store = &sekishoapi.RecordingStoreState{
		Location: x.Store, Problem: x.Problem, StoredBytes: m.StoredBytes,
		WaitingBytes: x.Waiting, WaitingRecordings: int64(x.Recordings), WaitingLimitBytes: s.cfg.Recordings.SpoolBytes,
		CacheLimitBytes: s.cfg.Recordings.CacheBytes, FetchingRecordings: int64(x.Missing),
		CheckBytesPerSecond: s.cfg.Recordings.CheckRate, CheckedRecordings: checked.Recordings,
		CheckedBytes: checked.Bytes, CheckedAt: sekishoapi.FormatTime(checked.Completed),
	}
	if x.Problem != "" {
		out.Store.FailingSince = sekishoapi.FormatTime(x.Since)
	}
	return out, nil
}

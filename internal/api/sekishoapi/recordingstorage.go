package sekishoapi

import (
	"context"
	"time"

	"sekisho/internal/api"
)

// Values of RecordingStorage.State.
const (
	StorageWorking = "working"
	StorageFailing = "failing" // the store fails: recordings wait on the server's disk
	StorageFull    = "full"    // nothing can be recorded
)

// RecordingStorage describes what recordings take, and where they are.
type RecordingStorage struct {
	State    string
	Problems []string // why State is not working

	Recordings     int64
	HeldRecordings int64
	TotalBytes     int64 // of all recordings; LimitBytes limits it
	DiskBytes      int64 // in the data directory
	LimitBytes     int64 // 0 = none
	LimitDays      int64 // 0 = none
	// Store is where recordings are kept outside the data directory; nil if they are not.
	Store *RecordingStoreState `json:",omitempty"`
}

// RecordingStoreState describes a store of recordings.
type RecordingStoreState struct {
	Location          string // such as s3://BUCKET/PREFIX
	Problem           string `json:",omitempty"`
	FailingSince      string `json:",omitempty"`
	StoredBytes       int64  // that the store has of sealed recordings
	WaitingBytes      int64  // that only the server's disk has
	WaitingRecordings int64  // sealed ones that only the server's disk has
	WaitingLimitBytes int64  // beyond this, nothing is recorded; 0 = as much as the disk holds
	CacheLimitBytes   int64  // how much of what the store has may stay on the disk
	// FetchingRecordings counts the recordings that the disk lost and the server has yet to fetch.
	FetchingRecordings int64
	// CheckBytesPerSecond is the rate at which the store's content is verified; 0 = not at all.
	// CheckedRecordings and CheckedBytes are those of the round in progress, and CheckedAt is the end
	// of the last one.
	CheckBytesPerSecond int64
	CheckedRecordings   int64
	CheckedBytes        int64
	CheckedAt           string `json:",omitempty"`
}

// FormatTime returns a time for an answer; "" for the zero time.
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

type storageRequest struct{}

// getRecordingStorage covers the whole server, so it has no resource.
func (d *door) getRecordingStorage(ctx context.Context, c *api.Call, _ *storageRequest) (*RecordingStorage, error) {
	if err := c.Authorize(ctx, "sekisho:GetRecordingStorage", "*"); err != nil {
		return nil, err
	}
	return d.Storage()
}

package event

import "time"

// RecordingStore is the state of the recording store.
type RecordingStore struct {
	At                time.Time
	Store             string
	Problem           string // "" after it has recovered
	WaitingBytes      int64
	WaitingRecordings int
	Full              bool // nothing can be recorded
}

// RecordingStoreDetail is the detail of [RecordingStoreChanged].
type RecordingStoreDetail struct {
	State             string `json:"state"` // failing or working
	Store             string `json:"store"`
	Problem           string `json:"problem,omitempty"`
	WaitingBytes      int64  `json:"waiting-bytes"`
	WaitingRecordings int    `json:"waiting-recordings"`
	SpoolFull         bool   `json:"spool-full"`
}

// States of a [RecordingStoreDetail].
const (
	storeFailing = "failing"
	storeWorking = "working"
)

// RecordingStore is the event of a recording store that started to fail, or recovered.
func (o Origin) RecordingStore(in RecordingStore) *Event {
	d := &RecordingStoreDetail{
		State: storeWorking, Store: clip(in.Store), Problem: clip(in.Problem),
		WaitingBytes: in.WaitingBytes, WaitingRecordings: in.WaitingRecordings, SpoolFull: in.Full,
	}
	if in.Problem != "" {
		d.State = storeFailing
	}
	return o.event(RecordingStoreChanged, sourceServer, in.At, "", d, &Machine{})
}

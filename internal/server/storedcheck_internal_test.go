package server

import (
	"bytes"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"sekisho/internal/activity/audit"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/record/recstore/recstoretest"
)

// newStoredServer returns a server whose sealed recordings are only in the returned store.
func newStoredServer(t *testing.T, d *dataDir) (*Server, *recstoretest.Faulty) {
	t.Helper()
	folder, err := recstore.OpenFolder(t.TempDir())
	must(t, err)
	t.Cleanup(func() { folder.Close() })
	store := recstoretest.NewFaulty(folder)
	s, err := New(t.Context(), Config{
		DataDir: d.dir, Account: "123456789012", Region: "us-east-1", Log: slog.New(slog.DiscardHandler),
		Recordings: RecordingStore{Store: store, CheckRate: 1 << 20},
	})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, s.recorder.MakeTranscripts(t.Context()))
	for range 2 {
		must(t, s.recorder.Upload(t.Context()))
	}
	return s, store
}

// TestStoredContentIsChecked: the background check finds what was altered in the store, although the
// folder has no content, and takes it back once that is repaired.
func TestStoredContentIsChecked(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 4)
	s, store := newStoredServer(t, d)
	unlimited := rate.NewLimiter(rate.Inf, storedCheckBurst)
	check := func(want ...Finding) {
		t.Helper()
		must(t, s.checkStored(t.Context(), unlimited))
		found := s.findings()
		if len(found) != len(want) {
			t.Fatalf("findings %+v, want %+v", found, want)
		}
		for i, f := range found {
			if !f.same(want[i]) {
				t.Errorf("finding %+v, want %+v", f, want[i])
			}
		}
	}
	check()
	if x := s.stored.state(); x.Recordings != 3 || x.Bytes == 0 || x.Completed.IsZero() {
		t.Errorf("state %+v", x)
	}
	object := func(i int, name string) string {
		dir, err := filepath.Rel(filepath.Join(d.dir, "recordings"), d.recording(d.ids[i]))
		must(t, err)
		return path.Join(filepath.ToSlash(dir), name)
	}
	change := func(name string, do func(b []byte) []byte) (before []byte) {
		t.Helper()
		before, err := recstore.Small(t.Context(), store, name, 1<<20)
		must(t, err)
		b := do(bytes.Clone(before))
		must(t, store.Put(t.Context(), name, bytes.NewReader(b), int64(len(b))))
		return before
	}
	flip := func(b []byte) []byte {
		b[len(b)/2] ^= 1
		return b
	}
	main := object(1, record.MainFile)
	before := change(main, flip)
	change(object(2, record.SealFile), flip)
	want := []Finding{
		{Kind: "altered", Where: "recording", Subject: string(d.ids[1])},
		{Kind: "altered", Where: "recording", Subject: string(d.ids[2])},
	}
	check(want...)
	check(want...) // reported once
	events, _, err := s.trail.Lookup(t.Context(), audit.Query{EventName: "IntegrityProblem", Limit: 10})
	must(t, err)
	if len(events) != 2 {
		t.Errorf("%d events", len(events))
	}
	change(main, func([]byte) []byte { return before })
	check(want[1])
	must(t, store.Remove(t.Context(), object(0, record.MainFile)))
	check(Finding{Kind: "missing", Where: "recording", Subject: string(d.ids[0])}, want[1])

	store.FailAll(recstoretest.Refuse)
	if err := s.checkStored(t.Context(), unlimited); err == nil {
		t.Error("a store that fails was checked")
	}
	if n := len(s.findings()); n != 2 {
		t.Errorf("%d findings while the store fails", n)
	}
}

// TestStoredCheckRate: the check waits for the limiter before it reads.
func TestStoredCheckRate(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 2)
	s, store := newStoredServer(t, d)
	reads := store.Calls("read")
	none := rate.NewLimiter(0, 0)
	if err := s.checkStored(t.Context(), none); err == nil || store.Calls("read") != reads {
		t.Errorf("%v after %d reads", err, store.Calls("read")-reads)
	}
}

// TestRecordingStorage: the API reports what recordings take, and what is wrong with their store.
func TestRecordingStorage(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 3)
	s, store := newStoredServer(t, d)
	s.cfg.Retention = record.Retention{MaxAge: 48 * time.Hour, MaxBytes: 1}
	got, err := s.recordingStorage()
	must(t, err)
	if got.State != sekishoapi.StorageWorking || len(got.Problems) != 1 || got.Recordings != 3 || got.LimitDays != 2 ||
		got.TotalBytes == 0 || got.DiskBytes == 0 || got.Store == nil || got.Store.StoredBytes == 0 ||
		got.Store.WaitingRecordings != 0 || got.Store.Location != store.String() {
		t.Errorf("%+v, store %+v", got, got.Store)
	}
	store.FailAll(recstoretest.Refuse)
	rec, err := s.recorder.Start(record.Header{SessionID: "bob-00000000000000000000000001", Node: "mi-0123456789abcdef0"})
	must(t, err)
	must(t, rec.Output([]byte("text")))
	_, err = rec.Seal(record.Exit{})
	must(t, err)
	if err := s.recorder.Upload(t.Context()); err == nil {
		t.Fatal("Upload succeeded although the store fails")
	}
	got, err = s.recordingStorage()
	must(t, err)
	if got.State != sekishoapi.StorageFailing || got.Store.Problem == "" || got.Store.FailingSince == "" ||
		got.Store.WaitingRecordings != 1 || got.Store.WaitingBytes == 0 {
		t.Errorf("%+v, store %+v", got, got.Store)
	}
}

// TestCheckWaitsForFetch: after the loss of the folder, what the store has is not reported as
// missing, neither by the server nor by verify.
func TestCheckWaitsForFetch(t *testing.T) {
	t.Parallel()
	d := newDataDir(t, 4)
	s, store := newStoredServer(t, d)
	must(t, s.Close())
	// The ledger is fetched when the server starts; everything else later.
	for _, id := range d.ids[:3] {
		must(t, os.RemoveAll(d.recording(id)))
	}
	found, err := VerifyData(t.Context(), State{Dir: d.dir}, nil, store)
	must(t, err)
	if len(found.Findings) > 0 || found.OnlyStored != 3 || found.Recordings != 4 {
		t.Errorf("%+v", found)
	}
	s, err = New(t.Context(), Config{
		DataDir: d.dir, Account: "123456789012", Region: "us-east-1", Log: slog.New(slog.DiscardHandler),
		Recordings: RecordingStore{Store: store},
	})
	must(t, err)
	defer s.Close()
	store.FailAll(recstoretest.Refuse)
	if s.checkIntegrity(t.Context()) || len(s.findings()) != 0 {
		t.Errorf("a check without the store: findings %+v", s.findings())
	}
	if x := s.recorder.StoreState(); x.Missing != 3 {
		t.Errorf("state %+v", x)
	}
	store.Fail(nil)
	if !s.checkIntegrity(t.Context()) || len(s.findings()) != 0 {
		t.Errorf("findings %+v", s.findings())
	}
	if x := s.recorder.StoreState(); x.Missing != 0 {
		t.Errorf("state %+v", x)
	}
}

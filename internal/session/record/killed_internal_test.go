package record

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record/recordtest"
)

// snapshots are copies of a data directory as kill -9 would leave it: before, in the middle of and
// after each write.
type snapshots struct {
	t   *testing.T
	dir string

	mu    sync.Mutex // held during a write and its snapshots
	taken []snapshot
	acked string // output for which Output has returned
	gone  bool   // the recording was removed, or is about to be
}

type snapshot struct {
	dir   string
	what  string
	acked string
	gone  bool
}

func (s *snapshots) take(what string) {
	dir := s.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		s.t.Error(err)
	}
	s.taken = append(s.taken, snapshot{dir, what, s.acked, s.gone})
}

// watchedStorage takes snapshots around the writes of a recording.
type watchedStorage struct {
	recfile.Storage
	name string
	s    *snapshots
}

func (w *watchedStorage) WriteAt(p []byte, off int64) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.take("before a write to " + w.name)
	if _, err := w.Storage.WriteAt(p[:len(p)/2], off); err != nil {
		return 0, err
	}
	w.s.take("within a write to " + w.name)
	n, err := w.Storage.WriteAt(p, off)
	w.s.take("after a write to " + w.name)
	return n, err
}

func (w *watchedStorage) Sync() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.take("before a sync of " + w.name)
	return w.Storage.Sync()
}

func (w *watchedStorage) Close() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.take("before the end of " + w.name)
	return w.Storage.Close()
}

// watchedLedger takes snapshots around the writes of the ledger.
type watchedLedger struct {
	file
	s *snapshots
}

func (w *watchedLedger) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	st, err := w.Stat()
	if err != nil {
		return 0, err
	}
	w.s.take("before a line of the ledger")
	if _, err := w.file.Write(p[:len(p)/2]); err != nil {
		return 0, err
	}
	w.s.take("within a line of the ledger")
	if err := w.Truncate(st.Size()); err != nil {
		return 0, err
	}
	n, err := w.file.Write(p)
	w.s.take("after a line of the ledger")
	return n, err
}

// TestKilledBetweenWrites: wherever a server is killed, the next one has all output that was
// acknowledged, and calls nothing whole that is not, nor anything damaged.
func TestKilledBetweenWrites(t *testing.T) {
	t.Parallel()
	const id = sekisho.SessionID("alice-1")
	signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	reopen := func(dir string) *Recorder {
		t.Helper()
		r, err := Open(dir, signer, Options{Sealer: recordtest.Sealer{}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	s := &snapshots{t: t, dir: t.TempDir()}
	r := reopen(s.dir)
	defer r.Close()
	r.ledger.f = &watchedLedger{r.ledger.f, s}
	r.wrap = func(f recordingFiles) recordingFiles {
		f.main = &watchedStorage{f.main, "session.rec", s}
		for i, tail := range f.tails {
			f.tails[i] = &watchedStorage{tail, fmt.Sprintf("tail %d", i), s}
		}
		return f
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rec, err := r.Start(Header{SessionID: id, Start: time.Now()})
	must(err)
	must(rec.Resize(80, 24))
	for i := range 20 {
		text := fmt.Sprintf("line %d %s\r\n", i, strings.Repeat("x", i*200))
		if i%8 == 7 { // fills blocks
			text = strings.Repeat(text, 200)
		}
		must(rec.Output([]byte(text)))
		s.mu.Lock()
		s.acked += text
		s.mu.Unlock()
		if i%5 == 4 {
			must(rec.Flush())
		}
	}
	_, err = rec.Seal(Exit{Reason: "shell ended"})
	must(err)
	must(r.Hold(id, "case"))
	must(r.Release(id))
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	must(r.Remove(id, "age"))
	if len(s.taken) < 80 {
		t.Errorf("%d snapshots", len(s.taken))
	}

	for i, killed := range s.taken {
		r := reopen(killed.dir)
		if _, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true }); err != nil {
			t.Fatalf("%d, %s: recover: %v", i, killed.what, err)
		}
		if _, err := r.Expire(t.Context(), Retention{}, time.Now()); err != nil { // finishes removals
			t.Fatalf("%d, %s: expire: %v", i, killed.what, err)
		}
		if _, err := VerifyLedger(r.FS(), r.Keys()); err != nil {
			t.Errorf("%d, %s: ledger: %v", i, killed.what, err)
		}
		_, err := r.Verify(id)
		switch {
		case sekisho.IsNotFound(err) && (killed.acked == "" || killed.gone):
		case err != nil:
			t.Errorf("%d, %s: %v", i, killed.what, err)
		default:
			if got := outputOf(t, r); !strings.HasPrefix(got, killed.acked) {
				t.Errorf("%d, %s: %d bytes of %d that were acknowledged", i, killed.what, len(got), len(killed.acked))
			}
		}
		if err := errors.Join(r.Close(), os.RemoveAll(filepath.Join(killed.dir, "recordings"))); err != nil {
			t.Error(err)
		}
	}
}

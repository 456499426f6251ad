package record

import (
	"crypto/ed25519"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record/recordtest"
)

// fullDisk is a file on a disk with room for this many more bytes.
type fullDisk struct {
	recfile.Storage
	room int
}

func (f *fullDisk) WriteAt(p []byte, off int64) (int, error) {
	if len(p) <= f.room {
		f.room -= len(p)
		return f.Storage.WriteAt(p, off)
	}
	n, err := f.Storage.WriteAt(p[:f.room], off)
	f.room = 0
	return n, errors.Join(syscall.ENOSPC, err)
}

// fullLedger is a ledger on such a disk.
type fullLedger struct {
	file
	room int
}

func (f *fullLedger) Write(p []byte) (int, error) {
	if len(p) <= f.room {
		f.room -= len(p)
		return f.file.Write(p)
	}
	n, err := f.file.Write(p[:f.room])
	f.room = 0
	return n, errors.Join(syscall.ENOSPC, err)
}

func testRecorder(t testing.TB) (*Recorder, *Recording) {
	t.Helper()
	r, err := Open(
		t.TempDir(),
		ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		Options{Sealer: recordtest.Sealer{}},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	rec, err := r.Start(Header{SessionID: "alice-1", Start: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return r, rec
}

func outputOf(t *testing.T, r *Recorder) string {
	t.Helper()
	s, err := r.Open("alice-1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Records()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Kind == recfile.Output {
			b.Write(rec.Data)
		}
	}
}

// TestFullDiskAtTheSeal: a recording that cannot be finished is not sealed,
// loses nothing, and can be sealed later.
func TestFullDiskAtTheSeal(t *testing.T) {
	t.Parallel()
	for room := 0; room < 400; room += 37 {
		r, err := Open(
			t.TempDir(),
			ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
			Options{Sealer: recordtest.Sealer{}},
		)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var disk *fullDisk
		r.wrap = func(f recordingFiles) recordingFiles {
			disk = &fullDisk{Storage: f.main, room: 1 << 20}
			f.main = disk
			return f
		}
		rec, err := r.Start(Header{SessionID: "alice-1", Start: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.Output([]byte("all of it")); err != nil {
			t.Fatal(err)
		}
		disk.room = room
		if _, err := rec.Seal(Exit{Status: 1}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("room %d: %v", room, err)
		}
		disk.room = 1 << 20
		if s, err := rec.Seal(Exit{Status: 2}); err != nil || s.Exit.Status != 1 {
			t.Fatalf("room %d: %+v %v", room, s.Exit, err)
		}
		if _, err := r.Verify("alice-1"); err != nil {
			t.Errorf("room %d: %v", room, err)
		}
		if got := outputOf(t, r); got != "all of it" {
			t.Errorf("room %d: %q", room, got)
		}
	}
}

// TestFullDiskInTheLedger: a recording that cannot be entered in the ledger is
// not sealed, and can be sealed later.
func TestFullDiskInTheLedger(t *testing.T) {
	t.Parallel()
	r, rec := testRecorder(t)
	disk := &fullLedger{file: r.ledger.f, room: 50}
	r.ledger.f = disk
	if _, err := rec.Seal(Exit{Status: 1}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if _, err := r.Start(Header{SessionID: "alice-2"}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	disk.room = 1 << 20
	if s, err := rec.Seal(Exit{Status: 2}); err != nil || s.Exit.Status != 1 {
		t.Fatalf("%+v %v", s.Exit, err)
	}
	rec2, err := r.Start(Header{SessionID: "alice-2"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rec2.Seal(Exit{}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []sekisho.SessionID{"alice-1", "alice-2"} {
		if _, err := r.Verify(id); err != nil {
			t.Error(err)
		}
	}
	if _, err := VerifyLedger(r.root.FS(), r.keys); err != nil {
		t.Error(err)
	}
}

// TestSealsAreLinked: a seal that does not name its predecessor is reported,
// although it is signed and in the ledger.
func TestSealsAreLinked(t *testing.T) {
	t.Parallel()
	r, rec := testRecorder(t)
	if _, err := rec.Seal(Exit{}); err != nil {
		t.Fatal(err)
	}
	r.ledger.lastSeal = ""
	rec, err := r.Start(Header{SessionID: "alice-2", Start: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rec.Seal(Exit{}); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyLedger(r.root.FS(), r.keys); err == nil ||
		!strings.Contains(err.Error(), "contradicts ledger line 4") {
		t.Errorf("got %v", err)
	}
}

// TestOutputDoesNotAllocate, between blocks.
func TestOutputDoesNotAllocate(t *testing.T) {
	_, rec := testRecorder(t)
	p := []byte("some output\r\n")
	if n := testing.AllocsPerRun(1000, func() {
		if err := rec.Output(p); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations an event", n)
	}
}

package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
)

// fullDisk is a file on a disk with room for that many bytes more.
type fullDisk struct {
	file
	room       int
	noTruncate bool
}

func (f *fullDisk) Write(p []byte) (int, error) {
	if len(p) <= f.room {
		f.room -= len(p)
		return f.file.Write(p)
	}
	n, err := f.file.Write(p[:f.room])
	f.room = 0
	return n, errors.Join(syscall.ENOSPC, err)
}

func (f *fullDisk) Truncate(size int64) error {
	if f.noTruncate {
		return syscall.EIO
	}
	return f.file.Truncate(size)
}

func testRecorder(t testing.TB) (*Recorder, *Recording) {
	t.Helper()
	r, err := Open(t.TempDir(), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Options{})
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

// TestFullDisk: for every amount of room, an event is recorded whole or
// refused whole, and when there is room again the recording is good.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for room := range 90 {
		r, rec := testRecorder(t)
		disk := &fullDisk{file: rec.cast, room: room}
		rec.cast = disk
		var want []string
		for _, s := range []string{"one \xe9\x96", "\xa2 two", "three \xff", "four"} {
			err := rec.Output([]byte(s))
			switch {
			case err == nil:
				want = append(want, s)
			case !errors.Is(err, syscall.ENOSPC):
				t.Fatal(err)
			}
		}
		if len(want) == 4 && room < 60 {
			t.Fatalf("room %d was enough for everything", room)
		}
		disk.room = 1 << 20
		if err := rec.Output([]byte(" five")); err != nil {
			t.Fatal(err)
		}
		s, err := rec.Seal(Exit{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Verify("alice-1"); err != nil {
			t.Fatalf("room %d: %v", room, err)
		}
		all := strings.Join(want, "") + " five"
		if got := outputOf(t, r); got != all || s.BytesOut != int64(len(all)) {
			t.Fatalf("room %d: %q (%d bytes), want %q", room, got, s.BytesOut, all)
		}
	}
}

func outputOf(t *testing.T, r *Recorder) string {
	t.Helper()
	c, err := r.Open("alice-1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, err := cast.NewReader(c)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if ev.Code == cast.Output {
			b.Write(ev.Bytes())
		}
	}
}

// TestBrokenDisk: a write that can be neither done nor undone ends the
// recording; Recover saves what is whole.
func TestBrokenDisk(t *testing.T) {
	t.Parallel()
	r, rec := testRecorder(t)
	if err := rec.Output([]byte("good")); err != nil {
		t.Fatal(err)
	}
	rec.cast = &fullDisk{file: rec.cast, room: 5, noTruncate: true}
	for range 2 {
		if err := rec.Output([]byte("bad")); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := rec.Seal(Exit{}); err == nil {
		t.Error("sealed over a torn line")
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	sums, err := r.Recover(t.Context(), func(id sekisho.SessionID) bool { return true })
	if err != nil || len(sums) != 1 || sums[0].Damage != "" {
		t.Fatalf("%+v %v", sums, err)
	}
	if got := outputOf(t, r); got != "good" {
		t.Errorf("got %q", got)
	}
	if _, err := r.Verify("alice-1"); err != nil {
		t.Error(err)
	}
}

// TestFullDiskInTheChain: no room for a checkpoint that is due refuses the
// event before which it was due.
func TestFullDiskInTheChain(t *testing.T) {
	t.Parallel()
	r, rec := testRecorder(t)
	r.every = 10
	if err := rec.Output([]byte("first")); err != nil {
		t.Fatal(err)
	}
	disk := &fullDisk{file: rec.chain, room: 100}
	rec.chain = disk
	if err := rec.Output([]byte("second")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if _, err := rec.Seal(Exit{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	disk.room = 1 << 20
	if _, err := rec.Seal(Exit{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify("alice-1"); err != nil {
		t.Error(err)
	}
	if got := outputOf(t, r); got != "first" {
		t.Errorf("got %q", got)
	}
}

// TestFullDiskInTheLedger: a recording that the ledger cannot name is not
// sealed, and can be later.
func TestFullDiskInTheLedger(t *testing.T) {
	t.Parallel()
	r, rec := testRecorder(t)
	disk := &fullDisk{file: r.ledger.f, room: 50}
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
	if _, err := VerifyLedger(r.root.FS(), r.keys, ""); err != nil {
		t.Error(err)
	}
}

// TestSealsAreLinked: a seal that does not name the one before it is found,
// though it is signed and in the ledger.
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
	if _, err := VerifyLedger(r.root.FS(), r.keys, ""); err == nil || !strings.Contains(err.Error(), "contradicts ledger line 4") {
		t.Errorf("got %v", err)
	}
}

// TestOutputDoesNotAllocate between checkpoints.
func TestOutputDoesNotAllocate(t *testing.T) {
	_, rec := testRecorder(t)
	p := []byte("some output\r\n")
	if n := testing.AllocsPerRun(1000, func() {
		if err := rec.Output(p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

// nothing is a hash that costs nothing.
type nothing struct{ hash.Hash }

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

// null is a disk that costs nothing.
type null struct{ file }

func (null) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkOutput(b *testing.B) {
	text := bytes.Repeat([]byte("drwxr-xr-x 2 root root 4096 Nov 23 10:00 etc\r\n"), 90)
	for _, bm := range []struct {
		name string
		size int
	}{{"key", 1}, {"1KiB", 1 << 10}, {"4KiB", 4 << 10}} {
		for _, mode := range []string{"sealed", "plain", "sealed-nodisk", "plain-nodisk"} {
			b.Run(bm.name+"/"+mode, func(b *testing.B) {
				r, rec := testRecorder(b)
				size := int64(0)
				if strings.HasPrefix(mode, "plain") {
					rec.hash, r.every = nothing{sha256.New()}, 1<<60
				}
				if strings.HasSuffix(mode, "nodisk") {
					rec.cast = null{rec.cast}
				}
				p := text[:bm.size]
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					if err := rec.Output(p); err != nil {
						b.Fatal(err)
					}
					// The page cache is not what is measured.
					if size += int64(len(p)); size > 64<<20 {
						size = 0
						if f, ok := rec.cast.(*os.File); ok {
							b.StopTimer()
							if err := f.Truncate(0); err != nil {
								b.Fatal(err)
							}
							b.StartTimer()
						}
					}
				}
			})
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	r, rec := testRecorder(b)
	text := bytes.Repeat([]byte("drwxr-xr-x 2 root root 4096 Nov 23 10:00 etc\r\n"), 22)
	for range 32 << 10 {
		if err := rec.Output(text); err != nil {
			b.Fatal(err)
		}
	}
	s, err := rec.Seal(Exit{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(s.CastBytes)
	for b.Loop() {
		if _, err := r.Verify("alice-1"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	r, _ := testRecorder(b)
	for i := 0; b.Loop(); i++ {
		rec, err := r.Start(Header{SessionID: sekisho.SessionID("b-" + time.Now().Format("150405.000000000"))})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := rec.Seal(Exit{}); err != nil {
			b.Fatal(err)
		}
	}
}

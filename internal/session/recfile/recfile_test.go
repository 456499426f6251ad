package recfile_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"sekisho/internal/session/recfile"
	"sekisho/internal/session/screen"
)

// memFile is a file in memory. A full disk has room for this many more bytes.
type memFile struct {
	mu     sync.Mutex
	b      []byte
	full   bool
	room   int
	before func() // called before each write
}

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(m.b).ReadAt(p, off)
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	if m.before != nil {
		m.before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if grow := int(off) + len(p) - len(m.b); m.full && grow > m.room {
		p, err = p[:max(0, len(p)-(grow-m.room))], syscall.ENOSPC
	}
	if end := int(off) + len(p); end > len(m.b) {
		if m.full {
			m.room -= end - len(m.b)
		}
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	copy(m.b[off:], p)
	return len(p), err
}

func (m *memFile) Truncate(n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		m.room += len(m.b) - int(n)
	}
	m.b = append(m.b[:min(n, int64(len(m.b)))], make([]byte, max(0, n-int64(len(m.b))))...)
	return nil
}

func (m *memFile) bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.b)
}

type memInfo struct {
	fs.FileInfo
	size int64
}

func (i memInfo) Size() int64 { return i.size }

func (m *memFile) Stat() (os.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return memInfo{size: int64(len(m.b))}, nil
}
func (m *memFile) Sync() error  { return nil }
func (m *memFile) Close() error { return nil }

type files struct{ main, tail0, tail1 *memFile }

func newFiles() *files { return &files{&memFile{}, &memFile{}, &memFile{}} }

func (f *files) all() []*memFile { return []*memFile{f.main, f.tail0, f.tail1} }

func (f *files) clone() *files {
	return &files{&memFile{b: f.main.bytes()}, &memFile{b: f.tail0.bytes()}, &memFile{b: f.tail1.bytes()}}
}

var (
	signer = ed25519.NewKeyFromSeed(make([]byte, 32))
	keyID  = recfile.KeyID{1, 2, 3}
	key    = bytes.Repeat([]byte{7}, recfile.KeySize)
)

func keys(id recfile.KeyID) (ed25519.PublicKey, bool) {
	return signer.Public().(ed25519.PublicKey), id == keyID
}

func config(f *files) recfile.Config {
	return recfile.Config{
		Main: f.main, Tails: [2]recfile.Storage{f.tail0, f.tail1}, Header: []byte(`{"session":"s"}`), Key: key,
		Sign: func(m []byte) []byte { return ed25519.Sign(signer, m) }, KeyID: keyID, Cols: 80, Rows: 24,
		BlockSize: 500, KeyframeBytes: 1000,
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, f *files) *recfile.Writer {
	t.Helper()
	w, err := recfile.Create(config(f))
	ok(t, err)
	return w
}

func openAt(t testing.TB, f *files) *recfile.Reader {
	t.Helper()
	b := f.main.bytes()
	r, err := recfile.Open(bytes.NewReader(b), int64(len(b)))
	ok(t, err)
	ok(t, r.Unlock(key))
	return r
}

func collect(c *recfile.Cursor) (out []string, err error) {
	for {
		r, err := c.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if r.Kind != recfile.Keyframe {
			out = append(out, fmt.Sprintf("%c %v %q", r.Kind, r.Time, r.Data))
		}
	}
}

func contents(t testing.TB, f *files) []string {
	t.Helper()
	c, err := openAt(t, f).Records()
	ok(t, err)
	out, err := collect(c)
	ok(t, err)
	return out
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFiles()
	w := create(t, f)
	var want []string
	add := func(k recfile.Kind, at time.Duration, data string) {
		t.Helper()
		ok(t, w.Append(k, at, []byte(data)))
		want = append(want, fmt.Sprintf("%c %v %q", k, at, data))
	}
	for i := range 200 {
		add(recfile.Output, time.Duration(i)*time.Millisecond, strings.Repeat(fmt.Sprintf("line %d ", i), 5)+"\r\n")
	}
	add(recfile.Input, time.Second, "exit\r")
	add(recfile.HiddenInput, time.Second, string(binary.AppendUvarint(nil, 300)))
	add(recfile.Resize, time.Second, string(recfile.AppendSize(nil, 100, 30)))
	add(recfile.Exit, 2*time.Second, string(recfile.AppendExit(nil, 3, "done")))
	res, err := w.Finish()
	ok(t, err)
	if d := cmp.Diff(want, contents(t, f)); d != "" {
		t.Error(d)
	}
	rep, err := recfile.Verify(f.main, res.Size, keys)
	ok(t, err)
	if rep.Digest != res.Digest || rep.Torn || rep.Index != res.Index || rep.Totals.In != 305 ||
		rep.Totals != res.Totals {
		t.Errorf("%+v, want %+v", rep, res)
	}
	if bytes.Contains(f.main.b, []byte("line 17")) || bytes.Contains(f.tail0.b, []byte("line")) ||
		bytes.Contains(f.tail1.b, []byte("line")) {
		t.Error("there is text in the clear")
	}
	// The index matches the blocks.
	a, b := openAt(t, f), openAt(t, f)
	ok(t, b.UseIndex(res.Index))
	x, err := a.Blocks()
	ok(t, err)
	y, err := b.Blocks()
	ok(t, err)
	for i := range x {
		if x[i] != y[i] {
			t.Errorf("block %d: %+v, index %+v", i, x[i], y[i])
		}
	}
	if len(x) < 5 {
		t.Errorf("%d blocks", len(x))
	}
}

// TestSeek: the screen that a reader renders from a keyframe is the screen at
// that time.
func TestSeek(t *testing.T) {
	t.Parallel()
	f := newFiles()
	w := create(t, f)
	live := screen.New(80, 24)
	ok(t, w.Append(recfile.Resize, 0, recfile.AppendSize(nil, 80, 24)))
	const n = 300
	var want [n][]string
	for i := range n {
		text := fmt.Sprintf("\x1b[%d;1Hstep %d\x1b[K\r\n", i%30, i)
		ok(t, w.Append(recfile.Output, time.Duration(i)*time.Second, []byte(text)))
		live.Write([]byte(text))
		want[i] = live.Lines()
	}
	_, err := w.Finish()
	ok(t, err)
	r := openAt(t, f)
	frames := 0
	blocks, err := r.Blocks()
	ok(t, err)
	for _, b := range blocks {
		if b.Keyframe {
			frames++
		}
	}
	if frames < 4 {
		t.Errorf("%d keyframes", frames)
	}
	for i := range n {
		at := time.Duration(i) * time.Second
		c, err := r.Seek(at)
		ok(t, err)
		s := screen.New(80, 24)
		for steps := 0; ; steps++ {
			rec, err := c.Next()
			if errors.Is(err, io.EOF) || err == nil && rec.Time > at {
				break
			}
			ok(t, err)
			if steps > 100 {
				t.Fatalf("%d records from the keyframe to %v", steps, at)
			}
			switch rec.Kind {
			case recfile.Keyframe:
				_, _, dump, _ := recfile.Size(rec.Data)
				s.Write(dump)
			case recfile.Output:
				s.Write(rec.Data)
			}
		}
		if d := cmp.Diff(want[i], s.Lines()); d != "" {
			t.Fatalf("at %v: %s", at, d)
		}
	}
}

// TestCrash stops the process before each of its writes, and during it. Every
// record for which Append returned is present after the restart.
func TestCrash(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	f := newFiles()
	type crash struct {
		f     *files
		acked int
	}
	var mu sync.Mutex
	var crashes []crash
	acked := 0
	hook := func() {
		mu.Lock()
		defer mu.Unlock()
		// Records that are acknowledged while the files are copied may or may
		// not be in the copy.
		n := acked
		crashes = append(crashes, crash{f.clone(), n})
	}
	w := create(t, f)
	for _, m := range f.all() {
		m.before = hook
	}
	var want []string
	for i := range 150 {
		text := fmt.Sprintf("record %d %s", i, strings.Repeat("x", rnd.IntN(200)))
		at := time.Duration(i) * 10 * time.Millisecond
		ok(t, w.Append(recfile.Output, at, []byte(text)))
		mu.Lock()
		acked++
		mu.Unlock()
		want = append(want, fmt.Sprintf("o %v %q", at, text))
	}
	_, err := w.Finish()
	ok(t, err)
	for i, c := range crashes {
		// The write in progress may have been done in part: it is the content
		// of the later snapshot after the end of this one.
		if i+1 < len(crashes) {
			for j, m := range c.f.all() {
				later := crashes[i+1].f.all()[j].b
				if extra := len(later) - len(m.b); extra > 0 && rnd.IntN(2) == 0 {
					m.b = append(m.b, later[len(m.b):][:rnd.IntN(extra)]...)
				}
			}
		}
		w, err := recfile.Resume(config(c.f), keys)
		if err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		ok(t, w.Append(recfile.Marker, 0, []byte("resumed")))
		res, err := w.Finish()
		ok(t, err)
		got := contents(t, c.f)
		got = got[:len(got)-1]
		if len(got) < c.acked || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("crash %d: %d records of %d acknowledged", i, len(got), c.acked)
		}
		if _, err := recfile.Verify(c.f.main, res.Size, keys); err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
	}
	if len(crashes) < 150 {
		t.Errorf("%d crashes", len(crashes))
	}
}

// TestFullDisk: with any amount of space, a record is either written
// completely or refused, and the recording continues once there is space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, room := range []int{0, 1, 50, 300, 700, 1500, 3000} {
		for which := range 3 {
			f := newFiles()
			w := create(t, f)
			disk := f.all()[which]
			disk.mu.Lock()
			disk.full, disk.room = true, room
			disk.mu.Unlock()
			var want []string
			refused := 0
			write := func(i int) {
				text := fmt.Sprintf("record %d %s", i, strings.Repeat("y", 100))
				err := w.Append(recfile.Output, 0, []byte(text))
				switch {
				case err == nil:
					want = append(want, fmt.Sprintf("o 0s %q", text))
				case errors.Is(err, syscall.ENOSPC):
					refused++
				default:
					t.Fatal(err)
				}
			}
			for i := range 40 {
				write(i)
			}
			if refused == 0 && room < 1500 {
				t.Errorf("room %d in file %d was enough", room, which)
			}
			disk.mu.Lock()
			disk.full = false
			disk.mu.Unlock()
			before := refused
			for i := range 40 {
				write(100 + i)
			}
			if refused != before {
				t.Error("refused though there is room again")
			}
			res, err := w.Finish()
			ok(t, err)
			if d := cmp.Diff(want, contents(t, f)); d != "" {
				t.Errorf("room %d in file %d: %s", room, which, d)
			}
			if _, err := recfile.Verify(f.main, res.Size, keys); err != nil {
				t.Error(err)
			}
		}
	}
}

func sample(t testing.TB, texts string) *files {
	t.Helper()
	f := newFiles()
	w := create(t, f)
	for i := range 60 {
		ok(
			t,
			w.Append(
				recfile.Output,
				time.Duration(i)*time.Second,
				fmt.Appendf(nil, "%s %d %s\r\n", texts, i, strings.Repeat("z", 50)),
			),
		)
	}
	_, err := w.Finish()
	ok(t, err)
	return f
}

// TestManipulations changes a file in thousands of ways. The chain, or the
// digest of the last block that the seal contains, reveals each.
func TestManipulations(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	good, other := sample(t, "good").main.b, sample(t, "other").main.b
	whole, err := recfile.Verify(bytes.NewReader(good), int64(len(good)), keys)
	ok(t, err)
	r, err := recfile.Open(bytes.NewReader(good), int64(len(good)))
	ok(t, err)
	blocks, err := r.Blocks()
	ok(t, err)
	cut := func(i int) (int64, int64) { return blocks[i].Offset, blocks[i].Offset + blocks[i].Size }
	for n := range 4000 {
		b := slices.Clone(good)
		what := ""
		switch rnd.IntN(8) {
		case 0:
			i := rnd.IntN(len(b))
			b[i] ^= 1 << rnd.IntN(8)
			what = fmt.Sprintf("bit flipped in byte %d", i)
		case 1:
			i := rnd.IntN(len(b))
			b = b[:i]
			what = fmt.Sprintf("cut at byte %d", i)
		case 2:
			i := rnd.IntN(len(blocks))
			from, to := cut(i)
			b = slices.Delete(b, int(from), int(to))
			what = fmt.Sprintf("block %d dropped", i)
		case 3:
			i, j := rnd.IntN(len(blocks)), rnd.IntN(len(blocks))
			if i == j {
				continue
			}
			f1, t1 := cut(min(i, j))
			f2, t2 := cut(max(i, j))
			b = slices.Concat(good[:f1], good[f2:t2], good[t1:f2], good[f1:t1], good[t2:])
			what = fmt.Sprintf("blocks %d and %d swapped", i, j)
		case 4:
			i := rnd.IntN(len(blocks))
			from, to := cut(i)
			b = slices.Insert(b, int(to), good[from:to]...)
			what = fmt.Sprintf("block %d repeated", i)
		case 5:
			i := rnd.IntN(len(blocks))
			from, to := cut(i)
			b = slices.Concat(good[:from], other[from:min(to, int64(len(other)))], good[to:])
			what = fmt.Sprintf("block %d of another recording", i)
		case 6:
			b = append(b, other[:1+rnd.IntN(len(other)-1)]...)
			what = "something added"
		case 7:
			i := rnd.IntN(len(b))
			j := i + rnd.IntN(min(100, len(b)-i)+1)
			for k := i; k < j; k++ {
				b[k] = byte(rnd.Uint32())
			}
			what = fmt.Sprintf("bytes %d to %d overwritten", i, j)
		}
		if bytes.Equal(b, good) {
			continue
		}
		rep, err := recfile.Verify(bytes.NewReader(b), int64(len(b)), keys)
		if err == nil && rep.Digest == whole.Digest && rep.Size == int64(len(b)) && !rep.Torn {
			t.Fatalf("%d: %s: not found", n, what)
		}
		// A reader may refuse, or stop early, but it must never return content
		// that was not recorded.
		readAll(b)
	}
}

func readAll(b []byte) {
	r, err := recfile.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil || r.Unlock(key) != nil {
		return
	}
	if c, err := r.Records(); err == nil {
		_, _ = collect(c)
	}
	if c, err := r.Seek(30 * time.Second); err == nil {
		_, _ = collect(c)
	}
	_, _ = r.Duration()
}

// TestTruncatedRecordingInProgress: the end of a recording in progress was removed, but its tail
// shows that there was more.
func TestTruncatedRecordingInProgress(t *testing.T) {
	t.Parallel()
	f := newFiles()
	w := create(t, f)
	for i := range 60 {
		ok(t, w.Append(recfile.Output, time.Duration(i)*time.Second, bytes.Repeat([]byte("a"), 100)))
	}
	ok(t, w.Flush())
	ok(t, w.Append(recfile.Output, time.Hour, []byte("tail")))
	ok(t, w.Close())
	r := openAt(t, f)
	blocks, err := r.Blocks()
	ok(t, err)
	f.main.b = f.main.b[:blocks[len(blocks)-4].Offset]
	_, err = recfile.Resume(config(f), keys)
	if _, is := errors.AsType[*recfile.Flaw](err); !is || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("got %v", err)
	}
}

// TestBomb: a block that understates its size, and one that declares a large
// one, are refused without being unpacked.
func TestBomb(t *testing.T) {
	t.Parallel()
	enc, err := zstd.NewWriter(nil)
	ok(t, err)
	bomb := enc.EncodeAll(make([]byte, 1<<30), nil)
	f := sample(t, "x")
	r := openAt(t, f)
	blocks, err := r.Blocks()
	ok(t, err)
	at := f.main.b[blocks[len(blocks)-1].Offset+blocks[len(blocks)-1].Size:]
	index := len(f.main.b) - len(at)
	for _, claim := range []uint32{100, 4 << 20, 64 << 20, 1 << 31} {
		head := slices.Clone(at[:128])
		head[5] = 1 // compressed
		binary.BigEndian.PutUint32(head[8:], uint32(len(bomb)))
		binary.BigEndian.PutUint32(head[12:], claim)
		b := slices.Concat(f.main.b[:index], head, bomb, make([]byte, 64))
		r, err := recfile.Open(bytes.NewReader(b), int64(len(b)))
		ok(t, err)
		if err := r.UseIndex(int64(index)); err == nil {
			t.Errorf("the bomb that claims %d bytes was unpacked", claim)
		}
	}
}

func TestClockGoesBackwards(t *testing.T) {
	t.Parallel()
	f := newFiles()
	w := create(t, f)
	ok(t, w.Append(recfile.Output, time.Minute, []byte("a")))
	ok(t, w.Append(recfile.Output, time.Second, []byte("b")))
	_, err := w.Finish()
	ok(t, err)
	if d := cmp.Diff([]string{`o 1m0s "a"`, `o 1m0s "b"`}, contents(t, f)); d != "" {
		t.Error(d)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(sample(f, "x").main.b)
	f.Add([]byte("SBK2"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = recfile.Verify(bytes.NewReader(b), int64(len(b)), keys)
		readAll(b)
		files := &files{&memFile{b: slices.Clone(b)}, &memFile{b: slices.Clone(b)}, &memFile{}}
		if w, err := recfile.Resume(config(files), keys); err == nil {
			_ = w.Close()
		}
	})
}

// The content of decrypted blocks is fuzzed separately: an attacker with the
// key must not crash a reader either.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("o\x00\x03abc"))
	f.Add([]byte("k\x00\x05\x50\x18abc"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		fs := newFiles()
		w, err := recfile.Create(config(fs))
		if err != nil {
			return
		}
		_ = w.Close()
		r, err := recfile.Open(bytes.NewReader(fs.main.b), int64(len(fs.main.b)))
		if err != nil {
			return
		}
		blocks, _ := r.Blocks()
		r.UseTail(blocks, [][]byte{b})
		_, _ = r.Duration()
		c, err := r.Records()
		if err != nil {
			return
		}
		for {
			rec, err := c.Next()
			if err != nil {
				return
			}
			recfile.Size(rec.Data)
			recfile.ExitStatus(rec.Data)
			recfile.HiddenBytes(rec.Data)
		}
	})
}

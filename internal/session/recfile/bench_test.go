package recfile_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sekisho/internal/session/recfile"
	"sekisho/internal/session/screen"
)

// buildLog returns text like a compiler's: regular, but without repeated
// lines.
func buildLog(n int) []byte {
	r := mathrand.New(mathrand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(
			&b,
			"[%3d%%] \x1b[32mBuilding CXX object\x1b[0m src/%s/CMakeFiles/%s.dir/file%04d.cc.o -O2 -DNDEBUG (%d ms)\r\n",
			i/100%100,
			[]string{"base", "net", "crypto", "render", "ui"}[r.IntN(5)],
			[]string{"core", "test", "bench"}[r.IntN(3)],
			r.IntN(4000),
			r.IntN(2000),
		)
	}
	return b.Bytes()[:n]
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func diskFiles(t testing.TB) (cfg recfile.Config, main *os.File) {
	t.Helper()
	dir := t.TempDir()
	var f [3]*os.File
	for i := range f {
		var err error
		f[i], err = os.OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_RDWR|os.O_CREATE, 0o600)
		ok(t, err)
		t.Cleanup(func() { f[i].Close() })
	}
	cfg = config(newFiles())
	cfg.Main, cfg.Tails = f[0], [2]recfile.Storage{f[1], f[2]}
	cfg.BlockSize, cfg.KeyframeBytes = 0, 0
	return cfg, f[0]
}

// BenchmarkWrite reports the size of the file relative to the recorded bytes.
func BenchmarkWrite(b *testing.B) {
	for _, data := range []struct {
		name     string
		p        []byte
		terminal bool
	}{{"log", buildLog(64 << 20), false}, {"log-terminal", buildLog(64 << 20), true},
		{"random", randomBytes(64 << 20), false}} {
		for _, chunk := range []int{1 << 10, 32 << 10} {
			b.Run(fmt.Sprintf("%s/%dK", data.name, chunk>>10), func(b *testing.B) {
				b.SetBytes(int64(len(data.p)))
				var size, recorded int64
				began := recfile.ProcessorTime(b)
				for b.Loop() {
					recorded += int64(len(data.p))
					cfg, _ := diskFiles(b)
					w, err := recfile.Create(cfg)
					ok(b, err)
					if data.terminal {
						ok(b, w.Append(recfile.Resize, 0, recfile.AppendSize(nil, 80, 24)))
					}
					for p, i := data.p, 0; len(p) > 0; i++ {
						n := min(chunk, len(p))
						ok(b, w.Append(recfile.Output, time.Duration(i)*10*time.Microsecond, p[:n]))
						p = p[n:]
					}
					res, err := w.Finish()
					ok(b, err)
					size = res.Size
				}
				b.ReportMetric(float64(size)/float64(len(data.p)), "size/recorded")
				b.ReportMetric(float64(recfile.ProcessorTime(b)-began)/float64(recorded), "cpu-ns/B")
			})
		}
	}
}

func BenchmarkKeystroke(b *testing.B) {
	cfg, _ := diskFiles(b)
	w, err := recfile.Create(cfg)
	ok(b, err)
	at := time.Duration(0)
	for b.Loop() {
		at += 50 * time.Microsecond
		ok(b, w.Append(recfile.Output, at, []byte("x")))
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, data := range []struct {
		name string
		p    []byte
	}{{"log", buildLog(128 << 20)}, {"random", randomBytes(128 << 20)}} {
		b.Run(data.name, func(b *testing.B) {
			cfg, main := diskFiles(b)
			w, err := recfile.Create(cfg)
			ok(b, err)
			ok(b, appendAll(w, data.p))
			res, err := w.Finish()
			ok(b, err)
			b.SetBytes(res.Size)
			for b.Loop() {
				_, err := recfile.Verify(main, res.Size, keys)
				ok(b, err)
			}
		})
	}
}

func appendAll(w *recfile.Writer, p []byte) error {
	for i := 0; len(p) > 0; i++ {
		n := min(4<<10, len(p))
		if err := w.Append(recfile.Output, time.Duration(i)*time.Millisecond, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// BenchmarkFirstFrame opens a recording of 1 GiB of output in the middle and
// renders the screen.
func BenchmarkFirstFrame(b *testing.B) {
	cfg, main := diskFiles(b)
	w, err := recfile.Create(cfg)
	ok(b, err)
	ok(b, w.Append(recfile.Resize, 0, recfile.AppendSize(nil, 80, 24)))
	piece := buildLog(64 << 20)
	at := time.Duration(0)
	for range 16 {
		for p := piece; len(p) > 0; {
			n := min(4<<10, len(p))
			at += time.Millisecond
			ok(b, w.Append(recfile.Output, at, p[:n]))
			p = p[n:]
		}
	}
	res, err := w.Finish()
	ok(b, err)
	for i := 0; b.Loop(); i++ {
		t := at / 101 * time.Duration(i*37%101)
		r, err := recfile.Open(main, res.Size)
		ok(b, err)
		ok(b, r.Unlock(key))
		ok(b, r.UseIndex(res.Index))
		c, err := r.Seek(t)
		ok(b, err)
		s := screen.New(80, 24)
		for {
			rec, err := c.Next()
			if err != nil || rec.Time > t {
				break
			}
			switch rec.Kind {
			case recfile.Keyframe:
				_, _, dump, _ := recfile.Size(rec.Data)
				s.Write(dump)
			case recfile.Output:
				s.Write(rec.Data)
			}
		}
	}
}

// BenchmarkSearch searches 1,000,000 rendered lines for a rare word, in
// transcripts of 10 recordings, on two processors.
func BenchmarkSearch(b *testing.B) {
	const recordings, lines = 10, 100_000
	var texts [recordings][]byte
	for i := range texts {
		f := newFiles()
		w := create(b, f)
		log := buildLog(lines * 90)
		for j := 0; len(log) > 0; j++ {
			n := min(4<<10, len(log))
			ok(b, w.Append(recfile.Output, time.Duration(j)*time.Millisecond, log[:n]))
			log = log[n:]
		}
		_, err := w.Finish()
		ok(b, err)
		var out bytes.Buffer
		ok(b, recfile.WriteTranscript(&out, openAt(b, f), key, nil))
		texts[i] = out.Bytes()
	}
	b.ResetTimer()
	for b.Loop() {
		var next atomic.Int32
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for i := next.Add(1); i <= recordings; i = next.Add(1) {
					err := recfile.SearchTranscript(
						bytes.NewReader(texts[i-1]),
						key,
						"nowhere to be found",
						func(recfile.Line) bool { return true },
					)
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	size := 0
	for _, t := range texts {
		size += len(t)
	}
	b.ReportMetric(float64(size), "bytes")
}

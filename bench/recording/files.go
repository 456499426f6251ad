package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sekisho/internal/session/recfile"
	"sekisho/internal/session/screen"
)

// buildLog is text like that of a compiler: regular, but no line twice.
func buildLog(n int) []byte {
	r := mathrand.New(mathrand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "[%3d%%] \x1b[32mBuilding CXX object\x1b[0m src/%s/CMakeFiles/%s.dir/file%04d.cc.o -O2 -DNDEBUG "+
			"(%d ms)\n",
			i/100%100, []string{"base", "net", "crypto", "render", "ui"}[r.IntN(5)],
			[]string{"core", "test", "bench"}[r.IntN(3)],
			r.IntN(4000), r.IntN(2000))
	}
	return b.Bytes()[:n]
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: see crypto/rand
	return b
}

// file is a recording in its own file.
type file struct {
	main   *os.File
	size   int64
	index  int64
	length time.Duration
}

var signer = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

var contentKey = make([]byte, recfile.KeySize)

// record writes a recording of output in pieces of 4 KiB, one per millisecond.
func record(dir, name string, terminal bool, pieces ...[]byte) (*file, error) {
	var open [3]*os.File
	for i := range open {
		var err error
		if open[i], err = os.Create(filepath.Join(dir, fmt.Sprint(name, i))); err != nil {
			return nil, err
		}
	}
	w, err := recfile.Create(recfile.Config{
		Main: open[0], Tails: [2]recfile.Storage{open[1], open[2]}, Key: contentKey, Header: []byte("{}"), Cols: 80, Rows: 24,
		Sign: func(message []byte) []byte { return ed25519.Sign(signer, message) },
	})
	if err != nil {
		return nil, err
	}
	if terminal {
		if err := w.Append(recfile.Resize, 0, recfile.AppendSize(nil, 80, 24)); err != nil {
			return nil, err
		}
	}
	at := time.Duration(0)
	for _, p := range pieces {
		for len(p) > 0 {
			n := min(4<<10, len(p))
			at += time.Millisecond
			if err := w.Append(recfile.Output, at, p[:n]); err != nil {
				return nil, err
			}
			p = p[n:]
		}
	}
	res, err := w.Finish()
	if err != nil {
		return nil, err
	}
	return &file{open[0], res.Size, res.Index, at}, nil
}

func (f *file) open() (*recfile.Reader, error) {
	r, err := recfile.Open(f.main, f.size)
	if err == nil {
		err = r.Unlock(contentKey)
	}
	if err == nil {
		err = r.UseIndex(f.index)
	}
	return r, err
}

// measureFiles runs the measurements that need no server.
func measureFiles(dir string) ([]row, error) {
	const size = 128 << 20
	text, random := buildLog(size), randomBytes(size)
	textFile, err := record(dir, "text.rec", false, text)
	if err != nil {
		return nil, err
	}
	randomFile, err := record(dir, "random.rec", false, random)
	if err != nil {
		return nil, err
	}
	ratio := func(f *file) string { return fmt.Sprintf("%.3f×", float64(f.size)/size) }
	rows := []row{
		{what: "size of a build log", on: ratio(textFile), target: "≤ 0.15×"},
		{what: "size of random bytes", on: ratio(randomFile), target: "≤ 1.02×"},
	}
	keys := func(recfile.KeyID) (ed25519.PublicKey, bool) { return signer.Public().(ed25519.PublicKey), true }
	began := time.Now()
	if _, err := recfile.Verify(randomFile.main, randomFile.size, keys); err != nil {
		return nil, err
	}
	rate := float64(randomFile.size) / 1e6 / time.Since(began).Seconds()
	rows = append(rows, row{what: "verification, one core", on: fmt.Sprintf("%.0f MB/s", rate), target: "≥ 500 MB/s"})
	search, err := measureSearch(dir)
	if err != nil {
		return nil, err
	}
	first, err := measureFirstFrame(dir)
	return append(rows, search, first), err
}

// measureSearch looks for a rare word in 1,000,000 rendered lines of 10 recordings,
// on two processors.
func measureSearch(dir string) (row, error) {
	const recordings, lines, width = 10, 100_000, 96
	var texts [recordings][]byte
	for i := range texts {
		log := bytes.ReplaceAll(buildLog(lines*width), []byte("\n"), []byte("\r\n"))
		f, err := record(dir, fmt.Sprintf("search%d.rec", i), false, log)
		if err != nil {
			return row{}, err
		}
		r, err := f.open()
		if err != nil {
			return row{}, err
		}
		var out bytes.Buffer
		if err := recfile.WriteTranscript(&out, r, contentKey, nil); err != nil {
			return row{}, err
		}
		texts[i] = out.Bytes()
	}
	var next atomic.Int32
	var failed atomic.Value
	var wg sync.WaitGroup
	began := time.Now()
	for range 2 {
		wg.Go(func() {
			for i := next.Add(1); i <= recordings; i = next.Add(1) {
				err := recfile.SearchTranscript(bytes.NewReader(texts[i-1]), contentKey, "nowhere to be found",
					func(recfile.Line) bool { return true })
				if err != nil {
					failed.Store(err)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err, ok := failed.Load().(error); ok {
		return row{}, err
	}
	return row{what: "search of 1,000,000 rendered lines, two cores", on: took.Round(time.Millisecond).String(),
		target: "≤ 200 ms"}, nil
}

// measureFirstFrame opens a recording of 1 GiB of output at many offsets.
func measureFirstFrame(dir string) (row, error) {
	piece := bytes.ReplaceAll(buildLog(64<<20), []byte("\n"), []byte("\r\n"))
	pieces := make([][]byte, 16)
	for i := range pieces {
		pieces[i] = piece
	}
	f, err := record(dir, "long.rec", true, pieces...)
	if err != nil {
		return row{}, err
	}
	var worst time.Duration
	const offsets = 50
	for i := range offsets {
		at := f.length / offsets * time.Duration(i)
		began := time.Now()
		r, err := f.open()
		if err != nil {
			return row{}, err
		}
		c, err := r.Seek(at)
		if err != nil {
			return row{}, err
		}
		shown := screen.New(80, 24)
		for {
			rec, err := c.Next()
			if err != nil {
				return row{}, err
			}
			if rec.Time > at {
				break
			}
			shown = recfile.Render(shown, rec)
		}
		worst = max(worst, time.Since(began))
	}
	return row{what: "first frame of a recording of 1 GiB, worst of 50 offsets",
		on: worst.Round(time.Millisecond).String(), target: "≤ 100 ms"}, nil
}

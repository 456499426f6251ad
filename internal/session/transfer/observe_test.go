package transfer_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"sekisho/internal/session/transfer"
)

// tapped passes its data to an observer, in small pieces.
type tapped struct {
	io.ReadWriter
	mu     *sync.Mutex
	o      *transfer.Observer
	upload bool
	seen   *[]transfer.Observed
	err    *error
}

func (t tapped) pass(fromClient bool, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(p) > 0 {
		n := min(7, len(p))
		if len(p) > 1000 {
			n = 999
		}
		done, err := t.o.Pass(fromClient, p[:n])
		*t.seen = append(*t.seen, done...)
		if err != nil && *t.err == nil {
			*t.err = err
		}
		p = p[n:]
	}
}

func (t tapped) Write(p []byte) (int, error) {
	t.pass(t.upload, p)
	return t.ReadWriter.Write(p)
}

func (t tapped) Read(p []byte) (int, error) {
	n, err := t.ReadWriter.Read(p)
	t.pass(!t.upload, p[:n])
	return n, err
}

// TestObserver compares what an observer reports about a copy with what was
// copied.
func TestObserver(t *testing.T) {
	t.Parallel()
	for _, upload := range []bool{true, false} {
		from, to := filepath.Join(t.TempDir(), "site"), t.TempDir()
		files := map[string][]byte{"big": noise(3 << 20), "sub/a": noise(10), "sub/b": nil, "sub/c": noise(70_000)}
		for name, text := range files {
			write(t, filepath.Join(from, name), text, 0o640)
		}
		// The receiver has the beginning of one file.
		write(t, filepath.Join(to, "site", "sub", "c"), files["sub/c"][:1000], 0o600)
		var o transfer.Observer
		var seen []transfer.Observed
		var observeErr error
		_, _, sendErr, receiveErr := cp(t, from, to, func(c io.ReadWriter) io.ReadWriter {
			return tapped{c, &sync.Mutex{}, &o, upload, &seen, &observeErr}
		})
		if sendErr != nil || receiveErr != nil || observeErr != nil {
			t.Fatal(sendErr, receiveErr, observeErr)
		}
		got, folders := map[string]transfer.Observed{}, 0
		for _, f := range seen {
			if f.FromClient != upload || !f.Complete {
				t.Errorf("upload %v: %+v", upload, f)
			}
			if f.Dir {
				folders++
				continue
			}
			got[f.Path] = f
		}
		for name, text := range files {
			sum := sha256.Sum256(text)
			f := got["site/"+name]
			if f.Size != int64(len(text)) || f.Mode != 0o640 || f.SHA256 != hex.EncodeToString(sum[:]) ||
				f.Offset+f.Passed != f.Size {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if len(got) != len(files) || folders != 2 || len(o.Unfinished()) != 0 {
			t.Errorf("%d files, %d folders, unfinished: %+v", len(got), folders, o.Unfinished())
		}
	}
}

// TestObserverOfAnInterruptedCopy: a file that was not transferred completely
// is reported.
func TestObserverOfAnInterruptedCopy(t *testing.T) {
	t.Parallel()
	from := filepath.Join(t.TempDir(), "disk.img")
	write(t, from, noise(1<<20), 0o600)
	var o transfer.Observer
	var seen []transfer.Observed
	var observeErr error
	_, _, sendErr, _ := cp(t, from, t.TempDir(), func(c io.ReadWriter) io.ReadWriter {
		return tapped{&broken{ReadWriter: c, left: 300_000}, &sync.Mutex{}, &o, true, &seen, &observeErr}
	})
	left := o.Unfinished()
	if sendErr == nil || len(seen) != 0 || len(left) != 1 || left[0].Complete || left[0].Path != "disk.img" ||
		left[0].Passed < 200_000 || left[0].Passed >= 1<<20 {
		t.Errorf("%v, complete %+v, unfinished %+v", sendErr, seen, left)
	}
}

// broken fails after this many bytes.
type broken struct {
	io.ReadWriter
	left int
}

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.Join(os.ErrClosed, b.ReadWriter.(io.Closer).Close())
	}
	return b.ReadWriter.Write(p)
}

func FuzzObserver(f *testing.F) {
	f.Add([]byte("h\x00\x00\x00\x20{\"version\":1,\"name\":\"a\",\"dir\":0}"), true)
	f.Fuzz(func(t *testing.T, p []byte, client bool) {
		var o transfer.Observer
		_, err := o.Pass(client, p[:len(p)/2])
		if _, again := o.Pass(client, p[len(p)/2:]); err != nil && again == nil {
			t.Error("an error was forgotten")
		}
		o.Unfinished()
	})
}

package objects

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// TestCopyHashed compares content and hashes around chunk boundaries, with readers that
// return large and small amounts at a time.
func TestCopyHashed(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, smallContent, smallContent + 1,
		blocks*chunkSize + 7, 9*chunkSize + 1} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		want := sha256.Sum256(content)
		readers := map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader,
			"data with EOF": iotest.DataErrReader,
		}
		for name, reader := range readers {
			for _, known := range []int64{int64(size), -1} {
				var out bytes.Buffer
				a, b := sha256.New(), sha256.New()
				n, err := copyHashed(&out, reader(bytes.NewReader(content)), known, a, b)
				if err != nil || n != int64(size) || !bytes.Equal(out.Bytes(), content) {
					t.Errorf("%d bytes, %s: %d were copied, %v", size, name, n, err)
				}
				if !bytes.Equal(a.Sum(nil), want[:]) || !bytes.Equal(b.Sum(nil), want[:]) {
					t.Errorf("%d bytes, %s: a hash is wrong", size, name)
				}
			}
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestCopyHashedReportsErrors(t *testing.T) {
	t.Parallel()
	content := make([]byte, 8*chunkSize)
	cut := io.MultiReader(bytes.NewReader(content[:3*chunkSize+5]), iotest.ErrReader(io.ErrUnexpectedEOF))
	if n, err := copyHashed(io.Discard, cut, -1, sha256.New()); !errors.Is(err, io.ErrUnexpectedEOF) ||
		n != 3*chunkSize+5 {
		t.Errorf("a body that was cut off: %d bytes, %v", n, err)
	}
	if _, err := copyHashed(&failing{3 * chunkSize}, bytes.NewReader(content), -1, sha256.New()); !errors.Is(
		err,
		io.ErrShortWrite,
	) {
		t.Errorf("a full disk: %v", err)
	}
}

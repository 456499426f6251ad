package recfile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkStages measures what each stage of recording costs per byte of output, with blocks as
// full as those of a command that writes without pause.
func BenchmarkStages(b *testing.B) {
	var log bytes.Buffer
	for r := mathrand.New(mathrand.NewPCG(1, 2)); log.Len() < 4*BlockSize; {
		fmt.Fprintf(&log, "[%3d%%] Building CXX object src/ui/CMakeFiles/core.dir/file%04d.cc.o -O2 -DNDEBUG (%d ms)\r\n",
			r.IntN(100), r.IntN(4000), r.IntN(2000))
	}
	random := make([]byte, 4*BlockSize)
	rand.Read(random)
	aead, err := newAEAD(make([]byte, KeySize))
	if err != nil {
		b.Fatal(err)
	}
	signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for _, data := range []struct {
		name string
		p    []byte
	}{{"text", log.Bytes()[:4*BlockSize]}, {"random", random}} {
		packed, ok := pack(nil, data.p[:BlockSize])
		if !ok {
			packed = data.p[:BlockSize]
		}
		open := func(b *testing.B) *os.File {
			b.Helper()
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { f.Close() })
			return f
		}
		out := make([]byte, 0, 2*BlockSize)
		const frame = 32 << 10
		for _, stage := range []struct {
			name string
			do   func(b *testing.B) func(block []byte)
		}{
			{"copy", func(*testing.B) func([]byte) { return func(p []byte) { out = append(out[:0], p...) } }},
			{"tail-encrypt", func(*testing.B) func([]byte) {
				return func(p []byte) {
					for len(p) > 0 {
						out = aead.Seal(out[:0], make([]byte, 12), p[:frame], nil)
						p = p[frame:]
					}
				}
			}},
			{"tail-write", func(b *testing.B) func([]byte) {
				f := open(b)
				return func(p []byte) {
					for at := 0; at < len(p); at += frame {
						if _, err := f.WriteAt(p[at:at+frame], int64(at)); err != nil {
							b.Fatal(err)
						}
					}
				}
			}},
			{"compress", func(*testing.B) func([]byte) { return func(p []byte) { pack(out[:0], p) } }},
			{"encrypt", func(*testing.B) func([]byte) {
				return func([]byte) { out = aead.Seal(out[:0], make([]byte, 12), packed, nil) }
			}},
			{"digest", func(*testing.B) func([]byte) { return func([]byte) { sha256.Sum256(packed) } }},
			{"sign", func(*testing.B) func([]byte) { return func([]byte) { ed25519.Sign(signer, packed[:64]) } }},
			{"write", func(b *testing.B) func([]byte) {
				f := open(b)
				at := int64(0)
				return func([]byte) {
					if _, err := f.WriteAt(packed, at); err != nil {
						b.Fatal(err)
					}
					if at += int64(len(packed)); at > 512<<20 {
						if err := f.Truncate(0); err != nil {
							b.Fatal(err)
						}
						at = 0
					}
				}
			}},
		} {
			b.Run(data.name+"/"+stage.name, func(b *testing.B) {
				do := stage.do(b)
				i := 0
				began := processorTime(b)
				for b.Loop() {
					do(data.p[i%4*BlockSize:][:BlockSize])
					i++
				}
				b.ReportMetric(float64(processorTime(b)-began)/float64(i)/BlockSize, "cpu-ns/B")
			})
		}
	}
}

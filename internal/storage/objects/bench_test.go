package objects_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sekisho/internal/storage/objects"
)

// benchSize is the size of the objects of the benchmarks.
const benchSize = 100 << 20

// BenchmarkPlainEncryptedFile is the baseline for the others: writing a file under
// AES-256-GCM in pieces of 64 KiB, with fsync, and reading it back.
func BenchmarkPlainEncryptedFile(b *testing.B) {
	content := noise(benchSize)
	key := make([]byte, 32)
	rand.Read(key) // cannot fail: see crypto/rand
	block, err := aes.NewCipher(key)
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	const piece = 64 << 10
	nonce := func(n int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 4, 12), uint64(n)) }
	file := filepath.Join(b.TempDir(), "file")
	write := func() {
		f, err := os.Create(file)
		if err != nil {
			b.Fatal(err)
		}
		sealed := make([]byte, 0, piece+aead.Overhead())
		for n := 0; n*piece < len(content); n++ {
			if _, err := f.Write(aead.Seal(sealed, nonce(n), content[n*piece:min((n+1)*piece, len(content))], nil)); err != nil {
				b.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("write", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			write()
		}
	})
	b.Run("read", func(b *testing.B) {
		write()
		b.SetBytes(benchSize)
		sealed := make([]byte, piece+aead.Overhead())
		for b.Loop() {
			f, err := os.Open(file)
			if err != nil {
				b.Fatal(err)
			}
			for n := 0; n*piece < len(content); n++ {
				if _, err := io.ReadFull(f, sealed); err != nil {
					b.Fatal(err)
				}
				if _, err := aead.Open(sealed[:0], nonce(n), sealed, nil); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	r := open(b)
	content := noise(benchSize)
	for _, algorithm := range []string{objects.CRC64NVME, objects.CRC32, objects.SHA256} {
		b.Run(algorithm, func(b *testing.B) {
			b.SetBytes(benchSize)
			for i := 0; b.Loop(); i++ {
				c := objects.Content{Body: bytes.NewReader(content), Size: benchSize, Algorithm: algorithm}
				if _, err := r.Put(b.Context(), "bucket", fmt.Sprint("k", i%2), objects.Facts{}, c,
					objects.Condition{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	r := open(b)
	c := objects.Content{Body: bytes.NewReader(noise(benchSize)), Size: benchSize}
	if _, err := r.Put(b.Context(), "bucket", "k", objects.Facts{}, c, objects.Condition{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchSize)
	for b.Loop() {
		o, err := r.Get(b.Context(), "bucket", "k", "")
		if err != nil {
			b.Fatal(err)
		}
		if err := o.WriteTo(io.Discard, 0, benchSize); err != nil {
			b.Fatal(err)
		}
		o.Close()
	}
}

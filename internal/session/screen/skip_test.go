package screen_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sekisho/internal/session/screen"
)

// TestFloodsLeaveTheSameScreen compares the screen after floods with the
// screen after the same bytes in small pieces, of which nothing is skipped.
func TestFloodsLeaveTheSameScreen(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pieces := []string{
		"plain text ", "\x1b[31m", "\x1b[0m", "\x1b[1;48;5;20m", "\x1b[m", "\t", "é", "関", "\b", "\r", "\n", "\x07",
		"\x1b[4:3m", strings.Repeat("long ", 30), "x", "~",
	}
	rare := []string{
		"\x1b[2J", "\x1b[H", "\x1b[3;9r", "\x1b[r", "\x1b[?1049h", "\x1b[?1049l", "\x0e", "\x0f", "\x1b(0", "\x1b(B",
		"\x1b[4h",
		"\x1b[4l", "\x1b[?7l", "\x1b[?7h", "\x1b[5A", "\x1b[5b", "\x1b]0;title\x07", "\x1b[", "\xe9", "\x1b7", "\x1b8",
		"\x1bM", "\x1b[3L",
	}
	for range 300 {
		cols, rows := 1+r.IntN(100), 1+r.IntN(40)
		fast, slow := screen.New(cols, rows), screen.New(cols, rows)
		var all bytes.Buffer
		often := []int{2000, 50_000}[r.IntN(2)]
		for range 1 + r.IntN(4) {
			var b bytes.Buffer
			size := 20_000
			for b.Len() < size {
				switch {
				case r.IntN(often) == 0:
					b.WriteString(rare[r.IntN(len(rare))])
				case r.IntN(5) == 0:
					b.WriteString("\r\n")
				default:
					b.WriteString(pieces[r.IntN(len(pieces))])
				}
			}
			all.Write(b.Bytes())
			_, _ = fast.Write(b.Bytes())
			for p := b.Bytes(); len(p) > 0; {
				n := min(len(p), 1000)
				_, _ = slow.Write(p[:n])
				p = p[n:]
			}
			if got, want := fast.Dump(nil), slow.Dump(nil); !bytes.Equal(got, want) {
				t.Fatalf("%dx%d after %d bytes:\n%q\nwant\n%q", cols, rows, all.Len(), got, want)
			}
		}
	}
}

// BenchmarkFlood compares floods that are mostly skipped with the same bytes
// in pieces too small to be skipped.
func BenchmarkFlood(b *testing.B) {
	var text bytes.Buffer
	for i := 0; text.Len() < 8<<20; i++ {
		fmt.Fprintf(&text, "[%3d%%] \x1b[32mBuilding CXX object\x1b[0m src/file%04d.cc.o (%d ms)\r\n", i%100, i%4000, i%977)
	}
	for _, piece := range []int{1 << 10, 256 << 10} {
		b.Run(fmt.Sprint(piece), func(b *testing.B) {
			b.SetBytes(int64(text.Len()))
			s := screen.New(80, 24)
			for b.Loop() {
				for p := text.Bytes(); len(p) > 0; {
					n := min(piece, len(p))
					_, _ = s.Write(p[:n])
					p = p[n:]
				}
			}
		})
	}
}

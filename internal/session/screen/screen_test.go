package screen_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/session/screen"
)

func show(cols, rows int, text string) *screen.Screen {
	s := screen.New(cols, rows)
	s.Write([]byte(text))
	return s
}

func TestScreen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     []string
	}{
		{"plain", "one\r\ntwo", []string{"one", "two"}},
		{"wrap at the last column", "0123456789ab", []string{"0123456789", "ab"}},
		{"no wrap before the next character", "0123456789\r\nx", []string{"0123456789", "x"}},
		{"wrap off", "\x1b[?7l0123456789ab", []string{"012345678b"}},
		{"scroll", "1\r\n2\r\n3\r\n4\r\n5", []string{"2", "3", "4", "5"}},
		{"backspace", "ab\b\bc", []string{"cb"}},
		{"tab", "a\tb", []string{"a       b"}},
		{"cursor position", "\x1b[2;3Hx", []string{"", "  x"}},
		{"erase line", "abcdef\x1b[3G\x1b[K", []string{"ab"}},
		{"erase to the left", "abcdef\x1b[3G\x1b[1K", []string{"   def"}},
		{"erase display", "ab\r\ncd\x1b[2J", []string{}},
		{"insert characters", "abc\r\x1b[2@x", []string{"x abc"}},
		{"delete characters", "abcdef\r\x1b[2P", []string{"cdef"}},
		{"insert line", "1\r\n2\x1b[1;1H\x1b[L", []string{"", "1", "2"}},
		{"delete line", "1\r\n2\r\n3\x1b[1;1H\x1b[M", []string{"2", "3"}},
		{"scrolling region", "1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[3;1H\nx", []string{"1", "3", "x", "4"}},
		{"reverse index", "1\r\n2\x1b[1;1H\x1bMx", []string{"x", "1", "2"}},
		{"alternate screen", "main\x1b[?1049hother\x1b[?1049l!", []string{"main!"}},
		{"line drawing", "\x1b(0lqk\x1b(Bq", []string{"┌─┐q"}},
		{"wide characters", "関所\x1b[2G|", []string{" |所"}},
		{"combining characters", "e\u0301x", []string{"ex"}},
		{"bidi controls", "a\u202eb\u2066c", []string{"abc"}},
		{"repeat", "x\x1b[3b", []string{"xxxx"}},
		{"title", "\x1b]0;owned\x07x", []string{"x"}},
		{"clipboard", "\x1b]52;c;aGVsbG8=\x1b\\x", []string{"x"}},
		{"sixel", "\x1bPq#0;2;0;0;0#0~~\x1b\\x", []string{"x"}},
		{"kitty graphics", "\x1b_Gf=100;AAAA\x1b\\x", []string{"x"}},
		{"device query", "\x1b[c\x1b[6n\x1b[>cx", []string{"x"}},
		{"invalid UTF-8", "a\xffb\xe9\x96x", []string{"a\ufffdb\ufffd\ufffdx"}},
		{"reset", "abc\x1bcx", []string{"x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, show(10, 4, tt.in).Lines()); d != "" {
				t.Error(d)
			}
			// Byte by byte the result must be the same.
			s := screen.New(10, 4)
			for i := range len(tt.in) {
				s.Write([]byte{tt.in[i]})
			}
			if d := cmp.Diff(tt.want, s.Lines()); d != "" {
				t.Error("byte by byte:", d)
			}
		})
	}
}

func TestScrolledOffLines(t *testing.T) {
	t.Parallel()
	s := screen.New(10, 3)
	var got []string
	s.Gone = func(text string) { got = append(got, text) }
	s.Write([]byte("1\r\n2\r\n3\r\n4\x1b[H\x1b[2Jnew\x1b[?1049hvim\x1b[?1049l"))
	s.Flush()
	if d := cmp.Diff([]string{"1", "2", "3", "4", "   vim", "new"}, got); d != "" {
		t.Error(d)
	}
}

func same(a, b *screen.Screen) string {
	_, rows := a.Size()
	for y := range rows {
		ra, rb := a.Row(y), b.Row(y)
		for x := range ra {
			ca, cb := ra[x], rb[x]
			if ca.Rune == 0 {
				ca.Rune = ' '
			}
			if cb.Rune == 0 {
				cb.Rune = ' '
			}
			if ca != cb {
				return fmt.Sprintf("row %d column %d: %+v and %+v", y, x, ca, cb)
			}
		}
	}
	ax, ay, av := a.Cursor()
	bx, by, bv := b.Cursor()
	if ax != bx || ay != by || av != bv || a.Alternate() != b.Alternate() {
		return fmt.Sprintf("cursor %d,%d,%v and %d,%d,%v", ax, ay, av, bx, by, bv)
	}
	return ""
}

// TestDump: a dump reproduces the screen, and both behave the same from then
// on.
func TestDump(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pieces := []string{
		"hello ", "\r\n", "\n", "\b", "\t", "関所", "\x1b[31m", "\x1b[1;4;48;5;99m", "\x1b[38;2;1;2;3m", "\x1b[0m", "\x1b[5;7H",
		"\x1b[K", "\x1b[1K",
		"\x1b[2J", "\x1b[J", "\x1b[L", "\x1b[M", "\x1b[3@", "\x1b[2P", "\x1b[4X", "\x1b[S", "\x1b[T", "\x1b[2;5r", "\x1b[r",
		"\x1b[?1049h", "\x1b[?1049l",
		"\x1b7", "\x1b8", "\x1b[?25l", "\x1b[?25h", "\x1b[?7l", "\x1b[?7h", "\x1b(0qqx", "\x1b(B", "\x1bM",
		"0123456789012345678901234567890", "\x1b[A", "\x1b[3C",
	}
	for range 3000 {
		var in strings.Builder
		for range r.IntN(60) {
			in.WriteString(pieces[r.IntN(len(pieces))])
		}
		a := show(20, 7, in.String())
		b := screen.New(20, 7)
		dump := a.Dump(nil)
		b.Write(dump)
		if d := same(a, b); d != "" {
			t.Fatalf("%q: dump %q: %s", in.String(), dump, d)
		}
		for range 10 {
			more := []byte(pieces[r.IntN(len(pieces))])
			a.Write(more)
			b.Write(more)
			if d := same(a, b); d != "" {
				t.Fatalf("%q: dump %q, then %q: %s", in.String(), dump, more, d)
			}
		}
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("a\x1b[2;3Hb\x1b[?1049h\x1b[999999999999;1r\x1b[1L"), uint8(3), uint8(2))
	f.Add([]byte("\x1b[5b\xe9\x1b]0;x"), uint8(0), uint8(255))
	f.Fuzz(func(_ *testing.T, p []byte, cols, rows uint8) {
		s := screen.New(80, 24)
		half := len(p) / 2
		s.Write(p[:half])
		s.Resize(int(cols), int(rows))
		s.Write(p[half:])
		screen.New(int(cols), int(rows)).Write(s.Dump(nil))
		s.Lines()
	})
}

func BenchmarkWrite(b *testing.B) {
	text := bytes.Repeat([]byte("-rw-r--r-- 1 root root 4096 Nov 23 10:00 \x1b[32mfile\x1b[0m.go\r\n"), 1000)
	s := screen.New(80, 24)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.Write(text)
	}
}

package cast_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/session/cast"
)

const header3 = `{"version":3,"term":{"cols":80,"rows":24,"type":"xterm-256color"},"timestamp":1504467315,` +
	`"title":"Demo","env":{"SHELL":"/bin/zsh"}}` + "\n"

// event is a cast.Event that owns its bytes.
type event struct {
	Time time.Duration
	Code string
	Data string
	Raw  string
}

func readAll(t testing.TB, r io.Reader) (cast.Header, []event, error) {
	t.Helper()
	d, err := cast.NewReader(r)
	if err != nil {
		return cast.Header{}, nil, err
	}
	var evs []event
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return d.Header(), evs, nil
		}
		if err != nil {
			return d.Header(), evs, err
		}
		evs = append(evs, event{ev.Time, ev.Code, string(ev.Data), string(ev.Raw)})
	}
}

func TestReadVersion3(t *testing.T) {
	t.Parallel()
	src := header3 + "# a comment\n" + `[0.248, "o", "\u001b[1;31mHello \"\\\/\b\f\n\r\t\ud83d\ude00 é"]
[1.001, "i", "x"]

[3.5e0,"m",""]
[2.050, "r", "90x30"]
[1, "Z", "later versions"]
[0.000001, "x", "-1"]`
	h, got, err := readAll(t, iotest.OneByteReader(strings.NewReader(src)))
	if err != nil {
		t.Fatal(err)
	}
	wantHeader := cast.Header{
		Version:   3,
		Cols:      80,
		Rows:      24,
		TermType:  "xterm-256color",
		Timestamp: 1504467315,
		Title:     "Demo",
		Env:       map[string]string{"SHELL": "/bin/zsh"},
	}
	if d := cmp.Diff(wantHeader, h); d != "" {
		t.Error(d)
	}
	want := []event{
		{248 * time.Millisecond, "o", "\x1b[1;31mHello \"\\/\b\f\n\r\t😀 é", ""},
		{1249 * time.Millisecond, "i", "x", ""},
		{4749 * time.Millisecond, "m", "", ""},
		{6799 * time.Millisecond, "r", "90x30", ""},
		{7799 * time.Millisecond, "Z", "later versions", ""},
		{7799*time.Millisecond + time.Microsecond, "x", "-1", ""},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReadVersion2(t *testing.T) {
	t.Parallel()
	src := `{"version": 2, "width": 132, "height": 43, "timestamp": 1504467315.5, "env": {"TERM": "vt100"}}
[0.25, "o", "a"]
[1.5, "o", "b"]
[1.25, "o", "a step back"]
`
	h, got, err := readAll(t, strings.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	if h.Version != 2 || h.Cols != 132 || h.Rows != 43 || h.TermType != "vt100" || h.Timestamp != 1504467315 {
		t.Errorf("header %+v", h)
	}
	want := []event{
		{250 * time.Millisecond, "o", "a", ""},
		{1500 * time.Millisecond, "o", "b", ""},
		{1500 * time.Millisecond, "o", "a step back", ""},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, src string
		line      int
		want      string
		torn      bool
	}{
		{"empty", "", 1, "no header", false},
		{"not json", "hello\n", 1, "header", false},
		{"version 1", `{"version":1,"width":80,"height":24}` + "\n", 1, "version 1", false},
		{"no term", `{"version":3}` + "\n", 1, "no term", false},
		{"no size", `{"version":3,"term":{}}` + "\n", 1, "size 0x0", false},
		{"huge size", `{"version":3,"term":{"cols":65536,"rows":1}}` + "\n", 1, "size", false},
		{
			"header too long",
			`{"version":3,"title":"` + strings.Repeat("a", cast.DefaultMaxLine) + "\"}\n",
			1,
			"longer than",
			false,
		},
		{
			"event too long",
			header3 + `[0,"o","` + strings.Repeat("a", cast.DefaultMaxLine) + "\"]\n",
			2,
			"longer than",
			false,
		},
		{"endless line", header3 + strings.Repeat(" ", 2*cast.DefaultMaxLine), 2, "longer than", false},
		{"comment is no event in v2", "{\"version\":2,\"width\":1,\"height\":1}\n# hi\n", 2, "expected '['", false},
		{"object", header3 + "{}\n", 2, "expected '['", false},
		{"negative interval", header3 + `[-1,"o",""]` + "\n", 2, "out of range", false},
		{"infinite interval", header3 + `[1e999,"o",""]` + "\n", 2, "out of range", false},
		{"too much time", header3 + strings.Repeat(`[999999999,"o",""]`+"\n", 5), 5, "out of range", false},
		{"leading zero", header3 + `[01,"o",""]` + "\n", 2, "not a number", false},
		{"no fraction", header3 + `[1.,"o",""]` + "\n", 2, "not a number", false},
		{"no code", header3 + `[1,"",""]` + "\n", 2, "no event code", false},
		{"data is a number", header3 + `[1,"o",1]` + "\n", 2, "expected '\"'", false},
		{"fourth element", header3 + `[1,"o","",""]` + "\n", 2, "expected ']'", false},
		{"two events in a line", header3 + `[1,"o",""][1,"o",""]` + "\n", 2, "after the event", false},
		{"raw control character", header3 + "[1,\"o\",\"\x1b\"]\n", 2, "control character", false},
		{"invalid UTF-8", header3 + "[1,\"o\",\"\xff\"]\n", 2, "not UTF-8", false},
		{"bad escape", header3 + `[1,"o","\x41"]` + "\n", 2, "bad escape", false},
		{"bad hex", header3 + `[1,"o","\u00g0"]` + "\n", 2, "bad \\u", false},
		{"bad size", header3 + `[1,"r","80"]` + "\n", 2, "size", false},
		{"size beyond bounds", header3 + `[1,"r","80x100000"]` + "\n", 2, "size", false},
		{"bad status", header3 + `[1,"x","ok"]` + "\n", 2, "exit status", false},
		{"companion of nothing", header3 + `[1,"B","/w=="]` + "\n" + `[0,"m",""]` + "\n", 3, "companion", false},
		{"companion of other bytes", header3 + `[1,"B","/w=="]` + "\n" + `[0,"o","a"]` + "\n", 3, "companion", false},
		{"companion not base64", header3 + `[1,"B","?"]` + "\n", 2, "companion", false},
		{"two companions", header3 + strings.Repeat(`[1,"B","/w=="]`+"\n", 2), 3, "companions", false},
		{"cut in an event", header3 + `[1,"o","a"]` + "\n" + `[1,"o","a`, 3, "unterminated", true},
		{"cut after a companion", header3 + `[1,"B","/w=="]` + "\n", 2, "companion", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := readAll(t, strings.NewReader(tt.src))
			se, ok := errors.AsType[*cast.SyntaxError](err)
			if !ok {
				t.Fatalf("error %v is no SyntaxError", err)
			}
			if se.Line != tt.line || !strings.Contains(err.Error(), tt.want) ||
				errors.Is(err, io.ErrUnexpectedEOF) != tt.torn {
				t.Errorf("got %q (torn %v), want line %d, %q, torn %v", err, !tt.torn, tt.line, tt.want, tt.torn)
			}
		})
	}
}

func TestReaderErrorStays(t *testing.T) {
	t.Parallel()
	d, err := cast.NewReader(strings.NewReader(header3 + "bad\n" + `[0,"o","good"]` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, first := d.Next()
	_, second := d.Next()
	if first == nil || !errors.Is(second, first) {
		t.Errorf("first %v, then %v", first, second)
	}
}

func TestReaderOffsetCountsWholeEvents(t *testing.T) {
	t.Parallel()
	one := `[1.0,"o","a"]` + "\n"
	d, err := cast.NewReader(strings.NewReader(header3 + one + `[1,"B","/w=="]` + "\n" + `[0,"o","`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if want := int64(len(header3 + one)); d.Offset() != want {
		t.Errorf("offset %d, want %d", d.Offset(), want)
	}
}

func TestReaderPassesOnReadErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken disk")
	d, err := cast.NewReader(io.MultiReader(strings.NewReader(header3), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Next(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	t.Parallel()
	h := cast.Header{
		Version: 3, Cols: 80, Rows: 24, TermType: "xterm", Timestamp: 1790000000, Title: "t\n\"", Command: "bash",
		IdleTimeLimit: 1.5, Env: map[string]string{"A": "b"}, Tags: map[string]string{"session_id": "alice-x"},
	}
	line, err := cast.AppendHeader(nil, &h)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(line, []byte("\n")) != 1 || !bytes.Contains(line, []byte(`"timestamp":1790000000,`)) {
		t.Errorf("header line %s", line)
	}
	got, _, err := readAll(t, bytes.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, got); d != "" {
		t.Error(d)
	}
	if _, err := cast.AppendHeader(nil, &cast.Header{Cols: 0, Rows: 24}); err == nil {
		t.Error("a terminal without columns was written")
	}
}

func TestEncoderLines(t *testing.T) {
	t.Parallel()
	var e cast.Encoder
	var b []byte
	b = e.AppendOutput(b, 248*time.Millisecond, []byte("\x1b[1mHi \"\\\x7f\u2028é\r\n\t\b\f\x00"))
	b = e.AppendInput(b, 12*time.Second, []byte("ls\r"))
	b = e.AppendResize(b, 11*time.Second, 0, 100000) // a clock that was set back
	b = e.AppendMarker(b, 12*time.Second+1500*time.Nanosecond, "here\xff")
	b = e.AppendOutput(b, 13*time.Second, []byte("a\xffb"))
	b = e.AppendOutput(b, 13*time.Second, nil)
	b = e.AppendExit(b, 14*time.Second, -1)
	want := `[0.248000,"o","\u001b[1mHi \"\\` + "\x7f\u2028" + `é\r\n\t\b\f\u0000"]
[11.752000,"i","ls\r"]
[0.000000,"r","1x65535"]
[0.000001,"m","here` + "\uFFFD" + `"]
[0.999999,"B","Yf9i"]
[0.000000,"o","a` + "\uFFFD" + `b"]
[1.000000,"x","-1"]
`
	if d := cmp.Diff(want, string(b)); d != "" {
		t.Error(d)
	}
	if e.Events() != 7 || e.Last() != 14*time.Second {
		t.Errorf("%d events until %v", e.Events(), e.Last())
	}
	for line := range strings.Lines(string(b)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestEncoderResume(t *testing.T) {
	t.Parallel()
	var e cast.Encoder
	e.Resume(10*time.Second, 7)
	got := string(e.AppendMarker(nil, 10*time.Second+250*time.Millisecond, "resumed"))
	if want := "[0.250000,\"m\",\"resumed\"]\n"; got != want || e.Events() != 8 {
		t.Errorf("got %q, %d events", got, e.Events())
	}
}

// TestSplitRunes splits a text at every position, also into three parts. Every
// event must be valid UTF-8, and the text must be complete.
func TestSplitRunes(t *testing.T) {
	t.Parallel()
	const text = "aé関所😀z\u0301"
	for i := range len(text) + 1 {
		for j := i; j <= len(text); j++ {
			var e cast.Encoder
			b := []byte(header3)
			b = e.AppendOutput(b, 1, []byte(text[:i]))
			b = e.AppendInput(b, 1, []byte(text[:i])) // the other direction has its own incomplete rune
			b = e.AppendOutput(b, 2, []byte(text[i:j]))
			b = e.AppendOutput(b, 3, []byte(text[j:]))
			b = e.AppendInput(b, 3, []byte(text[i:]))
			b = e.AppendTails(b, 4)
			_, evs, err := readAll(t, bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			var out, in string
			for _, ev := range evs {
				if ev.Raw != "" || strings.ContainsRune(ev.Data, '\uFFFD') {
					t.Fatalf("cut at %d and %d: damaged event %q", i, j, ev.Data)
				}
				if ev.Code == cast.Output {
					out += ev.Data
				} else {
					in += ev.Data
				}
			}
			if out != text || in != text {
				t.Fatalf("cut at %d and %d: out %q, in %q", i, j, out, in)
			}
		}
	}
}

func TestTailsThatNeverComplete(t *testing.T) {
	t.Parallel()
	var e cast.Encoder
	b := e.AppendOutput([]byte(header3), 1, []byte("x\xf0\x9f\x98"))
	b = e.AppendInput(b, 1, []byte("\xc3"))
	b = e.AppendTails(b, 2)
	b = e.AppendTails(b, 3) // nothing is left
	_, got, err := readAll(t, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := []event{
		{0, "o", "x", ""},
		{0, "o", "\uFFFD\uFFFD\uFFFD", "\xf0\x9f\x98"},
		{0, "i", "\uFFFD", "\xc3"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestAnyBytesSurvive encodes random bytes in random pieces.
func TestAnyBytesSurvive(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	src := make([]byte, 300_000)
	for i := range src {
		src[i] = byte(rng.Uint32())
	}
	copy(src[50_000:], strings.Repeat("関", 50_000)) // longer than one event
	var e cast.Encoder
	b := []byte(header3)
	for p := src; len(p) > 0; {
		n := min(1+rng.IntN(90_000), len(p))
		b = e.AppendOutput(b, 0, p[:n])
		p = p[n:]
	}
	b = e.AppendTails(b, 0)
	var got []byte
	d, err := cast.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Bytes()...)
	}
	if !bytes.Equal(got, src) {
		t.Error("bytes changed on the way")
	}
	if d.Offset() != int64(len(b)) {
		t.Errorf("offset %d of %d", d.Offset(), len(b))
	}
}

func TestEncoderDoesNotAllocate(t *testing.T) {
	var e cast.Encoder
	buf := make([]byte, 0, 4096)
	p := []byte("plain \x1b[31mred\x1b[0m 関所 \xff\r\n\xe9\x96")
	n := testing.AllocsPerRun(100, func() {
		buf = e.AppendOutput(buf[:0], time.Second, p)
		buf = e.AppendInput(buf, time.Second, p[:1])
		buf = e.AppendResize(buf, time.Second, 80, 24)
	})
	if n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func TestMarkerIsBounded(t *testing.T) {
	t.Parallel()
	var e cast.Encoder
	b := e.AppendMarker([]byte(header3), 0, strings.Repeat("関", 10_000))
	_, evs, err := readAll(t, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(evs[0].Data); n > 4<<10 || n < 4<<10-3 || strings.ContainsRune(evs[0].Data, '\uFFFD') {
		t.Errorf("label of %d bytes", n)
	}
}

func TestResizeSize(t *testing.T) {
	t.Parallel()
	ev := cast.Event{Code: cast.Resize, Data: []byte("90x30")}
	if c, r, err := ev.Size(); c != 90 || r != 30 || err != nil {
		t.Errorf("%d %d %v", c, r, err)
	}
	ev.Code = cast.Output
	if _, _, err := ev.Size(); err == nil {
		t.Error("output has a size")
	}
}

// FuzzReader: reading does not panic, and what was read is the same when it is
// written and read again.
func FuzzReader(f *testing.F) {
	f.Add(
		[]byte(
			header3 + `[0.1,"o","a\u0000\ud83d\ude00"]` + "\n" + `[1e-3,"B","/w=="]` + "\n" + `[0,"o","` + "\uFFFD" + `"]` +
				"\n" + `[1,"r","80x24"]` + "\n" + `[0,"x","0"]`,
		),
	)
	f.Add([]byte("{\"version\":2,\"width\":80,\"height\":24}\n[1.5,\"o\",\"x\"]\n[1.25,\"i\",\"\\ud800\"]\n"))
	f.Add([]byte(header3 + "# c\n\n[9999999999,\"m\",\"\"]\n"))
	f.Add([]byte(header3 + `[0.0000000001,"o","\`))
	f.Fuzz(func(t *testing.T, src []byte) {
		h, evs, _ := readAll(t, bytes.NewReader(src))
		if h.Version == 0 {
			return
		}
		h.Version = 3
		b, err := cast.AppendHeader(nil, &h)
		if err != nil {
			t.Fatal(err)
		}
		var e cast.Encoder
		var want []event
		for _, ev := range evs {
			raw := ev.Raw
			if raw == "" {
				raw = ev.Data
			}
			switch ev.Code {
			case cast.Output:
				b = e.AppendTails(e.AppendOutput(b, ev.Time, []byte(raw)), ev.Time)
			case cast.Input:
				b = e.AppendTails(e.AppendInput(b, ev.Time, []byte(raw)), ev.Time)
			default:
				continue
			}
			want = append(want, event{Time: ev.Time.Truncate(time.Microsecond), Code: ev.Code, Data: raw})
		}
		_, again, err := readAll(t, bytes.NewReader(b))
		if err != nil {
			t.Fatalf("own cast not readable: %v\n%s", err, b)
		}
		if d := cmp.Diff(merge(want), merge(again)); d != "" {
			t.Error(d)
		}
	})
}

// merge joins neighbours of one code and time: the boundaries of events need
// not be kept.
func merge(evs []event) []string {
	var out []string
	var last event
	for _, ev := range evs {
		raw := ev.Raw
		if raw == "" {
			raw = ev.Data
		}
		if ev.Code == last.Code && ev.Time == last.Time && len(out) > 0 {
			out[len(out)-1] += raw
		} else if raw != "" {
			out = append(out, fmt.Sprintf("%v %s %s", ev.Time, ev.Code, raw))
			last = ev
		}
	}
	return out
}

func BenchmarkEncoderOutput(b *testing.B) {
	for _, bm := range []struct{ name, data string }{
		{"key", "a"},
		{"text", strings.Repeat("drwxr-xr-x 2 root root 4096 Nov 23 10:00 etc\r\n", 22)},
		{"kanji", strings.Repeat("関所", 170)},
		{"binary", strings.Repeat("\xff\x00\x80a", 256)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var e cast.Encoder
			var buf []byte
			p := []byte(bm.data)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				buf = e.AppendOutput(buf[:0], 0, p)
			}
		})
	}
}

func BenchmarkReader(b *testing.B) {
	var e cast.Encoder
	buf := []byte(header3)
	for range 1000 {
		buf = e.AppendOutput(buf, 0, []byte(strings.Repeat("drwxr-xr-x 2 root root 4096 Nov 23 10:00 etc\r\n", 22)))
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := cast.NewReader(bytes.NewReader(buf))
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = d.Next()
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}

package export_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"sekisho/internal/session/cast"
	"sekisho/internal/session/export"
)

// hostile is output that affects a terminal or a page that interprets it. Each
// contains the word owned where it must be removed.
var hostile = map[string]string{
	"clipboard":         "\x1b]52;c;owned\x07",
	"clipboard, C1":     "\u009d52;c;owned\u009c",
	"title":             "\x1b]0;owned\x07\x1b]2;owned\x1b\\\x1bkowned\x1b\\",
	"link":              "\x1b]8;;https://owned.example\x07\x1b]8;;\x07",
	"device queries":    "\x1b[c\x1b[>c\x1b[6n\x1b[?6n\x1b[>q\x1b[21t\x1b[x\x1b[?25$p\x05",
	"kitty graphics":    "\x1b_Gf=100,a=T;owned\x1b\\",
	"sixel":             "\x1bPq#0;2;0;0;0owned\x1b\\",
	"inline image":      "\x1b]1337;File=inline=1:owned\x07",
	"bidi controls":     "\u202e\u202d\u2066\u2067\u2068\u2069\u200f\u200e\u061c\u2028\u2029",
	"keyboard, mouse":   "\x1b[?1003h\x1b[?2004h\x1b[>4;2m\x1b=\x1b[2h",
	"printer":           "\x1b[5i",
	"string cut at end": "\x1b]52;c;owned",
}

// markup is text that a page must show literally.
const markup = `</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>&lt;"'` + "`"

// recordingOf returns an asciicast with the output, and with the same text in
// the title, a tag, a marker and the input.
func recordingOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := cast.AppendHeader(nil, &cast.Header{
		Cols: 200, Rows: 24, Title: text, TermType: text, Command: text, Env: map[string]string{"SHELL": text},
		Tags: map[string]string{"reason": text, "session_id": "alice-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var enc cast.Encoder
	b = enc.AppendOutput(b, time.Second, []byte("before \x1b[31mred\x1b[0m\r\n"))
	b = enc.AppendMarker(b, time.Second, text)
	b = enc.AppendInput(b, time.Second, []byte(text))
	b = enc.AppendOutput(b, 2*time.Second, []byte(text))
	b = enc.AppendTails(b, 3*time.Second)
	return enc.AppendExit(b, 3*time.Second, 7)
}

func write(t testing.TB, text string, f export.Format) string {
	t.Helper()
	var out bytes.Buffer
	if err := export.Write(&out, bytes.NewReader(recordingOf(t, text)), f); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// allowed are the sequences that an exported asciicast may contain.
var allowed = regexp.MustCompile(`^(?:[^\x1b]|\x1b\[[0-9;]*m)*$`)

func TestHostileOutput(t *testing.T) {
	t.Parallel()
	for name, text := range hostile {
		for _, f := range export.Formats {
			t.Run(name+" "+string(f), func(t *testing.T) {
				t.Parallel()
				got := write(t, text, f)
				if !strings.Contains(got, "before") {
					t.Fatalf("the output itself is missing: %q", got)
				}
				if f == export.Cast {
					checkCast(t, got)
					return
				}
				checkRunes(t, got)
				// Markers, title and tags are text: they keep letters and lose control
				// sequences.
				if f == export.Text && strings.Contains(lastLine(got), "owned") {
					t.Errorf("%q", got)
				}
			})
		}
	}
}

// lastLine returns the last line of output in an exported text, before the
// exit status.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-2]
}

func checkRunes(t *testing.T, s string) {
	t.Helper()
	for _, r := range s {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%U is in %q", r, s)
		}
	}
}

func checkCast(t *testing.T, got string) {
	t.Helper()
	in, err := cast.NewReader(strings.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	h := in.Header()
	for _, s := range []string{h.Title, h.TermType, h.Command, h.Env["SHELL"], h.Tags["reason"]} {
		checkRunes(t, s)
	}
	for {
		ev, err := in.Next()
		if err != nil {
			break
		}
		switch ev.Code {
		case cast.Output, cast.Input:
			if !allowed.Match(ev.Data) || strings.Contains(string(ev.Data), "owned") {
				t.Errorf("%s event %q", ev.Code, ev.Data)
			}
			for _, r := range string(ev.Data) {
				if unicode.Is(unicode.Bidi_Control, r) || r >= 0x80 && r < 0xa0 || r == 5 {
					t.Errorf("%U is in %q", r, ev.Data)
				}
			}
		default:
			checkRunes(t, string(ev.Data))
		}
	}
}

// TestMarkup: markup in the recording is text in the page.
func TestMarkup(t *testing.T) {
	t.Parallel()
	got := write(t, markup, export.HTML)
	if n := strings.Count(strings.ToLower(got), "<script"); n != 2 {
		t.Errorf("%d script elements", n)
	}
	if strings.Count(strings.ToLower(got), "</script") != 2 || strings.Contains(got, "<img") ||
		strings.Contains(got, "<!--") {
		t.Errorf("markup got through: %s", got)
	}
	if text := screenOf(t, got); !strings.Contains(text, markup) {
		t.Errorf("the text is not shown: %q", text)
	}
}

type frame struct {
	T int64
	L map[string][][]any
	M string
}

func framesOf(t *testing.T, page string) []frame {
	t.Helper()
	_, rest, _ := strings.Cut(page, `id="frames">`)
	data, _, ok := strings.Cut(rest, "</script>")
	var frames []frame
	if err := json.Unmarshal([]byte(data), &frames); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return frames
}

// screenOf joins the text of all frames.
func screenOf(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	for _, f := range framesOf(t, page) {
		for _, runs := range f.L {
			for _, run := range runs {
				b.WriteString(run[0].(string))
			}
		}
	}
	return b.String()
}

// TestPageIsSelfContained: the page loads nothing, and its policy allows only
// its own script and style.
func TestPageIsSelfContained(t *testing.T) {
	t.Parallel()
	got := write(t, "x", export.HTML)
	csp := regexp.MustCompile(`http-equiv="Content-Security-Policy"\s+content="([^"]*)"`).FindStringSubmatch(got)
	if csp == nil || !strings.HasPrefix(csp[1], "default-src 'none'; ") || strings.Contains(csp[1], "unsafe") {
		t.Fatalf("policy %q", csp)
	}
	for kind, between := range map[string][2]string{"script-src": {"<script>", "</script>"},
		"style-src": {"<style>", "</style>"}} {
		_, rest, _ := strings.Cut(got, between[0])
		text, _, _ := strings.Cut(rest, between[1])
		sum := sha256.Sum256([]byte(text))
		if want := kind + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; text == "" ||
			!strings.Contains(csp[1], want) {
			t.Errorf("%q is not in the policy %q", want, csp[1])
		}
	}
	if regexp.MustCompile(`(?i)https?://|src=|href=|@import|url\(`).MatchString(strings.ReplaceAll(got, csp[0], "")) {
		t.Error("the page refers to something outside")
	}
	frames := framesOf(t, got)
	if last := frames[len(frames)-2]; last.T != 2000 {
		t.Errorf("frames %+v", frames)
	}
}

func TestTextHasLinesWithTimes(t *testing.T) {
	t.Parallel()
	got := write(t, "second line", export.Text)
	for _, want := range []string{"# Session: alice-1\n", "  before red\n", "0:00:03  second line\n",
		"0:00:03  # exit status 7\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

// TestEncryptedSession: exports state that the server saw no content.
func TestEncryptedSession(t *testing.T) {
	t.Parallel()
	for _, f := range []export.Format{export.Text, export.HTML} {
		if got := write(t, cast.EncryptedMarker, f); !strings.Contains(got, export.EncryptedNotice) {
			t.Errorf("%s: %q", f, got)
		}
	}
}

// TestFloodIsBounded: a flood of output results in a limited number of frames.
func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	b, err := cast.AppendHeader(nil, &cast.Header{Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	var enc cast.Encoder
	for i := range 10000 {
		b = enc.AppendOutput(b, time.Duration(i)*100*time.Microsecond, []byte("line of a flood\r\n"))
	}
	var out bytes.Buffer
	if err := export.Write(&out, bytes.NewReader(b), export.HTML); err != nil {
		t.Fatal(err)
	}
	if n := len(framesOf(t, out.String())); n < 10 || n > 25 {
		t.Errorf("%d frames for a second", n)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "{}", "not a cast\n", "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[x"} {
		for _, f := range append(export.Formats, "gif") {
			if err := export.Write(&bytes.Buffer{}, strings.NewReader(in), f); err == nil {
				t.Errorf("%s of %q succeeds", f, in)
			}
		}
	}
}

func FuzzExport(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Add([]byte(markup))
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := cast.AppendHeader(nil, &cast.Header{Cols: 80, Rows: 24})
		if err != nil {
			t.Fatal(err)
		}
		var enc cast.Encoder
		b = enc.AppendOutput(b, 0, p)
		b = enc.AppendMarker(b, 0, string(p))
		for _, format := range []export.Format{export.Text, export.HTML} {
			var out bytes.Buffer
			if err := export.Write(&out, bytes.NewReader(b), format); err != nil {
				t.Fatal(err)
			}
			checkRunes(t, out.String())
			if format == export.HTML && strings.Count(strings.ToLower(out.String()), "<script") != 2 {
				t.Fatalf("markup got through: %q", p)
			}
		}
	})
}

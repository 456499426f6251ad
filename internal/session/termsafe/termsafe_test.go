package termsafe_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"sekisho/internal/session/termsafe"
)

func sanitize(t testing.TB, chunks ...string) string {
	t.Helper()
	var b bytes.Buffer
	s := &termsafe.Writer{W: &b}
	for _, c := range chunks {
		if n, err := s.Write([]byte(c)); err != nil || n != len(c) {
			t.Fatalf("%d, %v", n, err)
		}
	}
	return b.String()
}

func TestKeepsDrawing(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"plain text, 日本語 é\r\n\tx\b\x07",
		"\x1b[0m\x1b[1;31mred\x1b[38;2;1;2;3m\x1b[4:3mcurly\x1b[m",
		"\x1b[H\x1b[2J\x1b[10;20Hx\x1b[K\x1b[?25l\x1b[?25h\x1b[?1049h\x1b[?1049l",
		"\x1b[?7;25h\x1b[2 q\x1b[!p\x1b[4h\x1b[1;24r\x1b[s\x1b[u",
		"\x1b7\x1b8\x1bM\x1bD\x1bE\x1bc\x1b(0lqk\x1b(B\x1b#8\x0e\x0f",
	} {
		if got := sanitize(t, in); got != in {
			t.Errorf("%q became %q", in, got)
		}
		// A sequence may be split anywhere.
		if got := sanitize(t, strings.Split(in, "")...); got != in {
			t.Errorf("%q in pieces became %q", in, got)
		}
		for i := range in {
			if got := sanitize(t, in[:i], in[i:]); got != in {
				t.Errorf("%q cut at %d became %q", in, i, got)
			}
		}
	}
}

func TestDropsOtherSequences(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"clipboard":           "\x1b]52;c;ZWNobyBwd25lZA==\x07",
		"clipboard, ST":       "\x1b]52;c;ZWNobyBwd25lZA==\x1b\\",
		"clipboard, C1":       "\u009d52;c;ZWNobyBwd25lZA==\u009c",
		"title":               "\x1b]0;owned\x07",
		"title of screen":     "\x1bkowned\x1b\\",
		"link":                "\x1b]8;;https://evil.example\x07",
		"colour query":        "\x1b]11;?\x1b\\",
		"device attributes":   "\x1b[c\x1b[>c\x1b[=c\x1b[0c\x1bZ",
		"status report":       "\x1b[5n\x1b[6n\x1b[?6n",
		"mode request":        "\x1b[?25$p\x1b[4$p",
		"version":             "\x1b[>q\x1b[>0q",
		"terminal parameters": "\x1b[x\x1b[1x",
		"window":              "\x1b[21t\x1b[8;1;1t\x1b[14t",
		"keyboard":            "\x1b[>1u\x1b[?u\x1b[<u\x1b[>4;2m\x1b=\x1b>\x1b[?1h\x1b[?66h",
		"mouse":               "\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h\x1b[?1004h\x1b[?9h",
		"pasting":             "\x1b[?2004h",
		"hidden among others": "\x1b[?25;1003h",
		"keyboard lock":       "\x1b[2h",
		"answerback":          "\x05",
		"printer":             "\x1b[5i\x1b[?5i\x1b[i",
		"DCS":                 "\x1bP$qm\x1b\\\x1bP+q544e\x1b\\",
		"DCS, C1":             "\u0090$qm\u009c",
		"DCS with BEL":        "\x1bPx\x1b]52;c;x\x07",
		"APC, PM, SOS":        "\x1b_Gi=1,a=q;\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\",
		"CSI, C1":             "\u009b6n",
		"not UTF-8":           "\x9b\x9d\xff",
		"unterminated string": "\x1b]52;c;ZWNobyBwd25lZA==",
		"sequence too long":   "\x1b[" + strings.Repeat("1;", 200) + "m",
		"cancelled":           "\x1b[31\x18\x1b]0;x\x1a",
		"conformance":         "\x1b F\x1b G\x1b%@\x1b%G",
		"charset query":       "\x1b(?",
		"bidi controls":       "\u202e\u202d\u2066\u2067\u2068\u2069\u200f\u200e\u061c\u2028\u2029",
		"kitty graphics":      "\x1b_Gf=100,a=T;iVBORw0KGgo=\x1b\\",
		"sixel":               "\x1bPq#0;2;0;0;0#0~~@@vv@@~~$-\x1b\\",
		"inline image":        "\x1b]1337;File=inline=1:aGVsbG8=\x07",
		"escape in CSI":       "\x1b[3\x1b[6n",
	} {
		if got := sanitize(t, in); strings.Trim(got, "\a") != "" {
			t.Errorf("%s: %q let %q through", name, in, got)
		}
	}
	if got := sanitize(t, "a\x1b]0;t\x07b\x1b[6nc\x1b[31md"); got != "abc\x1b[31md" {
		t.Errorf("around them: %q", got)
	}
}

// allowed are the only sequences that may be in the output.
var allowed = regexp.MustCompile(
	`^(?:[^\x1b]|\x1b[78DEHMc]|\x1b[()*+][0-9A-Z]|\x1b#[3-8]|\x1b\[[0-9;:]*[@-MPSTXZ` + "`" +
		`abdefgmrsu]|\x1b\[[0-9;:]* q|\x1b\[!p|\x1b\[(?:4|20)[hl]|\x1b\[\?[0-9;:]*[JKhl])*$`,
)

func FuzzWriter(f *testing.F) {
	f.Add("a\x1b]52;c;x\x07b\x1b[31m", 3)
	f.Add("\u009b6n\x1bP+q\x1b\\\x1b[?1003;25h", 1)
	f.Add("\x1b(\x1b[2 q\xe6\x97", 5)
	f.Fuzz(func(t *testing.T, in string, cut int) {
		got := sanitize(t, in)
		if !utf8.ValidString(got) || !allowed.MatchString(got) {
			t.Fatalf("%q let %q through", in, got)
		}
		for _, r := range got {
			if r == 0x05 || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Fatalf("%q let %q through", in, got)
			}
		}
		if cut < 0 || cut > len(in) {
			return
		}
		if pieces := sanitize(t, in[:cut], in[cut:]); pieces != got {
			t.Fatalf("%q cut at %d gives %q, whole %q", in, cut, pieces, got)
		}
		if again := sanitize(t, got); again != got {
			t.Fatalf("%q gives %q, and that %q", in, got, again)
		}
	})
}

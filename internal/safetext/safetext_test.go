package safetext_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"sekisho/internal/safetext"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		limit    int
		want     string
	}{
		{"plain", "web-1", 10, "web-1"},
		{"exact fit", "web-1", 5, "web-1"},
		{"clipped", "web-server", 8, "web-s…"},
		{"clip does not split UTF-8", "ééééé", 8, "éé…"},
		{"limit below the ellipsis", "abcdef", 2, "ab"},
		{"limit of zero", "abc", 0, ""},
		{"negative limit", "abc", -1, ""},
		{"line breaks become spaces", "a\r\nb\tc", 10, "a  b c"},
		{"escape sequence", "\x1b[31mred\x1b]0;t\a", 40, "[31mred]0;t"},
		{"C1 control", "a\u009b31mb", 20, "a31mb"},
		{"bidirectional override", "a\u202egnp.exe", 20, "agnp.exe"},
		{"zero width", "a\u200bb\ufeffc", 20, "abc"},
		{"line separator", "a\u2028b", 20, "a b"},
		{"invalid UTF-8", "a\xffb", 20, "a\ufffdb"},
		{"private use", "a\ue000b", 20, "ab"},
		{"Japanese", "関所", 6, "関所"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := safetext.Line(tt.in, tt.limit); got != tt.want {
				t.Errorf("Line(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
			}
		})
	}
}

func TestTextKeepsLineFeedsAndTabs(t *testing.T) {
	t.Parallel()
	if got, want := safetext.Text("a\r\n\tb\x1b[2J\u202ec", 40), "a\n\tb[2Jc"; got != want {
		t.Errorf("Text = %q, want %q", got, want)
	}
}

func TestSentenceEndsOnce(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a": "a.", "a.": "a.", "a?": "a?", "a!": "a!"} {
		if got := safetext.Sentence(in); got != want {
			t.Errorf("Sentence(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSafe(f *testing.F) {
	f.Add("web-1", 10)
	f.Add("\x1b[31m\u202e\xff関所\n", 7)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit %= 1000
		for name, got := range map[string]string{"Line": safetext.Line(s, limit), "Text": safetext.Text(s, limit)} {
			if len(got) > max(limit, 0) {
				t.Errorf("%s(%q, %d) has %d bytes", name, s, limit, len(got))
			}
			if !utf8.ValidString(got) {
				t.Errorf("%s(%q, %d) = %q is not UTF-8", name, s, limit, got)
			}
			for _, r := range got {
				if !safetext.Printable(r) && (name == "Line" || !strings.ContainsRune("\n\t", r)) {
					t.Errorf("%s(%q, %d) = %q contains %U", name, s, limit, got, r)
				}
			}
		}
	})
}

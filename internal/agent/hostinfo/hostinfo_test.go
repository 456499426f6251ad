package hostinfo_test

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"sekisho/internal/agent/hostinfo"
)

func TestParseOSRelease(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, wantName, wantVersion string
	}{
		{
			"debian",
			"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n",
			"Debian GNU/Linux",
			"12",
		},
		{"unquoted and single quotes", "NAME='Alpine Linux'\nVERSION_ID=3.20.1\n", "Alpine Linux", "3.20.1"},
		{"rolling", "NAME=\"Arch Linux\"\nBUILD_ID=rolling\n", "Arch Linux", "rolling"},
		{"escapes and comments", "# NAME=no\nNAME=\"A \\\"B\\\"\"\n", `A "B"`, ""},
		{"control characters", "NAME=\"a\x1b[31mb\"\nVERSION_ID=\"1\x00\"", "a[31mb", "1"},
		{"only ID", "ID=void\n", "void", ""},
		{"rubbish", "\x00\xff=\"\n\"", "", ""},
		{"empty", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name, version := hostinfo.ParseOSRelease([]byte(tt.file))
			if name != tt.wantName || version != tt.wantVersion {
				t.Errorf("got %q %q, want %q %q", name, version, tt.wantName, tt.wantVersion)
			}
		})
	}
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add([]byte("NAME=\"Debian\"\nVERSION_ID=\"12\"\n"))
	f.Add([]byte("NAME=\"\\"))
	f.Add([]byte("NAME=" + strings.Repeat("é", 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []string{first(hostinfo.ParseOSRelease(b)), second(hostinfo.ParseOSRelease(b))} {
			if len(s) > 255 || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\n\x1b") {
				t.Errorf("a fact is too long or contains control characters: %q", s)
			}
		}
	})
}

func first(a, _ string) string  { return a }
func second(_, b string) string { return b }

func TestReadThisMachine(t *testing.T) {
	t.Parallel()
	info := hostinfo.Read(t.Context(), "127.0.0.1:443")
	if info.PlatformType == "" || info.PlatformName == "" || info.ComputerName == "" {
		t.Errorf("incomplete: %+v", info)
	}
	if info.IPAddress != "" {
		a, err := netip.ParseAddr(info.IPAddress)
		if err != nil || a.IsLoopback() {
			t.Errorf("IPAddress %q: want an address that other machines can reach", info.IPAddress)
		}
	}
}

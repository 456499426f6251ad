package client

import (
	"testing"

	"sekisho/internal/wire/mgs"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in, want string
		leave    bool
	}{
		{"~.", "", true},
		{"ls\r~.more", "ls\r", true},
		{"ls\n~.", "ls\n", true},
		{"a~.", "a~.", false},
		{"~~.", "~.", false},
		{"~/bin\r", "~/bin\r", false},
		{"~", "", false},
		{"~\r~.", "~\r", true},
		{"\r~~\r~.", "\r~\r", true},
		{"~a~.", "~a~.", false},
	} {
		for _, each := range []bool{false, true} { // at once, and byte by byte
			var e escape
			var got []byte
			var leave bool
			if each {
				for i := 0; i < len(tc.in) && !leave; i++ {
					got, leave = e.filter(got, []byte{tc.in[i]})
				}
			} else {
				got, leave = e.filter(nil, []byte(tc.in))
			}
			if string(got) != tc.want || leave != tc.leave {
				t.Errorf("%q (key by key: %v) gives %q, %v; want %q, %v", tc.in, each, got, leave, tc.want, tc.leave)
			}
		}
	}
}

// A terminal that reports no size must not get a size of 0, nor one wider than
// any screen.
func TestTerminalSize(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cols, rows int
		isTerminal bool
		want       mgs.Size
	}{
		{120, 40, true, mgs.Size{Cols: 120, Rows: 40}},
		{0, 0, true, mgs.Size{Cols: 80, Rows: 24}},
		{80, 0, true, mgs.Size{Cols: 80, Rows: 24}},
		{70000, 24, true, unknownSize},
		{0, 0, false, unknownSize},
	} {
		if got := terminalSize(tc.cols, tc.rows, tc.isTerminal); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

package pty

import "testing"

func TestMemberOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		stat string
		pid  int
		ok   bool
	}{
		{"123 (sh) S 1 123 100 34816 123 0", 123, true},
		{"123 (a) b) S 1 1 (c) S 1 123 100 0", 123, true}, // a name can contain anything
		{"123 (x) S 1 123 100) S 1 123 7 0", 0, false},    // and must not be parsed as the fields
		{"123 (sh) S 1 123 101 0", 0, false},
		{"123 (sh) Z 1 123 100 0", 0, false},
		{"1 (init) S 0 1 100 0", 0, false},
		{"-1 (x) S 0 1 100 0", 0, false},
		{"(x) S 0 1 100", 0, false},
		{"5 (x) S 0", 0, false},
		{"", 0, false},
	}
	for _, tt := range tests {
		if pid, ok := memberOf([]byte(tt.stat), 100); ok != tt.ok || ok && pid != tt.pid {
			t.Errorf("%q: %d, %v", tt.stat, pid, ok)
		}
	}
}

package pty_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"sekisho/internal/agent/pty"
)

// TestEchoes distinguishes a program that reads a line without echo from one that reads
// keys and shows them itself.
func TestEchoes(t *testing.T) {
	t.Parallel()
	p, err := pty.Start(exec.Command(
		"sh",
		"-c",
		"echo one; read a; stty -echo; echo two; read a; stty -icanon; echo three; read a; stty echo icanon; echo four; "+
			"read a",
	), 80, 24)
	if err != nil {
		t.Fatal(err)
	}
	defer p.End(t.Context())
	if err := p.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for _, step := range []struct {
		word   string
		echoes bool
	}{{"one", true}, {"two", false}, {"three", true}, {"four", true}} {
		for !strings.Contains(seen.String(), step.word) {
			b := make([]byte, 1024)
			n, err := p.Read(b)
			if err != nil {
				t.Fatalf("before %q: %v", step.word, err)
			}
			seen.Write(b[:n])
		}
		if got := p.Echoes(); got != step.echoes {
			t.Errorf("at %q: echoes %v", step.word, got)
		}
		if _, err := p.Write([]byte("x\r")); err != nil {
			t.Fatal(err)
		}
	}
}

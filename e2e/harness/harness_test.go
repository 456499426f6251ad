package harness_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// TestTerminal drives a local shell, to test the harness without a session.
func TestTerminal(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-i")
	cmd.Env = []string{"PS1=$ ", "TERM=xterm", "PATH=" + os.Getenv("PATH")}
	term := harness.OpenTerminal(t, 37, 113, cmd)
	term.Expect(10*time.Second, harness.Prompt)
	term.Send("stty size\r")
	term.Expect(10*time.Second, `(?m)^37 113$`)
	term.Expect(10*time.Second, harness.Prompt)
	term.Send(`printf '\033[1;31mred\033[0m\033]0;title\007!\n'` + "\r")
	term.Expect(10*time.Second, `(?m)^red!$`)
	if !strings.Contains(string(term.Raw()), "\x1b[1;31mred\x1b[0m") {
		t.Errorf("the raw bytes lack their colours: %q", term.Raw())
	}
	term.Expect(10*time.Second, harness.Prompt)
	term.Resize(10, 20)
	term.Send("stty size\r")
	term.Expect(10*time.Second, `(?m)^10 20$`)
	term.Expect(10*time.Second, harness.Prompt)
	term.Send("exit 7\r")
	if code := term.Wait(10 * time.Second); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
}

func TestSocketsOf(t *testing.T) {
	dir := t.TempDir()
	unix, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	client, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	got, err := harness.SocketsOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(got.Listening, "\n")
	for _, kind := range []string{"tcp ", "udp ", "unix "} {
		if !strings.Contains(all, kind) {
			t.Errorf("no listening %ssocket in %q", kind, got.Listening)
		}
	}
	if got.Established == 0 {
		t.Error("the established connection was not seen")
	}
	_ = tcp.Close()
	_ = udp.Close()
	_ = unix.Close()
	if got, err = harness.SocketsOf(os.Getpid()); err != nil || len(got.Listening) != 0 {
		t.Errorf("after closing all: listening on %v, %v", got.Listening, err)
	}
}

package harness

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// Terminal is a program in a pseudo-terminal, and everything it has shown.
type Terminal struct {
	t    testing.TB
	tty  *os.File
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended and all it wrote is read

	mu      sync.Mutex
	raw     []byte
	changed chan struct{} // closed and replaced whenever raw grows
	mark    int           // Expect has consumed the text up to here
}

// Prompt matches a shell that waits for a command, at the end of the screen.
const Prompt = `[#$%>] $`

// OpenTerminal starts cmd in a terminal of the given size. The program is
// killed when the test ends.
func OpenTerminal(t testing.TB, rows, cols uint16, cmd *exec.Cmd) *Terminal {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: cols})
	if err != nil {
		t.Fatalf("open a terminal: %v", err)
	}
	term := &Terminal{t: t, tty: tty, cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	go term.read()
	t.Cleanup(func() {
		// The program leads its session, so this reaches the plugin under
		// the CLI too.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = tty.Close()
		<-term.done
		if t.Failed() {
			t.Logf("the terminal showed:\n%s", term.Text())
		}
	})
	return term
}

func (x *Terminal) read() {
	defer close(x.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := x.tty.Read(buf)
		x.mu.Lock()
		x.raw = append(x.raw, buf[:n]...)
		close(x.changed)
		x.changed = make(chan struct{})
		x.mu.Unlock()
		if err != nil { // EIO: the last program on this terminal is gone
			_ = x.cmd.Wait()
			return
		}
	}
}

// Send types s.
func (x *Terminal) Send(s string) {
	x.t.Helper()
	if _, err := x.tty.WriteString(s); err != nil {
		x.t.Fatalf("type %q: %v", s, err)
	}
}

// Resize changes the size of the terminal.
func (x *Terminal) Resize(rows, cols uint16) {
	x.t.Helper()
	if err := pty.Setsize(x.tty, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		x.t.Fatalf("resize: %v", err)
	}
}

// Expect waits until the text that was not expected before matches pattern,
// and returns the match with its groups. Escape sequences and carriage
// returns are no part of the text. Lines can be matched with (?m).
func (x *Terminal) Expect(limit time.Duration, pattern string) []string {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for ended := false; ; {
		x.mu.Lock()
		text := plain(x.raw)
		changed := x.changed
		unseen := text[min(x.mark, len(text)):]
		if at := re.FindSubmatchIndex(unseen); at != nil {
			x.mark += at[1]
			x.mu.Unlock()
			groups := make([]string, len(at)/2)
			for i := range groups {
				if at[2*i] >= 0 {
					groups[i] = string(unseen[at[2*i]:at[2*i+1]])
				}
			}
			return groups
		}
		x.mu.Unlock()
		if ended {
			x.t.Fatalf("the program ended and never showed %q; what it showed last:\n%s", pattern, unseen)
		}
		select {
		case <-changed:
		case <-x.done:
			ended = true
		case <-deadline.C:
			x.t.Fatalf("%q did not appear within %s; what was there instead:\n%s", pattern, limit, unseen)
		}
	}
}

// Text returns all that was shown, without escape sequences.
func (x *Terminal) Text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return string(plain(x.raw))
}

// Raw returns all bytes that were shown.
func (x *Terminal) Raw() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return bytes.Clone(x.raw)
}

// Wait waits for the end of the program and returns its exit code.
func (x *Terminal) Wait(limit time.Duration) int {
	x.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	select {
	case <-x.done:
		if !x.cmd.ProcessState.Exited() {
			x.t.Fatalf("the program did not end by itself: %s", x.cmd.ProcessState)
		}
		return x.cmd.ProcessState.ExitCode()
	case <-deadline.C:
		x.t.Fatalf("the program still runs after %s", limit)
		return -1
	}
}

// escapes are the sequences that paint and move rather than say.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]` + // CSI
	`|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)` + // OSC, DCS and their like
	`|\x1b[ -/]+[0-~]|\x1b[0-Z\\^-~]` + // the rest
	`|[\r\x00\x07]`)

func plain(raw []byte) []byte { return escapes.ReplaceAll(raw, nil) }

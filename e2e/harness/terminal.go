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

// Terminal is a program in a pseudo-terminal, and all its output.
type Terminal struct {
	t    testing.TB
	tty  *os.File
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended and all its output is read

	mu      sync.Mutex
	raw     []byte        // all output
	text    []byte        // the same without escape sequences
	pending []byte        // the end of raw that is not in text yet: an incomplete sequence
	changed chan struct{} // closed and replaced whenever they grow
	mark    int           // Expect has consumed text up to here
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
		// The program leads its session, so this reaches the plugin below the
		// CLI, too.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = tty.Close()
		<-term.done
		if t.Failed() {
			t.Logf("the terminal showed:\n%s", tail([]byte(term.Text()), 100))
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
		x.pending = x.say(append(x.pending, buf[:n]...))
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

// Expect waits until the output after the last match matches pattern, and
// returns the match with its groups. Escape sequences and carriage returns are
// not part of the text. Lines can be matched with (?m). A match has at most a
// few kilobytes.
func (x *Terminal) Expect(limit time.Duration, pattern string) []string {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	from := -1 // where a match can still begin
	for ended := false; ; {
		x.mu.Lock()
		changed := x.changed
		from = max(from, x.mark)
		unseen := x.text[from:]
		if at := re.FindSubmatchIndex(unseen); at != nil {
			x.mark = from + at[1]
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
		if i := bytes.LastIndexByte(unseen[:max(0, len(unseen)-longestMatch)], '\n'); i >= 0 {
			from += i + 1 // the beginning of a line, so that ^ means the same
		}
		if ended {
			x.t.Fatalf("the program ended and never showed %q; what it showed last:\n%s", pattern, tail(unseen, 40))
		}
		select {
		case <-changed:
		case <-x.done:
			ended = true
		case <-deadline.C:
			x.t.Fatalf("%q did not appear within %s; what was there instead:\n%s", pattern, limit, tail(unseen, 40))
		}
	}
}

// Text returns all output, without escape sequences.
func (x *Terminal) Text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return string(x.text)
}

// Raw returns all output, unchanged.
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

// escapes are the sequences that format text or move the cursor.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]` + // CSI
	`|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)` + // OSC, DCS and their like
	`|\x1b[ -/]+[0-~]|\x1b[0-Z\\^-~]` + // the rest
	`|[\r\x00\x07]`)

// longestMatch bounds what Expect matches, so that it does not scan a long text
// again for each chunk that arrives.
const longestMatch = 4096

// longestEscape bounds a sequence: longer ones are treated as text.
const longestEscape = 4096

// say appends the text in b, and returns the incomplete sequence at its end,
// if any.
func (x *Terminal) say(b []byte) (rest []byte) {
	said := 0
	for _, at := range escapes.FindAllIndex(b, -1) {
		x.text = append(x.text, b[said:at[0]]...)
		said = at[1]
	}
	b = b[said:]
	if i := bytes.IndexByte(b, '\x1b'); i >= 0 && len(b)-i < longestEscape {
		x.text = append(x.text, b[:i]...)
		return bytes.Clone(b[i:])
	}
	x.text = append(x.text, b...)
	return nil
}

package runcommand

import (
	"fmt"
	"os"
	"strings"

	"sekisho/internal/safetext"
)

// How much of a step's output its reply contains, as with AWS's agent.
const (
	maxStdout = 24_000
	maxStderr = 8_000
	maxBoth   = 2_500
)

// maxKept bounds the file with one stream of a step until delivery.
const maxKept = 1 << 30

const truncated = "--output truncated--"

// capture captures one output stream of a step: the beginning in memory, and all of it in a file if
// it is to be delivered.
type capture struct {
	limit int
	head  []byte
	more  bool   // there is more than head
	tail  string // lines that the agent added

	file    *os.File // nil = not stored
	size    int64
	problem string // why the file is incomplete
}

// newCapture returns a capture. path is its file, or "" for none.
func newCapture(limit int, path string) (*capture, error) {
	c := &capture{limit: limit}
	if path == "" {
		return c, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	c.file = f
	return c, nil
}

// Write never fails, because a script must not end because its output cannot be stored.
func (c *capture) Write(b []byte) (int, error) {
	room := min(len(b), c.limit-len(c.head))
	c.head = append(c.head, b[:room]...)
	c.more = c.more || room < len(b)
	if c.file == nil || c.problem != "" {
		return len(b), nil
	}
	if c.size+int64(len(b)) > maxKept {
		c.problem = fmt.Sprintf("it was cut at %d MiB", maxKept>>20)
		return len(b), nil
	}
	n, err := c.file.Write(b)
	c.size += int64(n)
	if err != nil {
		c.problem = fmt.Sprintf("the node could not store all of it: %v", err)
	}
	return len(b), nil
}

// add appends a line of the agent. It takes precedence over the end of the script's output.
func (c *capture) add(line string) {
	if c.tail == "" && len(c.head) > 0 && (c.more || c.head[len(c.head)-1] != '\n') || c.tail != "" {
		line = "\n" + line
	}
	c.tail += line
	if c.file != nil && c.problem == "" {
		if n, err := c.file.WriteString(line); err == nil {
			c.size += int64(n)
		}
	}
}

// text returns the beginning of the stream, and the lines that add added.
func (c *capture) text() string {
	tail := safetext.Prefix(c.tail, c.limit/2)
	s := string(c.head)
	if c.more || len(s)+len(tail) > c.limit {
		s = safetext.Prefix(s, c.limit-len(truncated)-len(tail)) + truncated
	}
	return strings.ToValidUTF8(s+tail, "\ufffd")
}

func (c *capture) close() {
	if c.file != nil {
		_ = c.file.Close() // it has been delivered, or never will be
	}
}

// both returns the beginnings of the two streams together.
func both(stdout, stderr string) string {
	const title = "\n----------ERROR-------\n"
	const noOut, noErr = "\n---Output truncated---", "\n---Error truncated----"
	if stderr == "" {
		if len(stdout) > maxBoth {
			stdout = safetext.Prefix(stdout, maxBoth-len(noOut)) + noOut
		}
		return stdout
	}
	room := maxBoth - len(title)
	if len(stdout)+len(stderr) > room {
		// Each gets half, plus what the other does not use.
		half := room / 2
		if most := max(half, room-len(stderr)); len(stdout) > most {
			stdout = safetext.Prefix(stdout, most-len(noOut)) + noOut
		}
		if most := max(half, room-len(stdout)); len(stderr) > most {
			stderr = safetext.Prefix(stderr, most-len(noErr)) + noErr
		}
	}
	return stdout + title + stderr
}

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

// maxKept bounds the file in which one stream of a step waits to be delivered.
const maxKept = 1 << 30

const truncated = "--output truncated--"

// capture is what a step writes to one stream: the beginning in memory, and
// all of it in a file when it is to be delivered somewhere.
type capture struct {
	limit int
	head  []byte
	more  bool   // than head
	tail  string // the agent's own words

	file    *os.File // nil = not kept
	size    int64
	problem string // why not all of it is in the file
}

// newCapture returns a capture. Path names its file; it may be empty.
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

// Write never fails: a script does not end because its output is not kept.
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
		c.problem = fmt.Sprintf("the node could not keep all of it: %v", err)
	}
	return len(b), nil
}

// add puts a line of the agent's own at the end. It is worth more than the end
// of what the script wrote.
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

// text is the beginning of the stream, and what add added.
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
		_ = c.file.Close() // it has been delivered, or will not be
	}
}

// both is the beginning of the two streams together.
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
		// Each has half, and what the other leaves.
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

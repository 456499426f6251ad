// Package copy is the node's side of sekisho cp. It runs in a separate process as the session's OS
// user, connected to the client by standard input and output. Its standard error appears in the
// recording.
package copy

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/session/transfer"
)

// Directions from the client's point of view.
const (
	Upload   = "upload"
	Download = "download"
)

// Run copies in one direction. A relative path is relative to home.
func Run(direction, path, home string, in io.Reader, out, log io.Writer) error {
	verb, run := "received", transfer.Receive
	switch direction {
	case Upload:
	case Download:
		verb, run = "sent", transfer.Send
	default:
		return sekisho.Errorf(sekisho.CodeInvalid, "unknown direction %.40q: want upload or download", direction)
	}
	path, err := absolute(path, home)
	if err != nil {
		return err
	}
	conn := struct {
		io.Reader
		io.Writer
	}{in, out}
	lines := newReport(log)
	defer lines.flush()
	report := lines.add
	err = run(conn, path, transfer.Options{
		Copied: func(i transfer.Item) {
			resumed := ""
			if i.Resumed > 0 {
				resumed = fmt.Sprintf(", %d of them resumed", i.Resumed)
			}
			report("%s %s: %d bytes%s, sha256 %s", verb, printable(i.Path), i.Size, resumed, i.SHA256)
		},
		Note: func(text string) { report("%s", printable(text)) },
	})
	if err != nil {
		report("failed: %s", printable(err.Error()))
	}
	return err
}

// report writes lines, many at once: each write becomes a message to the server, and a folder
// can have thousands of small files. Errors of standard error cannot be reported.
type report struct {
	to      *bufio.Writer
	flushed time.Time
}

// reportEvery is how long lines may wait for more lines.
const reportEvery = 100 * time.Millisecond

func newReport(to io.Writer) *report { return &report{to: bufio.NewWriterSize(to, 32<<10)} }

func (r *report) add(format string, args ...any) {
	_, _ = fmt.Fprintf(r.to, format+"\r\n", args...)
	if time.Since(r.flushed) >= reportEvery {
		r.flush()
	}
}

func (r *report) flush() {
	_ = r.to.Flush()
	r.flushed = time.Now()
}

func absolute(path, home string) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "%.40q is not a path.", path)
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
		path = "." + rest
	}
	if filepath.IsAbs(path) {
		return path, nil
	}
	full := filepath.Join(home, path)
	if strings.HasSuffix(path, "/") {
		full += "/" // it means that the folder must exist
	}
	return full, nil
}

// printable returns s, quoted if it contains control sequences.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	if plain := quoted[1 : len(quoted)-1]; plain == s {
		return s
	}
	return quoted
}

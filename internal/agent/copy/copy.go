// Package copy is the node's side of sekisho cp. It runs in a process of its
// own, which is the session's user and has the client at its standard input
// and output. What it prints on standard error is for the recording.
package copy

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"sekisho"
	"sekisho/internal/session/transfer"
)

// The directions, as the client sees them.
const (
	Upload   = "upload"
	Download = "download"
)

// Run copies in one direction. A path that is not absolute begins at home.
func Run(direction, path, home string, in io.Reader, out, log io.Writer) error {
	verb, run := "received", transfer.Receive
	switch direction {
	case Upload:
	case Download:
		verb, run = "sent", transfer.Send
	default:
		return sekisho.Errorf(sekisho.CodeInvalid, "%.40q is no direction of a copy.", direction)
	}
	path, err := absolute(path, home)
	if err != nil {
		return err
	}
	conn := struct {
		io.Reader
		io.Writer
	}{in, out}
	// Standard error is the session's: it cannot be told if it fails.
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(log, format+"\r\n", args...) }
	err = run(conn, path, transfer.Options{
		Copied: func(i transfer.Item) {
			resumed := ""
			if i.Resumed > 0 {
				resumed = fmt.Sprintf(", %d of them there before", i.Resumed)
			}
			say("%s %s: %d bytes%s, sha256 %s", verb, printable(i.Path), i.Size, resumed, i.SHA256)
		},
		Note: func(text string) { say("%s", printable(text)) },
	})
	if err != nil {
		say("failed: %s", printable(err.Error()))
	}
	return err
}

func absolute(path, home string) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "%.40q is no path.", path)
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
		path = "." + rest
	}
	if filepath.IsAbs(path) {
		return path, nil
	}
	whole := filepath.Join(home, path)
	if strings.HasSuffix(path, "/") {
		whole += "/" // it means that there must be a folder
	}
	return whole, nil
}

// printable is s as a terminal may be given it.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	if plain := quoted[1 : len(quoted)-1]; plain == s {
		return s
	}
	return quoted
}

package copy_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"sekisho/internal/agent/copy"
	"sekisho/internal/session/transfer"
)

// countingWriter counts calls of Write.
type countingWriter struct {
	strings.Builder
	writes int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes++
	return w.Builder.Write(p)
}

// Each write to standard error becomes a message to the server: a folder of
// many small files must not cost one message for each.
func TestManyFilesAreReportedInFewWrites(t *testing.T) {
	t.Parallel()
	const files = 1000
	source, home := t.TempDir(), t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprintf("file-%04d", i)), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log countingWriter
	synctest.Test(t, func(t *testing.T) { // the clock stands still, so no line is due by time
		client, node := net.Pipe()
		sent := make(chan error, 1)
		go func() { sent <- transfer.Send(client, source, transfer.Options{}) }()
		if err := copy.Run(copy.Upload, "copy", home, node, node, &log); err != nil {
			t.Error(err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
	if got := strings.Count(log.String(), "received "); got != files {
		t.Errorf("%d files reported, want %d", got, files)
	}
	if most := log.Len()/(32<<10) + 2; log.writes > most {
		t.Errorf("%d writes for %d bytes, want at most %d", log.writes, log.Len(), most)
	}
}

// Reports before a failure are written, and the failure follows them.
func TestFailureIsReportedLast(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	var log countingWriter
	client, node := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- copy.Run(copy.Download, "missing", home, node, node, &log) }()
	received := transfer.Receive(client, filepath.Join(home, "to"), transfer.Options{})
	if err := <-done; err == nil || received == nil {
		t.Fatalf("copied a missing file: %v, %v", err, received)
	}
	if !strings.HasPrefix(log.String(), "failed: ") || !strings.HasSuffix(log.String(), "\r\n") {
		t.Errorf("log %q, want one line about the failure", log.String())
	}
}

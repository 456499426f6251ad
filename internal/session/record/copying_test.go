package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record"
	"sekisho/internal/session/transfer"
)

// copyTap records the data of a connection.
type copyTap struct {
	net.Conn
	mu  *sync.Mutex
	rec *record.Recording
	t   *testing.T
}

func (c copyTap) pass(fromClient bool, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.rec.Copy(fromClient, p); err != nil {
		c.t.Error(err)
	}
}

func (c copyTap) Write(p []byte) (int, error) {
	c.pass(true, p)
	return c.Conn.Write(p)
}

func (c copyTap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.pass(false, p[:n])
	return n, err
}

// TestCopiedFiles: the recording of a copy has an entry for each file, the
// export and the transcript show it, and no content is stored.
func TestCopiedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	from := filepath.Join(t.TempDir(), "secrets.txt")
	ok(t, os.WriteFile(from, []byte("the content"), 0o600))
	ok(t, os.Chmod(from, 0o640))
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- transfer.Receive(b, filepath.Join(t.TempDir(), "x"), transfer.Options{}) }()
	ok(t, transfer.Send(copyTap{a, &sync.Mutex{}, rec, t}, from, transfer.Options{}))
	ok(t, <-done)
	_, err := rec.Seal(record.Exit{})
	ok(t, err)
	s, err := r.Open(alice)
	ok(t, err)
	defer s.Close()
	c, err := s.Records()
	ok(t, err)
	var got []recfile.Copied
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		if bytes.Contains(rec.Data, []byte("the content")) {
			t.Errorf("content was kept: %q", rec.Data)
		}
		if rec.Kind == recfile.File {
			var f recfile.Copied
			ok(t, json.Unmarshal(rec.Data, &f))
			got = append(got, f)
		}
	}
	if len(got) != 1 || got[0].Direction != recfile.Upload || got[0].Path != "secrets.txt" || got[0].Mode != "0640" ||
		got[0].Size != 11 || got[0].Passed != 11 || len(got[0].SHA256) != 64 || !got[0].Complete {
		t.Errorf("%+v", got)
	}
	_, evs := events(t, r, alice)
	if len(evs) == 0 || !strings.HasPrefix(evs[0], "m uploaded secrets.txt, mode 0640, 11 bytes, sha256 ") {
		t.Errorf("%q", evs)
	}
	ok(t, r.MakeTranscripts(t.Context()))
	found := 0
	ok(t, r.Search(alice, "SECRETS.txt", func(recfile.Line) bool { found++; return true }))
	if found != 1 {
		t.Errorf("%d lines found", found)
	}
}

// TestCopyAfterRestart: a copy whose beginning an earlier process saw is not
// parsed, and the recording says so.
func TestCopyAfterRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.Marker("before"))
	ok(t, r.Close())
	r = open(t, dir, record.Options{})
	rec = start(t, r, alice)
	ok(t, rec.Copy(true, []byte("d\x00\x00\x00\x05middle of a frame")))
	ok(t, rec.Copy(true, []byte("more")))
	_, err := rec.Seal(record.Exit{})
	ok(t, err)
	_, evs := events(t, r, alice)
	if n := strings.Count(strings.Join(evs, "\n"), "copied files are not listed"); n != 1 {
		t.Errorf("%q", evs)
	}
}

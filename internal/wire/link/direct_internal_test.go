package link

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestDirect: reads and writes of any size, deadlines, EOF and resets behave as on any
// connection.
func TestDirect(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, far := newDirect(conn), newDirect(<-accepted)
	want := make([]byte, 8<<20) // more than the sockets hold: the write waits
	_, _ = rand.Read(want)
	wrote := make(chan error, 1)
	go func() {
		_, err := near.Write(want)
		wrote <- err
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what arrived differs, %v", err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err := near.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err = near.Read(got)
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "read" || !op.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(got); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	for err = nil; err == nil; { // the first writes are answered with a reset
		_, err = near.Write(got[:1])
	}
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "write" {
		t.Errorf("after a reset: %v", err)
	}
	if _, err := far.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after it was closed here: %v", err)
	}
	if err := near.Close(); err != nil {
		t.Error(err)
	}
}

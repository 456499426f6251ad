package link

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// counted counts the writes to a connection.
type counted struct {
	net.Conn
	writes *atomic.Int64
	fail   error
}

func (c *counted) Write(p []byte) (int, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	c.writes.Add(1)
	return c.Conn.Write(p)
}

type countingListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &counted{Conn: conn, writes: l.writes}, err
}

// TestOneWriteForOneMessage: a message of many TLS records is one write, in both
// directions, and arrives whole.
func TestOneWriteForOneMessage(t *testing.T) {
	t.Parallel()
	want := make([]byte, 60<<10)
	_, _ = rand.Read(want)
	var atServer, atClient atomic.Int64
	answered := make(chan int64, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := Accept(w, r, AcceptOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.CloseNow() }()
		_, got, err := conn.Read(t.Context())
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		before := atServer.Load()
		if err := conn.Write(t.Context(), Binary, got); err != nil {
			t.Error(err)
		}
		answered <- atServer.Load() - before
		_, _, _ = conn.Read(t.Context()) // until the client hangs up
	}))
	srv.Listener = Listen(countingListener{srv.Listener, &atServer})
	srv.Config.ConnContext = ConnContext
	srv.StartTLS()
	defer srv.Close()
	conn, err := Dial(t.Context(), "wss"+srv.URL[len("https"):], DialOptions{
		TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone(),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &counted{Conn: c, writes: &atClient}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	before := atClient.Load()
	if err := conn.Write(t.Context(), Binary, want); err != nil {
		t.Fatal(err)
	}
	if n := atClient.Load() - before; n != 1 {
		t.Errorf("the client wrote %d times", n)
	}
	if _, got, err := conn.Read(t.Context()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := <-answered; n != 1 {
		t.Errorf("the server wrote %d times", n)
	}
}

// TestCorkReportsErrors: a failure to write gathered bytes is an error of the message and
// of all later ones.
func TestCorkReportsErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	c := &corked{Conn: &counted{fail: broken}}
	c.cork()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := c.uncork(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Write([]byte("y")); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestStuckWriteEndsWithItsContext: writing a large message to a peer that does not read
// ends with its context.
func TestStuckWriteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := Accept(w, r, AcceptOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		<-stuck // it reads nothing
		_ = conn.CloseNow()
	}))
	defer srv.Close()
	defer close(stuck)
	conn, err := Dial(t.Context(), "wss"+srv.URL[len("https"):], DialOptions{
		TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for err == nil { // until the buffers between are full
		err = conn.Write(ctx, Binary, make([]byte, 60<<10))
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

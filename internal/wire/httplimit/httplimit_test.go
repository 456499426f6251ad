package httplimit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/wire/httplimit"
)

// start serves a handler that trusts requests with a header.
func start(t *testing.T, cfg httplimit.Config) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		ConnContext: httplimit.ConnContext,
		Handler: httplimit.Bodies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				httplimit.Trust(r.Context())
			}
			fmt.Fprint(w, "ok")
		})),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(httplimit.New(cfg).Listener(inner)) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return inner.Addr().String()
}

func dial(t *testing.T, addr, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask makes a signed request on c.
func ask(c net.Conn) error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: yes\r\n\r\n"); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	b := make([]byte, 12)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != "HTTP/1.1 200" {
		return fmt.Errorf("answered %q", b)
	}
	_, err := c.Read(make([]byte, 4096))
	return err
}

// closed waits until the server has closed c.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func TestOneAddressCannotHoldAllConnections(t *testing.T) {
	t.Parallel()
	addr := start(t, httplimit.Config{PerAddress: 3, Unauthenticated: 100})
	trusted := dial(t, addr, "127.0.0.1")
	if err := ask(trusted); err != nil {
		t.Fatal(err)
	}
	var stalled []net.Conn
	for range 4 {
		stalled = append(stalled, dial(t, addr, "127.0.0.1"))
	}
	closed(t, stalled[0])
	if err := ask(dial(t, addr, "127.0.0.1")); err != nil {
		t.Errorf("a signed caller of the same address: %v", err)
	}
	if err := ask(dial(t, addr, "127.0.0.2")); err != nil {
		t.Errorf("a signed caller of another address: %v", err)
	}
	if err := ask(trusted); err != nil {
		t.Errorf("a connection that was trusted before: %v", err)
	}
}

func TestUnauthenticatedClientsCannotHoldAllConnections(t *testing.T) {
	t.Parallel()
	addr := start(t, httplimit.Config{PerAddress: 2, Unauthenticated: 4, Total: 6})
	trusted := dial(t, addr, "127.0.0.1")
	if err := ask(trusted); err != nil {
		t.Fatal(err)
	}
	var stalled []net.Conn
	for i := range 8 {
		stalled = append(stalled, dial(t, addr, fmt.Sprintf("127.0.0.%d", 10+i)))
	}
	for _, c := range stalled[:4] {
		closed(t, c)
	}
	if err := ask(dial(t, addr, "127.0.0.99")); err != nil {
		t.Errorf("a signed caller: %v", err)
	}
	if err := ask(trusted); err != nil {
		t.Errorf("a connection that was trusted before: %v", err)
	}
}

// deadlines is a connection that remembers its read deadline.
type deadlines struct {
	http.ResponseWriter
	at time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.at = t
	return nil
}

func TestBodiesHaveDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &deadlines{}
		began := time.Now()
		read := func(n int) {
			r, err := http.NewRequestWithContext(
				t.Context(),
				http.MethodPost,
				"/",
				io.NopCloser(strings.NewReader("body")),
			)
			if err != nil {
				t.Fatal(err)
			}
			httplimit.Bodies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if time.Until(w.at) != 30*time.Second {
					t.Errorf("before the first read: %v", time.Until(w.at))
				}
				time.Sleep(50 * time.Second)
				if _, err := io.ReadFull(r.Body, make([]byte, n)); err != nil {
					t.Error(err)
				}
				if got := w.at.Sub(began); n == 2 && got != time.Minute {
					t.Errorf("an unauthenticated body may take %v", got)
				}
				if n == 4 {
					if _, err := r.Body.Read(make([]byte, 1)); err != io.EOF || !w.at.IsZero() {
						t.Errorf("at the end: %v, deadline %v", err, w.at)
					}
				}
			})).ServeHTTP(w, r)
		}
		read(2)
		if got := time.Until(w.at); got != 5*time.Second {
			t.Errorf("for the rest of a body: %v", got)
		}
		read(4)
		if !w.at.IsZero() {
			t.Errorf("after the end: %v", w.at)
		}
	})
}

package port_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xtaci/smux"

	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/port"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

// listen serves connections on the loopback interface until the test ends, and
// returns the address.
func listen(t *testing.T, handle func(*net.TCPConn)) port.Destination {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return port.Destination{Port: uint16(l.Addr().(*net.TCPAddr).Port)}
}

// start runs a session until it ends; wait returns its error.
func start(t *testing.T, p *port.Port, s plugin.Stream) (cancel context.CancelCauseFunc, wait func() error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background()) // the test's own context ends before its cleanup
	p.Log = slog.New(slog.DiscardHandler)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, s) }()
	var once sync.Once
	var result error
	wait = func() error {
		once.Do(func() { result = <-done })
		return result
	}
	t.Cleanup(func() {
		cancel(nil)
		_ = wait()
	})
	return cancel, wait
}

func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// TestSingle: one connection, with which the session ends without an error and
// without losing the last bytes.
func TestSingle(t *testing.T) {
	t.Parallel()
	to := listen(t, func(c *net.TCPConn) {
		line := make([]byte, 5)
		if _, err := io.ReadFull(c, line); err == nil {
			fmt.Fprintf(c, "got %s and goodbye", line)
		}
	})
	s := agenttest.NewStream(t)
	_, wait := start(t, &port.Port{Mode: port.Single, To: to}, s)
	s.Give(mgs.PayloadOutput, "he")
	s.Give(mgs.PayloadSize, `{"cols":1,"rows":1}`)
	s.Give(mgs.PayloadOutput, "llo")
	if err := wait(); err != nil || s.Text(mgs.PayloadOutput) != "got hello and goodbye" {
		t.Errorf("%v, %q", err, s.Text(mgs.PayloadOutput))
	}
}

// TestSerial: a client that cannot multiplex closes its connection and opens
// another.
func TestSerial(t *testing.T) {
	t.Parallel()
	var n int
	var mu sync.Mutex
	to := listen(t, func(c *net.TCPConn) {
		mu.Lock()
		n++
		fmt.Fprintf(c, "connection %d\n", n)
		mu.Unlock()
		_, _ = io.Copy(io.Discard, c)
	})
	s := agenttest.NewStream(t)
	_, wait := start(t, &port.Port{Mode: port.Serial, To: to}, s)
	has := func(want string) func(string) bool {
		return func(got string) bool { return strings.Contains(got, want) }
	}
	s.Await(mgs.PayloadOutput, "the first", has("connection 1\n"))
	s.Flag(mgs.FlagDisconnectToPort)
	s.Flag(mgs.FlagDisconnectToPort) // there is no connection to close
	s.Give(mgs.PayloadOutput, "hello again")
	s.Await(mgs.PayloadOutput, "the second", has("connection 2\n"))
	s.Flag(mgs.FlagTerminateSession)
	if err := wait(); !errors.Is(err, plugin.ErrTerminate) {
		t.Errorf("ended with %v", err)
	}
}

// TestClosedPort: a session with a single connection does not start. One
// with many continues and reports each failure to the client.
func TestClosedPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := port.Destination{Port: uint16(l.Addr().(*net.TCPAddr).Port)}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := agenttest.NewStream(t)
	_, wait := start(t, &port.Port{Mode: port.Single, To: to}, s)
	if err := wait(); err == nil || !strings.Contains(err.Error(), "could not connect to "+to.String()) {
		t.Errorf("got %v", err)
	}
	many := newClient(t, &port.Port{Mode: port.Many, To: to})
	for i := range 3 {
		st, err := many.session.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(st); err != nil || len(b) > 0 {
			t.Errorf("%q, %v", b, err)
		}
		many.stream.Await(mgs.PayloadFlag, "the flag", func(flags string) bool {
			return flags == strings.Repeat(string(mgs.FlagConnectToPortError.Bytes()), i+1)
		})
	}
}

// pipe is a stream whose Output is a client's connection.
type pipe struct {
	*agenttest.Stream
	toClient *io.PipeWriter
}

// Send implements plugin.Stream.
func (p *pipe) Send(ctx context.Context, pt mgs.PayloadType, b []byte) error {
	if pt != mgs.PayloadOutput {
		return p.Stream.Send(ctx, pt, b)
	}
	_, err := p.toClient.Write(b)
	return err
}

// wire is the client's end of it.
type wire struct {
	io.Reader
	s *agenttest.Stream
}

// Write implements io.Writer: payloads end anywhere.
func (w *wire) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		piece := b[:min(len(b), 1000)]
		w.s.Give(mgs.PayloadOutput, string(piece))
		b = b[len(piece):]
	}
	return n, nil
}

// Close implements io.Closer.
func (w *wire) Close() error { return nil }

type client struct {
	stream  *agenttest.Stream
	conn    *wire
	session *mux.Conn
	wait    func() error
}

// newWire starts a session with many connections; the test is the client.
func newWire(t *testing.T, p *port.Port) *client {
	t.Helper()
	r, w := io.Pipe()
	s := agenttest.NewStream(t)
	_, wait := start(t, p, &pipe{s, w})
	t.Cleanup(func() { _ = r.Close() })
	return &client{stream: s, conn: &wire{r, s}, wait: wait}
}

// newClient is newWire with our own multiplexer.
func newClient(t *testing.T, p *port.Port) *client {
	t.Helper()
	c := newWire(t, p)
	c.session = mux.Client(c.conn)
	t.Cleanup(func() {
		c.stream.Flag(mgs.FlagTerminateSession)
		if err := c.wait(); !errors.Is(err, plugin.ErrTerminate) {
			t.Errorf("the session ended with %v", err)
		}
		_ = c.conn.Reader.(*io.PipeReader).Close()
		_ = c.session.Close()
	})
	return c
}

// TestCutConnectionsAreReset: when a session dies, the data that the
// destination received does not look complete. The same holds for the client
// when the destination breaks.
func TestCutConnectionsAreReset(t *testing.T) {
	t.Parallel()
	for _, mode := range []port.Mode{port.Single, port.Serial, port.Many} {
		ends := make(chan error, 1)
		to := listen(t, func(c *net.TCPConn) {
			if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
				ends <- err
				return
			}
			fmt.Fprint(c, "got it")
			_, err := c.Read(make([]byte, 1))
			ends <- err
		})
		var cancel context.CancelCauseFunc
		if mode == port.Many {
			r, w := io.Pipe()
			s := agenttest.NewStream(t)
			cancel, _ = start(t, &port.Port{Mode: mode, To: to, HalfClose: true}, &pipe{s, w})
			t.Cleanup(func() { _ = r.Close() })
			m := mux.Client(&wire{r, s})
			t.Cleanup(func() { _ = r.Close(); _ = m.Close() })
			st, err := m.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Write([]byte("half")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(st, make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
		} else {
			s := agenttest.NewStream(t)
			cancel, _ = start(t, &port.Port{Mode: mode, To: to}, s)
			s.Give(mgs.PayloadOutput, "half")
			s.Await(mgs.PayloadOutput, "the answer", func(got string) bool { return got == "got it" })
		}
		cancel(errors.New("the session died"))
		if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("mode %d: the destination's connection ended with %v", mode, err)
		}
	}
	broken := listen(t, func(c *net.TCPConn) {
		fmt.Fprint(c, "half")
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	})
	c := newClient(t, &port.Port{Mode: port.Many, To: broken, HalfClose: true, SendResets: true})
	st, err := c.session.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(st, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Read(make([]byte, 1)); !errors.Is(err, mux.ErrReset) {
		t.Errorf("the client's stream ended with %v", err)
	}
}

// TestMany has 64 connections, one of which is not read: the others finish.
func TestMany(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	to := listen(t, func(c *net.TCPConn) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			return
		}
		if first[0] == 's' { // not read
			<-release
		}
		sum := sha256.New()
		n, _ := io.Copy(sum, c)
		fmt.Fprintf(c, "%d %x", n, sum.Sum(nil))
	})
	c := newClient(t, &port.Port{Mode: port.Many, To: to, HalfClose: true})
	send := func(kind string, data []byte) (*mux.Stream, error) {
		st, err := c.session.Open()
		if err != nil {
			return nil, err
		}
		if _, err = st.Write(append([]byte(kind), data...)); err == nil {
			err = st.CloseWrite()
		}
		return st, err
	}
	receive := func(st *mux.Stream, data []byte) {
		got, err := io.ReadAll(st)
		if want := fmt.Sprintf("%d %x", len(data), sha256.Sum256(data)); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
		_ = st.Close()
	}
	large := noise(0, 16<<20) // more than any socket holds
	stalled := make(chan *mux.Stream, 1)
	go func() {
		st, err := send("s", large)
		if err != nil {
			t.Error(err)
		}
		stalled <- st
	}()
	// It is the only one, and full, before the others start.
	c.stream.AwaitGiven(4 << 20)
	var all sync.WaitGroup
	for i := range 63 {
		all.Go(func() {
			data := noise(byte(i+1), 100000+i)
			st, err := send("n", data)
			if err != nil {
				t.Error(err)
				return
			}
			receive(st, data)
		})
	}
	all.Wait()
	close(release)
	receive(<-stalled, large)
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// TestStockMultiplexer uses the library that AWS's client uses.
func TestStockMultiplexer(t *testing.T) {
	t.Parallel()
	c := newWire(t, &port.Port{Mode: port.Many, To: listen(t, echo)})
	conf := smux.DefaultConfig()
	conf.KeepAliveDisabled = true
	session, err := smux.Client(c.conn, conf)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			st, err := session.OpenStream()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = st.Close() }()
			data := noise(byte(i), 200000)
			go func() { _, _ = st.Write(data) }()
			got := make([]byte, len(data))
			if _, err := io.ReadFull(st, got); err != nil || !bytes.Equal(got, data) {
				t.Errorf("stream %d: %v", i, err)
			}
		})
	}
	all.Wait()
	c.stream.Flag(mgs.FlagTerminateSession)
	if err := c.wait(); !errors.Is(err, plugin.ErrTerminate) {
		t.Errorf("ended with %v", err)
	}
	_ = c.conn.Reader.(*io.PipeReader).Close()
	_ = session.Close()
}

// TestBrokenMultiplexer: violating the protocol ends the session.
func TestBrokenMultiplexer(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"GET / HTTP/1.1\r\n", "\x02\x00\x00\x00\x01\x00\x00\x00",
		"\x01\x09\x00\x00\x01\x00\x00\x00"} {
		c := newWire(t, &port.Port{Mode: port.Many, To: listen(t, echo)})
		c.stream.Give(mgs.PayloadOutput, bad)
		// Once the multiplexer has given up, it waits for nothing.
		if err := c.wait(); err == nil || !strings.Contains(err.Error(), "protocol") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

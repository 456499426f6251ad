package reverse_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/reverse"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is a data channel whose client end is a connection.
type stream struct {
	in   chan []byte
	flag chan mgs.Flag
	out  *io.PipeWriter
}

func (s *stream) Send(_ context.Context, _ mgs.PayloadType, p []byte) error {
	_, err := s.out.Write(p)
	return err
}

func (s *stream) Receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	select {
	case b := <-s.in:
		return mgs.PayloadOutput, b, nil
	case f := <-s.flag:
		return mgs.PayloadFlag, f.Bytes(), nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

type clientConn struct {
	*io.PipeReader
	s   *stream
	ctx context.Context
}

func (c *clientConn) Write(p []byte) (int, error) {
	select {
	case c.s.in <- append([]byte(nil), p...):
		return len(p), nil
	case <-c.ctx.Done():
		return 0, c.ctx.Err()
	}
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func TestCarries(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, w := io.Pipe()
	s := &stream{in: make(chan []byte), flag: make(chan mgs.Flag), out: w}
	client := mux.Client(&clientConn{r, s, ctx})
	defer func() { _ = client.Close() }()
	node := &reverse.Reverse{Host: "127.0.0.1", Port: freePort(t), Log: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx, s) }()

	address := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(node.Port)}
	var conn *net.TCPConn
	for conn == nil { // until it listens
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		conn, _ = net.DialTCP("tcp", nil, &address)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	st, err := client.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(st); err != nil || string(got) != "question" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := st.Write([]byte("answer")); err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "answer" {
		t.Errorf("%q, %v", got, err)
	}
	s.flag <- mgs.FlagTerminateSession
	if err := <-done; !errors.Is(err, plugin.ErrTerminate) {
		t.Errorf("ended with %v", err)
	}
	if c, err := net.DialTCP("tcp", nil, &address); err == nil {
		_ = c.Close()
		t.Error("it listens after its end")
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, r := range []reverse.Reverse{
		{Host: "0.0.0.0", Port: 8080}, {Host: "::", Port: 8080}, {Host: "192.0.2.1", Port: 8080}, {Host: "", Port: 8080},
		{Host: "example.com", Port: 8080}, {Host: "localhost", Port: 22}, {Host: "localhost"},
	} {
		if err := r.Check(); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
	for _, r := range []reverse.Reverse{{Host: "localhost", Port: 1024}, {Host: "127.9.9.9", Port: 65535},
		{Host: "::1", Port: 8080}} {
		if err := r.Check(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

package link

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// wire is a connection that delivers fixed bytes and accepts any.
type wire struct {
	io.Reader
	out bytes.Buffer
}

func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }
func (w *wire) Close() error                { return nil }

func readAll(s *socket, t testing.TB) (messages [][]byte, err error) {
	for {
		_, b, err := s.read(t.Context(), nil)
		if err != nil {
			return messages, err
		}
		messages = append(messages, b)
	}
}

// TestMalformedFrames: a peer that violates the protocol gets a close frame with the
// reason.
func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		client bool
		bytes  string
		want   error
	}{
		"reserved bit":                   {true, "\xc2\x01x", errProtocol},
		"opcode 3":                       {true, "\x83\x01x", errProtocol},
		"masked by a server":             {true, "\x82\x81\x00\x00\x00\x00x", errProtocol},
		"not masked by a client":         {false, "\x82\x01x", errProtocol},
		"continuation of nothing":        {true, "\x80\x01x", errProtocol},
		"message within a message":       {true, "\x02\x01x\x82\x01y", errProtocol},
		"fragmented ping":                {true, "\x09\x01x", errProtocol},
		"long ping":                      {true, "\x89\x7e\x00\x7e" + string(make([]byte, 126)), errProtocol},
		"close frame of 1 byte":          {true, "\x88\x01x", errProtocol},
		"negative length":                {true, "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", errProtocol},
		"too big":                        {true, "\x82\x7e\x04\x01", ErrTooBig},
		"too big in fragments":           {true, "\x02\x01x\x80\x7e\x04\x00", ErrTooBig},
		"too big for any memory":         {true, "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", ErrTooBig},
		"cut off in the header":          {true, "\x82", io.EOF},
		"cut off in the payload":         {true, "\x82\x02x", io.ErrUnexpectedEOF},
		"cut off between two fragments":  {true, "\x02\x01x", io.EOF},
		"cut off before a close frame":   {true, "\x82\x01x", io.EOF},
		"the end of a close by the peer": {true, "\x88\x02\x03\xe8", &closeError{}},
	} {
		w := &wire{Reader: bytes.NewReader([]byte(tc.bytes))}
		_, err := readAll(newSocket(w, w, tc.client, 1024), t)
		if _, closed := errors.AsType[*closeError](tc.want); closed {
			if _, ok := errors.AsType[*closeError](err); !ok {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
		told := w.out.Len() > 0 && w.out.Bytes()[0] == bitFin|opClose
		if want := errors.Is(tc.want, errProtocol) || errors.Is(tc.want, ErrTooBig); told != want {
			t.Errorf("%s: close frame sent: %t, want %t", name, told, want)
		}
	}
}

// FuzzSocket: reading ends for any input, and no message exceeds the limit.
func FuzzSocket(f *testing.F) {
	f.Add([]byte("\x82\x03abc\x89\x01p\x02\x01x\x80\x01y\x88\x02\x03\xe8"), true)
	f.Add([]byte("\x82\x83\x01\x02\x03\x04abc"), false)
	f.Add([]byte("\x82\x7e\x04\x00"), true)
	f.Fuzz(func(t *testing.T, b []byte, client bool) {
		const limit = 1024
		w := &wire{Reader: bytes.NewReader(b)}
		messages, err := readAll(newSocket(w, w, client, limit), t)
		if err == nil {
			t.Fatal("reading ended without an error")
		}
		total := 0
		for _, m := range messages {
			total += len(m)
			if len(m) > limit {
				t.Fatalf("a message of %d bytes", len(m))
			}
		}
		if total > len(b) {
			t.Fatalf("%d bytes came out of %d", total, len(b))
		}
	})
}

// TestBuffered: a message is buffered once all of it has arrived.
func TestBuffered(t *testing.T) {
	t.Parallel()
	first := "\x82\x01a"
	for next, want := range map[string]bool{
		"": false, "\x82": false, "\x82\x02x": false, "\x82\x01x": true, "\x82\x7e\x00": false,
		"\x89\x01p": false, "\x8a\x01p": false, "\x02\x01x": false,
		"\x82\x7e\x00\x7e" + string(make([]byte, 125)): false, "\x82\x7e\x00\x7e" + string(make([]byte, 126)): true,
		"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01x": false,
	} {
		w := &wire{Reader: bytes.NewReader([]byte(first + next))}
		s := newSocket(w, w, true, 1024)
		if _, b, err := s.read(t.Context(), nil); err != nil || string(b) != "a" {
			t.Fatalf("%q, %v", b, err)
		}
		if got := s.buffered(); got != want {
			t.Errorf("%q: %t, want %t", next, got, want)
		}
	}
}

// TestBufferedWhileClosing: close reads up to the peer's close frame, and a concurrent
// reader must not interfere.
func TestBufferedWhileClosing(t *testing.T) {
	t.Parallel()
	w := &wire{Reader: bytes.NewReader(append(bytes.Repeat([]byte("\x82\x01x"), 10_000), "\x88\x02\x03\xe8"...))}
	s := newSocket(w, w, true, 1024)
	closed := make(chan error, 1)
	go func() { closed <- s.close(CloseNormal, "") }()
	for !s.isClosed() {
		s.buffered()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestRecycledMessages: a recycled buffer has the size that its next reader needs, and a
// buffer that no read has returned is rejected.
func TestRecycledMessages(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, minPooled - 1, minPooled, minPooled + 1, 1 << maxPooledBits, 1<<maxPooledBits + 1} {
		for range 3 {
			b := newBuffer(n)
			if len(b) != n {
				t.Fatalf("a buffer of %d bytes, want %d", len(b), n)
			}
			Recycle(b[n/2:]) // only a part: its capacity is not a power of two
			Recycle(b)
		}
	}
}

func TestXor(t *testing.T) {
	t.Parallel()
	const mask = 0x04030201
	for n := range 40 {
		b := make([]byte, n)
		xor(b, mask)
		for i, c := range b {
			if want := byte(i%4 + 1); c != want {
				t.Fatalf("byte %d of %d is %d, want %d", i, n, c, want)
			}
		}
	}
}

package agenttest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"sekisho/internal/wire/mgs"
)

// Payload is one message of a stream.
type Payload struct {
	Type mgs.PayloadType
	Body string
}

// Stream is a session's data channel for tests of a single plugin: Give supplies the client's
// payloads, and it records the plugin's.
type Stream struct {
	t  testing.TB
	in chan Payload

	mu      sync.Mutex
	got     []Payload
	given   int
	changed chan struct{}
	stalled chan struct{} // if not nil, the client reads nothing until it is closed
}

// NewStream returns an open stream.
func NewStream(t testing.TB) *Stream {
	return &Stream{t: t, in: make(chan Payload, 1024), changed: make(chan struct{})}
}

// Stall makes the client stop reading until the returned function is called.
func (s *Stream) Stall() (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stalled := make(chan struct{})
	s.stalled = stalled
	return func() { close(stalled) }
}

// Send implements the plugin's side.
func (s *Stream) Send(ctx context.Context, pt mgs.PayloadType, p []byte) error {
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, Payload{pt, string(p)})
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// ErrEnded is the error of Send and Receive after End.
var ErrEnded = errors.New("the stream has ended")

// Receive implements the plugin's side.
func (s *Stream) Receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	select {
	case p, ok := <-s.in:
		if !ok {
			return 0, nil, ErrEnded
		}
		return p.Type, []byte(p.Body), nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// Give sends a payload from the client.
func (s *Stream) Give(pt mgs.PayloadType, body string) {
	s.in <- Payload{pt, body}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given += len(body)
	close(s.changed)
	s.changed = make(chan struct{})
}

// AwaitGiven waits until the plugin has received about n bytes.
func (s *Stream) AwaitGiven(n int) {
	s.t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		given, changed := s.given, s.changed
		s.mu.Unlock()
		if given >= n {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			s.t.Fatalf("waited %v for %d bytes to be received; got %d", Patience, n, given)
		}
	}
}

// Flag sends a flag from the client.
func (s *Stream) Flag(f mgs.Flag) { s.Give(mgs.PayloadFlag, string(f.Bytes())) }

// End closes the stream.
func (s *Stream) End() { close(s.in) }

// Text returns everything that the plugin sent with a payload type.
func (s *Stream) Text(pt mgs.PayloadType) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text(pt)
}

func (s *Stream) text(pt mgs.PayloadType) string {
	var all []byte
	for _, p := range s.got {
		if p.Type == pt {
			all = append(all, p.Body...)
		}
	}
	return string(all)
}

// Await waits until the plugin's payloads of a type satisfy good, and returns them.
func (s *Stream) Await(pt mgs.PayloadType, what string, good func(string) bool) string {
	s.t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		text, changed := s.text(pt), s.changed
		s.mu.Unlock()
		if good(text) {
			return text
		}
		select {
		case <-changed:
		case <-limit.C:
			s.t.Fatalf(
				"waited %v for %s; got %d bytes, ending %q",
				Patience,
				what,
				len(text),
				text[max(0, len(text)-500):],
			)
		}
	}
}

package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sekisho"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

// cable is a connection between a data channel and the relay that holds few
// frames: if one side does not read, the other waits, as with a socket.
type cable struct {
	up, down chan []byte // to the relay, and from it
	over     chan struct{}
	once     sync.Once
}

func newCable() *cable {
	return &cable{up: make(chan []byte, 4), down: make(chan []byte, 4), over: make(chan struct{})}
}

func (c *cable) cut() { c.once.Do(func() { close(c.over) }) }

func (c *cable) carry(ctx context.Context, to chan<- []byte, frames [][]byte) error {
	for _, b := range frames {
		select {
		case to <- bytes.Clone(b):
		case <-c.over:
			return io.ErrClosedPipe
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *cable) take(ctx context.Context, from <-chan []byte) ([]byte, error) {
	select {
	case b := <-from:
		return b, nil
	case <-c.over:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// peerEnd is the end of a cable at a data channel, relayEnd the one at the
// relay.
type (
	peerEnd  struct{ *cable }
	relayEnd struct{ *cable }
)

func (e peerEnd) Read(ctx context.Context) (bool, []byte, error) {
	b, err := e.take(ctx, e.down)
	return true, b, err
}

func (e peerEnd) Write(ctx context.Context, frames ...[]byte) error {
	return e.carry(ctx, e.up, frames)
}

func (e relayEnd) Read(ctx context.Context) ([]byte, error) { return e.take(ctx, e.up) }

func (e relayEnd) Write(ctx context.Context, frames ...[]byte) error {
	return e.carry(ctx, e.down, frames)
}

func (e relayEnd) Close(string) { e.cut() }

// flows is a relay with sessions between real data channels.
type flows struct {
	ctx   context.Context
	relay *relay.Relay
	work  sync.WaitGroup
}

func newFlows(t *testing.T) (f *flows, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	f = &flows{
		ctx:   ctx,
		relay: relay.New(relay.Config{Recorder: blank{}, Observer: deafObserver{}, Log: slog.New(slog.DiscardHandler)}),
	}
	return f, func() { cancel(); f.work.Wait() }
}

// session opens a session. A client that is away never connects.
func (f *flows) session(t *testing.T, id sekisho.SessionID, away bool) (agent, client *datachannel.Channel) {
	t.Helper()
	if err := f.relay.Open(f.ctx, &sekisho.Session{ID: id, AgentProcess: "p"}); err != nil {
		t.Fatal(err)
	}
	agent = datachannel.New(datachannel.Config{Role: datachannel.AgentLeg, MaxPayload: mgs.LargePayload})
	client = datachannel.New(datachannel.Config{Role: datachannel.ClientLeg, MaxPayload: mgs.LargePayload})
	connect := func(c *datachannel.Channel, serve func(relay.Conn) error) {
		wire := newCable()
		f.work.Go(func() { _ = c.Serve(f.ctx, peerEnd{wire}); wire.cut() })
		f.work.Go(func() { _ = serve(relayEnd{wire}) })
	}
	own := relay.Peer{Own: true}
	connect(agent, func(c relay.Conn) error { return f.relay.ServeAgent(f.ctx, id, c, own) })
	if !away {
		connect(client, func(c relay.Conn) error { return f.relay.ServeClient(f.ctx, id, c, own) })
	}
	return agent, client
}

// flood sends endlessly, and counts.
func (f *flows) flood(c *datachannel.Channel, pt mgs.PayloadType) *atomic.Int64 {
	sent := &atomic.Int64{}
	f.work.Go(func() {
		piece := make([]byte, 32<<10)
		for c.Send(f.ctx, pt, piece) == nil {
			sent.Add(int64(len(piece)))
		}
	})
	return sent
}

// most is how much a sender can send to a receiver that reads nothing: its
// window, and what the receiver acknowledges ahead.
const most = datachannel.DefaultWindowBytes + 128<<10

// TestSlowClientSlowsItsOwnProgram: if a client does not read, its program
// waits and the program of another session does not. It continues when its
// client does.
func TestSlowClientSlowsItsOwnProgram(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFlows(t)
		defer stop()
		slowAgent, slowClient := f.session(t, "slow-0123456789abcdef0", false)
		agent, client := f.session(t, "quick-0123456789abcdef0", false)
		stalled, flowing := f.flood(slowAgent, mgs.PayloadOutput), f.flood(agent, mgs.PayloadOutput)
		const plenty = 64 << 20
		receive := func(c *datachannel.Channel) {
			for n := 0; n < plenty; {
				_, b, err := c.Receive(f.ctx)
				if err != nil {
					t.Error(err)
					return
				}
				n += len(b)
			}
		}
		receive(client)
		synctest.Wait()
		if n := stalled.Load(); n > most {
			t.Errorf("the program of the slow client wrote %d bytes, want at most %d", n, most)
		}
		if n := flowing.Load(); n < plenty {
			t.Errorf("the other program wrote %d bytes", n)
		}
		receive(slowClient)
		if n := stalled.Load(); n < plenty {
			t.Errorf("after its client took %d bytes, the program has written %d", plenty, n)
		}
	})
}

// TestMemoryOfASessionIsBounded: if the receiver is disconnected or does not
// read, the relay holds at most the sender's window in each direction.
func TestMemoryOfASessionIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFlows(t)
		defer stop()
		awayAgent, _ := f.session(t, "away-0123456789abcdef0", true)
		agent, client := f.session(t, "stuck-0123456789abcdef0", false)
		for name, sent := range map[string]*atomic.Int64{
			"output of a session without a client":     f.flood(awayAgent, mgs.PayloadOutput),
			"output that the client does not read":     f.flood(agent, mgs.PayloadOutput),
			"input that the program does not read":     f.flood(client, mgs.PayloadOutput),
			"files whose receiver has stopped reading": f.flood(agent, mgs.PayloadCopy),
		} {
			synctest.Wait()
			if n := sent.Load(); n > most {
				t.Errorf("%s: %d bytes were sent, want at most %d", name, n, most)
			}
		}
	})
}

// muxConn is a data channel as a multiplexer uses it.
type muxConn struct {
	ctx context.Context
	c   *datachannel.Channel
	*io.PipeReader
}

func (m muxConn) Write(p []byte) (int, error) {
	return len(p), m.c.Send(m.ctx, mgs.PayloadOutput, p)
}

// TestOneStalledStream: one of 64 connections of a session is not read, and
// the others transfer everything.
func TestOneStalledStream(t *testing.T) {
	t.Parallel()
	const streams, each = 64, 1 << 20
	f, stop := newFlows(t)
	defer stop()
	agent, client := f.session(t, "ports-0123456789abcdef0", false)
	multiplex := func(c *datachannel.Channel, start func(io.ReadWriteCloser) *mux.Conn) *mux.Conn {
		r, w := io.Pipe()
		f.work.Go(func() {
			for {
				_, b, err := c.Receive(f.ctx)
				if err == nil {
					_, err = w.Write(b)
				}
				if err != nil {
					_ = w.CloseWithError(err)
					return
				}
			}
		})
		return start(muxConn{f.ctx, c, r})
	}
	near, far := multiplex(client, mux.Client), multiplex(agent, mux.Server)
	defer func() { _ = near.Close() }()
	defer func() { _ = far.Close() }()
	f.work.Go(func() {
		for {
			st, err := far.Accept()
			if err != nil {
				return
			}
			f.work.Go(func() {
				_, _ = st.Write(make([]byte, 8*each)) // for the stalled one, more than is held in memory
				_ = st.CloseWrite()
			})
		}
	})
	var reading sync.WaitGroup
	errs := make([]error, streams)
	for i := range streams {
		st, err := near.Open()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // it is not read
		}
		reading.Go(func() {
			n, err := io.CopyN(io.Discard, st, each)
			if err != nil || n != each {
				errs[i] = errors.Join(err, errors.New("a stream was cut short"))
			}
			_ = st.Close()
		})
	}
	reading.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

package relay_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"sekisho"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

// wire is a connection in memory whose frames the test has prepared.
type wire struct {
	in   chan []byte
	out  chan struct{} // one element for each frame written
	done chan struct{}
}

func newWire() *wire {
	return &wire{in: make(chan []byte, 1), out: make(chan struct{}, 1024), done: make(chan struct{})}
}

func (w *wire) Read(ctx context.Context) ([]byte, error) {
	select {
	case b := <-w.in:
		return b, nil
	case <-w.done:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) Write(_ context.Context, frames ...[]byte) error {
	for range frames {
		w.out <- struct{}{}
	}
	return nil
}

func (w *wire) Close(string) {}

// blank is a recording that stores nothing.
type blank struct{}

func (blank) Start(context.Context, *sekisho.Session) (relay.RecordWriter, error) {
	return blank{}, nil
}
func (blank) Output([]byte) error          { return nil }
func (blank) Input([]byte) error           { return nil }
func (blank) Resize(int, int) error        { return nil }
func (blank) Copy(bool, []byte) error      { return nil }
func (blank) Disconnected(bool) error      { return nil }
func (blank) SetKind(string, []byte) error { return nil }
func (blank) Echo(bool)                    {}
func (blank) Marker(string) error          { return nil }
func (blank) Seal(relay.Exit) error        { return nil }

// passing is a relay with a session through which one frame after the other
// passes.
func passing(tb testing.TB, size int) (pass func()) {
	tb.Helper()
	r := relay.New(relay.Config{Recorder: blank{}, Observer: deafObserver{}, Log: slog.New(slog.DiscardHandler)})
	if err := r.Open(tb.Context(), &sekisho.Session{ID: sid, AgentProcess: "p"}); err != nil {
		tb.Fatal(err)
	}
	agent, client := newWire(), newWire()
	own := relay.Peer{Own: true}
	ended := make(chan struct{}, 2)
	for _, serve := range []func(){
		func() { _ = r.ServeAgent(tb.Context(), sid, agent, own) },
		func() { _ = r.ServeClient(tb.Context(), sid, client, own) },
	} {
		go func() { serve(); ended <- struct{}{} }()
	}
	tb.Cleanup(func() {
		close(agent.done)
		close(client.done)
		<-ended
		<-ended
	})
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 0, mgs.PayloadOutput, make([]byte, size))
	var frame, ack []byte
	return func() {
		frame = m.AppendTo(frame[:0])
		a := mgs.NewAck(&m)
		ack = a.AppendTo(ack[:0])
		agent.in <- frame
		<-client.out
		client.in <- ack
		<-agent.out
		m.Seq++
	}
}

// TestRelayingAllocatesNothing: a frame and its acknowledgement pass without
// a copy and without an allocation.
func TestRelayingAllocatesNothing(t *testing.T) {
	pass := passing(t, mgs.LargePayload)
	own := testing.AllocsPerRun(100, func() {
		m := mgstest.StreamData(mgs.TypeOutputStreamData, 0, mgs.PayloadOutput, nil)
		_ = mgs.NewAck(&m)
	})
	if n := testing.AllocsPerRun(200, pass) - own; n > 0 {
		t.Errorf("%v allocations for a frame and its acknowledgement", n)
	}
}

func BenchmarkRelay(b *testing.B) {
	for name, size := range map[string]int{"key": 1, "large": mgs.LargePayload} {
		b.Run(name, func(b *testing.B) {
			pass := passing(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				pass()
			}
		})
	}
}

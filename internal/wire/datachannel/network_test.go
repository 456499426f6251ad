package datachannel_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/mgs"
)

var errCut = errors.New("the line was cut")

// conn is one end of an in-memory connection.
type conn struct {
	in     <-chan []byte
	out    chan<- []byte
	cut    chan struct{}
	cutNow func()
	sums   bool // it accepts checksums in place of digests
}

// TakesChecksums implements [datachannel.Checksummer].
func (c *conn) TakesChecksums() bool { return c.sums }

// pipe connects two ends that hold n messages each way.
func pipe(n int) (a, b *conn) {
	ab, ba, cut := make(chan []byte, n), make(chan []byte, n), make(chan struct{})
	cutNow := sync.OnceFunc(func() { close(cut) })
	return &conn{ba, ab, cut, cutNow, false}, &conn{ab, ba, cut, cutNow, false}
}

func (c *conn) Read(ctx context.Context) (bool, []byte, error) {
	select {
	case b := <-c.in:
		return true, b, nil
	case <-c.cut:
		return false, nil, errCut
	case <-ctx.Done():
		return false, nil, ctx.Err()
	}
}

func (c *conn) Write(ctx context.Context, frames ...[]byte) error {
	for _, b := range frames {
		select {
		case c.out <- append([]byte(nil), b...):
		case <-c.cut:
			return errCut
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Recycle implements [datachannel.Recycler]. It overwrites the message, so that a test that
// still uses it fails.
func (c *conn) Recycle(message []byte) {
	for i := range message {
		message[i] = 0xff
	}
}

// faults says what a line does to the messages on it.
type faults struct {
	drop, duplicate float64       // chances
	delay           time.Duration // each message is late by up to this
	reorder         bool          // late messages may overtake
	cutAfter        int           // messages; 0 means never
}

// line joins two channels with a bad connection until it is cut.
func line(ctx context.Context, a, b datachannel.Conn, f faults, seed uint64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	carry := func(from, to datachannel.Conn, rng *rand.Rand) {
		defer cancel()
		var late sync.WaitGroup // what is under way when the line is cut still arrives
		defer late.Wait()
		for n := 0; f.cutAfter == 0 || n < f.cutAfter; n++ {
			_, p, err := from.Read(ctx)
			if err != nil {
				return
			}
			copies := 1
			if rng.Float64() < f.drop {
				copies = 0
			}
			if rng.Float64() < f.duplicate {
				copies++
			}
			for range copies {
				var delay time.Duration
				if f.delay > 0 {
					delay = time.Duration(rng.Int64N(int64(f.delay)))
				}
				if f.reorder {
					late.Go(func() {
						if pause(ctx, delay) == nil {
							_ = to.Write(ctx, p) // lost like any other
						}
					})
				} else if pause(ctx, delay) != nil || to.Write(ctx, p) != nil {
					return
				}
			}
		}
	}
	wg.Go(func() { carry(a, b, rand.New(rand.NewPCG(seed, 1))) })
	wg.Go(func() { carry(b, a, rand.New(rand.NewPCG(seed, 2))) })
	wg.Wait()
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect keeps two channels connected over one bad line after another until
// ctx ends or both are closed.
func connect(ctx context.Context, a, b *datachannel.Channel, f faults, seed uint64) {
	for ctx.Err() == nil {
		_, aClosed := a.Closed()
		_, bClosed := b.Closed()
		if aClosed && bClosed {
			return
		}
		aEnd, aLine := pipe(4)
		bEnd, bLine := pipe(4)
		aEnd.sums, bEnd.sums = seed%2 == 0, seed%3 == 0 // connections differ
		lineCtx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { _ = a.Serve(lineCtx, aEnd); cancel() })
		wg.Go(func() { _ = b.Serve(lineCtx, bEnd); cancel() })
		line(lineCtx, aLine, bLine, f, seed)
		cancel()
		wg.Wait()
		seed++
		if pause(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}

// peer drives the far end of a channel by hand.
type peer struct {
	t    *testing.T
	conn *conn
	done chan error
}

// attach gives c a connection whose far end is driven by hand.
func attach(t *testing.T, c *datachannel.Channel) *peer {
	t.Helper()
	near, far := pipe(1000)
	p := &peer{t: t, conn: far, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { p.done <- c.Serve(ctx, near) }()
	t.Cleanup(func() {
		cancel()
		<-p.done
	})
	return p
}

// hangUp cuts the connection and returns what Serve said.
func (p *peer) hangUp() error {
	p.conn.cutNow()
	err := <-p.done
	p.done <- err
	return err
}

// ended returns what Serve said when it ended by itself.
func (p *peer) ended() error {
	err := <-p.done
	p.done <- err
	return err
}

func (p *peer) read() mgs.Message {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, b, err := p.conn.Read(ctx)
	if err != nil {
		p.t.Fatalf("nothing came: %v", err)
	}
	m, err := mgs.Parse(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// none checks that no message is waiting. It is only for use in a synctest
// bubble, after Wait.
func (p *peer) none() {
	p.t.Helper()
	select {
	case b := <-p.conn.in:
		m, _ := mgs.Parse(b)
		p.t.Errorf("an unexpected message came: %+v", m)
	default:
	}
}

func (p *peer) write(m mgs.Message) {
	p.t.Helper()
	p.writeRaw(m.AppendTo(nil))
}

func (p *peer) writeRaw(b []byte) {
	p.t.Helper()
	if err := p.conn.Write(context.Background(), b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) ack(m mgs.Message) { p.t.Helper(); p.write(mgs.NewAck(&m)) }

func (p *peer) readAck() int64 {
	p.t.Helper()
	m := p.read()
	if m.Type != mgs.TypeAcknowledge {
		p.t.Fatalf("got %s %d, want an acknowledgement", m.Type, m.Seq)
	}
	a, err := mgs.ParseAck(m.Payload)
	if err != nil {
		p.t.Fatal(err)
	}
	return a.Seq
}

// receiveAll reads n bytes.
func receiveAll(ctx context.Context, c *datachannel.Channel, n int) ([]byte, error) {
	var got []byte
	for len(got) < n {
		_, b, err := c.Receive(ctx)
		if err != nil {
			return got, err
		}
		got = append(got, b...)
	}
	if len(got) > n {
		return got, io.ErrShortBuffer
	}
	return got, nil
}

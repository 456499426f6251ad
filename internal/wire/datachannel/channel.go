// Package datachannel is one end of a session's data channel: an ordered reliable stream of
// payloads in each direction over connections that lose messages and break. The sequence
// numbers and buffers belong to the channel, not to a connection, so a session survives the
// loss of all its connections.
//
// # How it works
//
// Each direction numbers its messages from 0. The receiver acknowledges each message
// individually; the sender keeps unacknowledged messages and resends the oldest when the
// retransmission timeout expires. On a new connection it resends all unacknowledged
// messages in order.
//
// Differences from the stock ends, none of which a stock peer notices: duplicates are
// always acknowledged again; a message that arrives early is acknowledged only when the gap
// before it is filled; only a small amount of data that the application has not read is
// acknowledged, so that a slow reader slows the writer at the far end instead of filling
// memory; the resend interval doubles while no acknowledgement arrives.
//
// # Hostile peers
//
// Everything a peer can make the channel hold is bounded by [Config]. Messages outside the
// window are dropped. A message that is malformed, too large, of the wrong direction, or
// that acknowledges a message that was never sent, closes the channel with a reason.
package datachannel

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sekisho/internal/wire/mgs"
)

// Conn carries messages. link.Frames is one.
type Conn interface {
	// Read returns the next message, which the channel may retain, and whether it is
	// binary.
	Read(ctx context.Context) (binary bool, b []byte, err error)
	// Write sends binary messages, in one write if possible, and does not retain them.
	Write(ctx context.Context, messages ...[]byte) error
}

// Checksummer is a Conn that may carry frames with checksums in place of digests.
type Checksummer interface {
	TakesChecksums() bool
}

// Recycler is a Conn that reuses the memory of messages.
type Recycler interface {
	// Recycle takes back a message that Read has returned.
	Recycle(message []byte)
}

// Role says which end of the data channel this is.
type Role int

// Values of Role.
const (
	AgentLeg  Role = iota + 1 // sends output_stream_data
	ClientLeg                 // sends input_stream_data
)

// Defaults of Config.
const (
	DefaultWindowBytes       = 4 << 20
	DefaultWindowFrames      = 4096 // well below the 10000 messages the stock client holds
	DefaultMaxPayload        = 1024 // what every known peer accepts
	DefaultMaxReceivePayload = 256 << 10
	DefaultReceiveBytes      = 16 << 20
	DefaultReceiveFrames     = 16384
)

// Config configures a Channel. Zero fields mean the defaults.
type Config struct {
	Role Role

	// How much can be unacknowledged before Send waits.
	WindowBytes  int
	WindowFrames int
	MaxPayload   int // Send cuts payloads at this many bytes
	// MaxDelay, if not zero, narrows the window of WindowBytes while acknowledgements take
	// this much longer than the path requires. It bounds how far the output that a person
	// sees lags behind the program.
	MaxDelay time.Duration

	// How much can be received before Receive returns it. They should exceed the peer's
	// window: beyond them the connection is not read, and pings go unanswered.
	ReceiveBytes      int
	ReceiveFrames     int
	MaxReceivePayload int // a larger message closes the channel
}

// Retransmission parameters of the stock ends.
const (
	initialRTT = 100 * time.Millisecond
	initialRTO = 200 * time.Millisecond
	maxRTO     = time.Second
	minRTOVar  = 10 * time.Millisecond
)

// ackAhead is how much is acknowledged before Receive returns it. The stock client ends a
// session that is silent for five minutes, so keystrokes must be acknowledged while the
// program that reads them is busy.
const ackAhead = 64 << 10

// An acknowledgement is delayed, by at most ackDelay, so that it can be sent together with
// data, unless many others are pending. Sending a keystroke's acknowledgement with its echo
// saves both peers and the server a wake-up.
const (
	ackDelay    = 2 * time.Millisecond
	maxHeldAcks = 16
	maxHeldSize = 8 << 10
)

// inlineBytes is the most that can be unacknowledged when Send writes to the connection
// itself. So little fits into the socket's buffer, so the write does not block and saves a
// goroutine switch.
const inlineBytes = 32 << 10

const (
	maxQueuedAcks    = 8192 // acks beyond this are dropped: the peer resends, and that message is acknowledged
	maxQueuedControl = 64
	writeBatch       = 16
	maxBatch         = 256 << 10 // bytes; one frame may exceed it
)

// ErrClosed is matched by every error a closed channel returns.
var ErrClosed = errors.New("datachannel: closed")

// ClosedError says why a channel is closed.
type ClosedError struct {
	Reason string // the peer's reason, or its protocol violation; can be empty
	Remote bool   // the peer ended it with channel_closed
	Peer   bool   // the peer broke the protocol
}

// Error implements error.
func (e *ClosedError) Error() string {
	if e.Reason == "" {
		return ErrClosed.Error()
	}
	return ErrClosed.Error() + ": " + e.Reason
}

// Is makes errors.Is(err, ErrClosed) hold.
func (e *ClosedError) Is(target error) bool { return target == ErrClosed }

// Channel is one end of a data channel. All methods may be called
// concurrently.
type Channel struct {
	cfg      Config
	sends    string // message type of our stream
	receives string // message type of the peer's
	parse    func(frame []byte) (mgs.Message, error)

	turn    chan struct{} // held by the one Send in progress, so that its messages stay together
	sendIDs *rand.ChaCha8 // guarded by turn

	done chan struct{} // closed together with the channel

	// Each holds a token when the condition that its waiter waits for may have become true.
	wake    chan struct{} // the writer of the current Serve: there is something to write
	space   chan struct{} // the current Send: the window opened
	arrival chan struct{} // Receive: a message is ready
	room    chan struct{} // the reader of the current Serve: a message was received

	frames sync.Pool // *[]byte of acknowledged messages, for reuse

	mu     sync.Mutex
	closed *ClosedError
	serve  *serving

	// Sending. queue[head:] are the messages base, base+1, …, next-1.
	queue         []outgoing
	head          int
	base, next    int64
	cursor        int64 // first message not yet written to the current connection
	unacked       int   // bytes
	pace          pace
	rtt, rttVar   time.Duration
	rto           time.Duration
	paused        bool
	maxPayload    int
	checksums     bool // the peer takes checksums in place of digests
	carried       bool // so does the current connection
	control       [][]byte
	acks          []ack
	heldSize      int   // total size of the messages that acks acknowledge
	busyLo        int64 // messages busyLo to busyHi-1 are being written: their memory must not be reused
	busyHi        int64
	drainedSignal chan struct{} // non-nil while Drain waits
	progress      time.Time     // when the peer last acknowledged something

	// Receiving. ready[rhead:] are expected-len, …, expected-1, not yet returned by
	// Receive.
	expected   int64
	ready      []incoming
	rhead      int
	readyBytes int
	acked      int // of ready[rhead:], how many are acknowledged
	ackedBytes int
	early      map[int64]incoming
	earlyBytes int
	loan       incoming // the message that Receive returned last
}

// serving is a connection while Serve uses it.
type serving struct {
	ctx    context.Context
	conn   Conn
	cancel context.CancelFunc
	done   chan struct{}
	failed error       // of a write by Send; guarded by the channel's mutex
	resend *time.Timer // wakes the writer when the oldest message is overdue
	acks   *time.Timer // wakes the writer when acknowledgements have waited long enough

	writing chan struct{} // holds a token while the connection is written to
	// The rest is guarded by writing.
	taken    []ack
	ackIDs   *rand.ChaCha8
	encoded  []byte
	body     []byte
	ends     []int // of the frames in encoded
	batch    [writeBatch][]byte
	messages [][]byte
}

type outgoing struct {
	frame  []byte // nil when acknowledged
	sentAt time.Time
	sends  int // on the current connection
}

type incoming struct {
	id      mgs.UUID
	pt      mgs.PayloadType
	payload []byte   // within frame
	frame   []byte   // as the connection returned it
	from    Recycler // takes frame back; may be nil
}

func (in *incoming) recycle() {
	if in.from != nil {
		in.from.Recycle(in.frame)
	}
}

func (in *incoming) size() int { return mgs.Overhead + len(in.payload) }

type ack struct {
	id  mgs.UUID
	seq int64
}

// New returns a channel without a connection. Serve runs it over one.
func New(cfg Config) *Channel {
	setDefault(&cfg.WindowBytes, DefaultWindowBytes)
	setDefault(&cfg.WindowFrames, DefaultWindowFrames)
	setDefault(&cfg.MaxPayload, DefaultMaxPayload)
	setDefault(&cfg.ReceiveBytes, DefaultReceiveBytes)
	setDefault(&cfg.ReceiveFrames, DefaultReceiveFrames)
	setDefault(&cfg.MaxReceivePayload, DefaultMaxReceivePayload)
	c := &Channel{
		cfg:        cfg,
		sends:      mgs.TypeInputStreamData,
		receives:   mgs.TypeOutputStreamData,
		parse:      mgs.Parse,
		turn:       make(chan struct{}, 1),
		sendIDs:    newIDs(),
		done:       make(chan struct{}),
		wake:       make(chan struct{}, 1),
		space:      make(chan struct{}, 1),
		arrival:    make(chan struct{}, 1),
		room:       make(chan struct{}, 1),
		rtt:        initialRTT,
		rto:        initialRTO,
		maxPayload: cfg.MaxPayload,
		pace:       newPace(cfg.WindowBytes, cfg.MaxDelay),
	}
	if cfg.Role == AgentLeg {
		c.sends, c.receives, c.parse = c.receives, c.sends, mgs.ParseClient
	}
	return c
}

func setDefault(field *int, value int) {
	if *field <= 0 {
		*field = value
	}
}

func newIDs() *rand.ChaCha8 {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	return rand.NewChaCha8(seed)
}

func newID(ids *rand.ChaCha8) (id mgs.UUID) {
	_, _ = ids.Read(id[:]) // never fails
	return id.V4()
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// SetMaxPayload changes the size at which Send splits payloads, once the peer is known to
// accept more than the default.
func (c *Channel) SetMaxPayload(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maxPayload = max(n, 1)
}

// SetChecksums has Send put checksums in place of digests into frames, once the peer is
// known to accept them. A connection that does not accept them still gets digests.
func (c *Channel) SetChecksums() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checksums = true
}

// Close closes this end. Blocked calls return; unsent and unread messages are discarded. It
// does not notify the peer. Call Drain first for a clean shutdown.
func (c *Channel) Close(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(&ClosedError{Reason: reason})
	c.ready, c.rhead, c.acked, c.ackedBytes, c.readyBytes = nil, 0, 0, 0, 0
}

func (c *Channel) closeLocked(e *ClosedError) {
	if c.closed != nil {
		return
	}
	c.closed = e
	c.early, c.earlyBytes = nil, 0
	close(c.done)
}

// Closed reports whether the channel is closed, and why.
func (c *Channel) Closed() (reason string, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		return "", false
	}
	return c.closed.Reason, true
}

// Done is closed when the channel is.
func (c *Channel) Done() <-chan struct{} { return c.done }

// closedErr is the *ClosedError of a closed channel, and nil for an open one.
func (c *Channel) closedErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		return nil
	}
	return c.closed
}

// Send queues p, cut into messages of at most MaxPayload bytes, and returns when all of it
// is queued. It waits while the window is full. The pieces of one Send are not mixed with
// those of another. After an error, part of p may be queued. An empty p is not sent because
// no peer accepts it.
func (c *Channel) Send(ctx context.Context, pt mgs.PayloadType, p []byte) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.closedErr()
	}
	defer func() { <-c.turn }()
	c.mu.Lock()
	most, checksums := c.maxPayload, c.checksums && c.carried
	seq := c.next // only the holder of turn changes it
	c.mu.Unlock()
	for len(p) > 0 {
		piece := p[:min(len(p), most)]
		p = p[len(piece):]
		if err := c.enqueue(ctx, seq, pt, piece, checksums); err != nil {
			return err
		}
		seq++
	}
	return nil
}

func (c *Channel) enqueue(ctx context.Context, seq int64, pt mgs.PayloadType, piece []byte, checksums bool) error {
	m := mgs.Message{
		Type:          c.sends,
		SchemaVersion: 1,
		CreatedMillis: uint64(time.Now().UnixMilli()),
		Seq:           seq,
		ID:            newID(c.sendIDs),
		PayloadType:   pt,
		Payload:       piece,
	}
	if seq == 0 && c.cfg.Role == AgentLeg {
		m.Flags = mgs.FlagSYN
	}
	var buf []byte
	if b, ok := c.frames.Get().(*[]byte); ok && cap(*b) >= m.Size() {
		buf = (*b)[:0]
	} else {
		buf = make([]byte, 0, m.Size())
	}
	if checksums {
		buf = m.AppendChecksummed(buf)
	} else {
		buf = m.AppendTo(buf)
	}
	for {
		c.mu.Lock()
		if c.closed != nil {
			defer c.mu.Unlock()
			return c.closed
		}
		waiting := len(c.queue) - c.head
		if waiting == 0 || waiting < c.cfg.WindowFrames && c.unacked+len(buf) <= c.pace.window {
			if !c.carried {
				mgs.Redigest(buf)
			}
			c.queue = append(c.queue, outgoing{frame: buf})
			c.next++
			c.unacked += len(buf)
			c.mu.Unlock()
			c.flushSoon()
			return nil
		}
		c.mu.Unlock()
		select {
		case <-c.space:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
		}
	}
}

// SendControl queues a message that is not part of the stream, such as
// agent_session_state, ahead of the stream data that is queued. Control
// messages are neither acknowledged nor resent.
func (c *Channel) SendControl(m mgs.Message) error {
	frame := m.AppendTo(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return c.closed
	}
	if len(c.control) >= maxQueuedControl {
		return errors.New("datachannel: too many control messages are queued")
	}
	c.control = append(c.control, frame)
	signal(c.wake)
	return nil
}

// ErrStalled is returned by DrainWithin.
var ErrStalled = errors.New("datachannel: the peer acknowledges nothing")

// DrainWithin is Drain for a peer that may be unreachable: it returns ErrStalled when the
// peer acknowledges nothing for the duration patience.
func (c *Channel) DrainWithin(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var watch func()
	var timer *time.Timer
	watch = func() {
		c.mu.Lock()
		last := c.progress
		c.mu.Unlock()
		if last.Before(began) {
			last = began
		}
		if wait := patience - time.Since(last); wait > 0 {
			timer.Reset(wait)
			return
		}
		cancel(ErrStalled)
	}
	timer = time.AfterFunc(patience, watch)
	defer timer.Stop()
	err := c.Drain(ctx)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return err
}

// Sent returns how many messages were sent, and whether all of them are acknowledged.
func (c *Channel) Sent() (messages int64, acknowledged bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next, c.base == c.next
}

// Drain waits until everything sent is acknowledged.
func (c *Channel) Drain(ctx context.Context) error {
	c.mu.Lock()
	if c.base == c.next {
		c.mu.Unlock()
		return nil
	}
	if c.drainedSignal == nil {
		c.drainedSignal = make(chan struct{})
	}
	drained := c.drainedSignal
	c.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.closedErr()
	}
}

// Receive returns the peer's payloads, each once and in the order they were sent. The bytes
// are valid until the next Receive. After a channel_closed it returns the payloads that
// preceded it, then a *[ClosedError].
func (c *Channel) Receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	for {
		c.mu.Lock()
		c.loan.recycle()
		c.loan = incoming{}
		if c.rhead < len(c.ready) {
			in := c.take()
			c.loan = in
			more := c.rhead < len(c.ready)
			c.mu.Unlock()
			signal(c.room)
			if more {
				signal(c.arrival) // for another Receive: one token can represent many messages
			}
			return in.pt, in.payload, nil
		}
		if c.closed != nil {
			defer c.mu.Unlock()
			return 0, nil, c.closed
		}
		c.mu.Unlock()
		select {
		case <-c.arrival:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		case <-c.done:
		}
	}
}

// take removes the first ready message and acknowledges those that can be acknowledged now.
func (c *Channel) take() incoming {
	in := c.ready[c.rhead]
	seq := c.expected - int64(len(c.ready)-c.rhead)
	c.ready[c.rhead] = incoming{}
	c.rhead++
	c.readyBytes -= in.size()
	if c.acked > 0 {
		c.acked--
		c.ackedBytes -= in.size()
	} else {
		c.queueAck(in.id, seq, in.size())
	}
	if c.rhead == len(c.ready) {
		c.ready, c.rhead = c.ready[:0], 0
	} else if c.rhead >= 256 && c.rhead*2 >= len(c.ready) {
		n := copy(c.ready, c.ready[c.rhead:])
		clear(c.ready[n:])
		c.ready, c.rhead = c.ready[:n], 0
	}
	c.ackReady()
	return in
}

// ackReady acknowledges unread messages, up to ackAhead bytes.
func (c *Channel) ackReady() {
	waiting := c.ready[c.rhead:]
	for c.acked < len(waiting) {
		in := &waiting[c.acked]
		if c.ackedBytes+in.size() > ackAhead {
			return
		}
		c.queueAck(in.id, c.expected-int64(len(waiting)-c.acked), in.size())
		c.acked++
		c.ackedBytes += in.size()
	}
}

// queueAck queues the acknowledgement of a message of the given size.
func (c *Channel) queueAck(id mgs.UUID, seq int64, size int) {
	if len(c.acks) < maxQueuedAcks {
		c.acks = append(c.acks, ack{id, seq})
	}
	c.heldSize += size
	switch {
	case len(c.acks) >= maxHeldAcks || c.heldSize >= maxHeldSize:
		signal(c.wake)
	case len(c.acks) == 1 && c.serve != nil:
		c.serve.acks.Reset(ackDelay)
	}
}

// Serve runs the channel over conn until the connection fails, ctx ends or the channel
// closes, and returns the reason. It can be called again at any time with another
// connection, which replaces the current one.
//
// Serve does not close conn, and returns only when none of conn's Read and Write calls is
// in progress; both must return when their context ends.
func (c *Channel) Serve(ctx context.Context, conn Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &serving{
		ctx: ctx, conn: conn, cancel: cancel, done: make(chan struct{}), writing: make(chan struct{}, 1), ackIDs: newIDs(),
	}
	wake := func() { signal(c.wake) }
	s.resend, s.acks = time.AfterFunc(time.Hour, wake), time.AfterFunc(time.Hour, wake)
	defer close(s.done)
	defer s.resend.Stop()
	defer s.acks.Stop()

	c.mu.Lock()
	before := c.serve
	c.serve = s
	if before != nil {
		before.cancel()
	}
	c.mu.Unlock()
	if before != nil {
		<-before.done
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.serve == s {
			c.serve = nil
		}
	}()

	c.mu.Lock()
	if c.closed != nil {
		defer c.mu.Unlock()
		return c.closed
	}
	c.paused = false // its connection has ended
	c.cursor = c.base
	sums, ok := conn.(Checksummer)
	c.carried = ok && sums.TakesChecksums()
	for i := c.head; i < len(c.queue); i++ {
		c.queue[i].sends = 0
		if !c.carried {
			mgs.Redigest(c.queue[i].frame)
		}
	}
	c.mu.Unlock()

	var wg sync.WaitGroup
	var writeErr error
	wg.Go(func() {
		defer cancel()
		writeErr = c.write(s)
	})
	readErr := c.read(ctx, conn)
	cancel()
	wg.Wait()
	s.writing <- struct{}{} // Send is not writing, and cannot start to
	c.mu.Lock()
	if s.failed != nil {
		writeErr = s.failed
	}
	c.mu.Unlock()

	if err := c.closedErr(); err != nil {
		return err
	}
	// The first failure made the other goroutine end with context.Canceled.
	if writeErr != nil && !errors.Is(writeErr, context.Canceled) {
		return fmt.Errorf("datachannel: write: %w", writeErr)
	}
	return fmt.Errorf("datachannel: read: %w", readErr)
}

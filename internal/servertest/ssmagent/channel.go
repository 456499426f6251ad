package ssmagent

import (
	"context"
	"crypto/cipher"
	"errors"
	"math"
	"sync"
	"time"

	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

// Sizes and intervals of AWS's agent.
const (
	payloadSize   = 1024
	bufferFrames  = 100_000
	resendEvery   = 100 * time.Millisecond
	firstRTO      = 200 * time.Millisecond
	maxRTO        = time.Second
	firstRTT      = 100 * time.Millisecond
	granularity   = 10 * time.Millisecond
	handshakeTime = 15 * time.Second
	drainTime     = 2 * time.Second
)

// errNotReady is returned by a handler that refuses a message, which is then
// not acknowledged.
var errNotReady = errors.New("not ready")

type sent struct {
	seq   int64
	frame []byte
	last  time.Time
}

// channel is the data channel of a session over all its connections.
type channel struct {
	a       *Agent
	session string
	handler func(m *mgs.Message) error
	stop    context.CancelFunc // called on channel_closed

	sending, writing sync.Mutex // in this order, before mu

	mu       sync.Mutex
	conn     Conn // nil once given up or closed
	closed   bool
	paused   bool
	next     int64
	out      []sent
	expected int64
	early    map[int64]mgs.Message
	rtt, dev float64
	rto      time.Duration

	skipped, complete bool
	response          chan mgs.HandshakeResponse
	challenge         chan []byte
	answer            mgs.Message // the client's handshake response, to be acknowledged late
	seal, unseal      cipher.AEAD // once encryption is agreed
}

func (a *Agent) newChannel(session string, stop context.CancelFunc) *channel {
	return &channel{
		a: a, session: session, stop: stop,
		early: map[int64]mgs.Message{}, rtt: float64(firstRTT), rto: firstRTO,
		response: make(chan mgs.HandshakeResponse), challenge: make(chan []byte),
	}
}

func (c *channel) open(ctx context.Context) error {
	conn, err := c.a.open(ctx, "data-channel", c.session, func(token string) []byte {
		// The client's ID is present and empty.
		return []byte(`{"MessageSchemaVersion":"1.0","RequestId":"` + id.UUID() + `","TokenValue":"` + token +
			`","ClientInstanceId":"` + c.a.cfg.ID + `","ClientId":""}`)
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Drop()
		return errors.New("closed meanwhile")
	}
	c.conn, c.paused = conn, false
	return nil
}

// run reads until the channel is closed, reconnecting as the original does.
func (c *channel) run(ctx context.Context) {
	for {
		c.mu.Lock()
		conn := c.conn
		c.mu.Unlock()
		stop := c.a.ping(ctx, conn)
		err := c.a.readFrames(ctx, conn, c.take)
		stop()
		conn.Drop()
		c.a.log.Info("data channel ended", "session", c.session, "error", err)
		if c.isClosed() || ctx.Err() != nil {
			return
		}
		if err := c.a.retry(ctx, DataSchedule(), func() error { return c.open(ctx) }); err != nil {
			c.a.log.Info("data channel given up", "session", c.session, "error", err)
			return // the worker lives on
		}
	}
}

func (c *channel) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// resend sends only the oldest message again when it is due.
func (c *channel) resend(ctx context.Context) {
	for wait(ctx, resendEvery) {
		c.mu.Lock()
		var frame []byte
		if !c.paused && len(c.out) > 0 && time.Since(c.out[0].last) > c.rto {
			frame = c.out[0].frame
			c.out[0].last = time.Now()
		}
		c.mu.Unlock()
		if frame != nil {
			c.write(ctx, frame)
		}
	}
}

func (c *channel) write(ctx context.Context, frame []byte) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	if conn != nil {
		if err := conn.Write(ctx, false, frame); err != nil {
			c.a.log.Debug("not sent", "error", err)
		}
	}
}

// send sends stream data of at most payloadSize bytes.
func (c *channel) send(ctx context.Context, pt mgs.PayloadType, payload []byte) {
	if len(payload) == 0 {
		return
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	if c.seal != nil && (pt == mgs.PayloadOutput || pt == mgs.PayloadStdErr || pt == mgs.PayloadExitCode) {
		payload = sealed(c.seal, payload)
	}
	m := mgstest.StreamData(mgs.TypeOutputStreamData, c.next, pt, payload)
	frame := m.AppendTo(nil)
	paused := c.paused
	c.mu.Unlock()
	if !paused {
		c.write(ctx, frame)
	}
	// An acknowledgement that arrived meanwhile found no message.
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) < bufferFrames { // otherwise it is sent once
		c.out = append(c.out, sent{c.next, frame, time.Now()})
	}
	c.next++
}

// output sends bytes in pieces, with the original's pause after each.
func (c *channel) output(ctx context.Context, pt mgs.PayloadType, b []byte) {
	for len(b) > 0 {
		c.mu.Lock()
		paused := c.paused
		c.mu.Unlock()
		if !paused {
			n := min(len(b), payloadSize)
			c.send(ctx, pt, b[:n])
			b = b[n:]
		}
		if !c.a.rest(ctx, time.Millisecond) {
			return
		}
	}
}

func (c *channel) plain(ctx context.Context, m mgs.Message) {
	m.Flags = mgs.FlagSYN | mgs.FlagFIN
	c.write(ctx, m.AppendTo(nil))
}

func (c *channel) state(ctx context.Context, state string) {
	c.plain(ctx, mgs.NewAgentSessionState(c.session, state))
}

func (c *channel) ack(ctx context.Context, m *mgs.Message) { c.plain(ctx, mgs.NewAck(m)) }

// drain waits for sent messages to be acknowledged, for two seconds at most.
func (c *channel) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for {
		c.mu.Lock()
		left := len(c.out)
		c.mu.Unlock()
		if left == 0 || !wait(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// close hangs up without a close frame.
func (c *channel) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.Drop()
	}
}

func (c *channel) take(ctx context.Context, m *mgs.Message) {
	switch m.Type {
	case mgs.TypeInputStreamData:
		c.data(ctx, m)
	case mgs.TypeAcknowledge:
		if a, err := mgs.ParseAck(m.Payload); err == nil {
			c.acknowledged(a.Seq)
		}
	case mgs.TypeChannelClosed:
		c.stop()
	case mgs.TypePausePublication, mgs.TypeStartPublication:
		c.mu.Lock()
		c.paused = m.Type == mgs.TypePausePublication
		c.mu.Unlock()
	}
}

// acknowledged removes an acknowledged message and measures the delay.
func (c *channel) acknowledged(seq int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
	for i, s := range c.out {
		if s.seq != seq {
			continue
		}
		took := float64(time.Since(s.last))
		c.dev = 0.75*c.dev + 0.25*math.Abs(c.rtt-took)
		c.rtt = 0.875*c.rtt + 0.125*took
		c.rto = min(maxRTO, time.Duration(c.rtt+math.Max(float64(granularity), 4*c.dev)))
		c.out = append(c.out[:i:i], c.out[i+1:]...)
		return
	}
}

// data handles stream data by the original's rules.
func (c *channel) data(ctx context.Context, m *mgs.Message) {
	c.mu.Lock()
	c.paused = false
	expected := c.expected
	c.mu.Unlock()
	switch {
	case m.Seq < expected:
		c.ack(ctx, m)
		return
	case m.Seq > expected:
		if len(c.early) < bufferFrames {
			c.ack(ctx, m)
			c.early[m.Seq] = *m
		}
		return
	}
	late := c.a.cfg.AcksLate && m.PayloadType == mgs.PayloadHandshakeResponse
	if late {
		c.mu.Lock()
		c.answer = *m
		c.mu.Unlock()
	}
	if err := c.process(ctx, m); err != nil {
		return
	}
	if !late {
		c.ack(ctx, m)
	}
	for {
		c.mu.Lock()
		c.expected++
		next, ok := c.early[c.expected]
		c.mu.Unlock()
		if !ok || c.process(ctx, &next) != nil {
			return // acknowledged but not processed: it is kept
		}
		delete(c.early, next.Seq)
	}
}

func (c *channel) process(ctx context.Context, m *mgs.Message) error {
	c.mu.Lock()
	ready := c.skipped || c.complete
	unseal := c.unseal
	c.mu.Unlock()
	switch m.PayloadType {
	case mgs.PayloadHandshakeResponse:
		r, err := mgs.ParseBody[mgs.HandshakeResponse](m.Payload)
		if err != nil {
			return err
		}
		return handOver(ctx, c.response, r)
	case mgs.PayloadEncChallengeResponse:
		r, err := mgs.ParseBody[mgs.EncChallenge](m.Payload)
		if err != nil || unseal == nil {
			return errors.New("no challenge is open")
		}
		return handOver(ctx, c.challenge, r.Challenge)
	}
	if !ready {
		return nil // acknowledged and discarded
	}
	if unseal != nil && m.PayloadType == mgs.PayloadOutput {
		b, err := unsealed(unseal, m.Payload)
		if err != nil {
			return err
		}
		m.Payload = b
	}
	return c.handler(m)
}

// handOver blocks the reader, as the original does.
func handOver[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

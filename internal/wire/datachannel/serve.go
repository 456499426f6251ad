package datachannel

import (
	"context"
	"fmt"
	"time"

	"sekisho/internal/wire/mgs"
)

// write has the due messages written to a connection until a write fails.
func (c *Channel) write(s *serving) error {
	for {
		s.writing <- struct{}{}
		more, err := c.flush(s)
		<-s.writing
		if err != nil {
			return err
		}
		if more {
			continue
		}
		select {
		case <-c.wake:
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-c.done:
		}
	}
}

// flushSoon writes the due messages if that cannot block, and wakes the connection's writer
// otherwise.
func (c *Channel) flushSoon() {
	c.mu.Lock()
	s := c.serve
	small := s != nil && !c.paused && c.unacked <= inlineBytes && len(c.acks) <= maxHeldAcks && len(c.control) == 0
	c.mu.Unlock()
	if !small {
		signal(c.wake)
		return
	}
	select {
	case s.writing <- struct{}{}:
	default:
		signal(c.wake)
		return
	}
	more, err := c.flush(s)
	<-s.writing
	if err != nil {
		c.mu.Lock()
		s.failed = err
		c.mu.Unlock()
		s.cancel()
	} else if more {
		signal(c.wake)
	}
}

// flush writes the due messages: control messages, then acknowledgements, then stream data
// and retransmissions. It reports whether more may be due. The caller holds s.writing.
func (c *Channel) flush(s *serving) (more bool, err error) {
	c.mu.Lock()
	if c.closed != nil {
		defer c.mu.Unlock()
		return false, c.closed
	}
	control := c.control
	c.control = nil
	s.taken, c.acks = c.acks, s.taken[:0]
	c.heldSize = 0
	if len(s.taken) > 0 {
		s.acks.Stop()
	}
	n, wait := c.nextBatch(&s.batch, time.Now())
	if wait > 0 {
		s.resend.Reset(wait)
	}
	more = !c.paused && c.cursor < c.next
	c.mu.Unlock()
	if len(control) == 0 && len(s.taken) == 0 && n == 0 {
		return false, nil
	}
	s.messages = append(s.messages[:0], control...)
	s.encodeAcks(c.receives)
	start := 0
	for _, end := range s.ends {
		s.messages = append(s.messages, s.encoded[start:end])
		start = end
	}
	s.messages = append(s.messages, s.batch[:n]...)
	err = s.conn.Write(s.ctx, s.messages...)
	clear(s.messages)
	clear(s.batch[:])
	return more, err
}

// encodeAcks encodes the taken acknowledgements of messages of one type.
func (s *serving) encodeAcks(typ string) {
	s.encoded, s.ends = s.encoded[:0], s.ends[:0]
	for _, a := range s.taken {
		s.body = mgs.AppendAck(s.body[:0], mgs.Acknowledge{Type: typ, ID: a.id, Seq: a.seq, Sequential: true})
		m := mgs.Message{
			Type:          mgs.TypeAcknowledge,
			SchemaVersion: 1,
			CreatedMillis: uint64(time.Now().UnixMilli()),
			Flags:         mgs.FlagSYN | mgs.FlagFIN,
			ID:            newID(s.ackIDs),
			Payload:       s.body,
		}
		s.encoded = m.AppendTo(s.encoded)
		s.ends = append(s.ends, len(s.encoded))
	}
}

// nextBatch picks the stream data to write now, and returns the time until the next
// retransmission; 0 means there is none.
func (c *Channel) nextBatch(batch *[writeBatch][]byte, now time.Time) (n int, wait time.Duration) {
	c.busyLo, c.busyHi = 0, 0
	if c.paused {
		return 0, 0
	}
	c.busyLo, c.busyHi = c.cursor, c.cursor
	size := 0
	if c.base < c.cursor && c.overdue(now) <= 0 {
		oldest := &c.queue[c.head]
		batch[0], n = oldest.frame, 1
		size = len(oldest.frame)
		oldest.sentAt = now
		oldest.sends++
		c.busyLo = c.base
	}
	for ; n < len(batch) && c.cursor < c.next && size < maxBatch; c.cursor++ {
		o := &c.queue[c.head+int(c.cursor-c.base)]
		if o.frame == nil {
			continue
		}
		o.sentAt = now
		o.sends++
		batch[n] = o.frame
		size += len(o.frame)
		n++
	}
	c.busyHi = c.cursor
	if c.base < c.cursor {
		wait = max(c.overdue(now), 1)
	}
	return n, wait
}

// overdue returns the time until the oldest sent message must be resent.
func (c *Channel) overdue(now time.Time) time.Duration {
	oldest := &c.queue[c.head]
	interval := min(c.rto<<min(oldest.sends-1, 8), maxRTO)
	return oldest.sentAt.Add(interval).Sub(now)
}

// read is the one reader of a connection.
func (c *Channel) read(ctx context.Context, conn Conn) error {
	from, _ := conn.(Recycler)
	for {
		binary, b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if err := c.handle(ctx, binary, b, from); err != nil {
			return err
		}
	}
}

func (c *Channel) handle(ctx context.Context, binary bool, b []byte, from Recycler) error {
	if !binary {
		return c.violation("text where a frame was expected")
	}
	m, err := c.parse(b)
	if err != nil {
		return c.violation("%v", err)
	}
	switch m.Type {
	case c.receives:
		return c.handleData(ctx, &m, incoming{id: m.ID, pt: m.PayloadType, payload: m.Payload, frame: b, from: from})
	case c.sends:
		return c.violation("stream data in the wrong direction")
	case mgs.TypeAcknowledge:
		a, err := mgs.ParseAck(m.Payload)
		if err != nil {
			return c.violation("%v", err)
		}
		return c.handleAck(a)
	case mgs.TypeChannelClosed:
		// If parsing fails, only the reason is missing.
		body, _ := mgs.ParseBody[mgs.ChannelClosed](m.Payload)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.closeLocked(&ClosedError{Reason: body.Output, Remote: true})
		return c.closed
	case mgs.TypePausePublication, mgs.TypeStartPublication:
		c.mu.Lock()
		c.paused = m.Type == mgs.TypePausePublication
		c.mu.Unlock()
		signal(c.wake)
	}
	return nil // a message type of a later version
}

func (c *Channel) violation(format string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(&ClosedError{Reason: "protocol violation: " + fmt.Sprintf(format, args...), Peer: true})
	return c.closed
}

func (c *Channel) handleAck(a mgs.Acknowledge) error {
	switch a.Type {
	case c.sends:
	case c.receives:
		return c.violation("acknowledgement of %s", a.Type)
	default:
		return nil // some peers acknowledge every message, acknowledgements included
	}
	c.mu.Lock()
	switch {
	case a.Seq >= c.next:
		c.mu.Unlock()
		return c.violation("acknowledgement of message %d, which was never sent", a.Seq)
	case a.Seq < c.base:
		c.mu.Unlock()
		return nil
	}
	o := &c.queue[c.head+int(a.Seq-c.base)]
	if o.frame == nil {
		c.mu.Unlock()
		return nil
	}
	if o.sends > 0 {
		now := time.Now()
		c.sampleRTT(now.Sub(o.sentAt))
		if o.sends == 1 {
			c.pace.acknowledged(now, now.Sub(o.sentAt), len(o.frame), c.unacked)
		}
	}
	c.progress = time.Now()
	c.unacked -= len(o.frame)
	if a.Seq < c.busyLo || a.Seq >= c.busyHi {
		frame := o.frame
		c.frames.Put(&frame)
	}
	o.frame = nil
	for c.base < c.next && c.queue[c.head].frame == nil {
		c.head++
		c.base++
	}
	c.cursor = max(c.cursor, c.base)
	if c.head == len(c.queue) {
		c.queue, c.head = c.queue[:0], 0
	} else if c.head >= 256 && c.head*2 >= len(c.queue) {
		n := copy(c.queue, c.queue[c.head:])
		clear(c.queue[n:])
		c.queue, c.head = c.queue[:n], 0
	}
	if c.base == c.next && c.drainedSignal != nil {
		close(c.drainedSignal)
		c.drainedSignal = nil
	}
	if c.base == c.next && c.serve != nil {
		c.serve.resend.Stop()
	}
	c.mu.Unlock()
	signal(c.space)
	return nil
}

// sampleRTT also uses samples of resent messages, as the stock ends do: on a path slower
// than the first timeout there would be no others.
func (c *Channel) sampleRTT(sample time.Duration) {
	c.rttVar = c.rttVar*3/4 + (c.rtt-sample).Abs()/4
	c.rtt = c.rtt*7/8 + sample/8
	c.rto = min(maxRTO, c.rtt+max(minRTOVar, 4*c.rttVar))
}

func (c *Channel) handleData(ctx context.Context, m *mgs.Message, in incoming) error {
	if len(m.Payload) > c.cfg.MaxReceivePayload {
		return c.violation("payload of %d bytes", len(m.Payload))
	}
	c.mu.Lock()
	for {
		waiting := len(c.ready) - c.rhead
		switch {
		case c.closed != nil:
			defer c.mu.Unlock()
			return c.closed

		case m.Seq < c.expected:
			// An unread message is acknowledged when it is read.
			if m.Seq < c.expected-int64(waiting-c.acked) {
				c.queueAck(m.ID, m.Seq, mgs.Overhead+len(m.Payload))
			}
			c.mu.Unlock()
			return nil

		case m.Seq > c.expected:
			size := mgs.Overhead + len(m.Payload)
			_, have := c.early[m.Seq]
			if !have && m.Seq-c.expected < int64(c.cfg.ReceiveFrames) && c.earlyBytes+size <= c.cfg.ReceiveBytes {
				if c.early == nil {
					c.early = make(map[int64]incoming)
				}
				c.early[m.Seq] = in
				c.earlyBytes += size
			}
			c.mu.Unlock()
			return nil

		case waiting < c.cfg.ReceiveFrames && c.readyBytes < c.cfg.ReceiveBytes:
			for ok := true; ok; {
				c.ready = append(c.ready, in)
				c.readyBytes += in.size()
				c.expected++
				if in, ok = c.early[c.expected]; ok {
					delete(c.early, c.expected)
					c.earlyBytes -= in.size()
				}
			}
			c.ackReady()
			c.mu.Unlock()
			signal(c.arrival)
			return nil
		}
		// The application is slow and the peer's window larger than our room: stop reading,
		// so that the peer's connection blocks.
		c.mu.Unlock()
		select {
		case <-c.room:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
		}
		c.mu.Lock()
	}
}

package relay

import (
	"time"

	"sekisho/internal/wire/mgs"
)

// Limits of what one direction of a session holds while its receiver is away or slow. Above pauseBytes the sender is
// asked to pause; above holdBytes a frame is dropped, which loses nothing: it has not been acknowledged, so its sender
// keeps it and sends it again.
const (
	pauseBytes  = 4 << 20
	resumeBytes = 1 << 20
	holdBytes   = 16 << 20
	holdFrames  = 32 << 10
	holdAhead   = 4 << 10 // how far ahead of the expected number a frame may be
)

// smallQueue is how many frames a queue holds without allocating.
const smallQueue = 32

// held is a frame the receiver has yet to acknowledge.
type held struct {
	seq   int64
	id    mgs.UUID
	frame []byte
	from  Recycler // takes frame back; may be nil
	acked bool     // although an earlier one is not
	again bool     // was written to an earlier connection of the receiver

	relayAcked bool      // the relay has acknowledged it
	receivedAt time.Time // of a frame received out of order
}

// recycle returns the frame to its owner unless it might still be written to a connection. Frames
// before number written will not be written again, except those that an earlier connection carried
// too, whose write might be blocked.
func (h *held) recycle(written int64) {
	if h.from != nil && h.seq < written && !h.again {
		h.from.Recycle(h.frame)
	}
}

// stream is one direction of a session: stream data on its way from one leg
// to the other, in order. Its fields are guarded by the session's mutex.
//
// The real plugin neither survives reordering nor acknowledges a duplicate, and senders repeat only their oldest
// unacknowledged frame. So frames leave in sequence, regardless of the order in which they arrived; once the receiver
// has acknowledged a frame, the relay acknowledges its repetitions; and what the receiver has not acknowledged is sent
// again when it comes back.
type stream struct {
	typ      string // the message type of this direction
	started  bool   // next is known
	next     int64  // the number expected from the sender
	ahead    map[int64]held
	highest  int64  // in ahead, while next is not known
	small    []held // empty: the initial array of queue
	queue    []held // unacknowledged, in order; queue[:sent] has been written to the present receiver
	sent     int
	written  int64 // frames before this number have been written to the present receiver
	bytes    int
	acked    int64 // every number up to this one is acknowledged by the receiver
	paused   bool
	barred   bool // frames from number bar on are not sent yet
	bar      int64
	lostAcks lostAcks
	begun    bool // by an earlier process
	// acksRepeats says that the present receiver acknowledges repeated messages.
	acksRepeats bool
}

// lostAcks handles acknowledgements that were lost with an earlier process or an
// earlier connection of the receiver. AWS's plugin does not repeat them, and the
// agent repeats only its oldest unacknowledged message until it has them. So when a
// connected receiver of that kind does not acknowledge a message that its sender
// repeats, the relay acknowledges it in the receiver's place, and keeps it until the
// receiver acknowledges a later one.
type lostAcks struct {
	possible     bool      // for every message, because an earlier process began the stream
	since        time.Time // when the oldest message was first repeated; zero: not yet
	ackOnReceipt bool      // the relay acknowledges new messages too
}

// lostAckAfter is how long a message is repeated before the relay treats its
// acknowledgement as lost.
const lostAckAfter = 500 * time.Millisecond

// ackInPlace reports whether the relay acknowledges message i of the queue, which
// its sender has just repeated, in place of the receiver.
func (s *stream) ackInPlace(i int, now time.Time) bool {
	h, l := &s.queue[i], &s.lostAcks
	switch {
	case h.relayAcked:
		return true
	case s.acksRepeats || !l.possible && !h.again || i > 0 && !s.queue[i-1].relayAcked:
		return false
	case l.since.IsZero():
		l.since = now
		return false
	case now.Sub(l.since) < lostAckAfter:
		return false
	}
	l.ackOnReceipt = l.possible
	h.relayAcked = true
	return true
}

// allRepeated reports whether everything that the receiver has not acknowledged was
// written both to an earlier connection of it and to this one.
func (s *stream) allRepeated() bool {
	if s.acksRepeats || s.sent < len(s.queue) {
		return false
	}
	for i := range s.queue {
		if !s.queue[i].again && !s.queue[i].acked {
			return false
		}
	}
	return true
}

// due reports whether there is a frame to be written to the receiver.
func (s *stream) due() bool {
	return s.sent < len(s.queue) && !(s.barred && s.queue[s.sent].seq >= s.bar)
}

// verdict is what to do with a received frame.
type verdict int

const (
	fresh     verdict = iota // in sequence, or completing one: accepted
	repeated                 // known and still unacknowledged: forward it again
	confirmed                // acknowledged by the receiver: answer in its place
	ignored                  // held already, or too much to hold
)

// locate takes a frame of one of AWS's programs whose position in the stream an earlier process
// knew. Such a sender repeats only its oldest unacknowledged message, and can send any number of
// new ones before that. New messages have rising numbers, so the first one that does not exceed
// those before it is the oldest. locate reports whether m is that message, and keeps it otherwise.
func (s *stream) locate(m *mgs.Message, frame []byte, from Recycler) (oldest bool) {
	if len(s.ahead) > 0 && m.Seq <= s.highest {
		if h, ok := s.ahead[m.Seq]; ok {
			s.bytes -= len(h.frame)
			delete(s.ahead, m.Seq)
		}
		return true
	}
	if s.bytes+len(frame) > holdBytes || len(s.ahead) >= holdAhead {
		return false
	}
	s.keepAhead(m, frame, from)
	s.highest = m.Seq
	return false
}

// keepAhead keeps a frame until the messages before it have arrived.
func (s *stream) keepAhead(m *mgs.Message, frame []byte, from Recycler) {
	if s.ahead == nil {
		s.ahead = map[int64]held{}
	}
	s.ahead[m.Seq] = held{seq: m.Seq, id: m.ID, frame: frame, from: from, receivedAt: time.Now()}
	s.bytes += len(frame)
}

// accept takes a frame from the sender. Its first one is the oldest that the sender
// keeps. The accepted messages, in order, are
// handed to tap before they can leave.
func (s *stream) accept(m *mgs.Message, frame []byte, from Recycler, tap func(*mgs.Message) error) (verdict, error) {
	if !s.started {
		s.started, s.next, s.acked = true, m.Seq, m.Seq-1
	}
	switch {
	case m.Seq <= s.acked:
		return confirmed, nil
	case m.Seq < s.next:
		switch i := int(m.Seq - s.next + int64(len(s.queue))); {
		case s.queue[i].acked:
			return confirmed, nil
		case i >= s.sent:
			return ignored, nil // still waiting to be written
		case s.ackInPlace(i, time.Now()):
			return confirmed, nil
		}
		return repeated, nil
	case s.bytes+len(frame) > holdBytes || len(s.queue)+len(s.ahead) >= holdFrames || m.Seq-s.next > holdAhead:
		return ignored, nil
	case m.Seq > s.next:
		h, repeats := s.ahead[m.Seq]
		if !repeats {
			s.keepAhead(m, frame, from)
		}
		if !s.begun || !repeats || time.Since(h.receivedAt) < lostAckAfter {
			return ignored, nil
		}
		s.skip(m.Seq)
	}
	if err := s.push(m, held{seq: m.Seq, id: m.ID, frame: frame, from: from}, tap); err != nil {
		return ignored, err
	}
	s.bytes += len(frame)
	for {
		h, ok := s.ahead[s.next]
		if !ok {
			return fresh, nil
		}
		delete(s.ahead, s.next)
		m, err := mgs.Peek(h.frame)
		if err != nil {
			return ignored, err
		}
		if err := s.push(&m, h, tap); err != nil {
			return ignored, err
		}
	}
}

// skip treats all messages before number seq as received. A sender repeats its
// oldest unacknowledged message, so the receiver has acknowledged those before it,
// which an earlier process forwarded.
func (s *stream) skip(seq int64) {
	for _, h := range s.queue {
		s.bytes -= len(h.frame)
	}
	s.queue, s.sent = nil, 0
	s.bytes -= len(s.ahead[seq].frame) // the caller accepts it next
	delete(s.ahead, seq)
	s.next, s.acked = seq, seq-1
}

func (s *stream) push(m *mgs.Message, h held, tap func(*mgs.Message) error) error {
	if err := tap(m); err != nil {
		return err
	}
	h.relayAcked = s.lostAcks.ackOnReceipt
	s.queue = append(s.queue, h)
	s.next++
	return nil
}

// acknowledge handles an acknowledgement of number seq from the receiver. It does
// not cover earlier frames: a receiver that is not ready yet, such as AWS's agent
// while it connects to a port, silently refuses one frame, keeps and acknowledges
// the next, and waits for the first to be repeated. Only frames that an earlier
// connection carried are treated as received too, because their acknowledgements may
// have been lost with it. missed is called for those.
func (s *stream) acknowledge(seq int64, missed func(held)) {
	i := int(seq - s.next + int64(len(s.queue)))
	if !s.started || seq >= s.next || seq <= s.acked || i >= s.sent {
		return
	}
	possiblyLost := s.lostAcks.possible
	s.lostAcks = lostAcks{}
	s.queue[i].acked = true
	for j := range s.queue[:i] {
		if h := &s.queue[j]; (h.again || possiblyLost) && !h.acked {
			h.acked = true
			missed(*h)
		}
	}
	n := 0
	for n < s.sent && s.queue[n].acked {
		s.bytes -= len(s.queue[n].frame)
		s.acked = s.queue[n].seq
		s.queue[n].recycle(s.written)
		s.queue[n] = held{}
		n++
	}
	s.queue = s.queue[n:]
	s.sent -= n
	if len(s.queue) == 0 {
		// Release the backing array of a burst and reuse a small one.
		if s.small == nil {
			s.small = make([]held, 0, smallQueue)
		}
		s.queue = s.small
	}
}

// rewind makes everything unacknowledged unsent: a new receiver is attached.
func (s *stream) rewind() {
	s.lostAcks.since = time.Time{}
	for i := range s.queue[:s.sent] {
		s.queue[i].again = true
	}
	s.sent, s.written = 0, 0
}

// publication returns whether the sender should resume (true) or pause (false), and
// whether that has changed.
func (s *stream) publication() (start, changed bool) {
	switch {
	case !s.paused && s.bytes > pauseBytes:
		s.paused = true
		return false, true
	case s.paused && s.bytes < resumeBytes:
		s.paused = false
		return true, true
	}
	return false, false
}

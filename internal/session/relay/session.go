package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// side is one of the two legs.
type side int

const (
	agentSide side = iota
	clientSide
)

func (s side) other() side { return 1 - s }

func (s side) String() string {
	if s == agentSide {
		return "agent"
	}
	return "client"
}

// leg is an attached connection. urgent and final are guarded by the session's
// mutex.
type leg struct {
	conn   Conn
	cancel context.CancelCauseFunc
	wake   chan struct{} // capacity 1: there is something to write
	urgent [][]byte      // acknowledgements and the like: they go first
	final  []byte        // channel_closed: goes after everything else

	// writing is held by whoever writes: the leg's own goroutine, or the
	// other leg's reader for a keystroke's sake. It comes before the
	// session's mutex.
	writing turn
}

// turn is a mutex that is a channel, since it may be held for as long as a
// peer does not read: tests in virtual time see that whoever waits for it
// waits.
type turn chan struct{}

func (t turn) take() { t <- struct{}{} }
func (t turn) give() { <-t }
func (t turn) try() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// mostUrgent bounds what waits for a leg that does not read. What is dropped
// is repeated by its sender, and answered then.
const mostUrgent = 4096

func (l *leg) hurry(frame []byte) {
	if len(l.urgent) < mostUrgent {
		l.urgent = append(l.urgent, frame)
	}
}

func (l *leg) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// session is the hub of one session.
type session struct {
	relay *Relay
	rec   Recording

	// notifying keeps what the observer hears in order. It comes before mu.
	notifying sync.Mutex

	mu         sync.Mutex
	info       sekisho.Session
	legs       [2]*leg
	seen       [2]bool // this side has attached before
	toClient   stream
	toAgent    stream
	lastData   time.Time // the last byte either way
	agentAway  time.Time // since when there is no agent leg
	clientAway time.Time
	ended      bool
	closed     []byte // channel_closed, of an ended session
	encryption encryption
	greeting   greeting
}

// incoming is the direction whose frames the given side sends.
func (s *session) incoming(from side) *stream {
	if from == agentSide {
		return &s.toClient
	}
	return &s.toAgent
}

// outgoing is the direction whose frames the given side receives.
func (s *session) outgoing(to side) *stream { return s.incoming(to.other()) }

func (s *session) serve(ctx context.Context, conn Conn, at side) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &leg{conn: conn, cancel: cancel, wake: make(chan struct{}, 1), writing: make(turn, 1)}
	if err := s.attach(l, at); err != nil {
		conn.Close(err.Error())
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.write(ctx, l, at)
		if errors.Is(err, errEnded) {
			// The reader goes on until the peer has hung up too: a connection
			// that is dropped with anything unread in it takes the last words
			// with it.
			conn.Close(closeReason(err))
		}
		if err != nil {
			cancel(err)
		}
	})
	err := s.read(ctx, l, at)
	cancel(err)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	s.detach(l, at)
	conn.Close(closeReason(err))
	return err
}

// closeReason is what a peer may know of err.
func closeReason(err error) string {
	if e, ok := errors.AsType[*violation](err); ok {
		return e.Error()
	}
	return "the channel ended"
}

// violation is a breach of the protocol by a peer: its channel is closed.
type violation struct{ err error }

func (v *violation) Error() string { return "protocol error: " + v.err.Error() }

func (s *session) attach(l *leg, at side) error {
	s.mu.Lock()
	if s.ended && s.closed == nil {
		s.mu.Unlock()
		return errStopping
	}
	if s.ended {
		l.final = s.closed
		l.poke()
		s.mu.Unlock()
		return nil
	}
	old := s.legs[at]
	s.legs[at] = l
	s.seen[at] = true
	// Whoever is new has seen nothing that it has not acknowledged.
	s.outgoing(at).rewind()
	l.poke()
	s.mu.Unlock()
	if old != nil {
		old.cancel(errors.New("replaced by a newer connection"))
	}
	s.notify()
	return nil
}

// notify tells the observer the present status.
func (s *session) notify() {
	s.notifying.Lock()
	defer s.notifying.Unlock()
	s.mu.Lock()
	status, ended := s.status(), s.ended
	s.mu.Unlock()
	if !ended {
		s.relay.cfg.Observer.SessionStatus(s.info.ID, status)
	}
}

func (s *session) detach(l *leg, at side) {
	s.mu.Lock()
	if s.legs[at] != l || s.ended {
		s.mu.Unlock()
		return
	}
	s.legs[at] = nil
	s.outgoing(at).rewind()
	if at == agentSide {
		s.agentAway = time.Now()
		s.toAgent.paused = false // a new connection publishes again by itself
		s.toClient.paused = false
	} else {
		s.clientAway = time.Now()
	}
	s.mu.Unlock()
	s.notify()
}

// status is what the attached legs make of the session.
func (s *session) status() sekisho.SessionStatus {
	switch {
	case s.legs[agentSide] != nil && s.legs[clientSide] != nil:
		return sekisho.SessionConnected
	case s.seen[agentSide] && s.seen[clientSide]:
		return sekisho.SessionDisconnected
	}
	return sekisho.SessionConnecting
}

// read takes frames from a leg until its connection fails.
func (s *session) read(ctx context.Context, l *leg, from side) error {
	for {
		frame, err := l.conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := mgs.Parse(frame)
		if err != nil {
			return &violation{err}
		}
		if err := s.take(&m, frame, l, from); err != nil {
			return err
		}
	}
}

// take handles one frame from a leg.
func (s *session) take(m *mgs.Message, frame []byte, l *leg, from side) error {
	switch m.Type {
	case s.incoming(from).typ:
		return s.data(m, frame, l, from)
	case mgs.TypeAcknowledge:
		return s.ack(m, frame, from)
	case mgs.TypeAgentSessionState:
		if from != agentSide {
			return &violation{fmt.Errorf("a client sent %s", m.Type)}
		}
		state, err := mgs.ParseBody[mgs.AgentSessionState](m.Payload)
		if err != nil {
			return &violation{err}
		}
		if state.SessionState == mgs.SessionStateTerminating {
			s.end(sekisho.SessionTerminated, "")
		}
		return nil
	case mgs.TypeInputStreamData, mgs.TypeOutputStreamData:
		return &violation{fmt.Errorf("the %s sent %s", from, m.Type)}
	}
	return nil // later versions may say more; nothing else concerns the peer
}

func (s *session) data(m *mgs.Message, frame []byte, l *leg, from side) error {
	to, err := s.acceptData(m, frame, l, from)
	if to != nil {
		s.flushSoon(to, from.other())
	}
	return err
}

// acceptData takes a frame of stream data and returns the leg that has
// something to be written, if any.
func (s *session) acceptData(m *mgs.Message, frame []byte, l *leg, from side) (*leg, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, nil // it has not been told yet
	}
	st := s.incoming(from)
	v, err := st.accept(m, frame, func(m *mgs.Message) error { return s.tap(m, from) })
	if err != nil {
		s.recordingFailed(err)
		return nil, nil
	}
	to := s.legs[from.other()]
	switch v {
	case fresh:
		s.lastData = time.Now()
		if st.doubt.vouches {
			s.urgentLocked(l, mgs.NewAck(m))
		}
		if start, tell := st.publication(); tell && from == agentSide {
			s.urgentLocked(l, mgs.NewPublication(start))
		}
	case repeated:
		if to != nil {
			to.hurry(frame)
		}
	case confirmed:
		s.urgentLocked(l, mgs.NewAck(m))
		return nil, nil
	case ignored:
		return nil, nil
	}
	return to, nil
}

// tap records a frame in sequence. The mutex is held: frames reach the
// recording in the order in which they leave.
func (s *session) tap(m *mgs.Message, from side) error {
	switch m.PayloadType {
	case mgs.PayloadHandshakeRequest, mgs.PayloadHandshakeResponse, mgs.PayloadEncChallengeResponse, mgs.PayloadHandshakeComplete:
		err := s.watchHandshake(m, from)
		s.greet(m, from)
		return err
	case mgs.PayloadOutput, mgs.PayloadStdErr:
		if s.encryption.agreed {
			return nil
		}
		if from == agentSide {
			return s.rec.Output(m.Payload)
		}
		return s.rec.Input(m.Payload)
	case mgs.PayloadSize:
		if from == clientSide {
			if size, err := mgs.ParseBody[mgs.Size](m.Payload); err == nil {
				return s.rec.Resize(int(size.Cols), int(size.Rows))
			}
		}
	}
	return nil
}

// recordingFailed ends the session: what cannot be recorded is not shown. The
// mutex is held. Both legs live on until they have been told.
func (s *session) recordingFailed(err error) {
	s.relay.cfg.Log.Error("recording failed; session ended", "session", s.info.ID, "error", err)
	why := "The session was ended because it could not be recorded any longer."
	if errors.Is(err, errEncrypts) {
		why = "The session was ended: " + err.Error() + "."
	}
	if s.endLocked(why) {
		go s.finish(sekisho.SessionFailed, why)
	}
}

func (s *session) ack(m *mgs.Message, frame []byte, from side) error {
	a, err := mgs.ParseAck(m.Payload)
	if err != nil {
		return &violation{err}
	}
	sender, err := s.acceptAck(a, frame, from)
	if sender != nil {
		s.flushSoon(sender, from.other())
	}
	return err
}

func (s *session) acceptAck(a mgs.Acknowledge, frame []byte, from side) (*leg, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.outgoing(from)
	if a.Type != st.typ {
		return nil, &violation{fmt.Errorf("the %s acknowledged %s", from, a.Type)}
	}
	sender := s.legs[from.other()]
	if from == agentSide {
		s.answered(a.Seq)
	}
	st.acknowledge(a.Seq, func(h held) {
		if sender != nil {
			s.urgentLocked(sender, mgs.NewAckOf(st.typ, h.id, h.seq))
		}
	})
	if sender == nil {
		return nil, nil
	}
	sender.hurry(frame)
	if start, tell := st.publication(); tell && from == clientSide {
		s.urgentLocked(sender, mgs.NewPublication(start))
	}
	return sender, nil
}

func (s *session) urgentLocked(l *leg, m mgs.Message) {
	l.hurry(m.AppendTo(make([]byte, 0, m.Size())))
	l.poke()
}

// batchFrames is how many frames the writer takes at once, so that an
// acknowledgement never waits behind more than these.
const batchFrames = 32

// inlineBytes is how much may be on its way to a leg for another goroutine to
// write to it: so little fits into the socket's buffer, and the write returns
// at once.
const inlineBytes = 32 << 10

// flushSoon has what is due written to l: at once, where that cannot block,
// since waking another goroutine costs more than the write.
func (s *session) flushSoon(l *leg, to side) {
	s.mu.Lock()
	small := s.outgoing(to).bytes <= inlineBytes && len(l.urgent) < batchFrames && l.final == nil
	s.mu.Unlock()
	if !small || !l.writing.try() {
		l.poke()
		return
	}
	defer l.writing.give()
	if _, err := s.flush(context.Background(), l, to, 1); err != nil {
		l.cancel(err)
		return
	}
	s.mu.Lock()
	more := len(l.urgent) > 0 || s.outgoing(to).due() || l.final != nil
	s.mu.Unlock()
	if more { // it came meanwhile, or was more than a batch
		l.poke()
	}
}

// write sends a leg what is meant for it until ctx ends, or until the final
// frame of an ended session is out.
func (s *session) write(ctx context.Context, l *leg, to side) error {
	for {
		l.writing.take()
		last, err := s.flush(ctx, l, to, -1)
		l.writing.give()
		if err != nil {
			return err
		}
		if last {
			return errEnded
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		}
	}
}

// flush writes batches until nothing is due, or as many as it is allowed. It
// reports whether the final frame went out. l.writing is held.
func (s *session) flush(ctx context.Context, l *leg, to side, batches int) (last bool, err error) {
	var room [batchFrames][]byte
	for ; batches != 0; batches-- {
		batch := room[:0]
		s.mu.Lock()
		st := s.outgoing(to)
		batch = append(batch, l.urgent...)
		l.urgent = nil
		for len(batch) < batchFrames && st.due() && s.legs[to] == l {
			if h := &st.queue[st.sent]; !h.acked {
				batch = append(batch, h.frame)
			}
			st.sent++
		}
		if len(batch) == 0 && l.final != nil {
			batch, last = append(batch, l.final), true
		}
		s.mu.Unlock()
		if len(batch) == 0 {
			return false, nil
		}
		for _, frame := range batch {
			if err := l.conn.Write(ctx, frame); err != nil {
				return false, err
			}
		}
		if last {
			return true, nil
		}
	}
	return false, nil
}

// end closes the session once.
func (s *session) end(status sekisho.SessionStatus, output string) {
	s.mu.Lock()
	first := s.endLocked(output)
	s.mu.Unlock()
	if first {
		s.finish(status, output)
	}
}

// endLocked takes nothing more from the legs and has them told. It reports
// whether the session was open; then finish is due.
func (s *session) endLocked(output string) bool {
	if s.ended {
		return false
	}
	s.ended = true
	closed := mgs.NewChannelClosed(string(s.info.Target), string(s.info.ID), output)
	s.closed = closed.AppendTo(nil)
	for _, l := range s.legs {
		if l != nil {
			l.final = s.closed
			l.poke()
		}
	}
	return true
}

// finish seals the recording of a session that was just ended, and tells the
// observer.
func (s *session) finish(status sekisho.SessionStatus, output string) {
	if err := s.rec.Seal(output); err != nil {
		s.relay.cfg.Log.Error("recording not sealed", "session", s.info.ID, "error", err)
	}
	s.notifying.Lock()
	defer s.notifying.Unlock()
	s.relay.cfg.Observer.SessionEnded(s.info.ID, status, output)
	// Last: until its end is stored, a leg that comes must find the ended
	// session here and be told so, and not open it again.
	s.relay.forget(s.info.ID)
}

// drop detaches both legs without ending the session.
func (s *session) drop() {
	s.mu.Lock()
	s.ended = true // nothing is taken any more; the recording stays unsealed
	legs := s.legs
	s.mu.Unlock()
	for _, l := range legs {
		if l != nil {
			l.cancel(errStopping)
		}
	}
}

// checkDeadlines ends the session when one of its deadlines has passed.
func (s *session) checkDeadlines(now time.Time) {
	cfg := &s.relay.cfg
	s.mu.Lock()
	status, why := sekisho.SessionTerminated, ""
	switch {
	case s.ended:
	case s.legs[agentSide] == nil && !s.seen[agentSide] && now.Sub(s.agentAway) > cfg.StartGrace:
		status, why = sekisho.SessionFailed, fmt.Sprintf("The agent of %s did not open the session within %s.", s.info.Target, cfg.StartGrace)
	case s.legs[agentSide] == nil && s.seen[agentSide] && now.Sub(s.agentAway) > cfg.AgentGrace:
		why = fmt.Sprintf("The agent of %s went away and did not come back within %s.", s.info.Target, cfg.AgentGrace)
	case !s.seen[clientSide] && now.Sub(s.clientAway) > cfg.ClientGrace:
		why = fmt.Sprintf("No client opened the session within %s.", cfg.ClientGrace)
	case s.info.IdleTimeout > 0 && now.Sub(s.lastData) > s.info.IdleTimeout:
		why = fmt.Sprintf("The session was idle for %s.", s.info.IdleTimeout)
	case s.info.MaxDuration > 0 && now.Sub(s.info.StartedAt) > s.info.MaxDuration:
		why = fmt.Sprintf("The session reached its maximum duration of %s.", s.info.MaxDuration)
	}
	s.mu.Unlock()
	if why != "" {
		s.end(status, why)
	}
}

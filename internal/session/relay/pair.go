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

// pair joins the two legs of one session.
type pair struct {
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
func (p *pair) incoming(from side) *stream {
	if from == agentSide {
		return &p.toClient
	}
	return &p.toAgent
}

// outgoing is the direction whose frames the given side receives.
func (p *pair) outgoing(to side) *stream { return p.incoming(to.other()) }

func (p *pair) serve(ctx context.Context, conn Conn, at side) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &leg{conn: conn, cancel: cancel, wake: make(chan struct{}, 1), writing: make(turn, 1)}
	if err := p.attach(l, at); err != nil {
		conn.Close(err.Error())
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		err := p.write(ctx, l, at)
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
	err := p.read(ctx, l, at)
	cancel(err)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	p.detach(l, at)
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

func (p *pair) attach(l *leg, at side) error {
	p.mu.Lock()
	if p.ended && p.closed == nil {
		p.mu.Unlock()
		return errStopping
	}
	if p.ended {
		l.final = p.closed
		l.poke()
		p.mu.Unlock()
		return nil
	}
	old := p.legs[at]
	p.legs[at] = l
	p.seen[at] = true
	// Whoever is new has seen nothing that it has not acknowledged.
	p.outgoing(at).rewind()
	l.poke()
	p.mu.Unlock()
	if old != nil {
		old.cancel(errors.New("replaced by a newer connection"))
	}
	p.notify()
	return nil
}

// notify tells the observer the present status.
func (p *pair) notify() {
	p.notifying.Lock()
	defer p.notifying.Unlock()
	p.mu.Lock()
	status, ended := p.status(), p.ended
	p.mu.Unlock()
	if !ended {
		p.relay.cfg.Observer.SessionStatus(p.info.ID, status)
	}
}

func (p *pair) detach(l *leg, at side) {
	p.mu.Lock()
	if p.legs[at] != l || p.ended {
		p.mu.Unlock()
		return
	}
	p.legs[at] = nil
	p.outgoing(at).rewind()
	if at == agentSide {
		p.agentAway = time.Now()
		p.toAgent.paused = false // a new connection publishes again by itself
		p.toClient.paused = false
	} else {
		p.clientAway = time.Now()
	}
	p.mu.Unlock()
	p.notify()
}

// status is what the attached legs make of the session.
func (p *pair) status() sekisho.SessionStatus {
	switch {
	case p.legs[agentSide] != nil && p.legs[clientSide] != nil:
		return sekisho.SessionConnected
	case p.seen[agentSide] && p.seen[clientSide]:
		return sekisho.SessionDisconnected
	}
	return sekisho.SessionConnecting
}

// read takes frames from a leg until its connection fails.
func (p *pair) read(ctx context.Context, l *leg, from side) error {
	for {
		frame, err := l.conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := mgs.Parse(frame)
		if err != nil {
			return &violation{err}
		}
		if err := p.take(&m, frame, l, from); err != nil {
			return err
		}
	}
}

// take handles one frame from a leg.
func (p *pair) take(m *mgs.Message, frame []byte, l *leg, from side) error {
	switch m.Type {
	case p.incoming(from).typ:
		return p.data(m, frame, l, from)
	case mgs.TypeAcknowledge:
		return p.ack(m, frame, from)
	case mgs.TypeAgentSessionState:
		if from != agentSide {
			return &violation{fmt.Errorf("a client sent %s", m.Type)}
		}
		state, err := mgs.ParseBody[mgs.AgentSessionState](m.Payload)
		if err != nil {
			return &violation{err}
		}
		if state.SessionState == mgs.SessionStateTerminating {
			p.end(sekisho.SessionTerminated, "")
		}
		return nil
	case mgs.TypeInputStreamData, mgs.TypeOutputStreamData:
		return &violation{fmt.Errorf("the %s sent %s", from, m.Type)}
	}
	return nil // later versions may say more; nothing else concerns the peer
}

func (p *pair) data(m *mgs.Message, frame []byte, l *leg, from side) error {
	to, err := p.acceptData(m, frame, l, from)
	if to != nil {
		p.flushSoon(to, from.other())
	}
	return err
}

// acceptData takes a frame of stream data and returns the leg that has
// something to be written, if any.
func (p *pair) acceptData(m *mgs.Message, frame []byte, l *leg, from side) (*leg, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, nil // it has not been told yet
	}
	st := p.incoming(from)
	v, err := st.accept(m, frame, func(m *mgs.Message) error { return p.tap(m, from) })
	if err != nil {
		p.recordingFailed(err)
		return nil, nil
	}
	to := p.legs[from.other()]
	switch v {
	case fresh:
		p.lastData = time.Now()
		if st.doubt.vouches {
			p.urgentLocked(l, mgs.NewAck(m))
		}
		if start, tell := st.publication(); tell && from == agentSide {
			p.urgentLocked(l, mgs.NewPublication(start))
		}
	case repeated:
		if to != nil {
			to.hurry(frame)
		}
	case confirmed:
		p.urgentLocked(l, mgs.NewAck(m))
		return nil, nil
	case ignored:
		return nil, nil
	}
	return to, nil
}

// tap records a frame in sequence. The mutex is held: frames reach the
// recording in the order in which they leave.
func (p *pair) tap(m *mgs.Message, from side) error {
	switch m.PayloadType {
	case mgs.PayloadHandshakeRequest, mgs.PayloadHandshakeResponse, mgs.PayloadEncChallengeResponse, mgs.PayloadHandshakeComplete:
		err := p.watchHandshake(m, from)
		p.greet(m, from)
		return err
	case mgs.PayloadOutput, mgs.PayloadStdErr:
		if p.encryption.agreed {
			return nil
		}
		if from == agentSide {
			return p.rec.Output(m.Payload)
		}
		return p.rec.Input(m.Payload)
	case mgs.PayloadSize:
		if from == clientSide {
			if size, err := mgs.ParseBody[mgs.Size](m.Payload); err == nil {
				return p.rec.Resize(int(size.Cols), int(size.Rows))
			}
		}
	}
	return nil
}

// recordingFailed ends the session: what cannot be recorded is not shown. The
// mutex is held. Both legs live on until they have been told.
func (p *pair) recordingFailed(err error) {
	p.relay.cfg.Log.Error("recording failed; session ended", "session", p.info.ID, "error", err)
	why := "The session was ended because it could not be recorded any longer."
	if errors.Is(err, errEncrypts) {
		why = "The session was ended: " + err.Error() + "."
	}
	if p.endLocked(why) {
		go p.finish(sekisho.SessionFailed, why)
	}
}

func (p *pair) ack(m *mgs.Message, frame []byte, from side) error {
	a, err := mgs.ParseAck(m.Payload)
	if err != nil {
		return &violation{err}
	}
	sender, err := p.acceptAck(a, frame, from)
	if sender != nil {
		p.flushSoon(sender, from.other())
	}
	return err
}

func (p *pair) acceptAck(a mgs.Acknowledge, frame []byte, from side) (*leg, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.outgoing(from)
	if a.Type != st.typ {
		return nil, &violation{fmt.Errorf("the %s acknowledged %s", from, a.Type)}
	}
	sender := p.legs[from.other()]
	if from == agentSide {
		p.answered(a.Seq)
	}
	st.acknowledge(a.Seq, func(h held) {
		if sender != nil {
			p.urgentLocked(sender, mgs.NewAckOf(st.typ, h.id, h.seq))
		}
	})
	if sender == nil {
		return nil, nil
	}
	sender.hurry(frame)
	if start, tell := st.publication(); tell && from == clientSide {
		p.urgentLocked(sender, mgs.NewPublication(start))
	}
	return sender, nil
}

func (p *pair) urgentLocked(l *leg, m mgs.Message) {
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
func (p *pair) flushSoon(l *leg, to side) {
	p.mu.Lock()
	small := p.outgoing(to).bytes <= inlineBytes && len(l.urgent) < batchFrames && l.final == nil
	p.mu.Unlock()
	if !small || !l.writing.try() {
		l.poke()
		return
	}
	defer l.writing.give()
	if _, err := p.flush(context.Background(), l, to, 1); err != nil {
		l.cancel(err)
		return
	}
	p.mu.Lock()
	more := len(l.urgent) > 0 || p.outgoing(to).due() || l.final != nil
	p.mu.Unlock()
	if more { // it came meanwhile, or was more than a batch
		l.poke()
	}
}

// write sends a leg what is meant for it until ctx ends, or until the final
// frame of an ended session is out.
func (p *pair) write(ctx context.Context, l *leg, to side) error {
	for {
		l.writing.take()
		last, err := p.flush(ctx, l, to, -1)
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
func (p *pair) flush(ctx context.Context, l *leg, to side, batches int) (last bool, err error) {
	var room [batchFrames][]byte
	for ; batches != 0; batches-- {
		batch := room[:0]
		p.mu.Lock()
		st := p.outgoing(to)
		batch = append(batch, l.urgent...)
		l.urgent = nil
		for len(batch) < batchFrames && st.due() && p.legs[to] == l {
			if h := &st.queue[st.sent]; !h.acked {
				batch = append(batch, h.frame)
			}
			st.sent++
		}
		if len(batch) == 0 && l.final != nil {
			batch, last = append(batch, l.final), true
		}
		p.mu.Unlock()
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
func (p *pair) end(status sekisho.SessionStatus, output string) {
	p.mu.Lock()
	first := p.endLocked(output)
	p.mu.Unlock()
	if first {
		p.finish(status, output)
	}
}

// endLocked takes nothing more from the legs and has them told. It reports
// whether the session was open; then finish is due.
func (p *pair) endLocked(output string) bool {
	if p.ended {
		return false
	}
	p.ended = true
	closed := mgs.NewChannelClosed(string(p.info.Target), string(p.info.ID), output)
	p.closed = closed.AppendTo(nil)
	for _, l := range p.legs {
		if l != nil {
			l.final = p.closed
			l.poke()
		}
	}
	return true
}

// finish seals the recording of a session that was just ended, and tells the
// observer.
func (p *pair) finish(status sekisho.SessionStatus, output string) {
	if err := p.rec.Seal(output); err != nil {
		p.relay.cfg.Log.Error("recording not sealed", "session", p.info.ID, "error", err)
	}
	p.notifying.Lock()
	defer p.notifying.Unlock()
	p.relay.cfg.Observer.SessionEnded(p.info.ID, status, output)
	// Last: until its end is stored, a leg that comes must find the ended
	// session here and be told so, and not open it again.
	p.relay.forget(p.info.ID)
}

// drop detaches both legs without ending the session.
func (p *pair) drop() {
	p.mu.Lock()
	p.ended = true // nothing is taken any more; the recording stays unsealed
	legs := p.legs
	p.mu.Unlock()
	for _, l := range legs {
		if l != nil {
			l.cancel(errStopping)
		}
	}
}

// checkDeadlines ends the session when one of its deadlines has passed.
func (p *pair) checkDeadlines(now time.Time) {
	cfg := &p.relay.cfg
	p.mu.Lock()
	status, why := sekisho.SessionTerminated, ""
	switch {
	case p.ended:
	case p.legs[agentSide] == nil && !p.seen[agentSide] && now.Sub(p.agentAway) > cfg.StartGrace:
		status, why = sekisho.SessionFailed, fmt.Sprintf("The agent of %s did not open the session within %s.", p.info.Target, cfg.StartGrace)
	case p.legs[agentSide] == nil && p.seen[agentSide] && now.Sub(p.agentAway) > cfg.AgentGrace:
		why = fmt.Sprintf("The agent of %s went away and did not come back within %s.", p.info.Target, cfg.AgentGrace)
	case !p.seen[clientSide] && now.Sub(p.clientAway) > cfg.ClientGrace:
		why = fmt.Sprintf("No client opened the session within %s.", cfg.ClientGrace)
	case p.info.IdleTimeout > 0 && now.Sub(p.lastData) > p.info.IdleTimeout:
		why = fmt.Sprintf("The session was idle for %s.", p.info.IdleTimeout)
	case p.info.MaxDuration > 0 && now.Sub(p.info.StartedAt) > p.info.MaxDuration:
		why = fmt.Sprintf("The session reached its maximum duration of %s.", p.info.MaxDuration)
	}
	p.mu.Unlock()
	if why != "" {
		p.end(status, why)
	}
}

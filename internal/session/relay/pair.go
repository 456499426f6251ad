package relay

import (
	"cmp"
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
	peer   Peer
	life   context.Context // of the leg
	cancel context.CancelCauseFunc
	// recycler takes back frames that conn has read; may be nil.
	recycler Recycler
	since    time.Time
	wake     chan struct{} // capacity 1: there is something to write
	urgent   [][]byte      // acknowledgements and pause requests: sent first
	final    []byte        // channel_closed: sent after everything else

	// writing is held while conn is written to, by the leg's own goroutine or, to
	// save a goroutine switch for a keystroke, by the other leg's reader. Lock it
	// before the session's mutex.
	writing chanMutex
	// due is the other leg, once a frame of this one has to be written to it. Frames
	// that came together, such as an acknowledgement and a key, leave together. Only
	// the goroutine that reads this leg uses it.
	due   *leg
	batch [batchFrames][]byte // guarded by writing
}

// chanMutex is a mutex made of a channel. It can be held while a peer does not read, and synctest
// considers a goroutine durably blocked if it waits for a channel, but not if it waits for a
// sync.Mutex.
type chanMutex chan struct{}

func (m chanMutex) lock()   { m <- struct{}{} }
func (m chanMutex) unlock() { <-m }
func (m chanMutex) tryLock() bool {
	select {
	case m <- struct{}{}:
		return true
	default:
		return false
	}
}

// maxUrgent limits the urgent frames that wait for a leg that does not read. The sender of a
// message repeats it if its acknowledgement was dropped.
const maxUrgent = 4096

func (l *leg) queueUrgent(frame []byte) {
	if len(l.urgent) < maxUrgent {
		l.urgent = append(l.urgent, frame)
	}
}

// wakeWriter wakes the leg's goroutine to look for something to write.
func (l *leg) wakeWriter() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// pair joins the two legs of one session.
type pair struct {
	relay   *Relay
	opened  chan struct{} // closed when rec or openErr is set
	openErr error
	rec     RecordWriter

	// notifying keeps the calls of the observer in order. Lock it before mu.
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
	closed     []byte     // channel_closed, of an ended session
	finishing  *finishing // set when the agent has reported that the session is over
	exitCode   int        // of the program that ran in the session; -1 if unknown
	encryption encryption
	greeting   greeting
}

func newPair(r *Relay, s *sekisho.Session) *pair {
	now := time.Now()
	p := &pair{
		relay: r, opened: make(chan struct{}), info: *s, lastData: now, agentAway: now, clientAway: now, exitCode: -1,
		toClient: stream{typ: mgs.TypeOutputStreamData}, toAgent: stream{typ: mgs.TypeInputStreamData},
	}
	if s.Status == sekisho.SessionConnected || s.Status == sekisho.SessionDisconnected {
		// An earlier process had both legs. The agent might be waiting before its next attempt, and
		// the user's laptop might be asleep.
		p.seen = [2]bool{true, true}
		p.toClient.lostAcks.possible = true
		p.toClient.begun, p.toAgent.begun = true, true
		p.encryption.agreed = s.Recording == sekisho.RecordingEncrypted
		p.agentAway = now.Add(r.cfg.RecoverGrace)
	}
	return p
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

func (p *pair) serve(ctx context.Context, conn Conn, peer Peer, at side) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &leg{
		conn: conn, peer: peer, life: ctx, cancel: cancel, since: time.Now(), wake: make(chan struct{}, 1),
		writing: make(chanMutex, 1),
	}
	l.recycler, _ = conn.(Recycler)
	if at == agentSide && p.agentAnswers(ctx) {
		conn.Close(ErrAgentLive.Error())
		return ErrAgentLive
	}
	if err := p.attach(ctx, l, at); err != nil {
		conn.Close(err.Error())
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		err := p.write(ctx, l, at)
		if errors.Is(err, errEnded) {
			// The reader continues until the peer has closed its side too: closing
			// a connection with unread data resets it, and the peer would lose the
			// last frames.
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
	p.detach(ctx, l, at)
	conn.Close(closeReason(err))
	return err
}

// closeReason returns the part of err that can be shown to a peer.
func closeReason(err error) string {
	if e, ok := errors.AsType[*violation](err); ok {
		return e.Error()
	}
	return "the channel ended"
}

// violation is a breach of the protocol by a peer: its channel is closed.
type violation struct{ err error }

func (v *violation) Error() string { return "protocol error: " + v.err.Error() }

// agentAnswers reports whether the session has an agent leg whose peer answers a
// ping.
func (p *pair) agentAnswers(ctx context.Context) bool {
	p.mu.Lock()
	old := p.legs[agentSide]
	p.mu.Unlock()
	if old == nil {
		return false
	}
	prober, ok := old.conn.(Prober)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return prober.Ping(ctx) == nil && old.life.Err() == nil
}

func (p *pair) attach(ctx context.Context, l *leg, at side) error {
	p.mu.Lock()
	if p.ended && p.closed == nil {
		p.mu.Unlock()
		return errStopping
	}
	if p.ended {
		l.final = p.closed
		l.wakeWriter()
		p.mu.Unlock()
		return nil
	}
	old := p.legs[at]
	p.legs[at] = l
	p.seen[at] = true
	// A new connection must be sent everything it has not acknowledged.
	p.outgoing(at).rewind()
	p.outgoing(at).acksRepeats = l.peer.Own
	l.wakeWriter()
	p.mu.Unlock()
	if old != nil {
		old.cancel(errors.New("replaced by a newer connection"))
	}
	p.notify(ctx)
	return nil
}

// notify reports the current status to the observer.
func (p *pair) notify(ctx context.Context) {
	p.notifying.Lock()
	defer p.notifying.Unlock()
	p.mu.Lock()
	status, ended := p.status(), p.ended
	p.mu.Unlock()
	if !ended {
		p.relay.cfg.Observer.SessionStatus(context.WithoutCancel(ctx), p.info.ID, status)
	}
}

func (p *pair) detach(ctx context.Context, l *leg, at side) {
	p.mu.Lock()
	if p.legs[at] != l || p.ended {
		p.mu.Unlock()
		return
	}
	p.legs[at] = nil
	p.outgoing(at).rewind()
	if at == agentSide {
		p.agentAway = time.Now()
		p.toAgent.paused = false // a new connection publishes again without being asked
		p.toClient.paused = false
	} else {
		p.clientAway = time.Now()
	}
	p.mu.Unlock()
	p.notify(ctx)
	p.endIfFinished(ctx, time.Now())
}

// status derives the status of the session from its attached legs.
func (p *pair) status() sekisho.SessionStatus {
	switch {
	case p.legs[agentSide] != nil && p.legs[clientSide] != nil:
		return sekisho.SessionConnected
	case p.seen[agentSide] && p.seen[clientSide]:
		return sekisho.SessionDisconnected
	}
	return sekisho.SessionConnecting
}

// read handles frames from a leg until its connection fails.
func (p *pair) read(ctx context.Context, l *leg, from side) error {
	parse := mgs.Parse
	if from == clientSide {
		parse = mgs.ParseClient
	}
	var m mgs.Message // one for all frames: it escapes
	buffering, _ := l.conn.(Buffering)
	defer func() {
		if l.due != nil {
			l.due.wakeWriter()
		}
	}()
	for {
		frame, err := l.conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err = parse(frame)
		if err != nil {
			return &violation{err}
		}
		if err := p.handle(ctx, &m, frame, l, from); err != nil {
			return err
		}
		if l.due != nil && (buffering == nil || !buffering.Buffered()) {
			p.flushSoon(l.due, from.other())
			l.due = nil
		}
	}
}

// handle handles one frame from a leg.
func (p *pair) handle(ctx context.Context, m *mgs.Message, frame []byte, l *leg, from side) error {
	switch m.Type {
	case p.incoming(from).typ:
		return p.data(ctx, m, frame, l, from)
	case mgs.TypeAcknowledge:
		return p.ack(ctx, m, frame, l, from)
	case mgs.TypeAgentSessionState:
		if from != agentSide {
			return &violation{fmt.Errorf("a client sent %s", m.Type)}
		}
		state, err := mgs.ParseBody[mgs.AgentSessionState](m.Payload)
		if err != nil {
			return &violation{err}
		}
		switch state.SessionState {
		case mgs.SessionStateEchoOff, mgs.SessionStateEchoOn:
			p.rec.Echo(state.SessionState == mgs.SessionStateEchoOn)
		}
		if state.SessionState == mgs.SessionStateTerminating {
			p.finish(ctx, sekisho.Ending{Status: sekisho.SessionTerminated}, true)
		}
		return nil
	case mgs.TypeInputStreamData, mgs.TypeOutputStreamData:
		return &violation{fmt.Errorf("the %s sent %s", from, m.Type)}
	}
	return nil // a message type of a later version; ignore it
}

func (p *pair) data(ctx context.Context, m *mgs.Message, frame []byte, l *leg, from side) error {
	to, err := p.acceptData(m, frame, l, from)
	if err != nil {
		p.recordingFailed(ctx, err)
	}
	if to != nil {
		l.due = to
	}
	return nil
}

// acceptData takes a frame of stream data and returns the leg that has
// something to be written, if any. An error means that the frame could not be
// recorded.
func (p *pair) acceptData(m *mgs.Message, frame []byte, l *leg, from side) (*leg, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, nil // the leg has not read channel_closed yet
	}
	st := p.incoming(from)
	if !st.started && st.begun && !l.peer.Own && !st.locate(m, frame, l.recycler) {
		return nil, nil
	}
	v, err := st.accept(m, frame, l.recycler, func(m *mgs.Message) error { return p.tap(m, from) })
	if err != nil {
		return nil, err
	}
	to := p.legs[from.other()]
	switch v {
	case fresh:
		p.lastData = time.Now()
		if st.lostAcks.ackOnReceipt {
			p.urgentLocked(l, mgs.NewAck(m))
		}
		if start, changed := st.publication(); changed && from == agentSide {
			p.urgentLocked(l, mgs.NewPublication(start))
		}
	case repeated:
		if to != nil {
			to.queueUrgent(frame)
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
	case mgs.PayloadHandshakeRequest,
		mgs.PayloadHandshakeResponse,
		mgs.PayloadEncChallengeResponse,
		mgs.PayloadHandshakeComplete:
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
	case mgs.PayloadCopy:
		if !p.encryption.agreed {
			return p.rec.Copy(from == clientSide, m.Payload)
		}
	case mgs.PayloadExitCode:
		if code, err := mgs.ParseExitCode(m.Payload); err == nil && from == agentSide && !p.encryption.agreed {
			p.exitCode = code
		}
	case mgs.PayloadFlag:
		if f, err := mgs.ParseFlag(m.Payload); err == nil && f != mgs.FlagTerminateSession {
			return p.rec.Disconnected(from == clientSide)
		}
	case mgs.PayloadSize:
		if from == clientSide {
			if size, err := mgs.ParseBody[mgs.Size](m.Payload); err == nil {
				return p.rec.Resize(int(size.Cols), int(size.Rows))
			}
		}
	}
	return nil
}

// recordingFailed ends the session: content that cannot be recorded is not shown.
// Both legs stay open until channel_closed has been written to them.
func (p *pair) recordingFailed(ctx context.Context, err error) {
	p.relay.cfg.Log.Error("recording failed; session ended", "session", p.info.ID, "error", err)
	why := "The session was ended because it could no longer be recorded."
	if errors.Is(err, errEncrypts) {
		why = "The session was ended: " + err.Error() + "."
	}
	p.end(ctx, sekisho.Ending{Status: sekisho.SessionFailed, Details: why})
}

func (p *pair) ack(ctx context.Context, m *mgs.Message, frame []byte, l *leg, from side) error {
	a, err := mgs.ParseAck(m.Payload)
	if err != nil {
		return &violation{err}
	}
	sender, err := p.acceptAck(a, frame, from)
	if sender != nil {
		l.due = sender
	}
	if from == clientSide {
		p.endIfFinished(ctx, time.Now())
	}
	return err
}

func (p *pair) acceptAck(a mgs.Acknowledge, frame []byte, from side) (*leg, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.outgoing(from)
	switch a.Type {
	case st.typ:
	case mgs.TypeInputStreamData, mgs.TypeOutputStreamData:
		return nil, &violation{fmt.Errorf("the %s acknowledged %s", from, a.Type)}
	default:
		// Some clients acknowledge every message, acknowledgements included.
		return nil, nil
	}
	sender := p.legs[from.other()]
	if p.finishing != nil && from == clientSide {
		p.finishing.since = time.Now()
	}
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
	sender.queueUrgent(frame)
	if start, changed := st.publication(); changed && from == clientSide {
		p.urgentLocked(sender, mgs.NewPublication(start))
	}
	return sender, nil
}

func (p *pair) urgentLocked(l *leg, m mgs.Message) {
	l.queueUrgent(m.AppendTo(make([]byte, 0, m.Size())))
	l.wakeWriter()
}

// batchFrames is how many frames the writer takes at once, so that an
// acknowledgement never waits behind more than these.
const batchFrames = 32

// inlineBytes is how much may be in flight to a leg when the other leg's goroutine writes to
// it. This amount fits into the socket's buffer, so the write does not block.
const inlineBytes = 32 << 10

// flushSoon writes the frames that are due to l at once if that cannot block,
// because waking l's own goroutine costs more than the write. Otherwise it wakes l.
func (p *pair) flushSoon(l *leg, to side) {
	p.mu.Lock()
	small := p.outgoing(to).bytes <= inlineBytes && len(l.urgent) < batchFrames && l.final == nil
	p.mu.Unlock()
	if !small || !l.writing.tryLock() {
		l.wakeWriter()
		return
	}
	defer l.writing.unlock()
	if _, err := p.flush(l.life, l, to, 1); err != nil {
		l.cancel(err)
		return
	}
	p.mu.Lock()
	more := len(l.urgent) > 0 || p.outgoing(to).due() || l.final != nil
	p.mu.Unlock()
	if more { // frames arrived meanwhile, or did not fit into one batch
		l.wakeWriter()
	}
}

// write sends frames to a leg until ctx ends, or until the final frame of an ended
// session is out.
func (p *pair) write(ctx context.Context, l *leg, to side) error {
	for {
		l.writing.lock()
		last, err := p.flush(ctx, l, to, -1)
		l.writing.unlock()
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

// flush writes at most the given number of batches (-1: until nothing is due). It
// reports whether the final frame was written. The caller holds l.writing.
func (p *pair) flush(ctx context.Context, l *leg, to side, batches int) (last bool, err error) {
	defer clear(l.batch[:])
	for ; batches != 0; batches-- {
		batch := l.batch[:0]
		next := int64(-1) // the number after those in the batch
		p.mu.Lock()
		st := p.outgoing(to)
		batch = append(batch, l.urgent...)
		clear(l.urgent)
		if l.urgent = l.urgent[:0]; cap(l.urgent) > smallQueue {
			l.urgent = nil // release the backing array of a burst
		}
		for len(batch) < batchFrames && st.due() && p.legs[to] == l {
			h := &st.queue[st.sent]
			if !h.acked {
				batch = append(batch, h.frame)
			}
			next = h.seq + 1
			st.sent++
		}
		if len(batch) == 0 && l.final != nil {
			batch, last = append(batch, l.final), true
		}
		p.mu.Unlock()
		if len(batch) == 0 {
			return false, nil
		}
		if err := l.conn.Write(ctx, batch...); err != nil {
			return false, err
		}
		if next >= 0 {
			p.mu.Lock()
			if p.legs[to] == l {
				st.written = next
			}
			p.mu.Unlock()
		}
		if last {
			return true, nil
		}
	}
	return false, nil
}

// finishing is the state of a session whose agent has reported its end, while the
// client may not have acknowledged the last output yet.
type finishing struct {
	sekisho.Ending
	since     time.Time // of the last progress
	agentDone bool      // the agent sends nothing more
}

const (
	// lastFrames is how long output may still arrive on the data channel after
	// AWS's agent has reported the end on its control channel.
	lastFrames = 2 * time.Second
	// lastRepeats is how long a client that does not acknowledge repeated
	// messages is given to acknowledge those that an earlier connection carried.
	lastRepeats = 5 * time.Second
)

// finish ends the session once the client has acknowledged all output. agentDone
// says that the agent sends nothing more.
func (p *pair) finish(ctx context.Context, e sekisho.Ending, agentDone bool) {
	now := time.Now()
	p.mu.Lock()
	if p.finishing == nil {
		if p.legs[agentSide] == nil && now.Sub(p.agentAway) > lastFrames && p.info.AgentProcess == "" {
			// AWS's agent reports the end even if it could not send the rest of the output.
			e.Incomplete = true
		}
		p.finishing = &finishing{Ending: e, since: now}
	}
	p.finishing.agentDone = p.finishing.agentDone || agentDone
	p.mu.Unlock()
	p.endIfFinished(ctx, now)
}

func (p *pair) endIfFinished(ctx context.Context, now time.Time) {
	p.mu.Lock()
	e, over := p.finished(now)
	p.mu.Unlock()
	if over {
		p.end(ctx, e)
	}
}

// finished reports whether a finishing session has nothing left to wait for, and
// how it ends. The mutex is held.
func (p *pair) finished(now time.Time) (sekisho.Ending, bool) {
	f, st, client := p.finishing, &p.toClient, p.legs[clientSide]
	if f == nil || p.ended {
		return sekisho.Ending{}, false
	}
	e := f.Ending
	if e.Messages > 0 && st.started && st.next >= e.Messages {
		e.Incomplete = false // the recording has every message
	}
	switch waited := now.Sub(f.since); {
	case !p.seen[clientSide]:
		return e, true // a client that connects later gets the ending from Farewell
	case !f.agentDone && p.legs[agentSide] != nil && waited < lastFrames:
		return e, false
	case len(st.queue) == 0:
		// Messages received out of order wait for one that will never arrive.
		e.Incomplete = e.Incomplete || len(st.ahead) > 0
		return e, true
	case client != nil && st.allRepeated() && waited >= lastRepeats && now.Sub(client.since) >= lastRepeats:
		return e, true
	case waited >= p.relay.cfg.AwayGrace:
		e.Details = cmp.Or(
			e.Details,
			fmt.Sprintf("The client did not acknowledge the last output within %s.", p.relay.cfg.AwayGrace),
		)
		return e, true
	}
	return e, false
}

// incompleteMarker is the label at the end of a recording that might lack output.
const incompleteMarker = "incomplete: there may have been more output on the node that never reached the server"

// end ends the session and sends channel_closed to both legs. Only the first call has an effect.
func (p *pair) end(ctx context.Context, e sekisho.Ending) {
	if e.Incomplete && e.Details == "" {
		e.Details = "The connection to the node was lost before the end: the last output may be missing."
	}
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.ended = true
	closed := mgs.NewChannelClosed(string(p.info.Target), string(p.info.ID), e.Details)
	p.closed = closed.AppendTo(nil)
	for _, l := range p.legs {
		if l != nil {
			l.final = p.closed
			l.wakeWriter()
		}
	}
	p.greeting.stop()
	exit := Exit{Status: p.exitCode, Reason: e.Details}
	p.mu.Unlock()

	p.seal(e, exit)
	p.notifying.Lock()
	defer p.notifying.Unlock()
	p.relay.cfg.Observer.SessionEnded(context.WithoutCancel(ctx), p.info.ID, e.Status, e.Details)
	// Last: until the end is stored, a leg that connects must find the ended session
	// here instead of opening it again.
	p.relay.forget(p.info.ID)
}

// seal closes the recording.
func (p *pair) seal(e sekisho.Ending, exit Exit) {
	p.relay.sealing <- struct{}{}
	defer func() { <-p.relay.sealing }()
	log := p.relay.cfg.Log.With("session", p.info.ID)
	if e.Incomplete {
		if err := p.rec.Marker(incompleteMarker); err != nil {
			log.Error("could not mark recording as incomplete", "error", err)
		}
	}
	if err := p.rec.Seal(exit); err != nil {
		log.Error("could not seal recording", "error", err)
	}
}

// drop detaches both legs without ending the session.
func (p *pair) drop() {
	p.mu.Lock()
	p.ended = true // no more frames are accepted; the recording stays unsealed
	p.greeting.stop()
	legs := p.legs
	p.mu.Unlock()
	for _, l := range legs {
		if l != nil {
			l.cancel(errStopping)
		}
	}
}

// checkDeadlines ends the session when one of its deadlines has passed.
func (p *pair) checkDeadlines(ctx context.Context, now time.Time) {
	p.endIfFinished(ctx, now)
	p.mu.Lock()
	e, over := p.overdue(now)
	p.mu.Unlock()
	if over {
		p.end(ctx, e)
	}
}

// overdue reports whether a deadline has passed, and how the session ends. The
// mutex is held.
func (p *pair) overdue(now time.Time) (sekisho.Ending, bool) {
	cfg := &p.relay.cfg
	e := sekisho.Ending{Status: sekisho.SessionTerminated}
	grace := cfg.AgentGrace
	if p.info.AgentProcess != "" {
		grace = cfg.AwayGrace
	}
	agentAway := p.legs[agentSide] == nil && p.finishing == nil
	switch {
	case p.ended:
		return e, false
	case agentAway && !p.seen[agentSide] && now.Sub(p.agentAway) > cfg.StartGrace:
		e.Status = sekisho.SessionFailed
		e.Details = fmt.Sprintf("The agent of %s did not open the session within %s.", p.info.Target, cfg.StartGrace)
	case agentAway && p.seen[agentSide] && now.Sub(p.agentAway) > grace:
		e.Details = fmt.Sprintf("The agent of %s disconnected and did not reconnect within %s.", p.info.Target, grace)
		e.Incomplete = true
	case !p.seen[clientSide] && now.Sub(p.clientAway) > cfg.ClientGrace:
		e.Details = fmt.Sprintf("No client opened the session within %s.", cfg.ClientGrace)
	case p.finishing == nil && p.info.IdleTimeout > 0 && now.Sub(p.lastData) > p.info.IdleTimeout:
		e.Details = fmt.Sprintf("The session was idle for %s.", p.info.IdleTimeout)
	case p.info.MaxDuration > 0 && now.Sub(p.info.StartedAt) > p.info.MaxDuration:
		e.Details = fmt.Sprintf("The session reached its maximum duration of %s.", p.info.MaxDuration)
	default:
		return e, false
	}
	return e, true
}

// Package relay joins the two legs of a session's data channel: the agent's
// and the client's. It forwards frames unchanged and in order, repairs faults that
// the real programs cannot (lost acknowledgements, reordering, a peer that is
// disconnected for a while), and records every byte before the user sees it.
//
// Agent and client keep everything that has not been acknowledged, so sessions survive a crash of
// the relay: after a restart both legs reconnect and the session resumes.
//
// A session ends when its agent has reported the end and the client has acknowledged
// the last output. The client may be disconnected for up to Config.AwayGrace.
//
// # Lock order
//
// leg.writing, then pair.mu; pair.notifying, then pair.mu; Relay.mu and pair.mu
// are never held together. The recorder is called under pair.mu, so that frames
// are recorded in the order in which they leave, but never under Relay.mu.
// leg.writing is held while a connection is written to. pair.notifying is held
// while the observer is called. No other lock is held while a connection or the
// observer is called.
package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// Conn is one leg's connection. Read returns one binary frame that the relay
// may keep. Write is safe for concurrent use.
type Conn interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, frames ...[]byte) error
	// Close ends the connection and sends the reason to the peer.
	Close(reason string)
}

// Buffering is a Conn that knows whether Read will return at once.
type Buffering interface {
	// Buffered reports whether the next frame is here already.
	Buffered() bool
}

// Recycler is a Conn that reuses frames.
type Recycler interface {
	// Recycle takes back a frame that Read has returned.
	Recycle(frame []byte)
}

// Prober is a Conn that can find out whether its peer is still there. Without
// it, a newer connection of the agent always replaces the older.
type Prober interface {
	// Ping returns nil if the peer answers before ctx ends.
	Ping(ctx context.Context) error
}

// ErrAgentLive is the error of an agent leg that is refused because the session
// has one whose peer answers. An agent reconnects only after its connection
// broke, so the newcomer is another program with the node's identity.
var ErrAgentLive = errors.New("the session's agent is connected and answers")

// probeTime is how long the present agent leg has to answer when another one
// wants to replace it.
const probeTime = 2 * time.Second

// RecordWriter records the content of one session. Each call returns once the data has
// left the process.
type RecordWriter interface {
	Output(p []byte) error
	Input(p []byte) error
	Resize(cols, rows int) error
	Marker(label string) error
	// SetKind records the document's sessionType, and the properties that the agent
	// sent to the client.
	SetKind(sessionType string, properties []byte) error
	// Copy follows a copy of files and records each of them, without the content.
	Copy(fromClient bool, p []byte) error
	// Echo records whether the terminal echoes input.
	Echo(on bool)
	// Disconnected records that one side ended the connection in a session that
	// forwards one connection at a time.
	Disconnected(byClient bool) error
	Seal(e Exit) error
}

// Exit is how a recorded session ended.
type Exit struct {
	Status int    // exit code of the program that ran in the session; -1 if unknown
	Reason string // for people
}

// Recorder starts recordings, or continues the one that a stopped server
// left open.
type Recorder interface {
	Start(ctx context.Context, s *sekisho.Session) (RecordWriter, error)
}

// Observer is notified of the status and the end of sessions.
type Observer interface {
	// SessionStatus reports that an active session changed its status.
	SessionStatus(ctx context.Context, id sekisho.SessionID, status sekisho.SessionStatus)
	// SessionEnded reports the end, exactly once. details is for people.
	SessionEnded(ctx context.Context, id sekisho.SessionID, status sekisho.SessionStatus, details string)
}

// Peer describes the program at the end of a leg.
type Peer struct {
	// Own reports that the program is one of Sekisho's. It acknowledges a message again when the
	// message is repeated, and begins each connection with its oldest message. AWS's programs
	// do neither.
	Own bool
}

// Config configures a Relay.
type Config struct {
	Recorder Recorder
	Observer Observer
	Log      *slog.Logger

	// AwayGrace is how long the leg of Sekisho's agent can be disconnected, and how long a
	// finished session waits for its client to acknowledge the last output; 0 = 10 min.
	AwayGrace time.Duration
	// AgentGrace is how long the leg of AWS's agent can be disconnected; 0 = 15 s. AWS's agent
	// gives up after 6 s.
	AgentGrace  time.Duration
	ClientGrace time.Duration // how long a session waits for its first client; 0 = 2 min
	StartGrace  time.Duration // how long it waits for its agent's first leg; 0 = 25 s
	// RecoverGrace is added to the agent's grace for sessions that an earlier process
	// started; 0 = 30 s.
	RecoverGrace time.Duration
}

// Relay holds the sessions of this process.
type Relay struct {
	cfg   Config
	mu    sync.Mutex
	pairs map[sekisho.SessionID]*pair
	added chan struct{} // signalled after a pair was added; buffered

	// sealing limits how many recordings are sealed at once.
	sealing chan struct{}
}

// maxSealing is how many recordings are sealed at once. Each one waits for the
// disk and so holds an operating-system thread, which Go never gives back.
const maxSealing = 8

// New returns a Relay. Deadlines are enforced only while Run is running.
func New(cfg Config) *Relay {
	cfg.AwayGrace = cmp.Or(cfg.AwayGrace, 10*time.Minute)
	cfg.AgentGrace = cmp.Or(cfg.AgentGrace, 15*time.Second)
	cfg.ClientGrace = cmp.Or(cfg.ClientGrace, 2*time.Minute)
	cfg.StartGrace = cmp.Or(cfg.StartGrace, 25*time.Second)
	cfg.RecoverGrace = cmp.Or(cfg.RecoverGrace, 30*time.Second)
	return &Relay{
		cfg: cfg, sealing: make(chan struct{}, maxSealing),
		pairs: map[sekisho.SessionID]*pair{}, added: make(chan struct{}, 1),
	}
}

// Open starts the recording of a session and lets its legs attach. It fails if the
// session cannot be recorded. Open is idempotent.
func (r *Relay) Open(ctx context.Context, s *sekisho.Session) error {
	r.mu.Lock()
	if p := r.pairs[s.ID]; p != nil {
		r.mu.Unlock()
		<-p.opened
		return p.openErr
	}
	p := newPair(r, s)
	r.pairs[s.ID] = p
	select {
	case r.added <- struct{}{}:
	default: // it is signalled already
	}
	r.mu.Unlock()
	defer close(p.opened)
	rec, err := r.cfg.Recorder.Start(ctx, s)
	if err != nil {
		p.openErr = fmt.Errorf("the session cannot be recorded: %w", err)
		r.forget(s.ID)
		return p.openErr
	}
	p.rec = rec
	return nil
}

// pair returns an open session.
func (r *Relay) pair(id sekisho.SessionID) (*pair, error) {
	r.mu.Lock()
	p := r.pairs[id]
	r.mu.Unlock()
	if p != nil {
		<-p.opened
	}
	if p == nil || p.openErr != nil {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "session %s is not open", id)
	}
	return p, nil
}

// Live reports whether the session is open in this process.
func (r *Relay) Live(id sekisho.SessionID) bool {
	_, err := r.pair(id)
	return err == nil
}

// ServeAgent runs the agent's leg over conn until the connection or the
// session ends. A later connection replaces an earlier one, unless that is a
// [Prober] whose peer answers: then the error is [ErrAgentLive].
func (r *Relay) ServeAgent(ctx context.Context, id sekisho.SessionID, conn Conn, peer Peer) error {
	return r.serve(ctx, id, conn, peer, agentSide)
}

// ServeClient runs the client's leg.
func (r *Relay) ServeClient(ctx context.Context, id sekisho.SessionID, conn Conn, peer Peer) error {
	return r.serve(ctx, id, conn, peer, clientSide)
}

func (r *Relay) serve(ctx context.Context, id sekisho.SessionID, conn Conn, peer Peer, side side) error {
	p, err := r.pair(id)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotOpen, err)
	}
	return p.serve(ctx, conn, peer, side)
}

// End ends a session at once: it sends channel_closed to both legs and seals the
// recording. End is idempotent.
func (r *Relay) End(ctx context.Context, id sekisho.SessionID, e sekisho.Ending) {
	if p, err := r.pair(id); err == nil {
		p.end(ctx, e)
	}
}

// Finish ends a session whose agent has reported its end, as soon as the client has
// acknowledged all output. Only the first call has an effect.
func (r *Relay) Finish(ctx context.Context, id sekisho.SessionID, e sekisho.Ending) {
	if p, err := r.pair(id); err == nil {
		p.finish(ctx, e, false)
	}
}

func (r *Relay) forget(id sekisho.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, id)
}

// Count returns how many sessions the relay carries.
func (r *Relay) Count() int { return len(r.all()) }

// all returns the sessions that are open.
func (r *Relay) all() []*pair {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*pair, 0, len(r.pairs))
	for _, p := range r.pairs {
		select {
		case <-p.opened:
			all = append(all, p)
		default: // being opened
		}
	}
	return all
}

// Run enforces the deadlines of all sessions until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if r.Count() == 0 {
			tick.Stop() // an idle server does not wake up
			select {
			case <-ctx.Done():
				return
			case <-r.added:
			}
			tick.Reset(time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, p := range r.all() {
				p.checkDeadlines(ctx, now)
			}
		}
	}
}

// Shutdown disconnects the legs of every session without ending it. They reconnect
// to the next server process, and the recordings stay open.
func (r *Relay) Shutdown() {
	r.mu.Lock()
	all := r.pairs
	r.pairs = map[sekisho.SessionID]*pair{}
	r.mu.Unlock()
	for _, p := range all {
		<-p.opened
		p.drop()
	}
}

// Farewell sends the reason for the end of a session to a client that connects after it, in
// place of [Relay.ServeClient]: the agent can fail before the client connects.
func Farewell(ctx context.Context, s *sekisho.Session, conn Conn) error {
	closed := mgs.NewChannelClosed(string(s.Target), string(s.ID), s.Details)
	err := conn.Write(ctx, closed.AppendTo(nil))
	conn.Close(closeReason(errEnded))
	return err
}

var (
	// ErrNotOpen is wrapped by the error of a leg whose session the relay does not
	// have, or no longer has. The connection is left open.
	ErrNotOpen = errors.New("the session is not open")

	errEnded    = errors.New("the session has ended")
	errStopping = errors.New("the server is stopping")
)

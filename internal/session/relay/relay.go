// Package relay joins the two legs of a session's data channel: the agent's
// and the client's. It passes frames on unchanged and in order, repairs what
// the real programs cannot (lost acknowledgements, reordering, a peer that is
// away for a while), and has every byte recorded before the person sees it.
//
// The ends keep what has not been acknowledged, so the relay may die: after a
// restart both legs come back and the session goes on.
//
// Locks: Relay.mu before pair.mu; neither is held while a leg or the
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
	Write(ctx context.Context, frame []byte) error
	// Close ends the connection and says why to the peer.
	Close(reason string)
}

// Recording takes down what passes. Each call returns once the data is out of
// the process.
type Recording interface {
	Output(p []byte) error
	Input(p []byte) error
	Resize(cols, rows int) error
	Marker(label string) error
	Seal(reason string) error
}

// Recorder starts recordings, or continues the one that a stopped server
// left open.
type Recorder interface {
	Start(s *sekisho.Session) (Recording, error)
}

// Observer is told what becomes of sessions.
type Observer interface {
	// SessionStatus reports that an active session changed its status.
	SessionStatus(id sekisho.SessionID, status sekisho.SessionStatus)
	// SessionEnded reports the end, exactly once. details is for people.
	SessionEnded(id sekisho.SessionID, status sekisho.SessionStatus, details string)
}

// Config is what a Relay needs.
type Config struct {
	Recorder Recorder
	Observer Observer
	Log      *slog.Logger

	AgentGrace  time.Duration // how long an agent's leg may be away; 0 = 15 s
	ClientGrace time.Duration // how long a session waits for its first client; 0 = 2 min
	StartGrace  time.Duration // how long it waits for its agent's first leg; 0 = 25 s
	// RecoverGrace is added to AgentGrace for the sessions of an earlier
	// process; 0 = 30 s.
	RecoverGrace time.Duration
}

// Relay holds the sessions of this process.
type Relay struct {
	cfg   Config
	mu    sync.Mutex
	pairs map[sekisho.SessionID]*pair
}

// New returns a Relay. Run must be running for deadlines to be kept.
func New(cfg Config) *Relay {
	cfg.AgentGrace = cmp.Or(cfg.AgentGrace, 15*time.Second)
	cfg.ClientGrace = cmp.Or(cfg.ClientGrace, 2*time.Minute)
	cfg.StartGrace = cmp.Or(cfg.StartGrace, 25*time.Second)
	cfg.RecoverGrace = cmp.Or(cfg.RecoverGrace, 30*time.Second)
	return &Relay{cfg: cfg, pairs: map[sekisho.SessionID]*pair{}}
}

// Open takes a session on: from now on its legs may attach. A session that
// cannot be recorded is refused. Opening an open session changes nothing.
func (r *Relay) Open(s *sekisho.Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.pairs[s.ID]; ok {
		return nil
	}
	rec, err := r.cfg.Recorder.Start(s)
	if err != nil {
		return fmt.Errorf("the session cannot be recorded: %w", err)
	}
	now := time.Now()
	p := &pair{
		relay: r, info: *s, rec: rec, lastData: now, agentAway: now, clientAway: now,
		toClient: stream{typ: mgs.TypeOutputStreamData}, toAgent: stream{typ: mgs.TypeInputStreamData},
	}
	if s.Status == sekisho.SessionConnected || s.Status == sekisho.SessionDisconnected {
		// An earlier process had both legs. The agent may be waiting between
		// two attempts, and the person's laptop may be asleep.
		p.seen = [2]bool{true, true}
		p.toClient.doubt.open = true
		p.toClient.begun, p.toAgent.begun = true, true
		p.encryption.agreed = s.Recording == sekisho.RecordingEncrypted
		p.agentAway = now.Add(r.cfg.RecoverGrace)
	}
	r.pairs[s.ID] = p
	return nil
}

func (r *Relay) pair(id sekisho.SessionID) (*pair, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.pairs[id]
	if s == nil {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "session %s is not open", id)
	}
	return s, nil
}

// Live reports whether the session is open in this process.
func (r *Relay) Live(id sekisho.SessionID) bool {
	_, err := r.pair(id)
	return err == nil
}

// ServeAgent runs the agent's leg over conn until the connection or the
// session ends. A later connection replaces an earlier one.
func (r *Relay) ServeAgent(ctx context.Context, id sekisho.SessionID, conn Conn) error {
	return r.serve(ctx, id, conn, agentSide)
}

// ServeClient runs the client's leg.
func (r *Relay) ServeClient(ctx context.Context, id sekisho.SessionID, conn Conn) error {
	return r.serve(ctx, id, conn, clientSide)
}

func (r *Relay) serve(ctx context.Context, id sekisho.SessionID, conn Conn, side side) error {
	s, err := r.pair(id)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotOpen, err)
	}
	return s.serve(ctx, conn, side)
}

// End closes a session: both legs are told, the recording is sealed. output
// is shown to the person; empty is the ordinary end. Ending twice is once.
func (r *Relay) End(id sekisho.SessionID, status sekisho.SessionStatus, output string) {
	if s, err := r.pair(id); err == nil {
		s.end(status, output)
	}
}

func (r *Relay) forget(id sekisho.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, id)
}

// Run keeps the deadlines of all sessions until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.mu.Lock()
			all := make([]*pair, 0, len(r.pairs))
			for _, s := range r.pairs {
				all = append(all, s)
			}
			r.mu.Unlock()
			for _, s := range all {
				s.checkDeadlines(now)
			}
		}
	}
}

// Shutdown lets go of every session without ending it: the legs are dropped
// and come back to the next server process, the recordings stay open.
func (r *Relay) Shutdown() {
	r.mu.Lock()
	all := r.pairs
	r.pairs = map[sekisho.SessionID]*pair{}
	r.mu.Unlock()
	for _, s := range all {
		s.drop()
	}
}

// Farewell tells a client that comes after the end how the session ended, in
// place of [Relay.ServeClient]: an agent may fail before the person's program
// is there to be told.
func Farewell(ctx context.Context, s *sekisho.Session, conn Conn) error {
	closed := mgs.NewChannelClosed(string(s.Target), string(s.ID), s.Details)
	err := conn.Write(ctx, closed.AppendTo(nil))
	conn.Close(closeReason(errEnded))
	return err
}

var (
	// ErrNotOpen is wrapped where a leg comes for a session that the relay
	// does not have (any more). The connection is left open.
	ErrNotOpen = errors.New("the session is not open")

	errEnded    = errors.New("the session has ended")
	errStopping = errors.New("the server is stopping")
)

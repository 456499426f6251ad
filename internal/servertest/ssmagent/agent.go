// Package ssmagent is a double of amazon-ssm-agent 3.3 for tests: it
// registers, signs, keeps its channels and runs sessions as that program does,
// with its faults, as docs/compat.md describes them. It runs no programs; its
// shell is a few lines of Go.
//
// The faults of the original:
//
//   - It hangs up without a WebSocket close, and treats any end of a
//
// connection as a failure, whatever the server says when it closes it.
//   - It resends only the oldest message that is not acknowledged. It stores a
//
// message after sending it, and so misses an acknowledgement that arrives
// sooner.
//   - It silently refuses messages before it is ready. After that it
//
// acknowledges and keeps them, but during the handshake, and for a moment
// after it reports that the handshake is complete, it acknowledges and
// discards them.
//   - A frame with a wrong header makes it deaf permanently.
//   - After six attempts to open its data channel it gives up without a
//
// report. Its worker lives until the control channel reports that the session
// is closed.
//   - It reports the end of a session three times at most. It keeps reports on
//
// commands, and repeats them every five minutes.
//   - If nothing listens on the port of a session, its worker dies.
package ssmagent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"sekisho/internal/wire/mgs"
)

// Version is the version it says it is.
const Version = "3.3.0.0"

// Conn is a WebSocket connection.
type Conn interface {
	Read(ctx context.Context) (text bool, frame []byte, err error)
	Write(ctx context.Context, text bool, frame []byte) error
	Ping(ctx context.Context) error
	// Drop ends the connection without a close frame.
	Drop()
}

// Gateway connects the agent to the server.
type Gateway interface {
	// Token requests the token of a channel; kind is "control-channel" or
	// "data-channel".
	Token(ctx context.Context, kind, name string) (string, error)
	Dial(ctx context.Context, kind, name string) (Conn, error)
	// Decrypt asks the key service for the plain text of a data key.
	Decrypt(ctx context.Context, keyID string, blob []byte, encryptionContext map[string]string) ([]byte, error)
}

// Config says how the agent runs.
type Config struct {
	ID      string // mi-…
	Gateway Gateway
	// Hurry divides the time that the original rests before its first output
	// and between two attempts; 0 = 1. Waits for other peers are not
	// shortened.
	Hurry int
	Log   *slog.Logger // nil = none

	// DialPort connects to the destination of a forwarding session; nil = TCP.
	DialPort func(ctx context.Context, addr string) (net.Conn, error)

	// NotesLate is the delay between reporting that the handshake is complete
	// and acting on it.
	NotesLate time.Duration
	// AcksLate has the agent acknowledge the client's handshake response only
	// after it reports that the handshake is complete.
	AcksLate bool
}

// Agent is one agent.
type Agent struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	control  Conn
	sessions map[string]*worker
	acks     map[string]chan struct{} // by task: closed when its end is acknowledged
	told     []string                 // tasks whose end was never acknowledged
	workers  sync.WaitGroup
	jobs     jobs
}

// New returns an agent that Run runs.
func New(cfg Config) *Agent {
	cfg.Hurry = max(cfg.Hurry, 1)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Agent{cfg: cfg, log: cfg.Log, sessions: map[string]*worker{}, acks: map[string]chan struct{}{},
		jobs: jobs{cancels: map[string]context.CancelFunc{}, acks: map[mgs.UUID]chan struct{}{}}}
}

// Run keeps the control channel and serves sessions until ctx ends.
func (a *Agent) Run(ctx context.Context) {
	a.keepControl(ctx)
	a.workers.Wait()
}

// Workers is the number of session workers that live, with or without a
// connection.
func (a *Agent) Workers() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.sessions)
}

// Backlog is the number of unacknowledged messages of all sessions.
func (a *Agent) Backlog() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, w := range a.sessions {
		w.ch.mu.Lock()
		n += len(w.ch.out)
		w.ch.mu.Unlock()
	}
	return n
}

// Untold lists the sessions whose end the server never acknowledged.
func (a *Agent) Untold() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told
}

// rest waits for d of the original's time, and reports whether ctx still
// lives.
func (a *Agent) rest(ctx context.Context, d time.Duration) bool {
	return wait(ctx, d/time.Duration(a.cfg.Hurry))
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// alreadyTerminated is the only response that the original takes as final.
const alreadyTerminated = "Session is already terminated"

var errDeaf = errors.New("a frame's header lies about its length: the reader is gone")

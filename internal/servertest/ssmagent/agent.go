// Package ssmagent is a double of amazon-ssm-agent 3.3 for tests: it registers,
// signs, keeps its channels and runs sessions as that program does, with its
// faults, by what docs/compat.md tells of it. It runs no programs; what looks
// like a shell is a few lines of Go.
//
// What it is faulty in, as the original:
//
//   - It hangs up without a WebSocket close, and takes any end of a connection
//     for a broken one, whatever the server says in closing it.
//   - Of what is not acknowledged it sends only the oldest message again. It
//     notes a message after it has sent it, and misses an acknowledgement that
//     is quicker.
//   - It refuses in silence what comes before it is ready, acknowledges and
//     keeps what comes after that, and acknowledges and throws away what comes
//     during the handshake, and for a moment after it has said that this is over.
//   - A frame whose header lies makes it deaf for good.
//   - After six attempts at its data channel it gives up and tells nobody; its
//     worker lives on until the control channel says that the session is closed.
//   - It tells the end of a session three times at most. What it has to tell of
//     commands it keeps, and tells again every five minutes.
//   - With nobody listening at the port of a session its worker dies.
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
	// Drop ends the connection without a word.
	Drop()
}

// Gateway is the way to the server.
type Gateway interface {
	// Token asks for the token of a channel; kind is "control-channel" or
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
	// Hurry divides how long the original rests, before its first output and
	// between two attempts; 0 = 1. What it waits for others to do has its time.
	Hurry int
	Log   *slog.Logger // nil = none

	// DialPort connects to what a session forwards to; nil = TCP.
	DialPort func(ctx context.Context, addr string) (net.Conn, error)

	// NotesLate is how long after saying so the agent takes its handshake for
	// complete.
	NotesLate time.Duration
	// AcksLate has it acknowledge the client's answer in the handshake only
	// after it has said that the handshake is complete.
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

// Backlog is how many messages of all sessions are not acknowledged.
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

// Untold are the sessions whose end the server never acknowledged.
func (a *Agent) Untold() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told
}

// rest lets d of the original's time pass, and reports whether ctx lives.
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

// alreadyTerminated is the only answer the original takes for final.
const alreadyTerminated = "Session is already terminated"

var errDeaf = errors.New("a frame's header lies about its length: the reader is gone")

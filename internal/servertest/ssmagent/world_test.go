package ssmagent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/node/control"
	"sekisho/internal/servertest/ssmagent"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/mgs"
)

// patience limits every wait: in real time with a real server, in virtual time
// in a bubble.
const patience = 90 * time.Second

const (
	nodeID = sekisho.NodeID("mi-0123456789abcdef0")
	sid    = sekisho.SessionID("alice-0123456789abcdefghijklmnop")
)

type packet struct {
	text bool
	b    []byte
}

// wire is one direction of a connection in memory, and cut ends both.
type wire struct {
	in, out chan packet
	cut     chan struct{}
	once    *sync.Once
	net     *network
	server  bool // this end belongs to the server
	kind    string
}

func (n *network) pair(kind string) (agent, server *wire) {
	a, b, cut, once := make(chan packet, 1<<16), make(chan packet, 1<<16), make(chan struct{}), new(sync.Once)
	agent = &wire{in: a, out: b, cut: cut, once: once, net: n, kind: kind}
	server = &wire{in: b, out: a, cut: cut, once: once, net: n, server: true, kind: kind}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = append(n.open, agent)
	return agent, server
}

var errCut = errors.New("websocket: close 1006 (abnormal closure): unexpected EOF")

func (w *wire) read(ctx context.Context) (packet, error) {
	select {
	case p := <-w.in:
		return p, nil
	default:
	}
	select {
	case p := <-w.in:
		return p, nil
	case <-w.cut:
		return packet{}, errCut
	case <-ctx.Done():
		return packet{}, ctx.Err()
	}
}

func (w *wire) send(ctx context.Context, p packet) error {
	times := 1
	if m, err := mgs.Parse(p.b); !p.text && err == nil {
		times = w.net.fate(w.kind, w.server, &m)
	}
	for range times {
		select {
		case <-w.cut:
			return errCut
		case <-ctx.Done():
			return ctx.Err()
		case w.out <- packet{p.text, bytes.Clone(p.b)}:
		}
	}
	return nil
}

func (w *wire) Drop()                      { w.once.Do(func() { close(w.cut) }) }
func (w *wire) Ping(context.Context) error { return nil }

func (w *wire) Read(ctx context.Context) (bool, []byte, error) {
	p, err := w.read(ctx)
	return p.text, p.b, err
}

func (w *wire) Write(ctx context.Context, text bool, b []byte) error {
	return w.send(ctx, packet{text, b})
}

// end is the server's end of a wire.
type end struct{ *wire }

func (e end) Read(ctx context.Context) ([]byte, error) {
	p, err := e.read(ctx)
	return p.b, err
}
func (e end) Write(ctx context.Context, frames ...[]byte) error {
	for _, b := range frames {
		if err := e.send(ctx, packet{false, b}); err != nil {
			return err
		}
	}
	return nil
}
func (e end) Close(string) { e.Drop() }

// network connects the agent and the server.
type network struct {
	mu     sync.Mutex
	open   []*wire
	down   map[string]bool // channels of this kind cannot be opened
	tokens map[string]int  // number of requested tokens by kind
	// lose returns how many copies of a frame arrive; nil = one.
	lose func(kind string, fromServer bool, m *mgs.Message) int
}

func (n *network) fate(kind string, fromServer bool, m *mgs.Message) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lose == nil {
		return 1
	}
	return n.lose(kind, fromServer, m)
}

func (n *network) set(kind string, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[kind] = down
}

func (n *network) asked(kind string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tokens[kind]
}

// cut breaks all open connections of a kind.
func (n *network) cut(kind string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.open {
		if w.kind == kind {
			w.Drop()
		}
	}
}

// world is an agent and its part of the server, in a bubble of virtual time:
// the control channels and the relay.
type world struct {
	network
	t        *testing.T
	ctx      context.Context
	channels *control.Channels
	relay    *relay.Relay
	agent    *ssmagent.Agent

	smu    sync.Mutex
	ended  []string
	tasks  []mgs.TaskComplete
	edges  []string
	client *plugin
}

// with runs f with a connected agent.
func with(t *testing.T, cfg ssmagent.Config, f func(w *world)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		log := slog.New(slog.DiscardHandler)
		w := &world{t: t, ctx: ctx, channels: control.New(log)}
		w.down, w.tokens = map[string]bool{}, map[string]int{}
		w.relay = relay.New(relay.Config{Recorder: w, Observer: w, Log: log})
		cfg.ID, cfg.Gateway = string(nodeID), w
		w.agent = ssmagent.New(cfg)
		var wg sync.WaitGroup
		wg.Go(func() { w.relay.Run(ctx) })
		wg.Go(func() { w.agent.Run(ctx) })
		synctest.Wait()
		f(w)
		cancel()
		wg.Wait()
		synctest.Wait()
	})
}

// Token implements ssmagent.Gateway, as do the following.
func (w *world) Token(_ context.Context, kind, name string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[kind]++
	switch {
	case w.down[kind]:
		return "", errors.New("connect: connection refused")
	case kind == "data-channel" && !w.relay.Live(sekisho.SessionID(name)):
		return "", errors.New("unexpected response from the service <Message>Session is already terminated</Message>")
	}
	return "token", nil
}

func (w *world) Dial(_ context.Context, kind, name string) (ssmagent.Conn, error) {
	agent, server := w.pair(kind)
	go func() {
		p, err := server.read(w.ctx)
		if err != nil || !p.text {
			server.Drop()
			return
		}
		if kind == "control-channel" {
			_ = w.channels.Serve(w.ctx, nodeID, control.Agent{Source: "192.0.2.7"}, end{server}, w, w, w)
		} else {
			_ = w.relay.ServeAgent(w.ctx, sekisho.SessionID(name), end{server}, relay.Peer{})
		}
		server.Drop()
	}()
	return agent, nil
}

func (w *world) Decrypt(context.Context, string, []byte, map[string]string) ([]byte, error) {
	return nil, errors.New("no key service here")
}

func (w *world) Connected(context.Context, sekisho.NodeID, string) error { return w.edge("up") }
func (w *world) Disconnected(context.Context, sekisho.NodeID, string) error {
	return w.edge("down")
}
func (w *world) Doubled(context.Context, sekisho.NodeID, string, string) { _ = w.edge("doubled") }

func (w *world) edge(s string) error {
	w.smu.Lock()
	defer w.smu.Unlock()
	w.edges = append(w.edges, s)
	return nil
}

// TaskComplete does what the broker does.
func (w *world) TaskComplete(_ context.Context, _ sekisho.NodeID, done mgs.TaskComplete) {
	w.smu.Lock()
	w.tasks = append(w.tasks, done)
	w.smu.Unlock()
	status := sekisho.SessionTerminated
	if done.FinalTaskStatus != mgs.TaskSuccess {
		status = sekisho.SessionFailed
	}
	w.relay.Finish(w.ctx, sekisho.SessionID(done.TaskID), sekisho.Ending{Status: status, Details: done.Output})
}

// NodeConnected implements control.Jobs, as do the following methods: no
// commands are sent here.
func (w *world) NodeConnected(sekisho.NodeID)                                 {}
func (w *world) AgentConnected(context.Context, sekisho.NodeID, string)       {}
func (w *world) JobAck(context.Context, sekisho.NodeID, mgs.JobAck) error     { return nil }
func (w *world) JobReply(context.Context, sekisho.NodeID, mgs.JobReply) error { return nil }

// SessionStatus implements relay.Observer.
func (w *world) SessionStatus(context.Context, sekisho.SessionID, sekisho.SessionStatus) {}

// SessionEnded also ends the session on the agent's control channel.
func (w *world) SessionEnded(_ context.Context, id sekisho.SessionID, s sekisho.SessionStatus, details string) {
	w.smu.Lock()
	w.ended = append(w.ended, string(s)+": "+details)
	w.smu.Unlock()
	closed := mgs.NewChannelClosed(string(nodeID), string(id), details)
	go func() { _ = w.channels.Deliver(w.ctx, nodeID, closed.AppendTo(nil)) }()
}

func (w *world) Start(context.Context, *sekisho.Session) (relay.RecordWriter, error) {
	return quiet{}, nil
}

type quiet struct{}

func (quiet) SetKind(string, []byte) error { return nil }
func (quiet) Echo(bool)                    {}
func (quiet) Copy(bool, []byte) error      { return nil }
func (quiet) Disconnected(bool) error      { return nil }
func (quiet) Output([]byte) error          { return nil }
func (quiet) Input([]byte) error           { return nil }
func (quiet) Resize(int, int) error        { return nil }
func (quiet) Marker(string) error          { return nil }
func (quiet) Seal(relay.Exit) error        { return nil }

// start starts a session of a type.
func (w *world) start(s sekisho.Session, kind string, properties any) {
	w.t.Helper()
	s.ID, s.Target, s.StartedAt = sid, nodeID, time.Now()
	if err := w.relay.Open(w.ctx, &s); err != nil {
		w.t.Fatal(err)
	}
	w.command(kind, properties)
}

func (w *world) command(kind string, properties any) {
	w.t.Helper()
	doc, err := json.Marshal(map[string]any{"schemaVersion": "1.0", "sessionType": kind, "properties": properties})
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := mgs.NewInteractiveShell(
		mgs.AgentTaskPayload{DocumentName: "test", DocumentContent: doc, SessionID: string(sid)},
	)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.channels.Deliver(w.ctx, nodeID, m.AppendTo(nil)); err != nil {
		w.t.Fatal(err)
	}
}

// attach connects the client's program.
func (w *world) attach() *plugin {
	w.client = newPlugin(w.t, w.clientDial())
	go w.client.run(w.ctx)
	return w.client
}

func (w *world) clientDial() func(context.Context) (ssmagent.Conn, error) {
	return func(context.Context) (ssmagent.Conn, error) {
		w.mu.Lock()
		down := w.down["client"]
		w.mu.Unlock()
		if down || !w.relay.Live(sid) {
			return nil, io.EOF
		}
		client, server := w.pair("client")
		go func() {
			_ = w.relay.ServeClient(w.ctx, sid, end{server}, relay.Peer{})
			server.Drop()
		}()
		return client, nil
	}
}

func (w *world) endings() []string {
	synctest.Wait()
	w.smu.Lock()
	defer w.smu.Unlock()
	return w.ended
}

func (w *world) completions() []mgs.TaskComplete {
	synctest.Wait()
	w.smu.Lock()
	defer w.smu.Unlock()
	return w.tasks
}

// gone waits until the agent's worker has ended.
func (w *world) gone() {
	w.t.Helper()
	for range 60 {
		synctest.Wait()
		if w.agent.Workers() == 0 {
			return
		}
		<-time.After(time.Second)
	}
	w.t.Errorf("%d workers still run", w.agent.Workers())
}

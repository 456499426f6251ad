package agenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// Start says how to start a session. The zero value is a plain shell for
// AWS's plugin in an 80x24 terminal.
type Start struct {
	ID       string // default: a fresh one
	Document string // default: Standard_Stream
	RunAs    string
	Version  string   // of the client; default: AWS's plugin
	Size     mgs.Size // default: 80x24
	NoSize   bool     // never send a size
	Refuse   bool     // refuse the handshake
	Silent   bool     // do not answer the handshake until Greet
	// Ungreeted skips the handshake, like old clients: it sends its size and input immediately.
	Ungreeted bool
	// Parameters are the document's.
	Parameters map[string]any
	// Key is the client's data key for a document with a KMS key; nil means the double's own. Naked
	// sends no key.
	Key   []byte
	Naked bool
	// Forge changes the answer to the challenge.
	Forge bool
	// HangUp makes the double close the connection and drop the session as soon as the agent
	// reports that it is terminating.
	HangUp bool
	// Cuts are the numbers of bytes from the agent after which its successive connections are cut.
	Cuts []int
}

// ShellDocument is the plainest session document.
const ShellDocument = `{"schemaVersion":"1.0","description":"","sessionType":"Standard_Stream","inputs":{}}`

// Client is the client's end of a session, with the relay in front of it.
type Client struct {
	ID      string
	Channel *datachannel.Channel

	s     *Server
	start Start
	greet chan struct{}

	// Guarded by the server's lock.
	output     strings.Builder
	states     []string
	request    *mgs.HandshakeRequest
	complete   bool
	message    string // of HandshakeComplete
	stderr     strings.Builder
	exit       string
	wire       strings.Builder // data that passed through the relay, in both directions
	seal       *sealing
	terminated bool
	conn       *link.Conn
	conns      int
	largest    int
	open       mgs.OpenDataChannel
}

// StartSession makes the agent start a session.
func (s *Server) StartSession(st Start) *Client {
	s.t.Helper()
	c := s.Expect(st)
	s.Control().Send(c.Start())
	return c
}

// Expect prepares for a session without starting it on the agent.
func (s *Server) Expect(st Start) *Client {
	if st.ID == "" {
		st.ID = string(id.Session("alice"))
	}
	if st.Document == "" {
		st.Document = ShellDocument
	}
	if st.Version == "" {
		st.Version = "1.3.0.0"
	}
	if st.Size == (mgs.Size{}) {
		st.Size = mgs.Size{Cols: 80, Rows: 24}
	}
	c := &Client{
		ID: st.ID, s: s, start: st, greet: make(chan struct{}),
		Channel: datachannel.New(datachannel.Config{Role: datachannel.ClientLeg}),
	}
	if !st.Silent {
		close(c.greet)
	}
	s.update(func() { s.clients[st.ID] = c })
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.run(ctx) })
	s.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return c
}

// Start is the message that starts the session.
func (c *Client) Start() mgs.Message {
	m, err := mgs.NewInteractiveShell(mgs.AgentTaskPayload{
		DocumentName:    "SSM-SessionManagerRunShell",
		DocumentContent: json.RawMessage(c.start.Document),
		SessionID:       c.ID,
		RunAsUser:       c.start.RunAs,
		Parameters:      c.start.Parameters,
		SessionOwner:    "arn:aws:iam::123456789012:user/alice",
	})
	if err != nil {
		c.s.t.Error(err)
	}
	return m
}

// Greet lets a silent client answer.
func (c *Client) Greet() { close(c.greet) }

// run is the client program.
func (c *Client) run(ctx context.Context) {
	for {
		pt, b, err := c.Channel.Receive(ctx)
		if err != nil {
			return
		}
		switch pt {
		case mgs.PayloadHandshakeRequest:
			c.answer(ctx, b)
		case mgs.PayloadEncChallengeRequest:
			c.prove(b)
		case mgs.PayloadHandshakeComplete:
			done, err := mgs.ParseBody[mgs.HandshakeComplete](b)
			if err != nil {
				c.s.t.Errorf("handshake complete: %v", err)
			}
			if !c.start.NoSize {
				c.Resize(c.start.Size)
			}
			c.s.update(func() { c.complete, c.message = true, done.CustomerMessage })
		case mgs.PayloadOutput, mgs.PayloadStdErr, mgs.PayloadExitCode:
			largest := len(b)
			if c.seal != nil {
				if b, err = c.seal.open(c.seal.in, b); err != nil {
					c.s.t.Errorf("payload type %d: %v", pt, err)
				}
			}
			c.s.update(func() {
				c.largest = max(c.largest, largest)
				switch pt {
				case mgs.PayloadStdErr:
					c.stderr.Write(b)
				case mgs.PayloadExitCode:
					c.exit += string(b)
				default:
					c.output.Write(b)
				}
			})
		default:
			c.s.t.Errorf("payload type %d from the agent", pt)
		}
	}
}

func (c *Client) answer(ctx context.Context, b []byte) {
	request, err := mgs.ParseBody[mgs.HandshakeRequest](b)
	if err != nil {
		c.s.t.Errorf("handshake request: %v", err)
		return
	}
	c.s.update(func() { c.request = &request })
	if c.start.Ungreeted {
		c.Resize(c.start.Size)
		c.s.update(func() { c.complete = true })
		return
	}
	select {
	case <-c.greet:
	case <-ctx.Done():
		return
	}
	r := mgs.HandshakeResponse{ClientVersion: c.start.Version}
	for _, a := range request.RequestedClientActions {
		p := mgs.ProcessedAction{ActionType: a.ActionType, ActionStatus: mgs.ActionSuccess}
		if a.ActionType == mgs.ActionKMSEncryption && !c.start.Refuse {
			p.ActionResult = c.encrypt()
		}
		if c.start.Refuse {
			p.ActionStatus, p.Error = mgs.ActionFailed, "no\x1b[2J such\nthing"
		}
		r.ProcessedClientActions = append(r.ProcessedClientActions, p)
	}
	body, err := mgs.MarshalBody(r)
	if err != nil {
		c.s.t.Error(err)
	}
	c.send(mgs.PayloadHandshakeResponse, body)
}

func (c *Client) send(pt mgs.PayloadType, b []byte) {
	if err := c.Channel.Send(c.s.ctx, pt, b); err != nil && c.s.ctx.Err() == nil &&
		!errors.Is(err, datachannel.ErrClosed) {
		c.s.t.Errorf("send: %v", err)
	}
}

// Type types text, with a carriage return for each line end, after the session has begun: like
// AWS's, our agent drops earlier input.
func (c *Client) Type(text string) {
	c.s.t.Helper()
	c.s.await("the end of the handshake of "+c.ID, func() bool { return c.complete })
	b := []byte(strings.ReplaceAll(text, "\n", "\r"))
	if c.seal != nil {
		b = c.seal.seal(c.seal.out, b)
	}
	c.send(mgs.PayloadOutput, b)
}

// Resize sends the terminal's size to the agent.
func (c *Client) Resize(size mgs.Size) {
	b, err := mgs.MarshalBody(size)
	if err != nil {
		c.s.t.Error(err)
	}
	c.send(mgs.PayloadSize, b)
}

// Flag sends a flag.
func (c *Client) Flag(f mgs.Flag) { c.send(mgs.PayloadFlag, f.Bytes()) }

// AwaitOutput waits until the session's output contains part, and returns all
// of it.
func (c *Client) AwaitOutput(part string) string {
	c.s.t.Helper()
	return c.awaitOutput(part, func(out string) bool { return strings.Contains(out, part) })
}

// AwaitMatch waits until the session's output matches, and returns what
// FindStringSubmatch does.
func (c *Client) AwaitMatch(re *regexp.Regexp) []string {
	c.s.t.Helper()
	return re.FindStringSubmatch(c.awaitOutput(re.String(), re.MatchString))
}

func (c *Client) awaitOutput(what string, good func(string) bool) string {
	c.s.t.Helper()
	var got string
	ok := c.s.wait(func() bool {
		got = c.output.String()
		return good(got)
	})
	if !ok {
		c.s.t.Fatalf(
			"waited %v for output with %q; got %d bytes, ending %q",
			Patience,
			what,
			len(got),
			got[max(0, len(got)-1000):],
		)
	}
	return got
}

// Output returns the output so far.
func (c *Client) Output() string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.output.String()
}

// AwaitAttached waits until the agent has connected n times.
func (c *Client) AwaitAttached(n int) {
	c.s.t.Helper()
	c.s.await(fmt.Sprintf("connection %d of %s", n, c.ID), func() bool { return c.conns >= n })
}

// AwaitRequest waits for the handshake request.
func (c *Client) AwaitRequest() mgs.HandshakeRequest {
	c.s.t.Helper()
	c.s.await("the handshake of "+c.ID, func() bool { return c.request != nil })
	return *c.request
}

// AwaitStates waits until the agent has reported n states, and returns them.
func (c *Client) AwaitStates(n int) []string {
	c.s.t.Helper()
	var got []string
	c.s.await("states of "+c.ID, func() bool {
		got = slices.Clone(c.states)
		return len(got) >= n
	})
	return got
}

// Largest returns the size of the largest output payload.
func (c *Client) Largest() int {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.largest
}

// OpenFrame returns the first frame of the agent's last connection.
func (c *Client) OpenFrame() mgs.OpenDataChannel {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.open
}

// Terminate makes the double refuse the session from now on.
func (c *Client) Terminate() { c.s.update(func() { c.terminated = true }) }

func (c *Client) over() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.terminated
}

// Drop cuts the agent's connection.
func (c *Client) Drop() {
	c.s.mu.Lock()
	conn := c.conn
	c.s.mu.Unlock()
	if conn != nil {
		_ = conn.CloseNow()
	}
}

// Write sends a raw frame to the agent's leg.
func (c *Client) Write(kind link.Kind, b []byte) {
	c.s.mu.Lock()
	conn := c.conn
	c.s.mu.Unlock()
	if conn != nil {
		_ = conn.Write(c.s.ctx, kind, b)
	}
}

func (s *Server) dataChannel(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	c := s.clients[r.PathValue("id")]
	s.mu.Unlock()
	if c == nil {
		http.Error(w, "no such session", http.StatusBadRequest)
		return
	}
	conn, first := s.accept(w, r, "role=publish_subscribe")
	if conn == nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	open, err := mgs.ParseBody[mgs.OpenDataChannel](first)
	if err != nil {
		s.t.Errorf("open frame: %v", err)
		return
	}
	w2 := &wire{Frames: link.NewFrames(conn), c: c, left: -1}
	s.update(func() {
		if c.conns < len(c.start.Cuts) {
			w2.left = c.start.Cuts[c.conns]
		}
		c.conns++
		c.conn = conn
		c.open = open
	})
	_ = c.Channel.Serve(s.ctx, w2) // tests check the end elsewhere
	s.update(func() {
		if c.conn == conn {
			c.conn = nil
		}
	})
}

// wire is the agent's connection on the relay's side.
type wire struct {
	*link.Frames
	c    *Client
	left int // bytes until the cut; negative means never
}

var errCut = errors.New("the connection is cut")

// Read implements [datachannel.Conn].
func (w *wire) Read(ctx context.Context) (bool, []byte, error) {
	for {
		binary, b, err := w.Frames.Read(ctx)
		if err != nil {
			return false, nil, err
		}
		if w.left >= 0 {
			if w.left -= len(b); w.left < 0 {
				_ = w.Conn.CloseNow()
				return false, nil, errCut
			}
		}
		m, err := mgs.Parse(b)
		if err != nil {
			w.c.s.t.Errorf("the agent sent a malformed frame: %v", err)
			return false, nil, err
		}
		if m.Type != mgs.TypeAgentSessionState {
			w.c.s.update(func() { w.c.wire.Write(b) })
			return binary, b, nil
		}
		state, err := mgs.ParseBody[mgs.AgentSessionState](m.Payload)
		if err != nil || state.SessionID != w.c.ID {
			w.c.s.t.Errorf("state %+v of %s: %v", state, w.c.ID, err)
		}
		if state.SessionState == mgs.SessionStateEchoOn || state.SessionState == mgs.SessionStateEchoOff {
			continue // of the terminal, not of the session
		}
		w.c.s.update(func() { w.c.states = append(w.c.states, state.SessionState) })
		if w.c.start.HangUp && state.SessionState == mgs.SessionStateTerminating {
			w.c.Terminate()
			_ = w.Conn.CloseNow()
		}
	}
}

// Write implements [datachannel.Conn].
func (w *wire) Write(ctx context.Context, frames ...[]byte) error {
	w.c.s.update(func() {
		for _, b := range frames {
			w.c.wire.Write(b)
		}
	})
	return w.Frames.Write(ctx, frames...)
}

package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/httplimit"
)

const (
	dialTimeout = 3 * time.Second
	// callTimeout bounds a message and its answer.
	callTimeout = 10 * time.Second
	idleCalls   = 90 * time.Second
	maxMessage  = 1 << 20
)

// Member is where a member can be reached.
type Member struct{ Name, Address string }

// Client reaches other members. It is safe for concurrent use.
type Client struct {
	identity Identity
	done     context.Context
	calls    http.Client

	mu        sync.Mutex
	addresses map[string]string
	forwards  sync.WaitGroup
}

// NewClient returns a Client. Forwarded connections end with done.
func NewClient(done context.Context, identity Identity) *Client {
	c := &Client{identity: identity, done: done, addresses: map[string]string{}}
	c.calls = http.Client{Timeout: callTimeout, Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			name, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			c.mu.Lock()
			address := c.addresses[name]
			c.mu.Unlock()
			return c.dial(ctx, Member{name, address}, protocolMessage)
		},
		MaxIdleConnsPerHost: 4, IdleConnTimeout: idleCalls / 2,
	}}
	return c
}

// Close waits until all forwarded connections have ended.
func (c *Client) Close() {
	c.forwards.Wait()
	c.calls.CloseIdleConnections()
}

func (c *Client) dial(ctx context.Context, to Member, protocol string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d := tls.Dialer{Config: c.identity.ClientTLS(to.Name, protocol)}
	conn, err := d.DialContext(ctx, "tcp", to.Address)
	if err != nil {
		return nil, fmt.Errorf("member %s at %s: %w", to.Name, to.Address, err)
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.Join(errors.New("not a TLS connection"), conn.Close())
	}
	return secure, nil
}

// Forward passes a request to another member, and returns the answer to the caller. The length of the body must be
// known. If the error is not nil, the caller has not been answered. If the other member accepts the upgrade of a GET
// request, the caller's connection belongs to it until it ends. Every other connection carries one request only: a
// caller who has not been authenticated must not get a way to the other member that stays open.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, to Member) error {
	c.forwards.Add(1)
	defer c.forwards.Done()
	conn, err := c.dial(r.Context(), to, protocolForward)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(c.done, func() { _ = conn.Close() })
	defer stop()
	stopped := context.AfterFunc(r.Context(), func() { _ = conn.Close() })
	defer stopped()
	upgrade := r.Method == http.MethodGet && r.ContentLength == 0 && r.Header.Get("Upgrade") != ""
	if err := writeRequest(conn, r, upgrade); err != nil {
		return fmt.Errorf("member %s: %w", to.Name, err)
	}
	if upgrade {
		_ = conn.SetReadDeadline(time.Now().Add(callTimeout)) // cannot fail on an open connection
	}
	there := bufio.NewReader(conn)
	answer, err := http.ReadResponse(there, r)
	if err != nil {
		return fmt.Errorf("member %s: %w", to.Name, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols {
		if !upgrade {
			return fmt.Errorf("member %s: switched protocols without being asked to", to.Name)
		}
		_ = conn.SetReadDeadline(time.Time{})
		stopped() // the request ends when the connection is taken over
		return c.splice(w, r, answer, conn, there)
	}
	for name, values := range answer.Header {
		if name != "Connection" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.StatusCode)
	copyFlushed(w, answer.Body)
	return nil
}

// writeRequest writes the request as this member has received it.
func writeRequest(conn io.Writer, r *http.Request, upgrade bool) error {
	first, err := json.Marshal(preamble{Remote: r.RemoteAddr})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Write(first)
	fmt.Fprintf(&b, "\n%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	h := r.Header.Clone()
	h.Del("Content-Length")
	h.Del("Expect") // the body follows at once
	if !upgrade {
		h.Del("Upgrade")
		h.Set("Connection", "close")
	}
	if r.ContentLength < 0 {
		return errors.New("the length of the request's body is not known")
	}
	if !upgrade {
		h.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	if err := h.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	if _, err = conn.Write(b.Bytes()); err != nil || r.ContentLength == 0 {
		return err
	}
	_, err = io.CopyN(conn, r.Body, r.ContentLength)
	return err
}

// copyFlushed copies an answer as it arrives: some answers are streams.
func copyFlushed(w http.ResponseWriter, body io.Reader) {
	flush := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			_ = flush.Flush() // an answer that cannot be flushed is sent when it ends
		}
		if err != nil {
			return
		}
	}
}

// trustAfter is how long a caller counts as unauthenticated here. The other member ends the connection earlier if the
// caller does not authenticate there.
const trustAfter = 30 * time.Second

// splice sends the answer that switches protocols, and joins the caller's connection and the one to the other member
// until both have ended. received is what reads the latter.
func (c *Client) splice(
	w http.ResponseWriter, r *http.Request, answer *http.Response, there *tls.Conn, received io.Reader,
) error {
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer here.Close()
	stop := context.AfterFunc(c.done, func() { _ = here.Close() })
	defer stop()
	trust := time.AfterFunc(trustAfter, func() { httplimit.Trust(r.Context()) })
	defer trust.Stop()
	_ = here.SetDeadline(time.Time{}) // clears the HTTP server's deadlines; cannot fail on an open connection
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %s\r\n", answer.Status)
	if err := answer.Header.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	if _, err := here.Write(head.Bytes()); err != nil {
		return nil // the caller is gone
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, err := io.Copy(there, buffered.Reader)
		if err != nil || there.CloseWrite() != nil {
			_ = there.Close()
		}
	})
	_, _ = io.Copy(here, received) // either side ends the connection: what it sent before has arrived
	_ = here.Close()
	_ = there.Close()
	both.Wait()
	return nil
}

// Kinds of messages.
const (
	Deliver       = "deliver"        // a frame on the control channel of Node
	Alive         = "alive"          // does the agent of Node answer?
	Drop          = "drop"           // the control channel of Node
	Reopen        = "reopen"         // the control channel of Node
	EndSession    = "end-session"    // at once
	FinishSession = "finish-session" // when the client has acknowledged the last output
	NodeConnected = "node-connected" // to the coordinator
	JobAck        = "job-ack"        // to the coordinator
	JobReply      = "job-reply"      // to the coordinator
)

// Message is what a member says to another one. A repeated message has no further effect.
type Message struct {
	Kind    string
	Node    sekisho.NodeID    `json:",omitempty"`
	Session sekisho.SessionID `json:",omitempty"`
	Frame   []byte            `json:",omitempty"`
	Reason  string            `json:",omitempty"`
	Ending  *sekisho.Ending   `json:",omitempty"`
	Body    json.RawMessage   `json:",omitempty"`
}

// Reply is the answer to a message.
type Reply struct {
	Alive bool         `json:",omitempty"`
	Code  sekisho.Code `json:",omitempty"`
	Error string       `json:",omitempty"`
}

// Call sends a message and waits for the answer.
func (c *Client) Call(ctx context.Context, to Member, m *Message) (Reply, error) {
	c.mu.Lock()
	c.addresses[to.Name] = to.Address
	c.mu.Unlock()
	text, err := json.Marshal(m)
	if err != nil {
		return Reply{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+to.Name+"/message", bytes.NewReader(text))
	if err != nil {
		return Reply{}, err
	}
	r.Header.Set("Idempotency-Key", m.Kind) // lets a request be repeated on a new connection
	answer, err := c.calls.Do(r)
	if err != nil {
		return Reply{}, sekisho.Errorf(sekisho.CodeUnreachable, "The cluster's member %s does not answer: %w", to.Name, err)
	}
	defer answer.Body.Close()
	var out Reply
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxMessage)).Decode(&out); err != nil {
		return Reply{}, fmt.Errorf("the answer of member %s: %w", to.Name, err)
	}
	if out.Code != "" {
		return out, &sekisho.Error{Code: out.Code, Message: out.Error}
	}
	return out, nil
}

func (s *Server) message(w http.ResponseWriter, r *http.Request) {
	var m Message
	var out Reply
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage)).Decode(&m)
	if err != nil {
		err = sekisho.Errorf(sekisho.CodeInvalid, "the message is malformed: %w", err)
	} else {
		out, err = s.cfg.Messages(r.Context(), &m)
	}
	if err != nil {
		out.Code, out.Error = sekisho.CodeOf(err), err.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		s.cfg.Log.Debug("could not answer a member", "error", err)
	}
}

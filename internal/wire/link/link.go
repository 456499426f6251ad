// Package link dials, accepts and keeps WebSocket connections. It is the only
// importer of the WebSocket library, and knows nothing of what is sent.
//
// Two properties of the library shape its use:
//
//   - Pings are answered, and pongs noticed, only while a Read is in progress.
//     Always have one goroutine reading every connection, and do not let it
//     wait on anything slow: stock agents give up 60 seconds after their last
//     pong.
//   - When the context of a Read, a Write or a Ping ends while the operation
//     runs, the connection may be in the middle of a frame and is closed.
//
// Compression is never negotiated.
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Kind tells a text message from a binary one.
type Kind int

// The message kinds.
const (
	Text   Kind = Kind(websocket.MessageText)
	Binary Kind = Kind(websocket.MessageBinary)
)

// Code is a WebSocket close code.
type Code int

// The close codes in use.
const (
	CloseNormal        Code = 1000
	CloseGoingAway     Code = 1001
	CloseProtocol      Code = 1002
	ClosePolicy        Code = 1008 // refused: token, origin, rule
	CloseTooBig        Code = 1009
	CloseInternal      Code = 1011
	CloseTryAgainLater Code = 1013
)

// DefaultReadLimit bounds one message where the options set no limit.
const DefaultReadLimit = 256 << 10

// ErrNoPong is returned by KeepAlive when the peer leaves a ping unanswered.
var ErrNoPong = errors.New("link: no answer to ping")

// ErrTooBig is wrapped by the error of a Read that met a message above the
// read limit. The connection is closed then.
var ErrTooBig = websocket.ErrMessageTooBig

// Conn is a WebSocket connection. One goroutine may read; any number may
// write, ping and close.
type Conn struct {
	ws     *websocket.Conn
	cork   *corked // nil when the connection beneath is not ours
	remote string
	offers []string // of the server
	began  time.Time
	heard  atomic.Int64 // when the last message came, in nanoseconds since began
}

// AcceptOptions says which connections Accept takes.
type AcceptOptions struct {
	// AllowOrigin decides on requests that carry an Origin header, which is
	// to say on browsers. A request without one is no browser and is always
	// accepted. Nil allows no browser.
	AllowOrigin func(origin string, r *http.Request) bool
	ReadLimit   int // bytes of one message; 0 means DefaultReadLimit
	// Offers are words that tell the dialling side what this side can do.
	Offers []string
}

// OfferChecksums is the offer to take frames with checksums in place of digests.
const OfferChecksums = "checksums"

// offersHeader carries AcceptOptions.Offers in the answer to the upgrade.
const offersHeader = "Sekisho-Offers"

// Accept upgrades a request. When it returns an error it has answered the
// request. The request must have come by HTTP/1.1: a server that speaks
// HTTP/2 has to offer both, as no WebSocket client picks HTTP/2.
//
// The request's context must not be used after Accept returns.
func Accept(w http.ResponseWriter, r *http.Request, opt AcceptOptions) (*Conn, error) {
	if origins := r.Header.Values("Origin"); len(origins) > 0 {
		if len(origins) > 1 || origins[0] == "" || opt.AllowOrigin == nil || !opt.AllowOrigin(origins[0], r) {
			http.Error(w, "origin not allowed", http.StatusForbidden)
			return nil, fmt.Errorf("link: origin %q not allowed", origins)
		}
	}
	if len(opt.Offers) > 0 {
		w.Header().Set(offersHeader, strings.Join(opt.Offers, ", "))
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the origin was checked above
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, fmt.Errorf("link: accept: %w", err)
	}
	return newConn(ws, corkOf(r), r.RemoteAddr, opt.ReadLimit), nil
}

// DialOptions says how Dial connects.
type DialOptions struct {
	Header    http.Header // sent with the handshake
	TLS       *tls.Config // for wss; nil means the system's roots
	ReadLimit int         // bytes of one message; 0 means DefaultReadLimit

	// DialContext opens the TCP connection; nil means a plain dial, through
	// the proxy the environment names.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// HandshakeError is the error of a Dial whose server answered, but not with
// an upgrade.
type HandshakeError struct {
	StatusCode int
	Body       string // its first kilobyte
}

// Error implements error.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("link: the server answered %d %s", e.StatusCode, http.StatusText(e.StatusCode))
}

// Dial connects to a ws or wss URL. ctx bounds the handshake only. Redirects
// are not followed: the header may hold credentials.
func Dial(ctx context.Context, url string, opt DialOptions) (*Conn, error) {
	dial := opt.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	var cork atomic.Pointer[corked] // of the one connection that is made
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	tr := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			c := &corked{Conn: conn}
			cork.Store(c)
			return c, nil
		},
		TLSClientConfig: opt.TLS,
		Protocols:       &protocols,
	}
	if opt.DialContext != nil {
		tr.Proxy = nil
	}
	var remote string
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if a := info.Conn.RemoteAddr(); a != nil {
			remote = a.String()
		}
	}}
	ws, resp, err := websocket.Dial(httptrace.WithClientTrace(ctx, trace), url, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     tr,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader:      opt.Header.Clone(),
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		tr.CloseIdleConnections()
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // best effort
			return nil, &HandshakeError{StatusCode: resp.StatusCode, Body: string(body)}
		}
		return nil, fmt.Errorf("link: %w", err)
	}
	c := newConn(ws, cork.Load(), remote, opt.ReadLimit)
	for word := range strings.SplitSeq(resp.Header.Get(offersHeader), ",") {
		if word = strings.TrimSpace(word); word != "" {
			c.offers = append(c.offers, word)
		}
	}
	return c, nil
}

// Offers reports whether the accepting side has offered what.
func (c *Conn) Offers(what string) bool { return slices.Contains(c.offers, what) }

func newConn(ws *websocket.Conn, cork *corked, remote string, limit int) *Conn {
	if limit <= 0 {
		limit = DefaultReadLimit
	}
	ws.SetReadLimit(int64(limit))
	return &Conn{ws: ws, cork: cork, remote: remote, began: time.Now()}
}

// RemoteAddr is the peer's address, host:port. Behind a proxy it is the
// proxy's.
func (c *Conn) RemoteAddr() string { return c.remote }

// Read returns the next message. It answers pings meanwhile.
func (c *Conn) Read(ctx context.Context) (Kind, []byte, error) {
	return c.ReadInto(ctx, nil)
}

// ReadInto is Read into the capacity of buf, which it grows when it must. The
// message it returns is the whole of what was read, whatever buf held.
func (c *Conn) ReadInto(ctx context.Context, buf []byte) (Kind, []byte, error) {
	kind, r, err := c.ws.Reader(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("link: %w", err)
	}
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		c.heard.Store(int64(time.Since(c.began)))
		if err == io.EOF {
			return Kind(kind), buf, nil
		}
		if err != nil {
			return 0, nil, fmt.Errorf("link: %w", err)
		}
	}
}

// corkFrom is the size from which a message makes more than one TLS record.
const corkFrom = 16 << 10

// Write sends one message. p is not kept.
func (c *Conn) Write(ctx context.Context, kind Kind, p []byte) error {
	if len(p) >= corkFrom {
		c.cork.cork()
	}
	err := c.ws.Write(ctx, websocket.MessageType(kind), p)
	if len(p) >= corkFrom && c.cork != nil {
		// What was gathered is written here, out of the library's sight.
		stop := context.AfterFunc(ctx, func() { _ = c.cork.Conn.Close() })
		err = errors.Join(err, c.cork.uncork())
		stop()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// Ping sends a ping and waits for its pong, which comes only while another
// goroutine reads.
func (c *Conn) Ping(ctx context.Context) error {
	if err := c.ws.Ping(ctx); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// KeepAlive pings every interval until neither a pong nor anything else comes
// within timeout: then it closes the connection and returns an error that
// wraps ErrNoPong. A pong may stand behind much data on a slow link, and so
// be late on one that lives. KeepAlive returns ctx's error when ctx ends
// first, and another error when the connection breaks.
func (c *Conn) KeepAlive(ctx context.Context, interval, timeout time.Duration) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		asked := int64(time.Since(c.began))
		pingCtx, cancel := context.WithTimeout(ctx, timeout)
		err := c.Ping(pingCtx)
		late := pingCtx.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && c.heard.Load() > asked && (late || errors.Is(err, context.DeadlineExceeded)):
			// Not silent, only slow.
		case err != nil && late:
			_ = c.CloseNow() // it is broken already
			return fmt.Errorf("%w within %v", ErrNoPong, timeout)
		case err != nil:
			return err
		}
	}
}

// Close says goodbye with a code and a reason, of which 123 bytes are sent.
// It waits up to ten seconds for a peer that does not answer.
func (c *Conn) Close(code Code, reason string) error {
	const most = 123
	if len(reason) > most {
		reason = reason[:most]
		for len(reason) > 0 && !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	if err := c.ws.Close(websocket.StatusCode(code), reason); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// CloseNow drops the connection without a word. It may be called again.
func (c *Conn) CloseNow() error {
	if c.cork != nil {
		_ = c.cork.Conn.Close() // it frees a write that waits, and TLS would wait for that
	}
	if err := c.ws.CloseNow(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// CloseStatus reports the code and reason the peer closed with, when err
// comes from that. Stock agents never say goodbye.
func CloseStatus(err error) (code Code, reason string, ok bool) {
	ce, ok := errors.AsType[websocket.CloseError](err)
	return Code(ce.Code), ce.Reason, ok
}

// Frames is a connection to a peer that speaks binary frames, read into one
// buffer: what Read returns is good until the next Read.
type Frames struct {
	Conn *Conn
	buf  []byte
}

// NewFrames returns c as Frames.
func NewFrames(c *Conn) *Frames { return &Frames{Conn: c} }

// Read returns the next message and whether it is binary.
func (f *Frames) Read(ctx context.Context) (binary bool, b []byte, err error) {
	kind, b, err := f.Conn.ReadInto(ctx, f.buf)
	if err != nil {
		return false, nil, err
	}
	f.buf = b
	return kind == Binary, b, nil
}

// TakesChecksums reports whether the server takes frames with checksums in place
// of digests.
func (f *Frames) TakesChecksums() bool { return f.Conn.Offers(OfferChecksums) }

// Write sends one binary message.
func (f *Frames) Write(ctx context.Context, b []byte) error {
	return f.Conn.Write(ctx, Binary, b)
}

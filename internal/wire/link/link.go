// Package link dials, accepts and keeps WebSocket connections (RFC 6455), and is
// independent of the messages. It implements the protocol itself because existing libraries
// copy every message through small buffers, which become small TLS records, and cannot
// write several messages at once.
//
// Two properties shape its use:
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
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Kind distinguishes text messages from binary ones.
type Kind int

// Values of Kind.
const (
	Text   Kind = opText
	Binary Kind = opBinary
)

// Code is a WebSocket close code.
type Code int

// Values of Code.
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

// ErrTooBig is wrapped by the error of a Read whose message exceeded the read limit. The
// connection is then closed.
var ErrTooBig = errors.New("link: the message is too big")

// Conn is a WebSocket connection. One goroutine may read; any number may
// write, ping and close.
type Conn struct {
	ws     *socket
	cork   *corked // nil if the underlying connection is not a *corked
	remote string
	offers []string // of the server
}

// AcceptOptions configures Accept.
type AcceptOptions struct {
	// AllowOrigin decides on requests with an Origin header, which browsers send. Requests
	// without one are always accepted. Nil rejects all browsers.
	AllowOrigin func(origin string, r *http.Request) bool
	ReadLimit   int // bytes of one message; 0 means DefaultReadLimit
	// Offers are words that tell the dialing side what this side supports.
	Offers []string
}

// OfferChecksums is the offer to accept frames with checksums in place of digests.
const OfferChecksums = "checksums"

// offersHeader carries AcceptOptions.Offers in the answer to the upgrade.
const offersHeader = "Sekisho-Offers"

// Accept upgrades a request. When it returns an error, it has already responded. The
// request must use HTTP/1.1: an HTTP/2 server must offer both, because no WebSocket client
// picks HTTP/2.
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
	key, err := checkUpgrade(w, r)
	if err != nil {
		return nil, fmt.Errorf("link: accept: %w", err)
	}
	h := w.Header()
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Accept", acceptKey(key))
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("link: accept: %w", err)
	}
	_ = conn.SetDeadline(time.Time{}) // clears the HTTP server's deadlines; cannot fail on an open connection
	from := io.Reader(conn)
	if n := buffered.Reader.Buffered(); n > 0 {
		early, _ := buffered.Reader.Peek(n) // it is there
		from = io.MultiReader(bytes.NewReader(early), conn)
	}
	ws := newSocket(conn, from, false, limitOf(opt.ReadLimit))
	return newConn(ws, corkOf(r), r.RemoteAddr), nil
}

// checkUpgrade returns the key of an upgrade request, or answers it with an error.
func checkUpgrade(w http.ResponseWriter, r *http.Request) (key string, err error) {
	refuse := func(status int, why string) (string, error) {
		http.Error(w, why, status)
		return "", errors.New(why)
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	switch {
	case !r.ProtoAtLeast(1, 1), !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return refuse(http.StatusUpgradeRequired, "the request is not a WebSocket upgrade")
	case r.Method != http.MethodGet:
		return refuse(http.StatusMethodNotAllowed, "a WebSocket upgrade must be a GET request")
	case r.Header.Get("Sec-WebSocket-Version") != webSocketVersion:
		w.Header().Set("Sec-WebSocket-Version", webSocketVersion)
		return refuse(http.StatusBadRequest, "the WebSocket version is not "+webSocketVersion)
	case len(keys) != 1:
		return refuse(http.StatusBadRequest, "the request has not exactly one Sec-WebSocket-Key")
	}
	key = strings.TrimSpace(keys[0])
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != keySize {
		return refuse(http.StatusBadRequest, "the Sec-WebSocket-Key is not 16 bytes in base64")
	}
	return key, nil
}

const (
	webSocketVersion = "13"
	keySize          = 16
)

// hasToken reports whether a header that holds a list has a token in it.
func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for word := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

func limitOf(limit int) int {
	if limit <= 0 {
		return DefaultReadLimit
	}
	return limit
}

// DialOptions configures Dial.
type DialOptions struct {
	Header    http.Header // sent with the handshake
	TLS       *tls.Config // for wss; nil means the system's roots
	ReadLimit int         // bytes of one message; 0 means DefaultReadLimit

	// DialContext opens the TCP connection; nil means a plain dial, through the proxy from
	// the environment, if any.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// HandshakeError is the error of a Dial whose server responded with something other than an
// upgrade.
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
func Dial(ctx context.Context, target string, opt DialOptions) (*Conn, error) {
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
			c := &corked{Conn: newDirect(conn)}
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
	req, key, err := upgradeRequest(httptrace.WithClientTrace(ctx, trace), target, opt.Header)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	client := http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		tr.CloseIdleConnections()
		return nil, fmt.Errorf("link: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // best effort
		_ = resp.Body.Close()                                  // it was only read
		tr.CloseIdleConnections()
		return nil, &HandshakeError{StatusCode: resp.StatusCode, Body: string(body)}
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !hasToken(resp.Header, "Upgrade", "websocket") || !hasToken(resp.Header, "Connection", "upgrade") ||
		resp.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		_ = resp.Body.Close()
		return nil, errors.New("link: the server's answer is not that of a WebSocket server")
	}
	ws := newSocket(conn, conn, true, limitOf(opt.ReadLimit))
	ws.unmasked = req.URL.Scheme == "https"
	c := newConn(ws, cork.Load(), remote)
	for word := range strings.SplitSeq(resp.Header.Get(offersHeader), ",") {
		if word = strings.TrimSpace(word); word != "" {
			c.offers = append(c.offers, word)
		}
	}
	return c, nil
}

// upgradeRequest returns the request that opens a WebSocket, and its key.
func upgradeRequest(ctx context.Context, target string, header http.Header) (*http.Request, string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, "", err
	}
	switch u.Scheme {
	case "wss":
		u.Scheme = "https"
	case "ws":
		u.Scheme = "http"
	default:
		return nil, "", fmt.Errorf("%q is not a ws or wss URL", target)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, "", err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	raw := make([]byte, keySize)
	_, _ = rand.Read(raw) // never fails
	key := base64.StdEncoding.EncodeToString(raw)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", webSocketVersion)
	req.Header.Set("Sec-WebSocket-Key", key)
	return req, key, nil
}

// Offers reports whether the accepting side has offered what.
func (c *Conn) Offers(what string) bool { return slices.Contains(c.offers, what) }

func newConn(ws *socket, cork *corked, remote string) *Conn {
	return &Conn{ws: ws, cork: cork, remote: remote}
}

// RemoteAddr is the peer's address, host:port. Behind a proxy it is the
// proxy's.
func (c *Conn) RemoteAddr() string { return c.remote }

// Read returns the next message, whose buffer can be returned with [Recycle]. It answers
// pings while it waits.
func (c *Conn) Read(ctx context.Context) (Kind, []byte, error) {
	return c.ReadInto(ctx, nil)
}

// ReadInto is Read into the capacity of buf, which it grows if necessary. It returns only
// the message; the content of buf is overwritten.
func (c *Conn) ReadInto(ctx context.Context, buf []byte) (Kind, []byte, error) {
	op, b, err := c.ws.read(ctx, buf)
	if err != nil {
		return 0, nil, fmt.Errorf("link: %w", err)
	}
	return Kind(op), b, nil
}

// Buffered reports whether the next message has already arrived, so that Read would return
// immediately. Only the reading goroutine can call it.
func (c *Conn) Buffered() bool { return c.ws.buffered() }

// corkFrom is the size from which messages need more than one TLS record.
const corkFrom = maxTLSRecord

// Write sends messages, in one write if possible. It does not retain them.
func (c *Conn) Write(ctx context.Context, kind Kind, messages ...[]byte) error {
	size := 0
	for _, p := range messages {
		size += len(p)
	}
	if size >= corkFrom {
		c.cork.cork()
	}
	err := c.ws.write(ctx, byte(kind), messages...)
	if size >= corkFrom && c.cork != nil {
		// The gathered bytes are written here, where the socket's own watch does not apply.
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
	if err := c.ws.ping(ctx); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// KeepAlive pings every interval. If nothing at all arrives within timeout, it closes the
// connection and returns an error that wraps ErrNoPong. Any data counts, because on a slow
// link a pong can be queued behind it. KeepAlive returns ctx's error when ctx ends first,
// and another error when the connection breaks.
func (c *Conn) KeepAlive(ctx context.Context, interval, timeout time.Duration) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if err := c.probe(ctx, timeout); err != nil {
			return err
		}
	}
}

// Watch is KeepAlive for a connection whose peer also pings: it pings only when nothing has
// arrived for the duration silence.
func (c *Conn) Watch(ctx context.Context, silence, timeout time.Duration) error {
	t := time.NewTimer(silence)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		quiet := c.ws.age() - time.Duration(c.ws.heard.Load())
		if quiet >= silence {
			if err := c.probe(ctx, timeout); err != nil {
				return err
			}
			quiet = 0
		}
		t.Reset(silence - quiet)
	}
}

// probe pings once. It closes the connection if nothing arrives within timeout.
func (c *Conn) probe(ctx context.Context, timeout time.Duration) error {
	asked := int64(c.ws.age())
	pingCtx, cancel := context.WithTimeout(ctx, timeout)
	err := c.Ping(pingCtx)
	late := pingCtx.Err() != nil
	cancel()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && c.ws.heard.Load() > asked && (late || errors.Is(err, context.DeadlineExceeded)):
		return nil //nolint:nilerr // not silent, only slow
	case err != nil && late:
		_ = c.CloseNow() // it is broken already
		return fmt.Errorf("%w within %v", ErrNoPong, timeout)
	}
	return err
}

// Close sends a close frame with a code and a reason, of which at most 123 bytes are sent.
// It waits up to ten seconds for the peer's answer.
func (c *Conn) Close(code Code, reason string) error {
	const most = 123
	if len(reason) > most {
		reason = reason[:most]
		for len(reason) > 0 && !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	if err := c.ws.close(code, reason); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// CloseNow drops the connection without a close frame. It can be called repeatedly.
func (c *Conn) CloseNow() error {
	if c.cork != nil {
		_ = c.cork.Conn.Close() // unblocks a pending write, for which TLS would wait
	}
	c.ws.drop()
	return nil
}

// CloseStatus returns the code and reason of the peer's close frame, if that caused err.
// Stock agents never send one.
func CloseStatus(err error) (code Code, reason string, ok bool) {
	ce, ok := errors.AsType[*closeError](err)
	if !ok {
		return 0, "", false
	}
	return ce.code, ce.reason, true
}

// Frames is a connection to a peer that exchanges binary frames.
type Frames struct{ Conn *Conn }

// NewFrames returns c as Frames.
func NewFrames(c *Conn) *Frames { return &Frames{Conn: c} }

// Read returns the next message and whether it is binary.
func (f *Frames) Read(ctx context.Context) (binary bool, b []byte, err error) {
	kind, b, err := f.Conn.Read(ctx)
	if err != nil {
		return false, nil, err
	}
	return kind == Binary, b, nil
}

// Recycle returns the buffer of a message that is no longer used.
func (f *Frames) Recycle(message []byte) { Recycle(message) }

// TakesChecksums reports whether the server accepts frames with checksums in place of
// digests.
func (f *Frames) TakesChecksums() bool { return f.Conn.Offers(OfferChecksums) }

// Write sends binary messages.
func (f *Frames) Write(ctx context.Context, messages ...[]byte) error {
	return f.Conn.Write(ctx, Binary, messages...)
}

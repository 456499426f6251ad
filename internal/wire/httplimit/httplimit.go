// Package httplimit bounds the resources of an HTTP server that unauthenticated clients can
// hold: connections, and the time to send a request body.
//
// A connection is unauthenticated until [Trust] is called for a request on it. When there
// are too many unauthenticated connections, from one address or in total, the oldest is
// closed: a client that authenticates immediately is served, no matter how many others
// connect and stall.
package httplimit

import (
	"container/list"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sekisho/internal/ratelimit"
)

const (
	// bodyIdle is how long a client can pause in the middle of a body.
	bodyIdle = 30 * time.Second
	// bodyTotal is the time limit for the whole body of an unauthenticated client.
	bodyTotal = time.Minute
	// bodyLinger is how long the server waits for the rest of a body that the handler did
	// not read.
	bodyLinger = 5 * time.Second
)

// Config holds the limits on connections.
type Config struct {
	PerAddress      int // unauthenticated, per address (IPv6: per /64); 0 means 256
	Unauthenticated int // unauthenticated, in total; 0 means 4096
	Total           int // including authenticated ones; 0 means 65536
	// Shared are the networks of proxies and load balancers: many clients share such an
	// address, so PerAddress does not apply.
	Shared []netip.Prefix
}

// Limiter counts connections. It is safe for concurrent use.
type Limiter struct {
	cfg Config

	mu       sync.Mutex
	total    int
	pending  *list.List // of *conn, the oldest first
	bySource map[netip.Prefix]*list.List
}

// New returns a Limiter.
func New(cfg Config) *Limiter {
	if cfg.PerAddress == 0 {
		cfg.PerAddress = 256
	}
	if cfg.Unauthenticated == 0 {
		cfg.Unauthenticated = 4096
	}
	if cfg.Total == 0 {
		cfg.Total = 65536
	}
	return &Limiter{cfg: cfg, pending: list.New(), bySource: map[netip.Prefix]*list.List{}}
}

// Listener returns l with its connections counted.
func (l *Limiter) Listener(next net.Listener) net.Listener { return &listener{next, l} }

type listener struct {
	net.Listener
	limits *Limiter
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		counted, evicted := l.limits.add(c)
		for _, old := range evicted {
			_ = old.Close() // it is unauthenticated: nothing depends on it
		}
		if counted != nil {
			return counted, nil
		}
		_ = c.Close() // there is no room for it
	}
}

// conn is a counted connection.
type conn struct {
	net.Conn
	limits *Limiter
	source netip.Prefix

	// Guarded by limits.mu; nil once the connection is trusted or closed.
	inAll, inSource *list.Element
	closed          bool
}

func (l *Limiter) add(c net.Conn) (counted *conn, evicted []*conn) {
	counted = &conn{Conn: c, limits: l}
	shared := true
	if at := AddressOf(c.RemoteAddr().String()); at.IsValid() {
		counted.source = ratelimit.Source(at)
		shared = slices.ContainsFunc(l.cfg.Shared, func(p netip.Prefix) bool { return p.Contains(at) })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	evict := func(from *list.List) {
		old := from.Front().Value.(*conn)
		l.forget(old)
		evicted = append(evicted, old)
	}
	if l.total >= l.cfg.Total {
		if l.pending.Len() == 0 {
			return nil, nil
		}
		evict(l.pending)
	}
	if l.pending.Len() >= l.cfg.Unauthenticated {
		evict(l.pending)
	}
	if same := l.bySource[counted.source]; !shared && same != nil && same.Len() >= l.cfg.PerAddress {
		evict(same)
	}
	l.total++
	counted.inAll = l.pending.PushBack(counted)
	if l.bySource[counted.source] == nil {
		l.bySource[counted.source] = list.New()
	}
	counted.inSource = l.bySource[counted.source].PushBack(counted)
	return counted, evicted
}

// forget stops counting c.
func (l *Limiter) forget(c *conn) {
	if c.closed {
		return
	}
	c.closed = true
	l.total--
	l.unlist(c)
}

func (l *Limiter) unlist(c *conn) {
	if c.inAll == nil {
		return
	}
	l.pending.Remove(c.inAll)
	same := l.bySource[c.source]
	same.Remove(c.inSource)
	if same.Len() == 0 {
		delete(l.bySource, c.source)
	}
	c.inAll, c.inSource = nil, nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limits.mu.Lock()
	c.limits.forget(c)
	c.limits.mu.Unlock()
	return c.Conn.Close()
}

func (c *conn) trust() {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.limits.unlist(c)
}

func (c *conn) trusted() bool {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	return c.inAll == nil
}

type contextKey struct{}

// ConnContext is for http.Server: it lets [Trust] find the connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	for {
		if counted, ok := c.(*conn); ok {
			return context.WithValue(ctx, contextKey{}, counted)
		}
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = wrapped.NetConn()
	}
}

// Trust marks the connection of a request as authenticated. Call it once the peer has
// authenticated.
func Trust(ctx context.Context) {
	if c, ok := ctx.Value(contextKey{}).(*conn); ok {
		c.trust()
	}
}

// Bodies bounds the time that reading a request's body takes.
func Bodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.ProtoAtLeast(1, 1) {
			// net/http ignores and hides a Transfer-Encoding of HTTP/1.0, which may have
			// made a proxy see a different end of the request. RFC 9112, 6.1: close the
			// connection.
			w.Header().Set("Connection", "close")
		}
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		if len(r.TransferEncoding) > 0 {
			// net/http hides a Content-Length that accompanies it, by which a proxy may
			// have parsed a different request. RFC 9112, 6.1: close the connection.
			w.Header().Set("Connection", "close")
		}
		b := &body{ReadCloser: r.Body, deadlines: http.NewResponseController(w), began: time.Now()}
		b.conn, _ = r.Context().Value(contextKey{}).(*conn)
		b.extend()
		r.Body = b
		defer func() {
			if !b.ended {
				_ = b.deadlines.SetReadDeadline(time.Now().Add(bodyLinger)) // see extend
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// body is a request body with deadlines.
type body struct {
	io.ReadCloser
	deadlines *http.ResponseController
	conn      *conn // nil when connections are not counted
	began     time.Time
	ended     bool
}

// extend sets the deadline of the next read. In-memory connections, as in tests, do not
// support deadlines, so errors are ignored.
func (b *body) extend() {
	at := time.Now().Add(bodyIdle)
	if end := b.began.Add(bodyTotal); (b.conn == nil || !b.conn.trusted()) && end.Before(at) {
		at = end
	}
	_ = b.deadlines.SetReadDeadline(at)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.extend()
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended = true
		_ = b.deadlines.SetReadDeadline(time.Time{}) // see extend
	}
	return n, err
}

// Peer returns the address of the TCP peer of a request, without a zone. It is
// the zero address if the request did not come over TCP.
func Peer(r *http.Request) netip.Addr { return AddressOf(r.RemoteAddr) }

// AddressOf returns the address in HOST:PORT, as IPv4 if it is one, and without a zone. It
// is the zero address if there is none.
func AddressOf(hostPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

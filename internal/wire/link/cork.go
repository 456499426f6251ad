package link

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// corkSize is how much a corked connection holds before it writes.
const corkSize = 128 << 10

// corkBuffers are buffers of corkSize: a connection holds one only while it
// writes a large message.
var corkBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, corkSize)
	return &b
}}

// corked is a network connection that can gather writes: TLS makes one write per 16 KiB,
// and each write costs a system call.
type corked struct {
	net.Conn

	mu    sync.Mutex
	depth int     // number of writers that hold the cork
	buf   *[]byte // from corkBuffers, while something is gathered
	err   error   // of an earlier write
}

// Write implements [net.Conn].
func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.depth > 0 {
		if c.buf == nil {
			c.buf = corkBuffers.Get().(*[]byte)
		}
		if len(*c.buf)+len(p) <= cap(*c.buf) {
			*c.buf = append(*c.buf, p...)
			return len(p), nil
		}
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	c.err = err
	return n, err
}

// flush writes the gathered bytes. The caller holds the mutex.
func (c *corked) flush() error {
	if c.buf == nil {
		return c.err
	}
	if c.err == nil && len(*c.buf) > 0 {
		_, c.err = c.Conn.Write(*c.buf)
	}
	*c.buf = (*c.buf)[:0]
	corkBuffers.Put(c.buf)
	c.buf = nil
	return c.err
}

func (c *corked) cork() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.depth++
}

func (c *corked) uncork() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.depth--; c.depth > 0 {
		return c.err
	}
	return c.flush()
}

// NetConn returns the underlying connection, as [tls.Conn.NetConn] does.
func (c *corked) NetConn() net.Conn {
	if d, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		return d.NetConn()
	}
	return c.Conn
}

// Listen wraps l so that [Accept] can speed up its connections. The server's ConnContext
// must be [ConnContext].
func Listen(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

// Accept implements [net.Listener].
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &corked{Conn: newDirect(conn)}, nil
}

type corkKey struct{}

// ConnContext is for [http.Server.ConnContext]. It lets [Accept] find the connection
// beneath TLS.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	if c, ok := conn.(*corked); ok {
		return context.WithValue(ctx, corkKey{}, c)
	}
	return ctx
}

func corkOf(r *http.Request) *corked {
	c, _ := r.Context().Value(corkKey{}).(*corked)
	return c
}

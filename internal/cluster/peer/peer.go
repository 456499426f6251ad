// Package peer connects the members of a cluster: each has a member port, which accepts mutual TLS from members only.
// A member passes a request to another one as it received it, with the address of its caller, and the other member
// authenticates the caller as if it had accepted the connection itself. Short messages between members use the same
// port.
package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"sekisho/internal/ratelimit"
)

// Protocols of a connection, selected by ALPN.
const (
	protocolForward = "sekisho-forward/1"
	protocolMessage = "sekisho-message/1"
)

const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes bounds the connections that have not proved to be members.
	maxHandshakes = 64
	maxPreamble   = 256
)

// Identity is this process as a member.
type Identity interface {
	ServerTLS(protocols ...string) *tls.Config
	ClientTLS(member, protocol string) *tls.Config
}

// preamble is the line before a forwarded request.
type preamble struct {
	Remote string `json:"remote"` // address of the caller
}

// Config is the configuration of a Server.
type Config struct {
	Identity Identity
	// Requests serves forwarded requests.
	Requests http.Handler
	// Messages answers messages of other members.
	Messages func(ctx context.Context, m *Message) (Reply, error)
	Log      *slog.Logger
	// HeaderTimeout and MaxHeader bound the headers of a forwarded request.
	HeaderTimeout time.Duration
	MaxHeader     int
}

// Server serves the member port.
type Server struct {
	cfg        Config
	handshakes chan struct{}
	forwards   *inbox
	messages   *inbox
	refused    *ratelimit.Limiter[struct{}]
}

// NewServer returns a Server.
func NewServer(cfg Config) *Server {
	return &Server{
		cfg: cfg, handshakes: make(chan struct{}, maxHandshakes), forwards: newInbox(), messages: newInbox(),
		refused: ratelimit.NewEvery[struct{}](10*time.Second, 1, nil),
	}
}

type forwardedKey struct{}

// IsForwarded reports whether another member has forwarded a request to this one.
func IsForwarded(ctx context.Context) bool { return ctx.Value(forwardedKey{}) != nil }

// Serve serves l until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	forwards := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}
			s.cfg.Requests.ServeHTTP(w, r)
		}),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, forwardedKey{}, true)
		},
		ReadHeaderTimeout: s.cfg.HeaderTimeout, MaxHeaderBytes: s.cfg.MaxHeader,
		IdleTimeout: idleCalls, // members send one request in each connection
		ErrorLog:    slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	messages := &http.Server{
		Handler: http.HandlerFunc(s.message), ReadHeaderTimeout: s.cfg.HeaderTimeout, MaxHeaderBytes: s.cfg.MaxHeader,
		ReadTimeout: callTimeout, IdleTimeout: idleCalls,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = forwards.Serve(s.forwards) }) // ends when the inbox is closed
	wg.Go(func() { _ = messages.Serve(s.messages) })
	wg.Go(func() {
		<-ctx.Done()
		_ = l.Close()
		s.forwards.close()
		s.messages.close()
		_ = forwards.Close()
		_ = messages.Close()
	})
	defer wg.Wait()
	secure := s.cfg.Identity.ServerTLS(protocolForward, protocolMessage)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("member port: %w", err)
		}
		select {
		case s.handshakes <- struct{}{}:
		default:
			_ = conn.Close() // strangers must not exhaust this member
			continue
		}
		wg.Go(func() {
			defer func() { <-s.handshakes }()
			if err := s.accept(ctx, tls.Server(conn, secure)); err != nil {
				if s.refused.Allow(struct{}{}) { // strangers must not fill the log
					s.cfg.Log.Warn("refused a connection on the member port", "remote", conn.RemoteAddr().String(), "error", err)
				}
				_ = conn.Close()
			}
		})
	}
}

func (s *Server) accept(ctx context.Context, conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	switch p := conn.ConnectionState().NegotiatedProtocol; p {
	case protocolMessage:
		return s.messages.put(plainConn{conn}) // an HTTP server closes a connection whose protocol it does not know
	case protocolForward:
		f, err := readPreamble(conn)
		if err != nil {
			return err
		}
		return s.forwards.put(f)
	default:
		return fmt.Errorf("unknown protocol %q", p)
	}
}

// plainConn hides that a connection uses TLS.
type plainConn struct{ net.Conn }

// forwarded is the connection of a caller to another member.
type forwarded struct {
	net.Conn
	in     *bufio.Reader
	remote net.Addr
}

// Read implements net.Conn.
func (f *forwarded) Read(p []byte) (int, error) { return f.in.Read(p) }

// RemoteAddr returns the address of the caller.
func (f *forwarded) RemoteAddr() net.Addr { return f.remote }

func readPreamble(conn net.Conn) (*forwarded, error) {
	if err := conn.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(conn, 4096)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("read the caller's address: %w", err)
	}
	if len(line) > maxPreamble {
		return nil, fmt.Errorf("the caller's address has %d bytes", len(line))
	}
	var p preamble
	if err := json.Unmarshal(line, &p); err != nil {
		return nil, fmt.Errorf("read the caller's address: %w", err)
	}
	remote, err := netip.ParseAddrPort(p.Remote)
	if err != nil {
		return nil, fmt.Errorf("read the caller's address: %w", err)
	}
	return &forwarded{Conn: conn, in: in, remote: net.TCPAddrFromAddrPort(remote)}, conn.SetReadDeadline(time.Time{})
}

// inbox is a listener for connections that were accepted elsewhere.
type inbox struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newInbox() *inbox { return &inbox{conns: make(chan net.Conn), done: make(chan struct{})} }

var errClosed = errors.New("the member port is closed")

func (i *inbox) put(conn net.Conn) error {
	select {
	case i.conns <- conn:
		return nil
	case <-i.done:
		return errClosed
	}
}

// Accept implements net.Listener.
func (i *inbox) Accept() (net.Conn, error) {
	select {
	case conn := <-i.conns:
		return conn, nil
	case <-i.done:
		return nil, net.ErrClosed
	}
}

func (i *inbox) close() { i.once.Do(func() { close(i.done) }) }

// Close implements net.Listener.
func (i *inbox) Close() error {
	i.close()
	return nil
}

// Addr implements net.Listener.
func (i *inbox) Addr() net.Addr { return inboxAddr{} }

type inboxAddr struct{}

func (inboxAddr) Network() string { return "member" }
func (inboxAddr) String() string  { return "member" }

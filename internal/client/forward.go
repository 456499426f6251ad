package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"sekisho"

	"sekisho/internal/wire/mux"
)

// Session documents for forwarded connections.
const (
	documentPort       = "AWS-StartPortForwardingSession"
	documentRemoteHost = "AWS-StartPortForwardingSessionToRemoteHost"
	documentReverse    = "Sekisho-StartReversePortForwardingSession"
)

// Forwarding is an address to listen on and a destination.
type Forwarding struct {
	Bind, Port     string // address to listen on; for -R, on the node
	Host, HostPort string // destination; for -L, reached from the node
}

// String returns the forwarding as the user writes it.
func (f Forwarding) String() string {
	s := net.JoinHostPort(f.Bind, f.Port)
	if f.Host != "" {
		s += ":" + net.JoinHostPort(f.Host, f.HostPort)
	}
	return s
}

// ParseForwarding parses [BIND:]PORT:HOST:HOSTPORT. IPv6 addresses are in
// brackets.
func ParseForwarding(s string) (Forwarding, error) {
	parts, err := splitColons(s)
	if err == nil && len(parts) == 3 {
		parts = append([]string{"localhost"}, parts...)
	}
	if err != nil || len(parts) != 4 || parts[2] == "" || !validPort(parts[1], true) || !validPort(parts[3], false) {
		return Forwarding{}, sekisho.Errorf(sekisho.CodeInvalid, "%q is not [BIND:]PORT:HOST:PORT.", Printable(s))
	}
	return Forwarding{anyAddress(parts[0]), parts[1], parts[2], parts[3]}, nil
}

// ParseDynamic parses [BIND:]PORT.
func ParseDynamic(s string) (Forwarding, error) {
	parts, err := splitColons(s)
	if err == nil && len(parts) == 1 {
		parts = append([]string{"localhost"}, parts...)
	}
	if err != nil || len(parts) != 2 || !validPort(parts[1], true) {
		return Forwarding{}, sekisho.Errorf(sekisho.CodeInvalid, "%q is not [BIND:]PORT.", Printable(s))
	}
	return Forwarding{Bind: anyAddress(parts[0]), Port: parts[1]}, nil
}

// anyAddress maps "*" to every address, as ssh does. An empty address means localhost, so that
// nobody listens on every address by accident.
func anyAddress(bind string) string {
	switch bind {
	case "*":
		return ""
	case "":
		return "localhost"
	}
	return bind
}

func splitColons(s string) ([]string, error) {
	var parts []string
	for {
		if rest, ok := strings.CutPrefix(s, "["); ok {
			address, after, ok := strings.Cut(rest, "]")
			if !ok || net.ParseIP(address) == nil {
				return nil, errors.New("brackets")
			}
			parts = append(parts, address)
			if after == "" {
				return parts, nil
			}
			if s, ok = strings.CutPrefix(after, ":"); !ok {
				return nil, errors.New("brackets")
			}
			continue
		}
		part, rest, more := strings.Cut(s, ":")
		parts = append(parts, part)
		if !more {
			return parts, nil
		}
		s = rest
	}
}

func validPort(s string, zero bool) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && (n > 0 || zero) && strconv.FormatUint(n, 10) == s
}

// ForwardInput says what to forward.
type ForwardInput struct {
	Target, Reason string
	// Document is the session document for connections to other hosts, with
	// the parameters host and portNumber. Empty means AWS's.
	Document string
	Local    []Forwarding // -L
	Remote   []Forwarding // -R
	Dynamic  []Forwarding // -D
}

// Forward forwards connections until ctx ends or something fails. Each
// destination has its own session, so that policies decide on it and the audit
// trail records it separately.
func (c *Client) Forward(ctx context.Context, in ForwardInput, on Callbacks) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	defer all.Wait()
	var tunnels []*tunnel
	defer func() { closeTunnels(ctx, tunnels) }()
	defer func() { cancel(nil) }()

	listen := func(f Forwarding) (net.Listener, error) {
		l, err := net.Listen("tcp", net.JoinHostPort(f.Bind, f.Port))
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		return l, nil
	}
	serve := func(l net.Listener, handle func(net.Conn)) {
		all.Go(func() {
			var conns sync.WaitGroup
			defer conns.Wait()
			for {
				conn, err := l.Accept()
				if err != nil {
					cancel(fmt.Errorf("listen: %w", err)) // the first cause counts
					return
				}
				conns.Go(func() {
					stop := context.AfterFunc(ctx, func() { mux.Abort(conn) })
					defer stop()
					handle(conn)
				})
			}
		})
	}

	// All listeners are opened before the first session starts.
	local := make([]net.Listener, len(in.Local))
	dynamic := make([]net.Listener, len(in.Dynamic))
	var err error
	for i, f := range in.Local {
		if local[i], err = listen(f); err != nil {
			return err
		}
	}
	for i, f := range in.Dynamic {
		if dynamic[i], err = listen(f); err != nil {
			return err
		}
	}
	for i, f := range in.Local {
		_, port, _ := net.SplitHostPort(local[i].Addr().String())
		t := c.tunnel(in, f.Host, f.HostPort, port, on)
		tunnels = append(tunnels, t)
		if err := t.ready(ctx); err != nil {
			return err
		}
		on.listening(fmt.Sprintf("%s for %s", local[i].Addr(), net.JoinHostPort(f.Host, f.HostPort)))
		serve(local[i], func(conn net.Conn) { t.carry(ctx, conn) })
	}
	for i := range in.Dynamic {
		s := &socks{c: c, in: in, on: on, tunnels: make(map[string]*tunnel)}
		defer s.close(ctx)
		on.listening(fmt.Sprintf("%s for SOCKS 5", dynamic[i].Addr()))
		serve(dynamic[i], func(conn net.Conn) { s.serve(ctx, conn) })
	}
	for _, f := range in.Remote {
		all.Go(func() {
			if err := c.reverse(ctx, in, f, on); err != nil {
				cancel(err)
			}
		})
	}
	<-ctx.Done()
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		return nil // Ctrl-C is the normal way to stop
	}
	return cause
}

// tunnel carries connections to one destination. It starts a session when it
// needs one.
type tunnel struct {
	c     *Client
	in    StartInput
	where string
	on    Callbacks

	ending sync.WaitGroup // waits for the goroutines that report ended sessions

	mu      sync.Mutex
	present *streams
	users   int
	closed  bool
}

func (c *Client) tunnel(in ForwardInput, host, port, localPort string, on Callbacks) *tunnel {
	t := &tunnel{c: c, where: net.JoinHostPort(host, port), on: on}
	t.in = StartInput{
		Target:       in.Target,
		Reason:       in.Reason,
		DocumentName: in.Document,
		Parameters:   map[string][]string{"portNumber": {port}},
	}
	if localPort != "" {
		t.in.Parameters["localPortNumber"] = []string{localPort}
	}
	switch {
	case in.Document != "":
		t.in.Parameters = map[string][]string{
			"portNumber": {port},
			"host":       {host},
		} // a custom document may not have localPortNumber
	case strings.EqualFold(host, "localhost"):
		t.in.DocumentName = documentPort
	default:
		t.in.DocumentName = documentRemoteHost
		t.in.Parameters["host"] = []string{host}
	}
	return t
}

// ready starts the session if there is none.
func (t *tunnel) ready(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.session(ctx)
	return err
}

// session returns the current session, or a new one. t.mu is held.
func (t *tunnel) session(ctx context.Context) (*streams, error) {
	if t.closed {
		return nil, net.ErrClosed
	}
	if s := t.present; s != nil {
		select {
		case <-s.over:
		default:
			return s, nil
		}
	}
	t.present = nil
	l, err := t.c.start(ctx, t.in, t.on.notice)
	if err != nil {
		return nil, err
	}
	l.attach(ctx)
	if err = l.greet(ctx); err == nil && (l.hello.kind != typePort || l.hello.Type != portForwarding) {
		err = sekisho.Errorf(
			sekisho.CodeInvalid,
			"The session document %s does not forward ports.",
			Printable(t.in.DocumentName),
		)
	}
	if err != nil {
		return nil, cmp.Or(l.end(ctx, err), err)
	}
	t.on.started(l.stream.SessionID, false)
	s := l.multiplex(ctx, func() { t.on.notice("The node could not connect to %s.", Printable(t.where)) })
	t.present = s
	t.ending.Go(func() {
		<-s.over
		if err := l.end(ctx, s.err); err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			t.on.notice("Forwarding to %s: %s", Printable(t.where), err)
		}
	})
	return s, nil
}

// open opens a connection to the destination.
func (t *tunnel) open(ctx context.Context) (mux.HalfCloser, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.session(ctx)
	if err != nil {
		return nil, err
	}
	far, err := s.mux.Open()
	if err != nil {
		return nil, err
	}
	t.users++
	return far, nil
}

// release reports that a connection from open has ended.
func (t *tunnel) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users--
}

// carry connects conn to the destination.
func (t *tunnel) carry(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	far, err := t.open(ctx)
	if err != nil {
		mux.Abort(conn)
		if ctx.Err() == nil {
			t.on.notice("A connection to %s could not be forwarded: %s", Printable(t.where), err)
		}
		return
	}
	defer t.release()
	stop := context.AfterFunc(ctx, func() { mux.Abort(far) })
	defer stop()
	if near, ok := conn.(mux.HalfCloser); ok {
		mux.Join(near, far)
	}
}

// close closes the tunnel and ends its session.
func (t *tunnel) close(ctx context.Context) {
	t.mu.Lock()
	t.closed = true
	s := t.present
	t.present = nil
	t.mu.Unlock()
	if s != nil {
		s.close(ctx)
	}
	t.ending.Wait()
}

func closeTunnels(ctx context.Context, all []*tunnel) {
	var wg sync.WaitGroup
	for _, t := range all {
		wg.Go(func() { t.close(ctx) })
	}
	wg.Wait()
}

// connectTimeout bounds connecting to the destination of -R.
const connectTimeout = 10 * time.Second

// reverse accepts connections on the node and connects them to a local destination.
func (c *Client) reverse(ctx context.Context, in ForwardInput, f Forwarding, on Callbacks) error {
	l, err := c.start(ctx, StartInput{
		Target: in.Target, Reason: in.Reason, DocumentName: documentReverse,
		Parameters: map[string][]string{"portNumber": {f.Port}, "bindAddress": {first(f.Bind, "::")}},
	}, on.notice)
	if err != nil {
		return err
	}
	l.attach(ctx)
	if err = l.greet(ctx); err == nil && !l.hello.offers(offerReverse) {
		err = sekisho.Errorf(
			sekisho.CodeInvalid,
			"The node's agent cannot listen for clients: -R needs Sekisho's agent.",
		)
	}
	if err != nil {
		return cmp.Or(l.end(ctx, err), err)
	}
	on.started(l.stream.SessionID, false)
	on.listening(
		fmt.Sprintf("%s on the node for %s", net.JoinHostPort(f.Bind, f.Port), net.JoinHostPort(f.Host, f.HostPort)),
	)
	s := l.multiplex(ctx, func() {})
	defer context.AfterFunc(ctx, func() { s.close(ctx) })()
	var conns sync.WaitGroup
	for {
		far, err := s.mux.Accept()
		if err != nil {
			break
		}
		conns.Go(func() {
			defer func() { _ = far.Close() }()
			near, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(
				ctx,
				"tcp",
				net.JoinHostPort(f.Host, f.HostPort),
			)
			if err != nil {
				mux.Abort(far)
				on.notice("A connection from the node could not be forwarded: %s", Printable(err.Error()))
				return
			}
			stop := context.AfterFunc(ctx, func() { mux.Abort(near); mux.Abort(far) })
			defer stop()
			if near, ok := near.(mux.HalfCloser); ok {
				mux.Join(near, far)
			}
		})
	}
	s.close(ctx)
	conns.Wait()
	return l.end(ctx, s.err)
}

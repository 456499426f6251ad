package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/mux"
)

// socksTimeout bounds the negotiation before a connection is forwarded.
const socksTimeout = 30 * time.Second

// maxDestinations is the number of sessions that one SOCKS port has at a time.
const maxDestinations = 64

// Replies of SOCKS 5 (RFC 1928).
const (
	socksGranted     = 0
	socksFailed      = 1
	socksNotAllowed  = 2
	socksUnreachable = 4
	socksNoCommand   = 7
	socksNoAddress   = 8
)

// socks is a SOCKS 5 server whose connections start at the node, with a session
// for each destination.
type socks struct {
	c  *Client
	in ForwardInput
	on Callbacks

	closing sync.WaitGroup // waits for tunnels closed to make room for others

	mu      sync.Mutex
	tunnels map[string]*tunnel
}

// close ends all tunnels.
func (s *socks) close(ctx context.Context) {
	closeTunnels(ctx, s.all())
	s.closing.Wait()
}

func (s *socks) all() []*tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*tunnel
	for _, t := range s.tunnels {
		all = append(all, t)
	}
	return all
}

// tunnel returns the tunnel to a destination. If there are too many, it closes one
// that is not in use.
func (s *socks) tunnel(ctx context.Context, host, port string) (*tunnel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	where := net.JoinHostPort(host, port)
	if t, ok := s.tunnels[where]; ok {
		return t, nil
	}
	if len(s.tunnels) >= maxDestinations {
		room := false
		for name, t := range s.tunnels {
			t.mu.Lock()
			unused := t.users == 0
			t.mu.Unlock()
			if unused {
				delete(s.tunnels, name)
				s.closing.Go(func() { t.close(ctx) })
				room = true
				break
			}
		}
		if !room {
			return nil, sekisho.Errorf(
				sekisho.CodeLimit,
				"too many destinations: a SOCKS port serves %d at a time",
				maxDestinations,
			)
		}
	}
	t := s.c.tunnel(s.in, host, port, "", s.on)
	s.tunnels[where] = t
	return t, nil
}

func (s *socks) serve(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(socksTimeout)) // a closed connection fails at the next read
	r := bufio.NewReaderSize(conn, 512)
	host, port, reply := readSOCKS(r, conn)
	var far mux.HalfCloser
	var t *tunnel
	if reply == socksGranted {
		var err error
		if t, err = s.tunnel(ctx, host, port); err == nil {
			far, err = t.open(ctx)
		}
		if err != nil {
			reply = socksReply(err)
			s.on.notice("SOCKS: cannot connect to %s: %s", Printable(net.JoinHostPort(host, port)), err)
		}
	}
	if reply < 0 {
		return // not SOCKS 5
	}
	_, err := conn.Write([]byte{5, byte(reply), 0, 1, 0, 0, 0, 0, 0, 0})
	if far == nil {
		return
	}
	defer t.release()
	defer func() { _ = far.Close() }()
	near, ok := conn.(mux.HalfCloser)
	if err != nil || !ok || conn.SetDeadline(time.Time{}) != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { mux.Abort(far) })
	defer stop()
	mux.Join(&buffered{near, r}, far)
}

// buffered is a connection with data that was read ahead.
type buffered struct {
	mux.HalfCloser
	r *bufio.Reader
}

// Read implements io.Reader.
func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// Reset breaks the connection.
func (b *buffered) Reset() error {
	mux.Abort(b.HalfCloser)
	return nil
}

func socksReply(err error) int {
	refused, ok := errors.AsType[*APIError](err)
	switch {
	case ok && refused.StatusCode/100 == 4:
		return socksNotAllowed
	case ok:
		return socksUnreachable
	}
	return socksFailed
}

// readSOCKS reads a request. A negative reply means that no reply is to be sent.
func readSOCKS(r io.Reader, w io.Writer) (host, port string, reply int) {
	var b [256]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil || b[0] != 5 {
		return "", "", -1
	}
	methods := b[2 : 2+int(min(b[1], 250))]
	if b[1] > 250 {
		return "", "", -1
	}
	if _, err := io.ReadFull(r, methods); err != nil {
		return "", "", -1
	}
	method := byte(0xff)
	for _, m := range methods {
		if m == 0 {
			method = 0 // no authentication: the port is on loopback unless the user chose another address
		}
	}
	if _, err := w.Write([]byte{5, method}); err != nil || method != 0 {
		return "", "", -1
	}
	if _, err := io.ReadFull(r, b[:4]); err != nil || b[0] != 5 {
		return "", "", -1
	}
	command, kind := b[1], b[3]
	var n int
	switch kind {
	case 1:
		n = net.IPv4len
	case 4:
		n = net.IPv6len
	case 3:
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return "", "", -1
		}
		n = int(b[0])
	default:
		return "", "", socksNoAddress
	}
	address := make([]byte, n+2)
	if _, err := io.ReadFull(r, address); err != nil {
		return "", "", -1
	}
	if command != 1 {
		return "", "", socksNoCommand
	}
	if kind == 3 {
		host = string(address[:n])
	} else {
		host = net.IP(address[:n]).String()
	}
	number := binary.BigEndian.Uint16(address[n:])
	if host == "" || number == 0 {
		return "", "", socksNoAddress
	}
	return host, strconv.Itoa(int(number)), socksGranted
}

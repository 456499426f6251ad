// Package proxyproto reads the source addresses of connections from load balancers: the PROXY
// protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt).
//
// A [Listener] requires the header from the configured balancers. It reads no header from any other
// peer, so that nobody can forge an address.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sekisho/internal/wire/httplimit"
)

const (
	// maxLine is the longest header of version 1, its end included.
	maxLine = 107
	// maxBinary bounds the variable part of a version 2 header. The protocol allows 64 KiB;
	// balancers send a few hundred bytes.
	maxBinary = 4096

	headTimeout = 10 * time.Second
)

var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// ErrHeader is wrapped by the errors of all refused headers.
var ErrHeader = errors.New("PROXY protocol")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrHeader, fmt.Sprintf(format, args...))
}

// ReadHeader reads one header from r, and not a byte more, and returns the source address of the
// connection. The address is invalid if the connection is the balancer's own (health checks: LOCAL,
// UNKNOWN).
func ReadHeader(r io.Reader) (netip.AddrPort, error) {
	head := make([]byte, 16, maxLine)
	// The shortest header of either version has 15 bytes: "PROXY UNKNOWN\r\n".
	if _, err := io.ReadFull(r, head[:15]); err != nil {
		return netip.AddrPort{}, bad("the connection ended before its header: %v", err)
	}
	if bytes.Equal(head[:12], signature) {
		if _, err := io.ReadFull(r, head[15:16]); err != nil {
			return netip.AddrPort{}, bad("the connection ended within its header")
		}
		return readBinary(r, head)
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return netip.AddrPort{}, bad("the connection does not begin with a header")
	}
	line := head[:15]
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxLine {
			return netip.AddrPort{}, bad("the line is too long")
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return netip.AddrPort{}, bad("the connection ended within its header")
		}
	}
	return parseLine(string(line[:len(line)-2]))
}

func parseLine(line string) (netip.AddrPort, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.AddrPort{}, bad("the line is malformed")
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		a, err := netip.ParseAddr(f[2+i])
		if err != nil || a.Zone() != "" || a.Is4() != (f[1] == "TCP4") {
			return netip.AddrPort{}, bad("an address is malformed")
		}
		port, err := strconv.ParseUint(f[4+i], 10, 16)
		if err != nil || strconv.FormatUint(port, 10) != f[4+i] {
			return netip.AddrPort{}, bad("a port is malformed")
		}
		ends[i] = netip.AddrPortFrom(a, uint16(port))
	}
	return ends[0], nil
}

// readBinary reads a header of version 2, whose fixed part is head.
func readBinary(r io.Reader, head []byte) (netip.AddrPort, error) {
	n := int(binary.BigEndian.Uint16(head[14:16]))
	if n > maxBinary {
		return netip.AddrPort{}, bad("%d bytes of header are more than the %d accepted", n, maxBinary)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.AddrPort{}, bad("the connection ended within its header")
	}
	const (
		local, proxy = 0x20, 0x21
		tcp4, tcp6   = 0x11, 0x21
	)
	switch {
	case head[12] == local:
		return netip.AddrPort{}, nil
	case head[12] != proxy:
		return netip.AddrPort{}, bad("version or command %#x is not known", head[12])
	case head[13] == tcp4 && n >= 12:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[:4])), binary.BigEndian.Uint16(body[8:])), nil
	case head[13] == tcp6 && n >= 36:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[:16])), binary.BigEndian.Uint16(body[32:])), nil
	}
	// Another family, or none: the source is unknown, and must not be taken for the balancer.
	return netip.AddrPort{}, bad("the address family %#x is not TCP", head[13])
}

// Listener is a listener behind load balancers.
type Listener struct {
	net.Listener
	// Balancers are the networks whose connections begin with a header.
	Balancers []netip.Prefix
}

// Accept implements net.Listener. It does not wait for the header: the first Read or RemoteAddr
// does.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from := httplimit.AddressOf(c.RemoteAddr().String()) // the zero address is not in any network
	if !slices.ContainsFunc(l.Balancers, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return c, nil
	}
	return &conn{Conn: c}, nil
}

// conn is a connection from a balancer.
type conn struct {
	net.Conn
	once sync.Once
	from net.Addr
	err  error
}

func (c *conn) head() {
	c.once.Do(func() {
		c.from = c.Conn.RemoteAddr()
		if c.err = c.SetReadDeadline(time.Now().Add(headTimeout)); c.err != nil {
			return
		}
		ap, err := ReadHeader(c.Conn)
		if err != nil {
			// The source is unknown, and must not be taken for the balancer.
			c.err, c.from = err, &net.TCPAddr{}
			return
		}
		if ap.IsValid() {
			c.from = net.TCPAddrFromAddrPort(ap)
		}
		c.err = c.SetReadDeadline(time.Time{})
	})
}

// NetConn returns the connection to the balancer.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if c.head(); c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

// RemoteAddr implements net.Conn. It returns the address in the header.
func (c *conn) RemoteAddr() net.Addr {
	c.head()
	return c.from
}

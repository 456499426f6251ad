package imds

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
)

// local is a listener that accepts a bounded number of connections, only from programs on this
// machine.
type local struct {
	net.Listener
	free    chan struct{}
	allowed Allowed
	log     *slog.Logger
}

func newLocal(l net.Listener, most int, allowed Allowed, log *slog.Logger) *local {
	return &local{l, make(chan struct{}, most), allowed, log}
}

// Accept waits for the next connection of an allowed local program, and closes others.
func (l *local) Accept() (net.Conn, error) {
	for {
		l.free <- struct{}{}
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.free
			return nil, err
		}
		uid, err := owner(c)
		if err == nil {
			err = l.allowed.check(uid)
		}
		if err == nil {
			l.log.Debug("metadata connection", "uid", uid)
			return &counted{Conn: c, release: sync.OnceFunc(func() { <-l.free })}, nil
		}
		l.log.Warn("metadata connection refused", "from", c.RemoteAddr().String(), "error", err)
		_ = c.Close() // refused; nothing depends on the result
		<-l.free
	}
}

type counted struct {
	net.Conn
	release func()
}

func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// owner returns the UID of the program at the other end of c. The kernel lists the
// sockets of local programs. A connection from another machine, which is possible
// on 169.254.169.254, is not among them.
func owner(c net.Conn) (uid int, err error) {
	here, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return 0, err
	}
	there, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return 0, err
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // the kernel may lack IPv6
		}
		uid, found := find(f, there, here)
		_ = f.Close() // it was only read
		if found {
			return uid, nil
		}
	}
	return 0, fmt.Errorf("%s is not a socket of this machine", there)
}

// find searches a table in the format of /proc/net/tcp for the socket with these
// addresses.
func find(table io.Reader, local, remote netip.AddrPort) (uid int, found bool) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 {
			continue
		}
		if a, ok := parseEnd(f[1]); !ok || a != local {
			continue
		}
		if a, ok := parseEnd(f[2]); !ok || a != remote {
			continue
		}
		if uid, err := strconv.Atoi(f[7]); err == nil {
			return uid, true
		}
	}
	return 0, false
}

// parseEnd parses an address as the kernel writes it: 32-bit words in native byte
// order, in hexadecimal, and the port.
func parseEnd(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	words, err := hex.DecodeString(host)
	if !ok || err != nil || len(words) != 4 && len(words) != 16 {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	a, ok := netip.AddrFromSlice(words)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), ok
}

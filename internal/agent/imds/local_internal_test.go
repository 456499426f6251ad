package imds

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// Lines of /proc/net/tcp on a little-endian machine. The test parses its
// expected addresses with the same code, so that it also passes on other
// machines.
const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   2: broken
   3: 0100007F:D432 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  x        0 2 1
   4: 0000000000000000FFFF00000100007F:D433 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1
`

func TestFindOwner(t *testing.T) {
	t.Parallel()
	here, ok := parseEnd("0100007F:1F90")
	if !ok {
		t.Fatal("a valid address was refused")
	}
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(here.Addr(), port) }
	for port, want := range map[uint16]int{0xD431: 1000, 0xD432: -1, 0xD433: 1001, 0xD434: -1, 0x1F90: -1} {
		uid, found := find(strings.NewReader(table), at(port), here)
		if !found {
			uid = -1
		}
		if uid != want {
			t.Errorf("port %x: %d, not %d", port, uid, want)
		}
	}
	for _, bad := range []string{"", "x", "0100007F", "0100007F:", "01:1", "0100007F:12345", "zz00007F:0001"} {
		if a, ok := parseEnd(bad); ok {
			t.Errorf("%q became %s", bad, a)
		}
	}
}

func TestOwnerOfARealConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if uid, err := owner(s); err != nil || uid != os.Getuid() {
		t.Errorf("%d, %v; want %d", uid, err, os.Getuid())
	}
	// The same connection from an address that this machine does not have.
	if uid, err := owner(elsewhere{s}); err == nil {
		t.Errorf("a remote connection was attributed to UID %d", uid)
	}
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4242} }

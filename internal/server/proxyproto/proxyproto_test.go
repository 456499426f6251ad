package proxyproto_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sekisho/internal/server/proxyproto"
)

// v2 is a header of version 2.
func v2(command, family byte, body ...byte) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(append(b, body...))
}

var (
	four = []byte{203, 0, 113, 9, 192, 0, 2, 1, 0xdd, 0xd5, 0x01, 0xbb}
	six  = append(
		append(netip.MustParseAddr("2001:db8::9").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...),
		0xdd,
		0xd5,
		0x01,
		0xbb,
	)
	tlv = []byte{0x03, 0x00, 0x04, 1, 2, 3, 4}
)

func TestHeader(t *testing.T) {
	t.Parallel()
	const rest = "\x16\x03\x01 what follows"
	for name, c := range map[string]struct{ in, want string }{
		"line, IPv4": {"PROXY TCP4 203.0.113.9 192.0.2.1 56789 443\r\n", "203.0.113.9:56789"},
		"line, IPv6": {"PROXY TCP6 2001:db8::9 2001:db8::1 56789 443\r\n", "[2001:db8::9]:56789"},
		"line, longest": {
			"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		"line, unknown protocol":          {"PROXY UNKNOWN\r\n", ""},
		"line, unknown protocol and more": {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""},
		"binary, IPv4":                    {v2(0x21, 0x11, four...), "203.0.113.9:56789"},
		"binary, IPv6":                    {v2(0x21, 0x21, six...), "[2001:db8::9]:56789"},
		"binary, with fields":             {v2(0x21, 0x11, append(bytes.Clone(four), tlv...)...), "203.0.113.9:56789"},
		"binary, local":                   {v2(0x20, 0x00), ""},
	} {
		r := strings.NewReader(c.in + rest)
		ap, err := proxyproto.ReadHeader(r)
		got := ""
		if ap.IsValid() {
			got = ap.String()
		}
		left, _ := io.ReadAll(r)
		if err != nil || got != c.want || string(left) != rest {
			t.Errorf("%s: %q, %v, leaves %q", name, got, err, left)
		}
	}
	for name, in := range map[string]string{
		"nothing":             "",
		"TLS":                 "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh",
		"HTTP":                "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"line without end":    "PROXY TCP4 203.0.113.9 192.0.2.1 56789 443",
		"line too long":       "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n",
		"bad address":         "PROXY TCP4 203.0.113.999 192.0.2.1 56789 443\r\n",
		"IPv6 as TCP4":        "PROXY TCP4 2001:db8::9 2001:db8::1 56789 443\r\n",
		"address with a zone": "PROXY TCP6 fe80::1%eth0 2001:db8::1 56789 443\r\n",
		"bad port":            "PROXY TCP4 203.0.113.9 192.0.2.1 65536 443\r\n",
		"port with a sign":    "PROXY TCP4 203.0.113.9 192.0.2.1 +1 443\r\n",
		"fields missing":      "PROXY TCP4 203.0.113.9 192.0.2.1\r\n",
		"two spaces":          "PROXY  TCP4 203.0.113.9 192.0.2.1 1 2\r\n",
		"UDP":                 "PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n",
		"binary, version 3":   v2(0x31, 0x11, four...),
		"binary, command 2":   v2(0x22, 0x11, four...),
		"binary, short":       v2(0x21, 0x11, four[:11]...),
		"binary, IPv6 short":  v2(0x21, 0x21, six[:35]...),
		"binary, UDP":         v2(0x21, 0x12, four...),
		"binary, no family":   v2(0x21, 0x00),
		"binary, cut off":     v2(0x21, 0x11, four...)[:20],
		"binary, large":       v2(0x21, 0x11, make([]byte, 5000)...),
	} {
		if ap, err := proxyproto.ReadHeader(strings.NewReader(in)); !errors.Is(err, proxyproto.ErrHeader) {
			t.Errorf("%s: %v, %v", name, ap, err)
		}
	}
}

// TestListener: an HTTP server sees the address in the header of a balancer.
// Other clients cannot set it.
func TestListener(t *testing.T) {
	t.Parallel()
	serve := func(balancers ...netip.Prefix) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.RemoteAddr) // reported by the client
		})}
		go srv.Serve(&proxyproto.Listener{Listener: l, Balancers: balancers}) // ends with Close
		t.Cleanup(func() { srv.Close() })
		return l.Addr().String()
	}
	ask := func(addr, header string) string {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, header+"GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(c)
		_, body, _ := strings.Cut(string(b), "\r\n\r\n")
		return body
	}
	const line = "PROXY TCP4 203.0.113.9 192.0.2.1 56789 443\r\n"
	behind := serve(netip.MustParsePrefix("127.0.0.0/8"))
	if got := ask(behind, line); got != "203.0.113.9:56789" {
		t.Errorf("behind a balancer: %q", got)
	}
	if got := ask(behind, v2(0x20, 0)); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("a health check: %q", got)
	}
	if got := ask(behind, ""); strings.Contains(got, ".") {
		t.Errorf("a balancer that says nothing was answered: %q", got)
	}
	open := serve(netip.MustParsePrefix("192.0.2.0/24"))
	if got := ask(open, ""); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("not behind a balancer: %q", got)
	}
	if got := ask(open, line); strings.Contains(got, "203.0.113.9") {
		t.Errorf("a forged address was accepted: %q", got)
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.9 192.0.2.1 56789 443\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2(0x21, 0x11, four...)))
	f.Add([]byte(v2(0x21, 0x21, six...)))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		ap, err := proxyproto.ReadHeader(r)
		read := len(in) - r.Len()
		if read > 16+4096 {
			t.Errorf("%d bytes were read", read)
		}
		if err != nil && ap.IsValid() {
			t.Error("an address with an error")
		}
		if err == nil && read < 15 {
			t.Errorf("a header of %d bytes", read)
		}
	})
}

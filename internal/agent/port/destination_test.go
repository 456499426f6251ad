package port_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/agent/port"
)

// denied reports whether a destination is refused permanently.
func denied(t *testing.T, d port.Destination) bool {
	t.Helper()
	err := d.Check(t.Context())
	if err != nil && sekisho.CodeOf(err) != sekisho.CodeDenied {
		t.Errorf("%s: %v", d.Host, err)
	}
	return err != nil
}

func TestDeniedHosts(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"169.254.169.254": true, "169.254.0.1": true, "[::ffff:169.254.169.254]": true, "::ffff:a9fe:a9fe": true,
		"64:ff9b::a9fe:a9fe": true, "::169.254.169.254": true,
		"fe80::1": true, "fe80::1%eth0": true, "fd00:ec2::254": true, "fd00:ec2::23": true,
		"224.0.0.1": true, "255.255.255.255": true, "ff02::1": true, "0.0.0.0": true, "0.1.2.3": true, "::": true,
		"100.100.100.200": true, "168.63.129.16": true, "192.0.0.192": true,
		"127.0.0.1": false, "127.1.2.3": false, "::1": false, "::ffff:127.0.0.1": false, "localhost": false,
		"LOCALHOST.": false,
		"10.0.0.1":   false, "192.168.1.1": false, "8.8.8.8": false, "2001:db8::1": false, "fd00::1": false,
		"100.100.100.201":  false,
		"64:ff9b::808:808": false, "64:ff9b:1::a9fe:a9fe": true, "2002:a9fe:a9fe::1": true, "fd20:ce::254": true,
		"fd00:c1::a9fe:a9fe": true,
	} {
		if got := denied(t, port.Destination{Host: host, Port: 80}); got != want {
			t.Errorf("%s: denied %v", host, got)
		}
	}
	resolves := func(to ...string) func(context.Context, string) ([]netip.Addr, error) {
		var all []netip.Addr
		for _, a := range to {
			all = append(all, netip.MustParseAddr(a))
		}
		return func(context.Context, string) ([]netip.Addr, error) { return all, nil }
	}
	for _, tt := range []struct {
		host string
		to   []string
		want bool
	}{
		{"metadata.example", []string{"169.254.169.254"}, true},
		{"mine.example", []string{"127.0.0.1"}, true}, // an unknown name for a loopback service
		{"mine.example", []string{"::1", "::ffff:127.0.0.1"}, true},
		{name, []string{"127.0.1.1"}, false},
		{"good.example", []string{"10.1.2.3"}, false},
		{"mixed.example", []string{"169.254.169.254", "10.1.2.3"}, false}, // the good address is used
	} {
		if got := denied(t, port.Destination{Host: tt.host, Port: 80, Lookup: resolves(tt.to...)}); got != tt.want {
			t.Errorf("%s at %v: denied %v", tt.host, tt.to, got)
		}
	}
	nowhere := port.Destination{Host: "later.example", Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}}
	if err := nowhere.Check(t.Context()); err != nil {
		t.Errorf("a name that does not resolve yet was refused: %v", err)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	rules := port.Rules{
		Deny:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.7.0/24")},
	}
	for host, want := range map[string]bool{
		"10.2.0.1": true, "::ffff:10.2.0.1": true, "2001:db8::5": true, "10.1.2.3": false, "::ffff:10.1.2.3": false,
		"169.254.7.9": false, "169.254.169.254": true, "192.168.0.1": false,
	} {
		if got := denied(t, port.Destination{Host: host, Port: 80, Rules: rules}); got != want {
			t.Errorf("%s: denied %v", host, got)
		}
	}
}

// TestResponder: no form of its address reaches the agent's own metadata
// service, whatever the rules allow. Other ports stay reachable.
func TestResponder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host string
		at   string
		port uint16
		want bool
	}{
		{"127.0.0.1", "127.0.0.1:8169", 8169, true},
		{"::ffff:127.0.0.1", "127.0.0.1:8169", 8169, true},
		{"127.0.0.1", "127.0.0.1:8169", 8170, false},
		{"169.254.169.254", "169.254.169.254:80", 80, true},
		{"169.254.169.254", "169.254.169.254:80", 81, false},
		{"10.0.0.1", "127.0.0.1:8169", 8169, false},
	} {
		rules := port.Rules{
			Allow:     []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16")},
			Responder: netip.MustParseAddrPort(tt.at),
		}
		if got := denied(t, port.Destination{Host: tt.host, Port: tt.port, Rules: rules}); got != tt.want {
			t.Errorf("%s port %d with the responder at %s: denied %v, want %v", tt.host, tt.port, tt.at, got, tt.want)
		}
	}
	// A session whose document names no host means this machine.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	at := netip.MustParseAddrPort(l.Addr().String())
	d := port.Destination{Port: at.Port(), Rules: port.Rules{Responder: at}}
	if conn, err := d.Dial(t.Context()); err == nil {
		_ = conn.Close()
		t.Error("a session without a host reached the responder")
	}
	d.Rules = port.Rules{}
	conn, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// TestRebinding: a name that resolves differently when it is dialled is
// checked again, and the checked address is dialled.
func TestRebinding(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, number, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	d := port.Destination{
		Host: "rebind.example", Port: uint16(n),
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			if asked++; asked == 1 {
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	}
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial(t.Context())
	if err == nil {
		_ = conn.Close()
	}
	if sekisho.CodeOf(err) != sekisho.CodeDenied || asked != 2 {
		t.Errorf("%d look-ups, error %v; want a denial after 2", asked, err)
	}
	d.Rules.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if conn, err = d.Dial(t.Context()); err != nil || asked != 3 {
		t.Fatalf("after %d look-ups: %v", asked, err)
	}
	_ = conn.Close()
}

func TestUnresolved(t *testing.T) {
	t.Parallel()
	boom := errors.New("no such host")
	d := port.Destination{
		Host:   "x.example",
		Port:   80,
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, boom },
	}
	if _, err := d.Dial(t.Context()); !errors.Is(err, boom) || !strings.Contains(err.Error(), `"x.example"`) {
		t.Errorf("got %v", err)
	}
}

// FuzzHost: a link-local address is denied in every notation.
func FuzzHost(f *testing.F) {
	f.Add("169.254.169.254")
	f.Add("::ffff:169.254.169.254")
	f.Add("[fe80::1%25eth0]")
	f.Add("0xa9fea9fe")
	f.Fuzz(func(t *testing.T, host string) {
		d := port.Destination{Host: host, Port: 80, Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("169.254.169.254")}, nil
		}}
		a, err := netip.ParseAddr(strings.Trim(host, "[]"))
		link := err != nil || a.Unmap().IsLinkLocalUnicast() || a.IsUnspecified() || a.Unmap().IsMulticast()
		if host != "" && link && d.Check(t.Context()) == nil {
			t.Errorf("%q is allowed", host)
		}
	})
}

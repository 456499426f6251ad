package netguard_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"sekisho/internal/netguard"
)

func TestNever(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"169.254.169.254": true, "169.254.170.2": true, "0.0.0.0": true, "0.1.2.3": true, "224.0.0.1": true,
		"255.255.255.255": true,
		"100.100.100.200": true, "168.63.129.16": true, "192.0.0.192": true, "192.88.99.1": true,
		"::": true, "fe80::1": true, "fe80::a9fe:a9fe%eth0": true, "fec0::1": true, "ff02::1": true,
		"fd00:ec2::254": true, "fd20:ce::254": true, "fd00:c1::a9fe:a9fe": true, "fd00:42::42": true,
		"fd00:a9fe:a9fe::1":      true,
		"::ffff:169.254.169.254": true, "::169.254.169.254": true, "::ffff:0:169.254.169.254": true,
		"64:ff9b::169.254.169.254": true, "64:ff9b:1::a9fe:a9fe": true, "64:ff9b:1:fffe:a9:fe00:a9fe:1": true,
		"2002:a9fe:a9fe::1": true, "2002:6464:64c8::": true, "2001:0:1::1": true,
		"fd00::5efe:169.254.169.254": true, "2001:db8::200:5efe:169.254.169.254": true,

		"8.8.8.8": false, "10.0.0.1": false, "127.0.0.1": false, "::1": false, "2600::1": false, "fd00::1": false,
		"64:ff9b::8.8.8.8": false, "2002:808:808::1": false, "100.100.100.201": false, "fd00::5efe:8.8.8.8": false,
	} {
		if got := netguard.Never(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"10.0.0.1": true, "172.31.255.255": true, "192.168.1.1": true, "127.0.0.1": true, "100.64.0.1": true, "::1": true,
		"fd12::1":           true,
		"64:ff9b::10.0.0.1": true, "2002:a00:1::": true, "::ffff:127.0.0.1": true, "::10.0.0.1": true,
		"8.8.8.8": false, "2600::1": false, "64:ff9b::8.8.8.8": false, "172.32.0.1": false,
	} {
		if got := netguard.Private(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestCoversNever(t *testing.T) {
	t.Parallel()
	for network, want := range map[string]bool{
		"169.254.169.254/32": true, "169.254.0.0/16": true, "fd00:ec2::254/128": true, "64:ff9b:1::/48": true,
		"10.0.0.0/8": false, "0.0.0.0/0": false, "::/0": false,
	} {
		if got := netguard.CoversNever(netip.MustParsePrefix(network)); got != want {
			t.Errorf("%s: %v", network, got)
		}
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	d := &net.Dialer{Control: netguard.Control}
	c, err := d.DialContext(t.Context(), "tcp", "[64:ff9b:1::a9fe:a9fe]:80")
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, netguard.ErrDenied) {
		t.Errorf("got %v", err)
	}
}

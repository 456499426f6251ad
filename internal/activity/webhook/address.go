package webhook

import (
	"fmt"
	"net/netip"
)

// forbidden is an address that events are not sent to.
type forbidden struct{ why string }

func (f *forbidden) Error() string { return f.why }

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// never are addresses that no configuration opens: those of a machine's own
// metadata, of the link, and of nobody.
func never() []netip.Prefix {
	return prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", // the last with broadcast
		"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", // metadata of clouds
		"::/128", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::/32",
		"2001::/32", // Teredo: who knows where it ends
	)
}

// private are addresses that must be allowed.
func private() []netip.Prefix {
	return prefixes(
		"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15",
		"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
		"::1/128", "fc00::/7", "2001:db8::/32", "100::/64", "5f00::/16", "64:ff9b:1::/48",
	)
}

// reached is the IPv4 address that an IPv6 one stands for, and else a itself.
func reached(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() || a.IsLoopback() || a.IsUnspecified() {
		return a
	}
	b := a.As16()
	for prefix, at := range map[string]int{
		"64:ff9b::/96": 12, // NAT64
		"::/96":        12, // IPv4-compatible
		"2002::/16":    2,  // 6to4
	} {
		if netip.MustParsePrefix(prefix).Contains(a) {
			return netip.AddrFrom4([4]byte(b[at : at+4]))
		}
	}
	return a
}

// CheckAllowed refuses a network that cannot be allowed.
func CheckAllowed(network netip.Prefix) error {
	for _, p := range never() {
		if p.Bits() <= network.Bits() && p.Contains(network.Addr()) {
			return fmt.Errorf("%s cannot be allowed: events are never sent to link-local and metadata addresses", network)
		}
	}
	return nil
}

// CheckAddress refuses the addresses that only somebody who means harm would
// have a server connect to, and private ones that are not allowed.
func CheckAddress(a netip.Addr, allow []netip.Prefix) error {
	at := reached(a)
	for _, p := range never() {
		if p.Contains(at) {
			return &forbidden{fmt.Sprintf("%s is an address of this machine's own network (link-local, metadata or none): events are never sent there", a)}
		}
	}
	for _, p := range allow {
		if p.Contains(at) {
			return nil
		}
	}
	for _, p := range private() {
		if p.Contains(at) {
			return &forbidden{fmt.Sprintf("%s is a private address: name its network in allow_networks to send events there", a)}
		}
	}
	return nil
}

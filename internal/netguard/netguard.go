// Package netguard lists the addresses that Sekisho never connects to at somebody else's request.
// Forwarded ports, webhooks, identity providers and downloads all use it.
//
// An address is checked by where packets to it arrive: an IPv6 address that embeds an IPv4 address
// is checked as both.
package netguard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// never are metadata services, which issue credentials, and addresses that do not identify a single
// machine.
var never = prefixes(
	"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", // the last includes broadcast
	"100.100.100.200/32", // Alibaba Cloud's metadata
	"168.63.129.16/32",   // Azure's
	"192.0.0.192/32",     // Oracle Cloud's
	"192.88.99.0/24",     // 6to4 relays
	"::/128", "fe80::/10", "fec0::/10", "ff00::/8",
	"fd00:ec2::/32",       // AWS's metadata and its neighbours
	"fd20:ce::/32",        // Google Cloud's
	"fd00:c1::/32",        // Oracle Cloud's
	"fd00:42::/32",        // Scaleway's
	"fd00:a9fe:a9fe::/48", // Akamai's
	"fd00:0:a9fe:a9fe::/64",
	"64:ff9b:1::/48", // NAT64 with a local prefix: the position of the IPv4 address depends on the network
	"2001::/32",      // Teredo: the address of the other end is obfuscated
)

// private are networks that are unreachable from the Internet.
var private = prefixes(
	"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15",
	"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
	"::1/128", "fc00::/7", "2001:db8::/32", "100::/64", "5f00::/16",
)

// carriers are IPv6 networks whose addresses embed an IPv4 address, with its offset.
var carriers = []struct {
	network netip.Prefix
	at      int
}{
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated (SIIT)
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4
}

// Reached returns the address that packets to a reach: the IPv4 address that an IPv6 address
// embeds, otherwise a itself without its zone.
func Reached(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() || a.IsLoopback() || a.IsUnspecified() {
		return a
	}
	b := a.As16()
	for _, c := range carriers {
		if c.network.Contains(a) {
			return netip.AddrFrom4([4]byte(b[c.at : c.at+4]))
		}
	}
	// ISATAP: the interface identifier is 0:5efe or 200:5efe and the address.
	if b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// Never reports whether connections to a are never allowed.
func Never(a netip.Addr) bool { return in(never, a) }

// Private reports whether a is in a private network.
func Private(a netip.Addr) bool { return in(private, a) }

// CoversNever reports whether connections to all addresses in network are never allowed.
func CoversNever(network netip.Prefix) bool {
	return slices.ContainsFunc(never, func(p netip.Prefix) bool {
		return p.Bits() <= network.Bits() && p.Contains(network.Addr())
	})
}

func in(all []netip.Prefix, a netip.Addr) bool {
	plain, reached := a.Unmap().WithZone(""), Reached(a)
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(plain) || p.Contains(reached) })
}

// ErrDenied is wrapped by the error of a connection to a forbidden address.
var ErrDenied = errors.New("denied: it is a link-local, metadata or reserved address")

// Control is for net.Dialer: it refuses forbidden addresses when connecting, after names are
// resolved.
func Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &net.AddrError{Err: "not an address", Addr: address}
	}
	if Never(ap.Addr()) {
		return fmt.Errorf("connections to %s are %w", ap.Addr(), ErrDenied)
	}
	return nil
}

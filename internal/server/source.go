package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceIP returns the function that finds where a request came from: the TCP
// peer, unless that is a trusted proxy. Then it is the last address in
// X-Forwarded-For that is no trusted proxy: whatever stands before it may be
// the client's own invention.
func sourceIP(trusted []netip.Prefix) func(r *http.Request) netip.Addr {
	isProxy := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return func(r *http.Request) netip.Addr {
		ap, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return netip.Addr{}
		}
		at := ap.Addr().Unmap().WithZone("")
		if !isProxy(at) {
			return at
		}
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				return at // the proxy passed on nonsense: believe no more than it
			}
			at = a.Unmap().WithZone("")
			if !isProxy(at) {
				return at
			}
		}
		return at
	}
}

package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"sekisho/internal/wire/httplimit"
)

// sourceIP returns a function that determines the source address of a request: the TCP peer or, if
// that is a trusted proxy, the last address in X-Forwarded-For that is not a trusted proxy. The
// client can forge any address before it.
func sourceIP(trusted []netip.Prefix) func(r *http.Request) netip.Addr {
	isProxy := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return func(r *http.Request) netip.Addr {
		at := httplimit.Peer(r)
		if !isProxy(at) {
			return at
		}
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				return at // the proxy passed on a malformed header: use the last valid address
			}
			at = a.Unmap().WithZone("")
			if !isProxy(at) {
				return at
			}
		}
		return at
	}
}

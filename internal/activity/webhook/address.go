package webhook

import (
	"fmt"
	"net/netip"
	"slices"

	"sekisho/internal/netguard"
)

// forbidden is an address that events are not sent to.
type forbidden struct{ why string }

func (f *forbidden) Error() string { return f.why }

// CheckAllowed refuses a network that cannot be allowed.
func CheckAllowed(network netip.Prefix) error {
	if netguard.CoversNever(network) {
		return fmt.Errorf("%s cannot be allowed: events are never sent to link-local and metadata addresses", network)
	}
	return nil
}

// CheckAddress refuses addresses that are never connected to, and private ones that are not
// allowed.
func CheckAddress(a netip.Addr, allow []netip.Prefix) error {
	if netguard.Never(a) {
		return &forbidden{
			fmt.Sprintf("%s is a link-local, metadata or reserved address: events are never sent there", a),
		}
	}
	at := netguard.Reached(a)
	if netguard.Private(a) && !slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(at) }) {
		return &forbidden{
			fmt.Sprintf("%s is a private address: name its network in allow_networks to send events there", a),
		}
	}
	return nil
}

package port

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/netguard"
)

// Rules decide which addresses forwarded connections can reach. The zero value denies only
// link-local and metadata addresses; see docs/sessions.md.
type Rules struct {
	// Deny are additional denied addresses.
	Deny []netip.Prefix
	// Allow overrides both.
	Allow []netip.Prefix
	// Responder is the address of this agent's metadata service. Connections to it are always
	// denied, even as localhost or by an address in Allow: the service identifies callers by UID,
	// and would mistake the client for the agent.
	Responder netip.AddrPort
}

// denied reports whether an address must not be reached under the name host.
func (r *Rules) denied(a netip.Addr, host string) bool {
	a, real := a.Unmap().WithZone(""), netguard.Reached(a)
	in := func(all []netip.Prefix) bool {
		for _, p := range all {
			if p.Contains(real) || p.Contains(a) {
				return true
			}
		}
		return false
	}
	if in(r.Allow) {
		return false
	}
	// A foreign name that resolves to loopback must not reach services that listen only on
	// loopback.
	return netguard.Never(a) || in(r.Deny) || real.IsLoopback() && !own(host)
}

// responder reports whether this agent's metadata service listens on the address and port.
func (r *Rules) responder(a netip.Addr, port uint16) bool {
	return r.Responder.IsValid() && netip.AddrPortFrom(netguard.Reached(a), port) == r.Responder
}

// own reports whether host names this machine.
func own(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return netguard.Reached(a).IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	name, _ := os.Hostname() // without a name, nothing matches
	return host == "localhost" || name != "" && host == strings.ToLower(name)
}

// Destination is the destination of a session's connections.
type Destination struct {
	Host   string // empty: this machine
	Port   uint16
	Socket string // path of a Unix socket, instead of the two above
	Rules  Rules
	// DialSocket connects to a Unix socket as the session's user.
	DialSocket func(ctx context.Context, path string) (net.Conn, error)
	// Lookup resolves names; nil means the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// dialTimeout bounds one connection attempt to one address.
const dialTimeout = 10 * time.Second

// String describes the destination for people.
func (d *Destination) String() string {
	if d.Socket != "" {
		return d.Socket
	}
	host := d.Host
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, strconv.Itoa(int(d.Port)))
}

// addresses returns the addresses that the rules allow. An error of type
// [sekisho.Error] is a refusal.
func (d *Destination) addresses(ctx context.Context) ([]netip.Addr, error) {
	host := strings.Trim(d.Host, "[]")
	all := []netip.Addr{}
	if host == "" {
		host = "localhost"
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
	} else if a, err := netip.ParseAddr(host); err == nil {
		all = append(all, a)
	} else {
		lookup := d.Lookup
		if lookup == nil {
			lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
				return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			}
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if all, err = lookup(ctx, host); err != nil {
			return nil, fmt.Errorf("resolve %.253q: %w", host, err)
		}
	}
	var good []netip.Addr
	for _, a := range all {
		if !d.Rules.denied(a, host) && !d.Rules.responder(a, d.Port) {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		what := ""
		if len(all) > 0 && all[0].String() != host {
			what = " (" + all[0].String() + ")"
		}
		return nil, sekisho.Errorf(sekisho.CodeDenied, "Connections from this node to %.253s%s are denied.", host, what).
			WithHint("Link-local, metadata and similar addresses are denied, except those in the agent's --allow-forward.")
	}
	return good, nil
}

// Check refuses a destination that the rules always refuse. A name that does not resolve now is
// accepted, because it may resolve later.
func (d *Destination) Check(ctx context.Context) error {
	if d.Socket != "" {
		return nil
	}
	_, err := d.addresses(ctx)
	if _, refused := errors.AsType[*sekisho.Error](err); refused {
		return err
	}
	return nil
}

// Dial connects to an address that it has checked itself, so that the name cannot resolve to
// another one in between.
func (d *Destination) Dial(ctx context.Context) (net.Conn, error) {
	if d.Socket != "" {
		return d.DialSocket(ctx, d.Socket)
	}
	all, err := d.addresses(ctx)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	var failed []error
	for _, a := range all {
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a, d.Port).String())
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

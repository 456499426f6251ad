package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sekisho/internal/agent/enroll"
	"sekisho/internal/agent/hostinfo"
	"sekisho/internal/agent/imds"
	"sekisho/internal/agent/uplink"
)

// Metadata configures the instance metadata service. The zero value turns it off.
type Metadata struct {
	Listen netip.AddrPort
	V1     bool // also answer requests without a token
	// AddAddress adds the address to the loopback interface while the agent
	// runs, if it is missing.
	AddAddress bool
	// Allowed are the OS users and groups that can use the service; the zero value allows all.
	Allowed imds.Allowed
}

// listenMetadata opens the metadata service. The returned function serves until ctx ends; it is
// nil if the service is off.
func (a *Agent) listenMetadata() (serve func(ctx context.Context), err error) {
	m := a.cfg.Metadata
	if !m.Listen.IsValid() {
		return nil, nil
	}
	remove := func() error { return nil }
	if m.AddAddress {
		if remove, err = imds.AddAddress(m.Listen.Addr()); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp4", m.Listen.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("metadata service: %w", err), remove())
	}
	service := imds.New(imds.Config{
		Node: a.ident.Node, Region: a.region, Since: a.started, V1: m.V1, Log: a.cfg.Log,
		Source:  &facts{programs: a.programs, client: a.client, node: a.ident},
		Allowed: m.Allowed,
	})
	a.cfg.Log.Info("metadata service listening", "address", l.Addr().String(), "v1", m.V1)
	return func(ctx context.Context) {
		if err := errors.Join(service.Serve(ctx, l), remove()); err != nil {
			a.cfg.Log.Error("metadata service ended", "error", err)
		}
	}, nil
}

// How long values are cached.
const (
	tagsFor = 10 * time.Second
	hostFor = 10 * time.Second
	roleFor = 10 * time.Second
)

// facts is the Source of the metadata service.
type facts struct {
	programs *enroll.ProgramRole
	client   *uplink.Client
	node     enroll.Identity

	host kept[imds.Host]
	tags kept[map[string]string]
	who  kept[imds.Role]
}

// Host implements [imds.Source].
func (f *facts) Host(ctx context.Context) imds.Host {
	host, _ := f.host.get(hostFor, func() (imds.Host, error) { // cannot fail
		info := hostinfo.Read(ctx, f.client.HostPort())
		return imds.Host{Name: info.ComputerName, IPAddress: info.IPAddress}, nil
	})
	return host
}

// Tags implements [imds.Source].
func (f *facts) Tags(ctx context.Context) (map[string]string, error) {
	return f.tags.get(tagsFor, func() (map[string]string, error) {
		tags, err := f.client.Tags(ctx, f.node.Node)
		if e, ok := errors.AsType[*uplink.APIError](err); ok && strings.Contains(e.Message, "not authorized") {
			return nil, &imds.Denied{Reason: e.Message}
		}
		return tags, err
	})
}

// Role implements [imds.Source].
func (f *facts) Role(ctx context.Context) (imds.Role, error) {
	return f.who.get(roleFor, func() (imds.Role, error) {
		id, err := f.client.CallerIdentity(ctx)
		if err != nil {
			return imds.Role{}, err
		}
		_, rest, ok := strings.Cut(id.ARN, ":assumed-role/")
		name, _, _ := strings.Cut(rest, "/")
		if !ok || name == "" {
			return imds.Role{}, fmt.Errorf("the server treats this node as %.200q", id.ARN)
		}
		return imds.Role{Name: name, Account: id.Account}, nil
	})
}

// Credentials implements [imds.Source].
func (f *facts) Credentials(ctx context.Context) (imds.Credentials, error) {
	c, since, expires, err := f.programs.Credentials(ctx)
	return imds.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Since: since,
		Expires: expires,
	}, err
}

// kept is a cached value with an expiry time. Failures are not cached; during a failure, the old
// value is returned.
type kept[T any] struct {
	mu    sync.Mutex
	value T
	until time.Time
	known bool
}

func (k *kept[T]) get(good time.Duration, find func() (T, error)) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.until) {
		return k.value, nil
	}
	v, err := find()
	if _, denied := errors.AsType[*imds.Denied](err); err != nil && (denied || !k.known) {
		return v, err
	}
	if err == nil {
		k.value, k.known = v, true
	}
	k.until = time.Now().Add(good)
	return k.value, nil
}

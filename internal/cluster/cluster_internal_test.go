package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
)

// memory is a Store of members with a clock of its own.
type memory struct {
	Store
	mu        sync.Mutex
	now       time.Time
	fail      error
	members   map[string]*Member
	authority [2][]byte
}

func newMemory() *memory { return &memory{now: time.Now(), members: map[string]*Member{}} }

func (m *memory) with(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	return f()
}

func (m *memory) Authority(context.Context) (c, k []byte, err error) {
	err = m.with(func() error { c, k = m.authority[0], m.authority[1]; return nil })
	return c, k, err
}

func (m *memory) PutAuthority(_ context.Context, c, k []byte) error {
	return m.with(func() error { m.authority = [2][]byte{c, k}; return nil })
}

func (m *memory) Now(context.Context) (now time.Time, err error) {
	err = m.with(func() error { now = time.Now(); return nil })
	return now, err
}

func (m *memory) Join(_ context.Context, in *Member, lease time.Duration) (epoch int64, ok bool, err error) {
	err = m.with(func() error {
		have := m.members[in.Name]
		if have != nil && have.LeaseUntil.After(time.Now()) {
			return nil
		}
		row := *in
		row.Epoch = 1
		if have != nil {
			row.Epoch = have.Epoch + 1
		}
		row.LeaseUntil, row.Live = time.Now().Add(lease), true
		m.members[in.Name], epoch, ok = &row, row.Epoch, true
		return nil
	})
	return epoch, ok, err
}

func (m *memory) Renew(_ context.Context, name string, epoch int64, lease, _ time.Duration) (ok bool, err error) {
	err = m.with(func() error {
		have := m.members[name]
		if ok = have != nil && have.Epoch == epoch && have.LeaseUntil.After(time.Now()); ok {
			have.LeaseUntil = time.Now().Add(lease)
		}
		return nil
	})
	return ok, err
}

func (m *memory) Leave(_ context.Context, name string, _ int64) error {
	return m.with(func() error { m.members[name].LeaseUntil = time.Now(); return nil })
}

func (m *memory) Members(context.Context, bool) (all []*Member, err error) {
	err = m.with(func() error {
		for _, x := range m.members {
			row := *x
			row.Live = row.LeaseUntil.After(time.Now())
			all = append(all, &row)
		}
		return nil
	})
	return all, err
}

func (m *memory) Coordinate(context.Context, string, int64) (bool, error) {
	return true, m.with(nothing)
}

func nothing() error { return nil }

func (m *memory) NodesSince(context.Context, time.Time) ([]NodeRow, time.Time, error) {
	return nil, time.Now(), m.with(nothing)
}

// plain is a Sealer without encryption.
type plain struct{}

func (plain) Seal(_ string, p, _ []byte) ([]byte, error) { return p, nil }
func (plain) Open(_ string, p, _ []byte) ([]byte, error) { return p, nil }

func config(s Store, name string) Config {
	return Config{Store: s, Sealer: plain{}, Name: name, Address: name + ":8444", Version: "v2",
		Log: slog.New(slog.DiscardHandler)}
}

func join(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	c, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRefusedMembers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(cfg *Config)
		want   sekisho.Code
	}{
		"a clock that is ahead": {func(cfg *Config) {
			cfg.Clock = func() time.Time { return time.Now().Add(MaxClockSkew + time.Minute) }
		}, sekisho.CodeConflict},
		"a clock that is behind": {func(cfg *Config) {
			cfg.Clock = func() time.Time { return time.Now().Add(-MaxClockSkew - time.Minute) }
		}, sekisho.CodeConflict},
		"an old version": {func(cfg *Config) { cfg.protocol = 6 }, sekisho.CodeConflict},
		"a copied identity": {func(cfg *Config) {
			cfg.Name, cfg.protocol, cfg.Lease = "m1", 7, time.Millisecond
		}, sekisho.CodeInUse},
		"a later version": {func(cfg *Config) { cfg.protocol = 8 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMemory()
			first := config(s, "m1")
			first.protocol, first.Lease = 7, time.Hour
			join(t, first)
			cfg := config(s, "m2")
			c.change(&cfg)
			if _, err := Join(t.Context(), cfg); sekisho.CodeOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestFencedBeforeTheLeaseEnds: a member that does not reach the database stops before another one can take over, and
// joins again as the next epoch.
func TestFencedBeforeTheLeaseEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		var fenced time.Time
		cfg := config(s, "m1")
		cfg.Fenced = func() { fenced = time.Now() }
		c := join(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { c.Run(ctx) })
		time.Sleep(10 * DefaultLease)
		if p := c.Problem(); p != "" || !fenced.IsZero() || c.Epoch() != 1 {
			t.Errorf("a member that reaches the database: %q, fenced at %v, epoch %d", p, fenced, c.Epoch())
		}
		s.mu.Lock()
		s.fail = errors.New("the database is gone")
		until := s.members["m1"].LeaseUntil
		s.mu.Unlock()
		time.Sleep(2 * DefaultLease)
		synctest.Wait()
		if fenced.IsZero() || !fenced.Before(until) {
			t.Errorf("fenced at %v, the lease ended at %v", fenced, until)
		}
		if c.Problem() == "" {
			t.Error("a member without a lease may act")
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		time.Sleep(DefaultLease)
		synctest.Wait()
		if p := c.Problem(); p != "" || c.Epoch() != 2 {
			t.Errorf("it did not join again: %q, epoch %d", p, c.Epoch())
		}
		cancel()
		wg.Wait()
	})
}

// connect dials a TLS server with one configuration and serves it with another. It returns the error of either side.
func connect(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	var wg sync.WaitGroup
	var serverErr error
	wg.Go(func() {
		conn := tls.Server(a, server)
		serverErr = conn.Handshake()
		if serverErr == nil {
			_, serverErr = conn.Write([]byte("."))
		}
		_ = a.Close()
	})
	conn := tls.Client(b, client)
	_, clientErr := io.ReadFull(conn, make([]byte, 1))
	_ = b.Close()
	wg.Wait()
	return errors.Join(serverErr, clientErr)
}

func TestMemberPortAcceptsMembersOnly(t *testing.T) {
	t.Parallel()
	s := newMemory()
	m1, m2 := join(t, config(s, "m1")), join(t, config(s, "m2"))
	for _, m := range []*Cluster{m1, m2} {
		if err := m.refreshMembers(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stranger := join(t, config(newMemory(), "m2"))
	const p = "test/1"
	for name, c := range map[string]struct {
		client *tls.Config
		ok     bool
	}{
		"a member":                       {m2.ClientTLS("m1", p), true},
		"a member that expects another":  {m2.ClientTLS("m3", p), false},
		"a member of another cluster":    {stranger.ClientTLS("m1", p), false},
		"a client without a certificate": {&tls.Config{InsecureSkipVerify: true, NextProtos: []string{p}}, false},
	} {
		if err := connect(t, m1.ServerTLS(p), c.client); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.mu.Lock()
	s.members["m2"].Epoch++ // another process runs as m2
	s.mu.Unlock()
	if err := m1.refreshMembers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if connect(t, m1.ServerTLS(p), m2.ClientTLS("m1", p)) == nil {
		t.Error("an earlier process of a member was accepted")
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"m1": true, "member-1": true, "1": true, "": false, "-": false, "M1": false, "a.b": false, "a/b": false,
		fmt.Sprintf("%064d", 1): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

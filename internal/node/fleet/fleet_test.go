package fleet_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"sekisho"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/id"
)

// links are the nodes with an open channel.
type links map[sekisho.NodeID]bool

// linkedFrom is the address of their channels.
const linkedFrom = "192.0.2.1"

func (l links) Connected(n sekisho.NodeID) bool { return l[n] }

func (l links) Source(n sekisho.NodeID) string {
	if l[n] {
		return linkedFrom
	}
	return ""
}

func (l links) Alive(_ context.Context, n sekisho.NodeID) bool { return l[n] && !l["dead "+n] }

type fixture struct {
	*fleet.Fleet
	t       *testing.T
	store   *memStore
	links   links
	now     time.Time
	changed []sekisho.NodeID
	alarms  []fleet.Sighting
}

func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, store: newMemStore(), links: links{}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	f.Fleet = fleet.New(fleet.Config{
		Store: f.store, Links: f.links, Now: func() time.Time { return f.now },
		Changed: func(n sekisho.NodeID) { f.changed = append(f.changed, n) },
		Alarm:   func(_ context.Context, s fleet.Sighting) { f.alarms = append(f.alarms, s) },
	})
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, code sekisho.Code, text string) {
	t.Helper()
	if sekisho.CodeOf(err) != code || (err != nil && !strings.Contains(err.Error(), text)) {
		t.Errorf("got %v (%q), want %q with %q", err, sekisho.CodeOf(err), code, text)
	}
}

func encode(t *testing.T, pub any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	must(t, err)
	return base64.StdEncoding.EncodeToString(der)
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return k
}

// key is generated once, because that is slow.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func (f *fixture) activate(in fleet.NewActivation) (*sekisho.Activation, string) {
	f.t.Helper()
	a, code, err := f.CreateActivation(f.t.Context(), in)
	must(f.t, err)
	return a, code
}

func (f *fixture) registration(a *sekisho.Activation, code string) fleet.Registration {
	return fleet.Registration{
		ActivationID: a.ID, ActivationCode: code, PublicKey: encode(f.t, &key().PublicKey), PublicKeyType: "Rsa",
		Fingerprint: "0f1e", SourceIP: "192.0.2.1",
	}
}

func (f *fixture) register() *sekisho.Node {
	f.t.Helper()
	a, code := f.activate(
		fleet.NewActivation{IAMRole: "role", DefaultInstanceName: "office", Tags: map[string]string{"k": "v"}},
	)
	n, err := f.Register(f.t.Context(), f.registration(a, code))
	must(f.t, err)
	return n
}

func (f *fixture) node(id sekisho.NodeID) *sekisho.Node {
	f.t.Helper()
	n, err := f.store.Node(f.t.Context(), id)
	must(f.t, err)
	return n
}

func TestBoundsOfActivations(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   fleet.NewActivation
		want string // "" = accepted
	}{
		{"defaults", fleet.NewActivation{}, ""},
		{"most", fleet.NewActivation{RegistrationLimit: 1000}, ""},
		{"too many", fleet.NewActivation{RegistrationLimit: 1001}, "RegistrationLimit"},
		{"negative", fleet.NewActivation{RegistrationLimit: -1}, "RegistrationLimit"},
		{"30 days", fleet.NewActivation{ExpiresAt: time.Date(2026, 12, 23, 12, 0, 0, 0, time.UTC)}, ""},
		{"longer", fleet.NewActivation{ExpiresAt: time.Date(2026, 12, 23, 12, 0, 1, 0, time.UTC)}, "30 days"},
		{"now", fleet.NewActivation{ExpiresAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}, "30 days"},
		{"past", fleet.NewActivation{ExpiresAt: time.Date(2025, 11, 23, 12, 0, 0, 0, time.UTC)}, "30 days"},
		{"256 characters", fleet.NewActivation{Description: strings.Repeat("ü", 256),
			DefaultInstanceName: strings.Repeat("ü", 256)}, ""},
		{"long description", fleet.NewActivation{Description: strings.Repeat("x", 257)}, "Description"},
		{"long name", fleet.NewActivation{DefaultInstanceName: strings.Repeat("x", 257)}, "DefaultInstanceName"},
	} {
		f := setup(t)
		a, code, err := f.CreateActivation(t.Context(), tc.in)
		if tc.want != "" {
			t.Run(tc.name, func(t *testing.T) { wantError(t, err, sekisho.CodeInvalid, tc.want) })
			continue
		}
		must(t, err)
		if a.RegistrationLimit < 1 || !a.ExpiresAt.After(f.now) || len(code) != 20 {
			t.Errorf("%s: %+v, code of %d", tc.name, a, len(code))
		}
		if strings.Contains(string(a.CodeHash), code) {
			t.Errorf("%s: the code is kept", tc.name)
		}
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	f := setup(t)
	n := f.register()
	if !id.ValidNode(string(n.ID)) || n.Name != "office" || n.IAMRole != "role" || n.Tags["k"] != "v" ||
		!n.RegisteredAt.Equal(f.now) ||
		n.LastSourceIP != "192.0.2.1" {
		t.Errorf("%+v", n)
	}
	pub, err := f.NodePublicKey(t.Context(), n.ID)
	must(t, err)
	if !pub.Equal(&key().PublicKey) {
		t.Error("another key came back")
	}
	if len(f.changed) != 1 || f.changed[0] != n.ID {
		t.Errorf("changes reported: %v", f.changed)
	}
}

// A caller who guesses gets the same error whatever is wrong, until both
// halves are right.
func TestRegistrationsRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	a, code := f.activate(fleet.NewActivation{RegistrationLimit: 2})
	other, _ := f.activate(fleet.NewActivation{})
	good := f.registration(a, code)

	var answers []string
	for _, change := range []func(*fleet.Registration){
		func(r *fleet.Registration) { r.ActivationCode = "wrong" },
		func(r *fleet.Registration) { r.ActivationCode = "" },
		func(r *fleet.Registration) { r.ActivationCode = strings.ToUpper(code) + "x" },
		func(r *fleet.Registration) { r.ActivationID = id.UUID() },
		func(r *fleet.Registration) { r.ActivationID, r.ActivationCode = id.UUID(), "" },
		func(r *fleet.Registration) { r.ActivationID = "" },
		func(r *fleet.Registration) { r.ActivationID = other.ID },
		func(r *fleet.Registration) { r.ActivationCode, r.PublicKey = "wrong", "!" }, // nothing else is checked
	} {
		in := good
		change(&in)
		_, err := f.Register(ctx, in)
		wantError(t, err, sekisho.CodeUnauthenticated, "")
		answers = append(answers, fmt.Sprint(err))
	}
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("%q differs from %q", a, answers[0])
		}
	}

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	for _, tc := range []struct {
		name   string
		change func(*fleet.Registration)
		want   string
	}{
		{"type", func(r *fleet.Registration) { r.PublicKeyType = "Ed25519" }, "type"},
		{"base64", func(r *fleet.Registration) { r.PublicKey = "***" }, "base64"},
		{"empty", func(r *fleet.Registration) { r.PublicKey = "" }, "SubjectPublicKeyInfo"},
		{"DER", func(r *fleet.Registration) { r.PublicKey = "AAAA" }, "SubjectPublicKeyInfo"},
		{"long", func(r *fleet.Registration) { r.PublicKey = strings.Repeat("A", 4097) }, "too long"},
		{"not RSA", func(r *fleet.Registration) { r.PublicKey = encode(t, &ec.PublicKey) }, "RSA key"},
		{"weak", func(r *fleet.Registration) { r.PublicKey = encode(t, &rsaKey(t, 1024).PublicKey) }, "2048"},
		{"no fingerprint", func(r *fleet.Registration) { r.Fingerprint = "" }, "Fingerprint"},
		{"long fingerprint", func(r *fleet.Registration) { r.Fingerprint = strings.Repeat("x", 129) }, "Fingerprint"},
	} {
		in := good
		tc.change(&in)
		_, err := f.Register(ctx, in)
		t.Run(tc.name, func(t *testing.T) { wantError(t, err, sekisho.CodeInvalid, tc.want) })
	}

	// None of this used the activation up.
	for range 2 {
		_, err := f.Register(ctx, good)
		must(t, err)
	}
	_, err = f.Register(ctx, good)
	wantError(t, err, sekisho.CodeLimit, "")

	f.now = a.ExpiresAt.Add(-time.Nanosecond)
	_, err = f.Register(ctx, good)
	wantError(t, err, sekisho.CodeLimit, "")
	f.now = a.ExpiresAt
	_, err = f.Register(ctx, good)
	wantError(t, err, sekisho.CodeExpired, "2026-11-24T12:00:00Z")
	good.ActivationCode = "wrong"
	_, err = f.Register(ctx, good)
	wantError(t, err, sekisho.CodeUnauthenticated, "")

	must(t, f.DeleteActivation(ctx, other.ID))
	f.store.broken = errors.New("disk")
	_, err = f.Register(ctx, f.registration(a, code))
	wantError(t, err, sekisho.CodeInternal, "disk")
}

// A source that keeps guessing is refused before it queues with machines that
// register. One with some failures among correct registrations is not.
func TestGuessersDoNotQueue(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, code := f.activate(fleet.NewActivation{RegistrationLimit: 1000})
	in := f.registration(a, code)
	guess := func(n int) {
		for range n {
			wrong := in
			wrong.ActivationCode = "wrong"
			_, _ = f.Register(t.Context(), wrong) // refused, whether or not the code is checked
		}
	}
	check := func(from string, want sekisho.Code) {
		t.Helper()
		x := in
		x.SourceIP = from
		if err := f.CheckRegistration(t.Context(), x); sekisho.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", from, err, want)
		}
	}
	in.SourceIP = "192.0.2.2"
	guess(19)
	if _, err := f.Register(t.Context(), in); err != nil { // it resets the count
		t.Fatal(err)
	}
	guess(99)
	check(in.SourceIP, "")
	guess(1)
	check(in.SourceIP, sekisho.CodeThrottled)
	check("192.0.2.3", "")
	f.now = f.now.Add(time.Minute)
	check(in.SourceIP, "")
}

func TestGuessesAreLimitedBySource(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, code := f.activate(fleet.NewActivation{RegistrationLimit: 1000})
	try := func(from, code string) sekisho.Code {
		in := f.registration(a, code)
		in.SourceIP = from
		_, err := f.Register(t.Context(), in)
		return sekisho.CodeOf(err)
	}
	// A source that knows the code may register any number of machines.
	for range 100 {
		if c := try("192.0.2.1", code); c != "" {
			t.Fatalf("a right code was answered with %q", c)
		}
	}
	guess := func(from func(i int) string, most int) (tries int) {
		for i := range most {
			switch c := try(from(i), "wrong"); c {
			case sekisho.CodeUnauthenticated:
				tries++
			case sekisho.CodeThrottled:
			default:
				t.Fatalf("guess %d: %q", i, c)
			}
		}
		return tries
	}
	always := func(ip string) func(int) string { return func(int) string { return ip } }
	if n := guess(always("192.0.2.2"), 100); n != 20 {
		t.Errorf("%d guesses at once, want 20", n)
	}
	if c := try("192.0.2.2", code); c != sekisho.CodeThrottled {
		t.Errorf("a throttled source's right guess was answered with %q", c)
	}
	if n := guess(always("192.0.2.3"), 1); n != 1 {
		t.Error("one source's guesses are held against another")
	}
	if n := guess(always("::ffff:192.0.2.2"), 1); n != 0 {
		t.Error("an IPv4 address counts again when written as IPv6")
	}
	if n := guess(func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }, 100); n != 20 {
		t.Errorf("%d guesses from one IPv6 network, want 20", n)
	}
	f.now = f.now.Add(time.Minute)
	if n := guess(always("192.0.2.2"), 100); n != 10 {
		t.Errorf("%d guesses a minute later, want 10", n)
	}
}

// blind is a store without sightings, which this test does not need.
type blind struct{ *memStore }

func (blind) NoteSighting(context.Context, *fleet.Sighting, int) (time.Time, error) {
	return time.Time{}, nil
}

// Many sources fill the table. Then all new sources together have the limit of
// one.
func TestGuessesFromEverywhere(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.Fleet = fleet.New(fleet.Config{Store: blind{f.store}, Links: f.links, Now: func() time.Time { return f.now }})
	a, code := f.activate(fleet.NewActivation{})
	in := f.registration(a, "wrong")
	tries := 0
	for i := range 11_000 {
		in.SourceIP = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		if _, err := f.Register(t.Context(), in); sekisho.CodeOf(err) == sekisho.CodeUnauthenticated {
			tries++
		}
	}
	if tries > 10_000+20 {
		t.Errorf("%d guesses came through", tries)
	}
	f.now = f.now.Add(time.Hour) // the table is empty again
	in.SourceIP, in.ActivationCode = "198.51.100.1", code
	_, err := f.Register(t.Context(), in)
	must(t, err)
}

func TestFacts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register()
	f.now = f.now.Add(time.Minute)
	must(
		t,
		f.Report(
			ctx,
			n.ID,
			fleet.Facts{
				AgentName:    "agent",
				AgentVersion: "1",
				ComputerName: "büro",
				PlatformType: "Linux",
				SourceIP:     "192.0.2.5",
			},
		),
	)
	must(
		t,
		f.Report(
			ctx,
			n.ID,
			fleet.Facts{
				AgentVersion: "2",
				PlatformName: "evil\x1b]0;title\a\x1b[2J\r\n\u202ename\xff",
				SourceIP:     "192.0.2.6",
			},
		),
	)
	got := f.node(n.ID)
	if got.AgentName != "agent" || got.AgentVersion != "2" || got.ComputerName != "büro" ||
		got.PlatformType != "Linux" {
		t.Errorf("%+v", got)
	}
	if strings.ContainsFunc(got.PlatformName, func(r rune) bool { return !unicode.IsPrint(r) }) ||
		!strings.Contains(got.PlatformName, "title") {
		t.Errorf("a terminal would obey %q", got.PlatformName)
	}
	if !got.LastPingAt.Equal(f.now) || got.LastSourceIP != "192.0.2.6" {
		t.Errorf("heard at %s from %s", got.LastPingAt, got.LastSourceIP)
	}
	long := strings.Repeat("x", 257)
	for _, in := range []fleet.Facts{
		{AgentName: long}, {AgentVersion: long}, {AgentStatus: long}, {PlatformType: long}, {PlatformName: long},
		{PlatformVersion: long}, {ComputerName: long}, {IPAddress: long},
	} {
		wantError(t, f.Report(ctx, n.ID, in), sekisho.CodeInvalid, "256")
	}
	if after := f.node(n.ID); after.AgentName != "agent" {
		t.Errorf("a refused report was kept: %+v", after)
	}
	wantError(t, f.Report(ctx, "mi-0123456789abcdef0", fleet.Facts{}), sekisho.CodeNotFound, "")
}

func TestWhyNotConnected(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, tc := range []struct {
		name   string
		happen func(f *fixture, n sekisho.NodeID)
		want   []string // "" = connected
		ping   sekisho.PingStatus
	}{
		{"registered, never connected", func(*fixture, sekisho.NodeID) {},
			[]string{"registered at 2026-11-23T12:00:00Z from 192.0.2.1", "never opened its message channel"},
			sekisho.PingOnline},
		{"reports, never connected", func(f *fixture, n sekisho.NodeID) {
			f.now = f.now.Add(time.Hour)
			must(f.t, f.Report(ctx, n, fleet.Facts{SourceIP: "192.0.2.9"}))
		}, []string{"from 192.0.2.9", "never opened its message channel"}, sekisho.PingOnline},
		{"connected", func(f *fixture, n sekisho.NodeID) {
			must(f.t, f.Connected(ctx, n, "192.0.2.9"))
			f.links[n] = true
		}, nil, sekisho.PingOnline},
		{"gone", func(f *fixture, n sekisho.NodeID) {
			must(f.t, f.Connected(ctx, n, "192.0.2.9"))
			f.now = f.now.Add(time.Hour)
			must(f.t, f.Report(ctx, n, fleet.Facts{SourceIP: "192.0.2.9"}))
			f.now = f.now.Add(time.Minute)
			must(f.t, f.Disconnected(ctx, n, "the connection\x1b[2J broke off"))
			f.now = f.now.Add(time.Hour)
		}, []string{"last heard at 2026-11-23T13:00:00Z from 192.0.2.9", "the connection[2J broke off"},
			sekisho.PingConnectionLost},
		{"disconnected a moment ago", func(f *fixture, n sekisho.NodeID) {
			must(f.t, f.Connected(ctx, n, "192.0.2.9"))
			f.now = f.now.Add(time.Minute)
			must(f.t, f.Disconnected(ctx, n, ""))
		}, []string{"last heard at 2026-11-23T12:00:00Z", "the channel was closed"}, sekisho.PingConnectionLost},
		{"agent up, channel down", func(f *fixture, n sekisho.NodeID) {
			must(f.t, f.Connected(ctx, n, "192.0.2.9"))
			f.now = f.now.Add(time.Hour)
			must(f.t, f.Disconnected(ctx, n, "no pong"))
			f.now = f.now.Add(time.Minute)
			must(f.t, f.Report(ctx, n, fleet.Facts{SourceIP: "192.0.2.9"}))
			f.now = f.now.Add(11 * time.Minute)
		}, []string{"agent is up (last heard 2026-11-23T13:01:00Z from 192.0.2.9)",
			"down since 2026-11-23T13:00:00Z: no pong"}, sekisho.PingOnline},
		{"then silent", func(f *fixture, n sekisho.NodeID) {
			must(f.t, f.Connected(ctx, n, "192.0.2.9"))
			must(f.t, f.Disconnected(ctx, n, "no pong"))
			f.now = f.now.Add(time.Minute)
			must(f.t, f.Report(ctx, n, fleet.Facts{SourceIP: "192.0.2.9"}))
			f.now = f.now.Add(11*time.Minute + time.Second)
		}, []string{"last heard at 2026-11-23T12:01:00Z", "no pong"}, sekisho.PingConnectionLost},
		{"server stopped", func(f *fixture, n sekisho.NodeID) {
			must(f.t, f.Connected(ctx, n, "192.0.2.9"))
			must(f.t, f.Recover(ctx))
		}, []string{"last heard at 2026-11-23T12:00:00Z", "the server stopped"}, sekisho.PingConnectionLost},
		{"deregistered", func(f *fixture, n sekisho.NodeID) { must(f.t, f.Deregister(ctx, n)) },
			[]string{"deregistered at 2026-11-23T12:00:00Z"}, sekisho.PingConnectionLost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			n := f.register()
			tc.happen(f, n.ID)
			why, err := f.WhyNotConnected(ctx, string(n.ID))
			must(t, err)
			if (why == "") != (len(tc.want) == 0) {
				t.Errorf("got %q", why)
			}
			for _, part := range tc.want {
				if !strings.Contains(why, part) {
					t.Errorf("got %q, want %q in it", why, part)
				}
			}
			if p := f.PingStatus(f.node(n.ID)); p != tc.ping {
				t.Errorf("ping status %s, want %s", p, tc.ping)
			}
		})
	}
	f := setup(t)
	for target, want := range map[string]string{
		"mi-0123456789abcdef0": "create an activation",
		"i-01234567":           "create an activation",
		"":                     "not a node ID",
		"mi-0123\n":            "not a node ID",
		"web-1":                "not a node ID",
	} {
		if why, err := f.WhyNotConnected(t.Context(), target); err != nil || !strings.Contains(why, want) {
			t.Errorf("%q: %q, %v", target, why, err)
		}
	}
	f.store.broken = errors.New("disk")
	if _, err := f.WhyNotConnected(t.Context(), "mi-0123456789abcdef0"); err == nil {
		t.Error("a broken store passed for an unknown node")
	}
}

// TestCopyDoesNotChangeTheAddress: while the node is connected, reports with
// its credentials from another address do not change its address.
func TestCopyDoesNotChangeTheAddress(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register().ID
	f.links[n] = true
	must(t, f.Connected(ctx, n, linkedFrom))
	must(t, f.Report(ctx, n, fleet.Facts{AgentVersion: "9", SourceIP: "198.51.100.66"}))
	if got := f.node(n); got.LastSourceIP != linkedFrom || got.AgentVersion != "9" {
		t.Errorf("the address is %s, want %s", got.LastSourceIP, linkedFrom)
	}
	delete(f.links, n)
	must(t, f.Report(ctx, n, fleet.Facts{SourceIP: "198.51.100.66"}))
	if got := f.node(n).LastSourceIP; got != "198.51.100.66" {
		t.Errorf("the address of a node that moved is %s", got)
	}
}

func TestDeregister(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register()
	must(t, f.Deregister(ctx, n.ID))
	_, err := f.Node(ctx, n.ID)
	wantError(t, err, sekisho.CodeNotFound, "")
	_, err = f.NodePublicKey(ctx, n.ID)
	wantError(t, err, sekisho.CodeUnauthenticated, string(n.ID))
	wantError(t, f.Report(ctx, n.ID, fleet.Facts{AgentName: "back"}), sekisho.CodeNotFound, "")
	wantError(t, f.Connected(ctx, n.ID, "192.0.2.1"), sekisho.CodeNotFound, "")
	wantError(t, f.Deregister(ctx, n.ID), sekisho.CodeNotFound, "")
	if all, err := f.Nodes(ctx); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	_, err = f.NodePublicKey(ctx, "mi-0123456789abcdef0")
	wantError(t, err, sekisho.CodeUnauthenticated, "")
}

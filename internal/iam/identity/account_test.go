package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest/authenticator"
)

// stands fails the test unless the lease is valid as wanted.
func (f *fixture) stands(t *testing.T, what, held string, want bool) {
	t.Helper()
	got, err := f.Credentials.Stands(t.Context(), held)
	must(t, err)
	if got != want {
		t.Errorf("%s: the lease %q stands: %v, want %v", what, held, got, want)
	}
}

// TestRevokedAccessEndsLeases: for each kind of credential, the changes
// that end it.
func TestRevokedAccessEndsLeases(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const password = "Correct-Horse-1"
	// Hashing passwords takes long, so one account is created and copied.
	origin := setup(t)
	_, k := origin.user(t, "alice")
	_, err := origin.Logins.Create(ctx, "alice", password, false)
	must(t, err)
	p := origin.principal(t, k)
	leases := map[string]string{"key": p.Lease}
	keep := func(name string, c identity.TemporaryCredentials, err error) {
		must(t, err)
		_, p, err := origin.Credentials.Credential(ctx, c.AccessKeyID, c.SessionToken)
		must(t, err)
		leases[name] = p.Lease
	}
	c, err := origin.Credentials.SessionToken(ctx, p, 0, time.Time{})
	keep("session token", c, err)
	role, err := origin.Roles.Create(ctx, identity.NewRole{Name: "ops", Trust: trusting(`{"AWS":"` + account + `"}`)})
	must(t, err)
	c, _, err = origin.Credentials.AssumeRole(ctx, p, role, identity.SessionRequest{Name: "alice"})
	keep("role", c, err)
	s, err := origin.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{})
	must(t, err)
	leases["console"] = s.Principal.Lease
	granted, err := origin.SignIns.Granted(ctx, s.Grant)
	must(t, err)
	if granted.Lease != s.Principal.Lease || granted.TokenIssueTime.IsZero() || granted.ARN != p.ARN ||
		granted.Session != nil {
		t.Errorf("a sign-in read again: %+v", granted)
	}
	c, _, err = origin.Credentials.AssumeRole(ctx, granted, role, identity.SessionRequest{Name: "alice"})
	keep("role by the console", c, err)
	for what, l := range leases {
		origin.stands(t, what, l, true)
	}
	copied := func(t *testing.T) *fixture {
		t.Helper()
		f := &fixture{
			store: &memStore{log: slices.Clone(origin.store.log), newest: origin.store.newest},
			ring:  origin.ring,
			clock: origin.clock,
		}
		f.Directory = f.member(t)
		return f
	}

	all := []string{"key", "session token", "role", "console", "role by the console"}
	for name, c := range map[string]struct {
		revoke func(f *fixture, k *identity.NewAccessKey) error
		ends   []string
	}{
		"a key is deactivated": {func(f *fixture, k *identity.NewAccessKey) error {
			return f.Keys.SetActive(ctx, "alice", k.ID, false)
		}, []string{"key", "session token", "role"}},
		"a key is deleted": {func(f *fixture, k *identity.NewAccessKey) error {
			return f.Keys.Delete(ctx, "alice", k.ID)
		}, []string{"key", "session token", "role"}},
		"the password changes": {func(f *fixture, _ *identity.NewAccessKey) error {
			return f.Logins.ChangePassword(ctx, "alice", password, "Battery-Staple-2")
		}, []string{"console", "role by the console"}},
		"the password is set to the same again": {func(f *fixture, _ *identity.NewAccessKey) error {
			p := password
			return f.Logins.Update(ctx, "alice", &p, nil)
		}, []string{"console", "role by the console"}},
		"the password is deleted": {func(f *fixture, _ *identity.NewAccessKey) error {
			return f.Logins.Delete(ctx, "alice")
		}, []string{"console", "role by the console"}},
		"the role is deleted": {func(f *fixture, _ *identity.NewAccessKey) error {
			return f.Roles.Delete(ctx, "ops")
		}, []string{"role", "role by the console"}},
		"the user is deleted and recreated": {func(f *fixture, k *identity.NewAccessKey) error {
			must(t, f.Keys.Delete(ctx, "alice", k.ID))
			must(t, f.Logins.Delete(ctx, "alice"))
			must(t, f.Users.Delete(ctx, "alice"))
			_, err := f.Users.Create(ctx, "/", "alice", "", nil)
			return err
		}, all},
		"the user is renamed": {func(f *fixture, _ *identity.NewAccessKey) error {
			return f.Users.Update(ctx, "alice", "", "alicia")
		}, nil},
		"another user is edited": {func(f *fixture, _ *identity.NewAccessKey) error {
			_, err := f.Users.Create(ctx, "/", "bob", "", nil)
			return err
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := copied(t)
			before, err := f.Credentials.Generation(ctx)
			must(t, err)
			must(t, c.revoke(f, k))
			after, err := f.Credentials.Generation(ctx)
			must(t, err)
			if after <= before {
				t.Errorf("generation %d after %d", after, before)
			}
			ended := map[string]bool{}
			for _, e := range c.ends {
				ended[e] = true
			}
			for _, what := range all {
				f.stands(t, what, leases[what], !ended[what])
			}
		})
	}
}

func TestMalformedLeasesAreInvalid(t *testing.T) {
	t.Parallel()
	f := setup(t)
	u, _ := f.user(t, "alice")
	for _, held := range []string{"", "user:", "user:AIDANOBODY", "root:" + u.ID, "user:" + u.ID + " moon:full",
		"password:" + u.ID, "password:" + u.ID + "/", "key:AKIA", u.ID} {
		f.stands(t, held, held, false)
	}
	f.stands(t, "good", "user:"+u.ID, true)
}

func TestMalformedGrantsAreRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	u, _ := f.user(t, "alice")
	for name, grant := range map[string]string{
		"nothing":            "",
		"not JSON":           "x",
		"empty":              "{}",
		"another service's":  `{"k":"user","i":"` + u.ID + `","l":"user:` + u.ID + `"}`,
		"without a sign-in":  `{"k":"user","i":"` + u.ID + `","c":true}`,
		"without a user":     `{"k":"user","i":"AIDANOBODY","c":true,"l":"user:` + u.ID + `"}`,
		"of an unknown kind": `{"k":"root","i":"` + u.ID + `","c":true,"l":"user:` + u.ID + `"}`,
		"expired":            `{"k":"user","i":"` + u.ID + `","c":true,"l":"user:` + u.ID + `","e":1}`,
	} {
		if p, err := f.SignIns.Granted(t.Context(), []byte(grant)); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestFirstRunEndsWithMFAOrADecline(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	begin := func() (*fixture, string) {
		f := setup(t)
		_, _, err := f.Bootstrap(ctx, "admin")
		must(t, err)
		p, err := f.Users.Principal(ctx, "admin")
		must(t, err)
		return f, p.UserID
	}
	waits := func(f *fixture, id string, want bool) {
		t.Helper()
		for _, d := range []*identity.Directory{f.Directory, f.member(t)} {
			if got, err := d.SignIns.FirstRun(ctx, id); err != nil || got != want {
				t.Errorf("the flow waits: %v, %v, want %v", got, err, want)
			}
		}
	}
	f, admin := begin()
	waits(f, admin, true)
	other, _ := f.user(t, "alice")
	waits(f, other.ID, false)
	wantCode(
		t,
		f.SignIns.FinishFirstRun(ctx, other.ID, identity.DeclineMFAStatement),
		sekisho.CodeDenied,
		"first administrator",
	)
	for _, words := range []string{"", "no", "I decline", identity.DeclineMFAStatement + " "} {
		wantCode(t, f.SignIns.FinishFirstRun(ctx, admin, words), sekisho.CodeInvalid, identity.DeclineMFAStatement)
	}
	waits(f, admin, true)
	must(t, f.SignIns.FinishFirstRun(ctx, admin, identity.DeclineMFAStatement))
	waits(f, admin, false)

	f, admin = begin()
	dev, err := f.MFA.Create(ctx, "/", "phone", nil)
	must(t, err)
	waits(f, admin, true)
	code := func(at time.Time) string {
		c, err := totp.GenerateCode(dev.Seed, at)
		must(t, err)
		return c
	}
	must(t, f.MFA.Enable(ctx, "admin", dev.Serial, code(f.clock.Now().Add(-30*time.Second)), code(f.clock.Now())))
	waits(f, admin, false)
	must(t, f.SignIns.FinishFirstRun(ctx, admin, ""))
	must(t, f.MFA.Deactivate(ctx, "admin", dev.Serial))
	waits(f, admin, false)
}

func TestPasskeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const password = "Correct-Horse-1"
	f := setup(t)
	u, _ := f.user(t, "alice")
	f.user(t, "bob")
	_, err := f.Logins.Create(ctx, "alice", password, false)
	must(t, err)

	key := authenticator.New(t, "https://"+host)
	c, err := f.Passkeys.Begin(ctx, "alice", host)
	must(t, err)
	answer := key.Create(c.Options)
	for name, try := range map[string]func() error{
		"another host": func() error {
			_,
				err := f.Passkeys.Finish(ctx, "alice", "other.test", "", c.State, answer)
			return err
		},
		"another user":  func() error { _, err := f.Passkeys.Finish(ctx, "bob", host, "", c.State, answer); return err },
		"made-up state": func() error { _, err := f.Passkeys.Finish(ctx, "alice", host, "", "AAAA", answer); return err },
		"no answer": func() error {
			_,
				err := f.Passkeys.Finish(ctx, "alice", host, "", c.State, []byte("{}"))
			return err
		},
		"another origin": func() error {
			_, err := f.Passkeys.Finish(ctx, "alice", host, "", c.State,
				authenticator.New(t, "https://evil.test").Create(c.Options))
			return err
		},
	} {
		if err := try(); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	k, err := f.Passkeys.Finish(ctx, "alice", host, "laptop", c.State, answer)
	must(t, err)
	if k.Name != "laptop" || k.RPID != host || k.UserID != u.ID {
		t.Errorf("passkey %+v", k)
	}
	if _, err := f.Passkeys.Finish(ctx, "alice", host, "again", c.State, answer); err == nil {
		t.Error("the same passkey was registered twice")
	}
	if _, err := f.Passkeys.Begin(ctx, "alice", "192.0.2.1:8443"); sekisho.CodeOf(err) != sekisho.CodeInvalid {
		t.Errorf("a passkey for an address: %v", err)
	}

	// A passkey on its own.
	f.clock.advance(time.Second)
	c, err = f.SignIns.BeginPasskeySignIn(ctx, host)
	must(t, err)
	answer = key.Get(c.Options)
	if _, err := f.SignIns.PasskeySignIn(ctx, host, c.State,
		authenticator.New(t, "https://"+host).Forge(key, c.Options)); err == nil {
		t.Error("another authenticator's signature was accepted")
	}
	if _, err := f.SignIns.PasskeySignIn(ctx, host, c.State,
		key.Without(authenticator.Verified).Get(c.Options)); err == nil {
		t.Error("a passkey alone was accepted without PIN or finger")
	}
	s, err := f.SignIns.PasskeySignIn(ctx, host, c.State, answer)
	must(t, err)
	if s.Principal.UserName != "alice" || s.Principal.MFATime.IsZero() ||
		s.Principal.Lease != "user:"+u.ID+" passkey:"+k.ID {
		t.Errorf("signed in as %+v", s.Principal)
	}
	if _, err := f.member(t).SignIns.PasskeySignIn(ctx, host, c.State, answer); err == nil {
		t.Error("an answer was accepted twice")
	}
	late, err := f.SignIns.BeginPasskeySignIn(ctx, host)
	must(t, err)
	f.clock.advance(6 * time.Minute)
	if _, err := f.SignIns.PasskeySignIn(ctx, host, late.State, key.Get(late.Options)); err == nil {
		t.Error("an answer was accepted after six minutes")
	}

	// A passkey as a second factor.
	_, err = f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{})
	required, ok := err.(*identity.MFARequired) //nolint:errorlint // it is the same error
	if !ok || required.TOTP || required.Passkey == nil {
		t.Fatalf("password alone: %v", err)
	}
	f.clock.advance(time.Second)
	if _, err := f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{},
		identity.Second{Code: "123456"}); err == nil {
		t.Error("an invented code was accepted")
	}
	second := identity.Second{State: required.Passkey.State, Answer: key.Get(required.Passkey.Options)}
	if _, err := f.SignIns.CheckPassword(ctx, "alice", "Wrong-Horse-1", host, netip.Addr{}, second); err == nil {
		t.Error("the second factor was accepted as the first")
	}
	if _, err := f.SignIns.PasskeySignIn(ctx, host, second.State, second.Answer); err == nil {
		t.Error("a second factor's answer signed in by itself")
	}
	s, err = f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, second)
	must(t, err)
	if s.Principal.MFATime.IsZero() {
		t.Errorf("signed in as %+v", s.Principal)
	}
	f.clock.advance(time.Second)
	if _, err := f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, second); err == nil {
		t.Error("a second factor was accepted twice")
	}
	// Another user has no passkey to show, so the sign-in fails.
	_, err = f.SignIns.CheckPassword(ctx, "alice", password, "other.test", netip.Addr{}, identity.Second{})
	other, ok := errors.AsType[*identity.MFARequired](err)
	if !ok || other.Passkey != nil {
		t.Errorf("under another name: %v", err)
	}

	// A cloned authenticator has a lower counter.
	c, err = f.SignIns.BeginPasskeySignIn(ctx, host)
	must(t, err)
	if _, err := f.SignIns.PasskeySignIn(ctx, host, c.State, key.WithCounter(1).Get(c.Options)); err == nil {
		t.Error("a counter that went back was accepted")
	}

	wantCode(t, f.Passkeys.Delete(ctx, "bob", k.Serial), sekisho.CodeNotFound, "")
	must(t, f.Passkeys.Delete(ctx, "alice", k.Serial))
	if _, err := f.SignIns.Granted(ctx, s.Grant); err != nil {
		t.Errorf("a sign-in by password ended with a passkey: %v", err)
	}
	if _, err := f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{}); err != nil {
		t.Errorf("after the passkey is gone: %v", err)
	}
	stored, err := json.Marshal(k)
	must(t, err)
	if len(stored) > 4096 {
		t.Errorf("a passkey takes %d bytes", len(stored))
	}
}

func TestSignInEndsWithItsPasskey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	f.user(t, "alice")
	key := authenticator.New(t, "https://"+host)
	c, err := f.Passkeys.Begin(ctx, "alice", host)
	must(t, err)
	k, err := f.Passkeys.Finish(ctx, "alice", host, "", c.State, key.Create(c.Options))
	must(t, err)
	f.clock.advance(time.Second)
	c, err = f.SignIns.BeginPasskeySignIn(ctx, host)
	must(t, err)
	s, err := f.SignIns.PasskeySignIn(ctx, host, c.State, key.Get(c.Options))
	must(t, err)
	must(t, f.Passkeys.Delete(ctx, "alice", k.Serial))
	if _, err := f.SignIns.Granted(ctx, s.Grant); sekisho.CodeOf(err) != sekisho.CodeUnauthenticated {
		t.Errorf("after its passkey was deleted: %v", err)
	}
}

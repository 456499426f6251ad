package identity_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sekisho/internal/iam/identity"
)

// TestCodesOfADeviceAreUsedOnce: codes are accepted within one step of the
// clock, once each, even if they are used simultaneously. A device that was
// deactivated and enabled again does not accept old codes.
func TestCodesOfADeviceAreUsedOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	f.user(t, "alice")
	f.user(t, "bob")
	dev, err := f.MFA.Create(ctx, "/", "phone", nil)
	must(t, err)
	code := func(offset time.Duration) string {
		c, err := totp.GenerateCode(dev.Seed, f.clock.Now().Add(offset))
		must(t, err)
		return c
	}
	const step = 30 * time.Second
	verify := func(user, code string) error {
		_, err := f.MFA.Verify(ctx, user, dev.Serial, code)
		return err
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, identity.ErrMFACode) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("a device that is not enabled", verify("alice", code(0)))
	must(t, f.MFA.Enable(ctx, "alice", dev.Serial, code(-step), code(0)))
	refused("the code that enabled it", verify("alice", code(0)))
	refused("the code before that", verify("alice", code(-step)))
	f.clock.advance(10 * step)
	refused("two steps late", verify("alice", code(-2*step)))
	refused("two steps early", verify("alice", code(2*step)))
	must(t, verify("alice", code(step))) // the device's clock is fast
	refused("another user", verify("bob", code(0)))
	refused("not a code", verify("alice", ""))
	refused("an older code than the last", verify("alice", code(0)))
	f.clock.advance(10 * step)
	must(t, verify("alice", code(-step))) // it is slow

	f.clock.advance(10 * step)
	at, accepted := code(0), atomic.Int64{}
	var all sync.WaitGroup
	for _, d := range []*identity.Directory{f.Directory, f.Directory, f.member(t), f.member(t)} {
		all.Go(func() {
			if _, err := d.MFA.Verify(ctx, "alice", dev.Serial, at); err == nil {
				accepted.Add(1)
			}
		})
	}
	all.Wait()
	if accepted.Load() != 1 {
		t.Errorf("a code was accepted %d times", accepted.Load())
	}

	f.clock.advance(10 * step)
	must(t, verify("alice", code(0)))
	must(t, f.MFA.Deactivate(ctx, "alice", dev.Serial))
	refused("a deactivated device", verify("alice", code(step)))
	if err := f.MFA.Enable(ctx, "alice", dev.Serial, code(-step), code(0)); !errors.Is(err, identity.ErrMFACode) {
		t.Errorf("enabled again with a code that was used: %v", err)
	}
	f.clock.advance(2 * step)
	must(t, f.MFA.Enable(ctx, "bob", dev.Serial, code(-step), code(0)))
	refused("the user before", verify("alice", code(step)))
	refused("the code that enabled it again", verify("bob", code(0)))
	must(t, verify("bob", code(step)))
}

package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/node/fleet"
)

func (f *fixture) standing(id sekisho.NodeID) fleet.Standing {
	f.t.Helper()
	of, err := f.Standings(f.t.Context(), []*sekisho.Node{f.node(id)})
	must(f.t, err)
	return of[0]
}

func (f *fixture) wantState(id sekisho.NodeID, want fleet.State, why string) {
	f.t.Helper()
	got := f.standing(id)
	if got.State != want || !strings.Contains(got.Why, why) || (want == fleet.StateConnected) != (got.Why == "") {
		f.t.Errorf("%s: %q, want %s: %q", got.State, got.Why, want, why)
	}
}

// The states of a node over its life.
func TestStates(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register().ID
	step := func() { f.now = f.now.Add(time.Minute) }
	f.wantState(n, fleet.StateNeverConnected, "never opened its message channel")
	step()
	f.Refused(ctx, n, "192.0.2.1", fleet.SeenClockSkew, "the clock says 1970.")
	f.wantState(
		n,
		fleet.StateClockSkewed,
		"the clock says 1970. (last at 2026-11-23T12:01:00Z from 192.0.2.1) Set the machine's clock.",
	)
	why, err := f.WhyNotConnected(ctx, string(n))
	must(t, err)
	if !strings.Contains(why, "1970") { // starting a session fails with the same reason
		t.Errorf("%q", why)
	}
	step()
	f.links[n] = true
	must(t, f.Connected(ctx, n, "192.0.2.1"))
	f.wantState(n, fleet.StateConnected, "")
	step()
	// While it is connected, calls of others in its name make no difference.
	f.Refused(ctx, n, "198.51.100.1", fleet.SeenBadCredentials, "The signature does not match.")
	f.wantState(n, fleet.StateConnected, "")
	step()
	delete(f.links, n)
	must(t, f.Disconnected(ctx, n, "no answer to a ping for 10s"))
	f.wantState(n, fleet.StateRefused, "The signature does not match.")
	step()
	must(t, f.Report(ctx, n, fleet.Facts{AgentVersion: "1", SourceIP: "203.0.113.9"}))
	f.wantState(n, fleet.StateChannelDown, "no answer to a ping for 10s")
	f.now = f.now.Add(time.Hour)
	f.wantState(n, fleet.StateLost, "no answer to a ping for 10s")
	var moved []string
	for _, s := range f.standing(n).Notes {
		if s.Kind == fleet.SeenAddressChanged {
			moved = append(moved, s.Other+" "+s.SourceIP)
		}
	}
	if len(moved) != 1 || moved[0] != "192.0.2.1 203.0.113.9" {
		t.Errorf("moves: %q", moved)
	}

	must(t, f.Deregister(ctx, n))
	f.wantState(n, fleet.StateDeregistered, "deregistered")
	gone, err := f.Deregistered(ctx)
	if err != nil || len(gone) != 1 || gone[0].ID != n {
		t.Errorf("%v, %v", gone, err)
	}
	f.Refused(ctx, n, "203.0.113.9", fleet.SeenBadCredentials, "x")
	strays, err := f.Strays(ctx)
	if err != nil || len(strays) != 1 || strays[0].Kind != fleet.SeenUnknownNode || strays[0].Node != n {
		t.Errorf("%+v, %v", strays, err)
	}
}

// Reports of unknown machines can neither fill the list nor displace other
// entries.
func TestStraysAreBounded(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register().ID
	f.now = f.now.Add(time.Second)
	f.Refused(ctx, n, "192.0.2.1", fleet.SeenClockSkew, "late")
	for i := range 700 {
		f.now = f.now.Add(time.Second)
		id := sekisho.NodeID(fmt.Sprintf("mi-%017x", i))
		f.Refused(ctx, id, "198.51.100.1", fleet.SeenBadCredentials, "one address, many names")
		f.Refused(
			ctx,
			id,
			fmt.Sprintf("10.0.%d.%d", i>>8, i&255),
			fleet.SeenBadCredentials,
			strings.Repeat("ü\x1b[2J", 500),
		)
	}
	strays, err := f.Strays(ctx)
	must(t, err)
	if len(strays) != 500 {
		t.Errorf("%d strays are kept", len(strays))
	}
	one := 0
	for _, s := range strays {
		if s.SourceIP == "198.51.100.1" {
			one++
			if s.Count != 700 {
				t.Errorf("counted %d", s.Count)
			}
		}
		if s.Kind != fleet.SeenUnknownNode || s.Node != "" || len(s.Detail) > 300 ||
			strings.Contains(s.Detail, "\x1b") {
			t.Fatalf("%+v", s)
		}
	}
	if one != 1 {
		t.Errorf("one address has %d entries", one)
	}
	if got := f.standing(n); got.State != fleet.StateClockSkewed {
		t.Errorf("the node's own note was pushed out: %+v", got)
	}
	if len(f.alarms) != 0 {
		t.Errorf("strangers raised %d alarms", len(f.alarms))
	}
}

// TestNodeWithoutRole: a node that has no role is not reported as one with
// wrong credentials.
func TestNodeWithoutRole(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register().ID
	f.now = f.now.Add(time.Minute)
	f.NoRole(ctx, n, "192.0.2.1", "The node has no role.")
	f.wantState(n, fleet.StateNoRole, "Give it a role")
	if len(f.alarms) != 0 {
		t.Errorf("alarms: %+v", f.alarms)
	}
}

func TestCredentialsElsewhere(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register().ID
	f.Called(ctx, n, "198.51.100.1") // not connected: it may be anywhere
	f.links[n] = true
	f.Called(ctx, n, linkedFrom)
	f.links["dead "+n] = true
	f.Called(ctx, n, "198.51.100.2") // it has moved
	delete(f.links, "dead "+n)
	if len(f.alarms) != 0 {
		t.Errorf("alarms: %+v", f.alarms)
	}
	for range 3 {
		f.Called(ctx, n, "198.51.100.1")
	}
	if len(f.alarms) != 1 || f.alarms[0].Kind != fleet.SeenElsewhere || f.alarms[0].Other != linkedFrom ||
		f.alarms[0].SourceIP != "198.51.100.1" {
		t.Errorf("alarms: %+v", f.alarms)
	}
	f.now = f.now.Add(time.Hour)
	f.Called(ctx, n, "198.51.100.1")
	if len(f.alarms) != 2 {
		t.Errorf("%d alarms an hour later", len(f.alarms))
	}
}

// Only the identity that was shown last can be approved, once.
func TestApproveIdentity(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	n := f.register()
	must(t, f.CheckFingerprint(ctx, n, n.Fingerprint, "192.0.2.1"))
	wantError(t, f.ApproveIdentity(ctx, n.ID, "other"), sekisho.CodeNotFound, "")
	f.now = f.now.Add(time.Minute)
	wantError(t, f.CheckFingerprint(ctx, n, "other", "192.0.2.2"), sekisho.CodeDenied, "")
	wantError(t, f.CheckFingerprint(ctx, n, "", "192.0.2.2"), sekisho.CodeDenied, "")
	wantError(t, f.ApproveIdentity(ctx, n.ID, ""), sekisho.CodeConflict, "")
	wantError(t, f.CheckFingerprint(ctx, n, "third", "192.0.2.3"), sekisho.CodeDenied, "")
	f.wantState(n.ID, fleet.StateIdentityChanged, "Approve the change")
	wantError(t, f.ApproveIdentity(ctx, n.ID, "other"), sekisho.CodeConflict, "192.0.2.3")
	must(t, f.ApproveIdentity(ctx, n.ID, "third"))
	must(t, f.CheckFingerprint(ctx, f.node(n.ID), "third", "192.0.2.3"))
	wantError(t, f.ApproveIdentity(ctx, n.ID, "third"), sekisho.CodeNotFound, "")
	if len(f.alarms) != 1 {
		t.Errorf("%d alarms", len(f.alarms))
	}
}

package fleet_test

import (
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/id"
)

const fixed sekisho.NodeID = "i-01234567890abcdef"

func TestKindsOfNodeID(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for kind, prefix := range map[sekisho.NodeKind]string{sekisho.NodeManaged: "mi-", sekisho.NodeInstance: "i-"} {
		a, code := f.activate(fleet.NewActivation{NodeKind: kind, RegistrationLimit: 2})
		first, err := f.Register(t.Context(), f.registration(a, code))
		must(t, err)
		second, err := f.Register(t.Context(), f.registration(a, code))
		must(t, err)
		for _, n := range []*sekisho.Node{first, second} {
			if !strings.HasPrefix(string(n.ID), prefix) || !id.ValidNode(string(n.ID)) || len(n.ID) != len(prefix)+17 {
				t.Errorf("a node of kind %q is called %s", kind, n.ID)
			}
		}
		if first.ID == second.ID {
			t.Errorf("two nodes are called %s", first.ID)
		}
	}
}

func TestFixedNodeIDs(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), t.Context()
	for _, bad := range []fleet.NewActivation{
		{NodeID: "mi-01234567890abcdef"}, {NodeID: "i-xyz"}, {NodeID: "i-../etc"}, {NodeID: "i-01234567890ABCDEF"},
		{NodeID: fixed, RegistrationLimit: 2}, {NodeKind: "other"},
	} {
		_, _, err := f.CreateActivation(ctx, bad)
		wantError(t, err, sekisho.CodeInvalid, "")
	}

	a, code := f.activate(fleet.NewActivation{NodeID: fixed})
	_, _, err := f.CreateActivation(ctx, fleet.NewActivation{NodeID: fixed})
	wantError(t, err, sekisho.CodeConflict, a.ID)
	n, err := f.Register(ctx, f.registration(a, code))
	must(t, err)
	if n.ID != fixed {
		t.Fatalf("registered as %s", n.ID)
	}
	_, _, err = f.CreateActivation(ctx, fleet.NewActivation{NodeID: fixed})
	wantError(t, err, sekisho.CodeConflict, "")

	// Once the machine is deregistered, another may have its ID.
	must(t, f.Deregister(ctx, fixed))
	again, code := f.activate(fleet.NewActivation{NodeID: fixed})
	_, err = f.Register(ctx, f.registration(again, code))
	must(t, err)

	// An activation that was not used in time reserves nothing.
	f.activate(fleet.NewActivation{NodeID: "i-00000000000000001", ExpiresAt: f.now.Add(time.Hour)})
	f.now = f.now.Add(time.Hour)
	f.activate(fleet.NewActivation{NodeID: "i-00000000000000001"})
}

// Two activations for one ID cannot both be created, but one may be older than
// this rule, or created by another server at the same time.
func TestAnIDIsUsedOnce(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), t.Context()
	a, code := f.activate(fleet.NewActivation{NodeID: fixed})
	twin := *a
	twin.ID = id.UUID()
	must(t, f.store.CreateActivation(ctx, &twin))
	_, err := f.Register(ctx, f.registration(a, code))
	must(t, err)
	_, err = f.Register(ctx, f.registration(&twin, code))
	wantError(t, err, sekisho.CodeConflict, "")
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), t.Context()
	var changed []sekisho.NodeID
	f.Fleet = fleet.New(fleet.Config{
		Store: f.store, Links: f.links, Now: func() time.Time { return f.now },
		RoleChanged: func(n sekisho.NodeID) { changed = append(changed, n) },
	})
	n := f.register()
	p := &sekisho.NodeProfile{Association: "iip-assoc-1", ID: "AIPA1", ARN: "arn:p", Role: "web", Since: f.now}
	q := &sekisho.NodeProfile{Association: "iip-assoc-2", ID: "AIPA2", ARN: "arn:q", Role: "db", Since: f.now}
	wantError(t, f.SetProfile(ctx, n.ID, nil, p.Association), sekisho.CodeConflict, "")
	must(t, f.SetProfile(ctx, n.ID, p, ""))
	wantError(t, f.SetProfile(ctx, n.ID, q, ""), sekisho.CodeConflict, "")
	wantError(t, f.SetProfile(ctx, n.ID, q, q.Association), sekisho.CodeConflict, "")
	role := func(want, association string) {
		t.Helper()
		got, held := f.node(n.ID), ""
		if got.Profile != nil {
			held = got.Profile.Association
		}
		if got.IAMRole != want || held != association {
			t.Errorf("role %q by %q; want %q by %q", got.IAMRole, held, want, association)
		}
	}
	role("web", p.Association)
	must(t, f.SetProfile(ctx, n.ID, q, p.Association))
	role("db", q.Association)
	must(t, f.SetProfile(ctx, n.ID, nil, q.Association))
	role("role", "") // the one it registered with
	if len(changed) != 3 {
		t.Errorf("%d changes reported, want 3", len(changed))
	}

	// A role that was assigned meanwhile stays.
	must(t, f.SetProfile(ctx, n.ID, p, ""))
	must(t, f.SetRole(ctx, n.ID, "third"))
	must(t, f.SetProfile(ctx, n.ID, nil, p.Association))
	role("third", "")
}

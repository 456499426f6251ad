package fleet_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/node/fleet"
)

// TestNotifications: a new condition is reported at once, and a continuing one hourly.
func TestNotifications(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	var seen []string
	f.Fleet = fleet.New(fleet.Config{
		Store: f.store, Links: f.links, Now: func() time.Time { return f.now },
		Seen: func(_ context.Context, s fleet.Sighting) {
			seen = append(seen, fmt.Sprintf("%s %s<-%s", s.Kind, s.SourceIP, s.Other))
		},
	})
	want := func(text ...string) {
		t.Helper()
		if d := cmp.Diff(text, seen); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		seen = nil
	}
	n := f.register()
	f.now = f.now.Add(time.Minute)
	must(t, f.Connected(ctx, n.ID, n.LastSourceIP))
	want([]string(nil)...)

	must(t, f.Connected(ctx, n.ID, "203.0.113.9"))
	must(t, f.Report(ctx, n.ID, fleet.Facts{SourceIP: n.LastSourceIP}))
	must(t, f.Report(ctx, n.ID, fleet.Facts{SourceIP: "203.0.113.9"})) // back and forth
	want("AddressChanged 203.0.113.9<-"+n.LastSourceIP, "AddressChanged "+n.LastSourceIP+"<-203.0.113.9")

	for range 3 {
		if f.CheckFingerprint(ctx, f.node(n.ID), "other", "198.51.100.1") == nil {
			t.Fatal("another fingerprint passed")
		}
		if _, err := f.Register(ctx, fleet.Registration{ActivationID: "none", SourceIP: "198.51.100.2"}); err == nil {
			t.Fatal("registered")
		}
		f.Refused(ctx, n.ID, "198.51.100.1", fleet.SeenClockSkew, "no news")
		f.now = f.now.Add(time.Minute)
	}
	want("IdentityChanged 198.51.100.1<-203.0.113.9", "ActivationWrong 198.51.100.2<-")

	f.now = f.now.Add(2 * time.Hour)
	_ = f.CheckFingerprint(ctx, f.node(n.ID), "other", "198.51.100.1")
	must(t, f.Report(ctx, n.ID, fleet.Facts{SourceIP: n.LastSourceIP}))
	want("IdentityChanged 198.51.100.1<-203.0.113.9", "AddressChanged "+n.LastSourceIP+"<-203.0.113.9")
}

// forgetful is a store in which everything is seen for the first time, as if
// other sightings had pushed it out.
type forgetful struct{ *memStore }

func (forgetful) NoteSighting(context.Context, *fleet.Sighting, int) (time.Time, error) {
	return time.Time{}, nil
}

// Many unknown machines do not cause endless notifications.
func TestNotificationsOfStrangersAreLimited(t *testing.T) {
	t.Parallel()
	f := setup(t)
	seen := 0
	f.Fleet = fleet.New(fleet.Config{
		Store: forgetful{f.store}, Links: f.links, Now: func() time.Time { return f.now },
		Seen: func(context.Context, fleet.Sighting) { seen++ },
	})
	for i := range 12_000 {
		_, _ = f.Register(
			t.Context(),
			fleet.Registration{ActivationID: "none", SourceIP: fmt.Sprintf("10.%d.%d.1", i>>8, i&255)},
		)
	}
	if seen > 10_001 { // one per source, and one for all sources beyond the limit
		t.Errorf("seen %d times", seen)
	}
}

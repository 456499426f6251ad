package storetest

import (
	"fmt"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/node/fleet"
)

func sighting(key, node string, minute int) *fleet.Sighting {
	return &fleet.Sighting{
		Key: key, Kind: fleet.SeenClockSkew, Node: sekisho.NodeID(node), SourceIP: "192.0.2.7", Other: "192.0.2.8",
		Fingerprint: "print", Detail: "why: '; DROP TABLE nodes; --", FirstAt: at(minute), LastAt: at(minute), Count: 1,
	}
}

// Sightings runs the conformance suite of [fleet.SightingStore]; open returns
// an empty store.
func Sightings(t *testing.T, open func(t *testing.T) fleet.Store) {
	note := func(t *testing.T, s fleet.Store, in *fleet.Sighting, most int) time.Time {
		t.Helper()
		before, err := s.NoteSighting(t.Context(), in, most)
		must(t, err)
		return before
	}
	list := func(t *testing.T, s fleet.Store, node sekisho.NodeID) []*fleet.Sighting {
		t.Helper()
		all, err := s.Sightings(t.Context(), node)
		must(t, err)
		return all
	}
	strays := func(t *testing.T, s fleet.Store) []*fleet.Sighting {
		t.Helper()
		all, err := s.Strays(t.Context())
		must(t, err)
		return all
	}

	t.Run("repeated sightings are counted and listed newest first", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		if got := list(t, s, ""); len(got) != 0 {
			t.Errorf("%v", got)
		}
		if before := note(t, s, sighting("a", "", 1), 9); !before.IsZero() {
			t.Errorf("a first sighting has an earlier one at %v", before)
		}
		note(t, s, sighting("b", "mi-1", 2), 9)
		again := sighting("a", "", 3)
		again.SourceIP, again.Detail, again.Other, again.Fingerprint = "2001:db8::1", "now this", "", "other"
		if before := note(t, s, again, 9); !before.Equal(at(1)) {
			t.Errorf("the sighting before was at %v, want %v", before, at(1))
		}
		want := *again
		want.FirstAt, want.Count = at(1), 2
		same(t, []*fleet.Sighting{&want}, strays(t, s))
		same(t, []*fleet.Sighting{sighting("b", "mi-1", 2)}, list(t, s, "mi-1"))
	})

	t.Run("the number of strays is limited, apart from nodes", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		note(t, s, sighting("node", "mi-1", 0), 3)
		for i := range 10 {
			note(t, s, sighting(fmt.Sprintf("stray-%d", i), "", i+1), 3)
		}
		var keys []string
		for _, g := range strays(t, s) {
			keys = append(keys, g.Key)
		}
		same(t, []string{"stray-9", "stray-8", "stray-7"}, keys)
		same(t, []*fleet.Sighting{sighting("node", "mi-1", 0)}, list(t, s, "mi-1"))
	})

	t.Run("sightings are forgotten by node and by kind", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		note(t, s, sighting("skew-1", "mi-1", 1), 9)
		other := sighting("moved-1", "mi-1", 2)
		other.Kind = fleet.SeenAddressChanged
		note(t, s, other, 9)
		note(t, s, sighting("skew-2", "mi-2", 3), 9)
		note(t, s, sighting("stray", "", 4), 9)
		of, err := s.SightingsOf(ctx, []sekisho.NodeID{"mi-2", "mi-1", "mi-none"})
		must(t, err)
		if len(of) != len(list(t, s, "mi-1"))+1 || of[0].Node != "mi-2" {
			t.Errorf("sightings of two nodes: %+v", of)
		}
		if of, err := s.SightingsOf(ctx, nil); err != nil || len(of) != 0 {
			t.Errorf("sightings of no nodes: %+v, %v", of, err)
		}
		must(t, s.ForgetSightings(ctx, "", "")) // names no node, so changes nothing
		must(t, s.ForgetSightings(ctx, "mi-1", fleet.SeenClockSkew))
		same(t, []*fleet.Sighting{sighting("stray", "", 4)}, strays(t, s))
		same(t, []*fleet.Sighting{sighting("skew-2", "mi-2", 3)}, list(t, s, "mi-2"))
		same(t, []*fleet.Sighting{other}, list(t, s, "mi-1"))
		must(t, s.ForgetSightings(ctx, "mi-1", ""))
		same(t, []*fleet.Sighting{sighting("stray", "", 4)}, strays(t, s))
		if left := list(t, s, "mi-1"); len(left) != 0 {
			t.Errorf("sightings of a forgotten node: %+v", left)
		}
	})

	t.Run("unknown nodes are strays", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		unknown := sighting("unknown", "mi-9", 2)
		unknown.Kind = fleet.SeenUnknownNode
		note(t, s, unknown, 9)
		note(t, s, sighting("stray", "", 3), 9)
		nameless := sighting("nameless", "", 1)
		nameless.Kind = fleet.SeenUnknownNode
		note(t, s, nameless, 9)
		note(t, s, sighting("known", "mi-1", 4), 9)
		same(t, []*fleet.Sighting{sighting("stray", "", 3), unknown, nameless}, strays(t, s))
	})

	t.Run("deregistered nodes are listed newest first", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		var want []*sekisho.Node
		for i := range 4 {
			n := node(fmt.Sprintf("mi-%d", i), "a")
			if i > 0 {
				n.DeregisteredAt = at(10 + i)
				want = append([]*sekisho.Node{n}, want...)
			}
			must(t, s.RegisterNode(ctx, n))
		}
		got, err := s.DeregisteredNodes(ctx, 2)
		must(t, err)
		same(t, want[:2], got)
	})
}

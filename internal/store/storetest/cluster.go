package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/cluster"
)

// lease is longer than a test takes.
const lease = time.Hour

func joined(t *testing.T, s cluster.Store, name string) int64 {
	t.Helper()
	epoch, ok, err := s.Join(t.Context(), &cluster.Member{
		Name: name, Address: name + ":8444", Version: "v1", Protocol: 1, Instance: name, Skew: time.Millisecond,
	}, lease)
	must(t, err)
	if !ok {
		t.Fatalf("%s did not join", name)
	}
	return epoch
}

// Cluster runs the conformance suite of [cluster.Store]; open returns an empty store.
func Cluster(t *testing.T, open func(t *testing.T) cluster.Store) {
	t.Run("the first authority stays", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		if c, k, err := s.Authority(ctx); c != nil || k != nil || err != nil {
			t.Errorf("an empty store has %x %x %v", c, k, err)
		}
		must(t, s.PutAuthority(ctx, []byte("a"), []byte("b")))
		must(t, s.PutAuthority(ctx, []byte("x"), []byte("y")))
		if c, k, err := s.Authority(ctx); string(c) != "a" || string(k) != "b" || err != nil {
			t.Errorf("%s %s %v", c, k, err)
		}
	})
	t.Run("one process per member", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		epoch := joined(t, s, "m1")
		_, ok, err := s.Join(ctx, &cluster.Member{Name: "m1", Instance: "copy"}, lease)
		must(t, err)
		if ok || epoch != 1 {
			t.Errorf("a copy joined beside epoch %d", epoch)
		}
		ok, err = s.Renew(ctx, "m1", epoch, lease, time.Second)
		must(t, err)
		if !ok {
			t.Error("the lease was not renewed")
		}
		must(t, s.Leave(ctx, "m1", epoch))
		if ok, err = s.Renew(ctx, "m1", epoch, lease, 0); ok || err != nil {
			t.Errorf("a lease that has ended was renewed: %v", err)
		}
		if next := joined(t, s, "m1"); next != 2 {
			t.Errorf("the second process has epoch %d", next)
		}
		if ok, err = s.Renew(ctx, "m1", epoch, lease, 0); ok || err != nil {
			t.Errorf("an earlier epoch was renewed: %v", err)
		}
	})
	t.Run("members", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		e1, e2 := joined(t, s, "m1"), joined(t, s, "m2")
		is, err := s.Coordinate(ctx, "m2", e2)
		must(t, err)
		other, err := s.Coordinate(ctx, "m1", e1)
		must(t, err)
		if !is || other {
			t.Errorf("coordinators: %v %v", is, other)
		}
		_, err = s.ClaimNode(ctx, cluster.NodeRow{Node: "mi-1", Member: "m1", Epoch: e1})
		must(t, err)
		all, err := s.Members(ctx, true)
		must(t, err)
		if len(all) != 2 || all[0].Name != "m1" || !all[0].Live || all[0].Coordinator || all[0].Nodes != 1 ||
			all[0].Address != "m1:8444" || all[0].Skew != time.Millisecond || !all[1].Coordinator ||
			!all[0].LeaseUntil.After(all[0].RenewedAt) {
			t.Errorf("%+v %+v", all[0], all[1])
		}
		must(t, s.Leave(ctx, "m2", e2))
		if is, err = s.Coordinate(ctx, "m1", e1); !is || err != nil {
			t.Errorf("no new coordinator: %v", err)
		}
		wantCode(t, s.Remove(ctx, "m1"), sekisho.CodeInUse)
		wantCode(t, s.Remove(ctx, "nobody"), sekisho.CodeNotFound)
		must(t, s.Remove(ctx, "m2"))
	})
	t.Run("owners of nodes", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		e1, e2 := joined(t, s, "m1"), joined(t, s, "m2")
		claim := func(m string, epoch int64, want bool) {
			t.Helper()
			ok, err := s.ClaimNode(ctx, cluster.NodeRow{Node: "mi-1", Member: m, Epoch: epoch, Source: "192.0.2.7",
				Process: "p"})
			must(t, err)
			if ok != want {
				t.Errorf("%s claimed: %v", m, ok)
			}
		}
		owner := func(want string) {
			t.Helper()
			o, err := s.NodeOwner(ctx, "mi-1")
			must(t, err)
			if o.Member != want || want != "" && (!o.Live || o.Address != want+":8444") {
				t.Errorf("the owner is %+v, want %q", o, want)
			}
		}
		owner("")
		claim("m1", e1, true)
		claim("m1", e1+1, false)
		owner("m1")
		claim("m2", e2, true)
		if ok, err := s.ReleaseNode(ctx, "mi-1", "m1", e1); ok || err != nil {
			t.Errorf("an earlier owner released it: %v", err)
		}
		owner("m2")
		rows, now, err := s.NodesSince(ctx, time.Time{})
		must(t, err)
		if len(rows) != 1 || rows[0] != (cluster.NodeRow{Node: "mi-1", Member: "m2", Epoch: e2, Source: "192.0.2.7",
			Process: "p"}) {
			t.Errorf("%+v", rows)
		}
		if rows, _, err = s.NodesSince(ctx, now.Add(time.Minute)); len(rows) != 0 || err != nil {
			t.Errorf("%+v %v", rows, err)
		}
		if orphans, err := s.OrphanNodes(ctx, 10); len(orphans) != 0 || err != nil {
			t.Errorf("%+v %v", orphans, err)
		}
		must(t, s.Leave(ctx, "m2", e2))
		orphans, err := s.OrphanNodes(ctx, 10)
		must(t, err)
		if len(orphans) != 1 || orphans[0].Member != "m2" {
			t.Errorf("%+v", orphans)
		}
		if ok, err := s.ReleaseNode(ctx, "mi-1", "m2", e2); !ok || err != nil {
			t.Errorf("the node of a lost member was not released: %v", err)
		}
		owner("")
	})
	t.Run("owners of sessions", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		e1, e2 := joined(t, s, "m1"), joined(t, s, "m2")
		claim := func(m string, epoch int64, want cluster.Owner) {
			t.Helper()
			got, err := s.ClaimSession(ctx, "alice-1", m, epoch)
			must(t, err)
			got.Address, want.Live = "", got.Live
			if got != want {
				t.Errorf("%s claimed: %+v, want %+v", m, got, want)
			}
		}
		claim("m1", e1, cluster.Owner{Member: "m1", Epoch: e1, Term: 1})
		claim("m1", e1, cluster.Owner{Member: "m1", Epoch: e1, Term: 1})
		claim("m2", e2, cluster.Owner{Member: "m1", Epoch: e1, Term: 1})
		must(t, s.Leave(ctx, "m1", e1))
		if o, err := s.SessionOwner(ctx, "alice-1"); o.Live || err != nil {
			t.Errorf("%+v %v", o, err)
		}
		claim("m2", e2, cluster.Owner{Member: "m2", Epoch: e2, Term: 2})
		e1 = joined(t, s, "m1")
		claim("m1", e1, cluster.Owner{Member: "m2", Epoch: e2, Term: 2})
		if o, err := s.ClaimSession(ctx, "alice-2", "m1", e1-1); err != nil || o.Member != "" {
			t.Errorf("an earlier epoch claimed: %+v %v", o, err)
		}
	})
	t.Run("concurrent claims have one winner", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		const members, rounds = 4, 8
		var epochs [members]int64
		for i := range epochs {
			epochs[i] = joined(t, s, fmt.Sprintf("m%d", i))
		}
		for round := range rounds {
			var wg sync.WaitGroup
			var won atomic.Int64
			for i, epoch := range epochs {
				wg.Go(func() {
					name := fmt.Sprintf("m%d", i)
					o, err := s.ClaimSession(context.WithoutCancel(ctx), sekisho.SessionID(fmt.Sprint("s-", round)), name, epoch)
					if err != nil {
						t.Error(err)
					}
					if o.Member == name {
						won.Add(1)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%d members won", won.Load())
			}
		}
	})
}

package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sekisho/internal/iam/identity"
)

// Identity runs the suite of [identity.Store]; open returns an empty store.
func Identity(t *testing.T, open func(t *testing.T) identity.Store) {
	t.Run("changes since a generation", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		wantChanges(t, s, 0, 0)
		commit(t, s, 0, true, object("a", "1"), object("b", "1"))
		wantChanges(t, s, 0, 1, object("a", "1"), object("b", "1"))
		commit(t, s, 1, true, object("b", "2"))
		wantChanges(t, s, 1, 2, object("b", "2"))
		wantChanges(t, s, 0, 2, object("a", "1"), object("b", "2"))
		wantChanges(t, s, 2, 2)
	})

	t.Run("a deletion is a change, and a name may come back", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		gone := identity.Object{Kind: identity.KindUser, Key: "a", Deleted: true}
		commit(t, s, 0, true, object("a", "1"))
		commit(t, s, 1, true, gone)
		wantChanges(t, s, 1, 2, gone)
		commit(t, s, 2, true, object("a", "2"))
		wantChanges(t, s, 2, 3, object("a", "2"))
	})

	t.Run("the same key of two kinds is two objects", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		role := identity.Object{Kind: identity.KindRole, Key: "a", Body: []byte(`"role"`)}
		commit(t, s, 0, true, object("a", "1"), role)
		wantChanges(t, s, 0, 1, object("a", "1"), role)
	})

	t.Run("a commit on an old generation writes nothing", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		commit(t, s, 0, true, object("a", "1"))
		commit(t, s, 0, false, object("a", "2"), object("b", "2"))
		commit(t, s, 5, false, object("a", "2"))
		wantChanges(t, s, 0, 1, object("a", "1"))
	})

	t.Run("of many writers one wins each generation", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		var won atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for base := range int64(5) {
					ok, err := s.Commit(t.Context(), base, []identity.Object{object(fmt.Sprint(i, base), "x")})
					if err != nil {
						t.Error(err)
					}
					if ok {
						won.Add(1)
					}
				}
			})
		}
		wg.Wait()
		objects, newest, err := s.Changes(t.Context(), 0)
		if err != nil || newest != won.Load() || int64(len(objects)) != newest {
			t.Errorf(
				"%d commits were accepted, the store has %d objects at generation %d (%v)",
				won.Load(),
				len(objects),
				newest,
				err,
			)
		}
	})

	t.Run("the latest use is kept", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		late := identity.Use{ID: "AKIA1", At: at, Service: "ssm", Region: "us-east-1"}
		early := identity.Use{ID: "AKIA1", At: at.Add(-time.Hour), Service: "iam", Region: "us-east-1"}
		for _, u := range []identity.Use{late, early} {
			if err := s.Touch(t.Context(), []identity.Use{u}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.LastUses(t.Context(), []string{"AKIA1", "AKIA2"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]identity.Use{"AKIA1": late}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func object(key, body string) identity.Object {
	return identity.Object{Kind: identity.KindUser, Key: key, Body: []byte(`"` + body + `"`)}
}

func commit(t *testing.T, s identity.Store, base int64, want bool, objects ...identity.Object) {
	t.Helper()
	if ok, err := s.Commit(t.Context(), base, objects); err != nil || ok != want {
		t.Fatalf("Commit on %d = %v, %v; want %v", base, ok, err, want)
	}
}

func wantChanges(t *testing.T, s identity.Store, since, newest int64, want ...identity.Object) {
	t.Helper()
	got, gen, err := s.Changes(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	if gen != newest {
		t.Errorf("Changes(%d): the newest generation is %d, want %d", since, gen, newest)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b identity.Object) bool {
		return a.Kind+identity.Kind(a.Key) < b.Kind+identity.Kind(b.Key)
	})); diff != "" {
		t.Errorf("Changes(%d): %s", since, diff)
	}
}

package identity_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/iam/identity"
)

// slowStore is a store that takes a while, and fails after a while.
type slowStore struct {
	*memStore
	takes time.Duration
	calls int
}

func (s *slowStore) Changes(ctx context.Context, since int64) ([]identity.Object, int64, error) {
	objects, newest, err := s.memStore.Changes(ctx, since)
	s.calls++
	select {
	case <-time.After(s.takes):
		return objects, newest, err
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// TestBoundOfStaleness: with a store that fails or hangs, the directory answers from memory until its state is older
// than the limit, and then refuses.
func TestBoundOfStaleness(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(s *slowStore){
		"fails": func(s *slowStore) { s.fail = errors.New("the store is gone") },
		"hangs": func(s *slowStore) { s.takes = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := setup(t)
			synctest.Test(t, func(t *testing.T) {
				const limit = 2 * time.Second
				s := &slowStore{memStore: &memStore{log: origin.store.log, newest: origin.store.newest}}
				d, err := identity.New(t.Context(), identity.Config{
					Store: s, Keyring: origin.ring, Account: account, Refresh: limit / 4, StaleLimit: limit,
				})
				must(t, err)
				began := time.Now()
				ask := func() error {
					_, err := d.Users.Get(t.Context(), "nobody")
					return err
				}
				lose(s)
				for time.Since(began) < limit-limit/4 {
					if err := ask(); sekisho.CodeOf(err) != sekisho.CodeNotFound && time.Since(began) < limit {
						t.Errorf("after %s: %v", time.Since(began), err)
					}
					time.Sleep(limit / 8)
				}
				time.Sleep(limit)
				if err := ask(); sekisho.CodeOf(err) != sekisho.CodeUnavailable {
					t.Errorf("beyond the limit: %v", err)
				}
				s.fail, s.takes = nil, 0
				if err := ask(); sekisho.CodeOf(err) != sekisho.CodeNotFound {
					t.Errorf("when the store is back: %v", err)
				}
			})
		})
	}
}

// TestAgeOfASlowAnswer: the state is as old as the question to the store, not as its answer.
func TestAgeOfASlowAnswer(t *testing.T) {
	t.Parallel()
	origin := setup(t)
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{memStore: &memStore{log: origin.store.log, newest: origin.store.newest}}
		d, err := identity.New(t.Context(), identity.Config{
			Store: s, Keyring: origin.ring, Account: account, Refresh: time.Second, StaleLimit: 10 * time.Second,
		})
		must(t, err)
		time.Sleep(2 * time.Second)
		s.takes = 3 * time.Second
		for want := range 2 {
			calls := s.calls
			if _, err := d.Users.Get(t.Context(), "nobody"); sekisho.CodeOf(err) != sekisho.CodeNotFound {
				t.Error(err)
			}
			if s.calls != calls+1 {
				t.Errorf("call %d: the store was asked %d times", want, s.calls-calls)
			}
		}
	})
}

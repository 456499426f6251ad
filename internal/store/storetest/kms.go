package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/storage/kmskey"
)

func kmsKey(id string) *kmskey.Key {
	return &kmskey.Key{
		ID: id, Description: "für Büros", State: kmskey.PendingDeletion, CreatedAt: at(1), DeletionAt: at(2),
		Policy:  kmskey.Policy{Document: `{"Statement":"'"}`, Names: map[string]string{"arn:x": "AIDA"}},
		Rotates: true, RotateEvery: 90 * 24 * time.Hour,
		Tags: map[string]string{"k": "'; DROP TABLE kms_keys; --"},
		Grants: []kmskey.Grant{{
			ID: "g", Name: "n", Grantee: "arn:x", Operations: []string{"Decrypt"}, ContextEquals: map[string]string{"a": "b"},
			IssuedBy: "arn:y", CreatedAt: at(3),
			Policy: kmskey.Policy{Document: "{}", Names: map[string]string{"arn:x": "AIDA"}},
		}},
		Generations: []kmskey.Generation{
			{MadeAt: at(1), Sealed: []byte{0, 1, 0xff}},
			{MadeAt: at(3), Sealed: []byte("second")},
		},
	}
}

// KMS runs the conformance suite of [kmskey.Store]; open returns an empty store.
func KMS(t *testing.T, open func(t *testing.T) kmskey.Store) {
	t.Run("missing keys and aliases are not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.Key(ctx, "nope")
		wantCode(t, err, sekisho.CodeNotFound)
		err = s.UpdateKey(ctx, "nope", func(*kmskey.Key) error { return errors.New("called") })
		wantCode(t, err, sekisho.CodeNotFound)
		wantCode(t, s.DeleteKey(ctx, "nope"), sekisho.CodeNotFound)
		_, err = s.Alias(ctx, "alias/nope")
		wantCode(t, err, sekisho.CodeNotFound)
		wantCode(t, s.DeleteAlias(ctx, "alias/nope"), sekisho.CodeNotFound)
		err = s.CreateAlias(ctx, kmskey.Alias{Name: "alias/a", KeyID: "nope", CreatedAt: at(1)})
		wantCode(t, err, sekisho.CodeNotFound)
	})
	t.Run("keys are returned unchanged, sorted by ID", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		b, a := kmsKey("b"), kmsKey("a")
		must(t, s.CreateKey(ctx, b))
		must(t, s.CreateKey(ctx, a))
		got, err := s.Key(ctx, "a")
		must(t, err)
		same(t, a, got)
		all, err := s.Keys(ctx)
		must(t, err)
		same(t, []*kmskey.Key{a, b}, all)
	})
	t.Run("an ID cannot be used twice", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateKey(ctx, kmsKey("a")))
		wantCode(t, s.CreateKey(ctx, kmsKey("a")), sekisho.CodeConflict)
	})
	t.Run("an update that fails changes nothing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateKey(ctx, kmsKey("a")))
		refusal := errors.New("no")
		err := s.UpdateKey(ctx, "a", func(k *kmskey.Key) error { k.Description = "lost"; return refusal })
		wantErr(t, err, refusal)
		got, err := s.Key(ctx, "a")
		must(t, err)
		same(t, kmsKey("a"), got)
	})
	t.Run("an update stores every field", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateKey(ctx, kmsKey("a")))
		want := &kmskey.Key{
			ID:          "a",
			State:       kmskey.Enabled,
			CreatedAt:   at(4),
			Generations: []kmskey.Generation{{MadeAt: at(5), Sealed: []byte("x")}},
		}
		must(t, s.UpdateKey(ctx, "a", func(k *kmskey.Key) error { *k = *want; return nil }))
		got, err := s.Key(ctx, "a")
		must(t, err)
		same(t, want, got)
	})
	t.Run("simultaneous updates are all kept", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateKey(ctx, kmsKey("a")))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.UpdateKey(ctx, "a", func(k *kmskey.Key) error {
					k.Generations = append(k.Generations, kmskey.Generation{MadeAt: at(9), Sealed: []byte("x")})
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		k, err := s.Key(ctx, "a")
		must(t, err)
		same(t, 10, len(k.Generations))
	})
	y := kmskey.Alias{Name: "alias/y", KeyID: "a", CreatedAt: at(1), UpdatedAt: at(1)}
	x := kmskey.Alias{Name: "alias/x", KeyID: "a", CreatedAt: at(2), UpdatedAt: at(2)}
	aliased := func(t *testing.T) kmskey.Store {
		t.Helper()
		s, ctx := open(t), t.Context()
		must(t, s.CreateKey(ctx, kmsKey("a")))
		must(t, s.CreateKey(ctx, kmsKey("b")))
		must(t, s.CreateAlias(ctx, y))
		must(t, s.CreateAlias(ctx, x))
		return s
	}
	wantAliases := func(t *testing.T, s kmskey.Store, want ...kmskey.Alias) {
		t.Helper()
		all, err := s.Aliases(t.Context())
		must(t, err)
		var got []kmskey.Alias
		for _, a := range all {
			got = append(got, *a)
		}
		same(t, want, got)
	}
	t.Run("aliases are listed by name", func(t *testing.T) {
		t.Parallel()
		wantAliases(t, aliased(t), x, y)
	})
	t.Run("an alias cannot be created twice", func(t *testing.T) {
		t.Parallel()
		s := aliased(t)
		wantCode(t, s.CreateAlias(t.Context(), kmskey.Alias{Name: "alias/x", KeyID: "b"}), sekisho.CodeConflict)
		wantAliases(t, s, x, y)
	})
	t.Run("an alias can be moved to a key that exists", func(t *testing.T) {
		t.Parallel()
		s, ctx := aliased(t), t.Context()
		wantCode(t, s.UpdateAlias(ctx, "alias/x", "nope", at(5)), sekisho.CodeNotFound)
		wantCode(t, s.UpdateAlias(ctx, "alias/nope", "b", at(5)), sekisho.CodeNotFound)
		must(t, s.UpdateAlias(ctx, "alias/x", "b", at(5)))
		want := x
		want.KeyID, want.UpdatedAt = "b", at(5)
		got, err := s.Alias(ctx, "alias/x")
		must(t, err)
		same(t, &want, got)
	})
	t.Run("deleting a key deletes its aliases only", func(t *testing.T) {
		t.Parallel()
		s, ctx := aliased(t), t.Context()
		must(t, s.UpdateAlias(ctx, "alias/x", "b", at(5)))
		must(t, s.DeleteKey(ctx, "a"))
		want := x
		want.KeyID, want.UpdatedAt = "b", at(5)
		wantAliases(t, s, want)
	})
	t.Run("a deleted alias is not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := aliased(t), t.Context()
		must(t, s.DeleteAlias(ctx, "alias/x"))
		_, err := s.Alias(ctx, "alias/x")
		wantCode(t, err, sekisho.CodeNotFound)
	})
}

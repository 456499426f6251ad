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
		Policy: kmskey.Policy{
			Document: `{"Statement":"'"}`,
			Names:    map[string]string{"arn:x": "AIDA"},
		}, Rotates: true, RotateEvery: 90 * 24 * time.Hour,
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

// KMS runs the conformance suite of [kms.Store]; open returns an empty store.
func KMS(t *testing.T, open func(t *testing.T) kmskey.Store) {
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.Key(ctx, "nope")
		wantCode(t, err, sekisho.CodeNotFound)
		wantCode(
			t,
			s.UpdateKey(ctx, "nope", func(*kmskey.Key) error { return errors.New("called") }),
			sekisho.CodeNotFound,
		)
		wantCode(t, s.DeleteKey(ctx, "nope"), sekisho.CodeNotFound)
		_, err = s.Alias(ctx, "alias/nope")
		wantCode(t, err, sekisho.CodeNotFound)
		wantCode(t, s.DeleteAlias(ctx, "alias/nope"), sekisho.CodeNotFound)
		wantCode(
			t,
			s.CreateAlias(ctx, kmskey.Alias{Name: "alias/a", KeyID: "nope", CreatedAt: at(1)}),
			sekisho.CodeNotFound,
		)
	})
	t.Run("keys", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		b, a := kmsKey("b"), kmsKey("a")
		must(t, s.CreateKey(ctx, b))
		must(t, s.CreateKey(ctx, a))
		wantCode(t, s.CreateKey(ctx, a), sekisho.CodeConflict)
		got, err := s.Key(ctx, "a")
		must(t, err)
		same(t, a, got)
		all, err := s.Keys(ctx)
		must(t, err)
		same(t, []*kmskey.Key{a, b}, all)

		refusal := errors.New("no")
		if err := s.UpdateKey(ctx, "a", func(k *kmskey.Key) error { k.Description = "lost"; return refusal }); !errors.Is(
			err,
			refusal,
		) {
			t.Errorf("%v", err)
		}
		want := &kmskey.Key{
			ID:          "a",
			State:       kmskey.Enabled,
			CreatedAt:   at(4),
			Generations: []kmskey.Generation{{MadeAt: at(5), Sealed: []byte("x")}},
		}
		must(t, s.UpdateKey(ctx, "a", func(k *kmskey.Key) error { *k = *want; return nil }))
		got, err = s.Key(ctx, "a")
		must(t, err)
		same(t, want, got)
	})
	t.Run("updates at once", func(t *testing.T) {
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
		if n := len(k.Generations); n != 10 {
			t.Errorf("%d generations of 10 are left", n)
		}
	})
	t.Run("aliases", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateKey(ctx, kmsKey("a")))
		must(t, s.CreateKey(ctx, kmsKey("b")))
		y, x := kmskey.Alias{
			Name:      "alias/y",
			KeyID:     "a",
			CreatedAt: at(1),
			UpdatedAt: at(1),
		}, kmskey.Alias{
			Name:      "alias/x",
			KeyID:     "a",
			CreatedAt: at(2),
			UpdatedAt: at(2),
		}
		must(t, s.CreateAlias(ctx, y))
		must(t, s.CreateAlias(ctx, x))
		wantCode(t, s.CreateAlias(ctx, kmskey.Alias{Name: "alias/x", KeyID: "b"}), sekisho.CodeConflict)
		all, err := s.Aliases(ctx)
		must(t, err)
		same(t, []*kmskey.Alias{&x, &y}, all)

		wantCode(t, s.UpdateAlias(ctx, "alias/x", "nope", at(5)), sekisho.CodeNotFound)
		wantCode(t, s.UpdateAlias(ctx, "alias/nope", "b", at(5)), sekisho.CodeNotFound)
		must(t, s.UpdateAlias(ctx, "alias/x", "b", at(5)))
		x.KeyID, x.UpdatedAt = "b", at(5)
		got, err := s.Alias(ctx, "alias/x")
		must(t, err)
		same(t, &x, got)

		// A key takes its names with it, and no others.
		must(t, s.DeleteKey(ctx, "a"))
		all, err = s.Aliases(ctx)
		must(t, err)
		same(t, []*kmskey.Alias{&x}, all)
		must(t, s.DeleteAlias(ctx, "alias/x"))
		_, err = s.Alias(ctx, "alias/x")
		wantCode(t, err, sekisho.CodeNotFound)
	})
}

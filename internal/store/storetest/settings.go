package storetest

import (
	"testing"

	"sekisho"
	"sekisho/internal/session/settings"
)

// Settings runs the conformance suite of [settings.Store]; open returns an
// empty store.
func Settings(t *testing.T, open func(t *testing.T) settings.Store) {
	first := &settings.Setting{
		ID:         "/a",
		Value:      "'; DROP TABLE service_settings; --",
		ModifiedAt: at(1),
		ModifiedBy: "arn:x",
	}
	other := &settings.Setting{ID: "/b", Value: "b", ModifiedAt: at(2), ModifiedBy: "arn:y"}
	stored := func(t *testing.T) settings.Store {
		t.Helper()
		s := open(t)
		must(t, s.PutServiceSetting(t.Context(), first))
		must(t, s.PutServiceSetting(t.Context(), other))
		return s
	}
	wantSetting := func(t *testing.T, s settings.Store, want *settings.Setting) {
		t.Helper()
		got, err := s.ServiceSetting(t.Context(), want.ID)
		must(t, err)
		same(t, want, got)
	}

	t.Run("a setting without a value is not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.ServiceSetting(ctx, "/a")
		wantCode(t, err, sekisho.CodeNotFound)
		must(t, s.DeleteServiceSetting(ctx, "/a"))
	})

	t.Run("settings are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s := stored(t)
		wantSetting(t, s, first)
		wantSetting(t, s, other)
	})

	t.Run("a new value replaces the old one", func(t *testing.T) {
		t.Parallel()
		s := stored(t)
		second := &settings.Setting{ID: "/a", Value: "new", ModifiedAt: at(3), ModifiedBy: "arn:z"}
		must(t, s.PutServiceSetting(t.Context(), second))
		wantSetting(t, s, second)
		wantSetting(t, s, other)
	})

	t.Run("deleting a setting leaves the others", func(t *testing.T) {
		t.Parallel()
		s, ctx := stored(t), t.Context()
		must(t, s.DeleteServiceSetting(ctx, "/a"))
		_, err := s.ServiceSetting(ctx, "/a")
		wantCode(t, err, sekisho.CodeNotFound)
		wantSetting(t, s, other)
	})
}

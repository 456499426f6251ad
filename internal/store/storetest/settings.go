package storetest

import (
	"testing"

	"sekisho"
	"sekisho/internal/session/settings"
)

// Settings runs the conformance suite of [settings.Store]; open returns an
// empty store.
func Settings(t *testing.T, open func(t *testing.T) settings.Store) {
	t.Run("kept, changed and reset to the default", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.ServiceSetting(ctx, "/a")
		wantCode(t, err, sekisho.CodeNotFound)
		must(t, s.DeleteServiceSetting(ctx, "/a"))
		first := &settings.Setting{
			ID:         "/a",
			Value:      "'; DROP TABLE service_settings; --",
			ModifiedAt: at(1),
			ModifiedBy: "arn:x",
		}
		other := &settings.Setting{ID: "/b", Value: "b", ModifiedAt: at(2), ModifiedBy: "arn:y"}
		must(t, s.PutServiceSetting(ctx, first))
		must(t, s.PutServiceSetting(ctx, other))
		got, err := s.ServiceSetting(ctx, "/a")
		must(t, err)
		same(t, first, got)
		second := &settings.Setting{ID: "/a", Value: "now this", ModifiedAt: at(3), ModifiedBy: "arn:z"}
		must(t, s.PutServiceSetting(ctx, second))
		got, err = s.ServiceSetting(ctx, "/a")
		must(t, err)
		same(t, second, got)
		must(t, s.DeleteServiceSetting(ctx, "/a"))
		_, err = s.ServiceSetting(ctx, "/a")
		wantCode(t, err, sekisho.CodeNotFound)
		got, err = s.ServiceSetting(ctx, "/b")
		must(t, err)
		same(t, other, got)
	})
}

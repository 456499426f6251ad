package settings_test

import (
	"context"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/settings"
)

// memStore is a [settings.Store] in memory.
type memStore map[string]*settings.Setting

func (m memStore) ServiceSetting(_ context.Context, id string) (*settings.Setting, error) {
	if s := m[id]; s != nil {
		return s, nil
	}
	return nil, sekisho.Errorf(sekisho.CodeNotFound, "setting %s was not changed", id)
}

func (m memStore) PutServiceSetting(_ context.Context, s *settings.Setting) error {
	m[s.ID] = s
	return nil
}

func (m memStore) DeleteServiceSetting(_ context.Context, id string) error {
	delete(m, id)
	return nil
}

func TestSettings(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	store := memStore{}
	s := settings.New(store, func() time.Time { return now })
	want := func(id, value string, changed bool) {
		t.Helper()
		got, err := s.Get(ctx, id)
		if err != nil || got.Value != value || got.ModifiedAt.IsZero() == changed {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
	want(settings.HostRole, settings.None, false)
	want(settings.PublicSharing, settings.Enable, false)
	if err := s.Set(ctx, settings.HostRole, "path/role", "arn:x"); err != nil {
		t.Fatal(err)
	}
	want(settings.HostRole, "path/role", true)
	// A setting with its default value counts as unchanged.
	if err := s.Set(ctx, settings.HostRole, settings.None, "arn:x"); err != nil || len(store) != 0 {
		t.Errorf("%v, %d settings are stored", err, len(store))
	}
	if err := s.Set(ctx, settings.PublicSharing, settings.Disable, "arn:x"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Reset(ctx, settings.PublicSharing); err != nil || got.Value != settings.Enable {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range [][2]string{{settings.PublicSharing, "Maybe"}, {settings.ActivationTier, "standard"}} {
		if err := s.Set(ctx, bad[0], bad[1], "arn:x"); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%s = %s: %v", bad[0], bad[1], err)
		}
	}
	if _, err := s.Get(ctx, "/ssm/none"); !sekisho.IsNotFound(err) {
		t.Errorf("an unknown setting: %v", err)
	}
	if _, err := s.Reset(ctx, "/ssm/none"); !sekisho.IsNotFound(err) {
		t.Errorf("an unknown setting: %v", err)
	}
}

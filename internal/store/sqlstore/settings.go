package sqlstore

import (
	"context"

	"sekisho/internal/session/settings"
)

// SettingStore keeps service settings.
type SettingStore struct{ sql pool }

var _ settings.Store = (*SettingStore)(nil)

// ServiceSetting implements [settings.Store].
func (db *SettingStore) ServiceSetting(ctx context.Context, id string) (*settings.Setting, error) {
	s := &settings.Setting{ID: id}
	var modified int64
	err := db.sql.QueryRowContext(ctx, `SELECT value, modified_at, modified_by FROM service_settings WHERE id = $1`, id).
		Scan(&s.Value, &modified, &s.ModifiedBy)
	if err != nil {
		return nil, notFound(err, "setting %s was not changed", id)
	}
	s.ModifiedAt = fromMicros(modified)
	return s, nil
}

// PutServiceSetting implements [settings.Store].
func (db *SettingStore) PutServiceSetting(ctx context.Context, s *settings.Setting) error {
	_, err := db.sql.ExecContext(
		ctx,
		`INSERT INTO service_settings (id, value, modified_at, modified_by) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO UPDATE
		SET value = excluded.value, modified_at = excluded.modified_at, modified_by = excluded.modified_by`,
		s.ID,
		s.Value,
		micros(s.ModifiedAt),
		s.ModifiedBy,
	)
	return err
}

// DeleteServiceSetting implements [settings.Store].
func (db *SettingStore) DeleteServiceSetting(ctx context.Context, id string) error {
	_, err := db.sql.ExecContext(ctx, `DELETE FROM service_settings WHERE id = $1`, id)
	return err
}

package sqlstore_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/store/sqlstore"
)

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	open := func() error {
		db, err := sqlstore.OpenSQLite(t.Context(), path)
		if err != nil {
			return err
		}
		return db.Close()
	}
	for range 2 {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.ExecContext(t.Context(),
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99990, TRUE)`); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "99990") {
		t.Errorf("got %v", err)
	}
}

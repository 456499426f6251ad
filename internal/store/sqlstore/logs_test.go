package sqlstore_test

import (
	"path/filepath"
	"testing"

	"sekisho/internal/storage/loggroup"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	storetest.Logs(t, func(t *testing.T) loggroup.Store {
		db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return db
	})
}

package sqlstore_test

import (
	"path/filepath"
	"testing"

	"sekisho/internal/storage/objects"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest"
)

func TestObjects(t *testing.T) {
	t.Parallel()
	storetest.Objects(t, func(t *testing.T) objects.Index {
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

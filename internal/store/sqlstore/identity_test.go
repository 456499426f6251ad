package sqlstore_test

import (
	"path/filepath"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest"
)

func TestIdentityStore(t *testing.T) {
	t.Parallel()
	storetest.Identity(t, func(t *testing.T) identity.Store {
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

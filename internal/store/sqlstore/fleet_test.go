package sqlstore_test

import (
	"path/filepath"
	"testing"

	"sekisho/internal/node/fleet"
	"sekisho/internal/session/broker"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest"
)

func openSQLite(t testing.TB) *sqlstore.DB {
	t.Helper()
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
}

func TestFleet(t *testing.T) {
	t.Parallel()
	storetest.Fleet(t, func(t *testing.T) fleet.Store { return openSQLite(t).Fleet })
}

func TestSessions(t *testing.T) {
	t.Parallel()
	storetest.Sessions(t, func(t *testing.T) broker.Store { return openSQLite(t).Sessions })
}

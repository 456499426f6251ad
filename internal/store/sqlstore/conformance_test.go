package sqlstore_test

import (
	"testing"

	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/event"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/fleet"
	"sekisho/internal/runcommand"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/settings"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/storage/objects"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Audit(t, func(t *testing.T) audit.Store { return open(t).Audit })
	})
}

func TestCommands(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Commands(t, func(t *testing.T) runcommand.Store { return open(t).Commands })
	})
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Documents(t, func(t *testing.T) doclibrary.Store { return open(t).Documents })
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Events(t, func(t *testing.T) event.Store { return open(t).Events })
	})
}

func TestFleet(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Fleet(t, func(t *testing.T) fleet.Store { return open(t).Fleet })
	})
}

func TestIdentityStore(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Identity(t, func(t *testing.T) identity.Store { return open(t).Identities })
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.KMS(t, func(t *testing.T) kmskey.Store { return open(t).Keys })
	})
}

func TestLogs(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Logs(t, func(t *testing.T) loggroup.Store { return open(t).Logs })
	})
}

func TestObjects(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Objects(t, func(t *testing.T) objects.Index { return open(t).Objects })
	})
}

func TestSessions(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Sessions(t, func(t *testing.T) broker.Store { return open(t).Sessions })
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Settings(t, func(t *testing.T) settings.Store { return open(t).Settings })
	})
}

func TestSightings(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Sightings(t, func(t *testing.T) fleet.Store { return open(t).Fleet })
	})
}

func TestInventory(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Inventory(t, func(t *testing.T) storetest.InventoryStores {
			db := open(t)
			return storetest.InventoryStores{Store: db.Inventory, Fleet: db.Fleet}
		})
	})
}

func TestUsage(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Usage(t, func(t *testing.T) storetest.UsageStores {
			db := open(t)
			return storetest.UsageStores{Store: db.Usage, Sessions: db.Sessions}
		})
	})
}

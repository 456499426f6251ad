package sqlstore_test

import (
	"testing"

	"sekisho/internal/store/storetest"
)

func TestInventory(t *testing.T) {
	t.Parallel()
	storetest.Inventory(t, func(t *testing.T) storetest.InventoryStores {
		db := openSQLite(t)
		return storetest.InventoryStores{Store: db.Inventory, Fleet: db.Fleet}
	})
}

package sqlstore_test

import (
	"testing"

	"sekisho/internal/store/storetest"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	storetest.Usage(t, func(t *testing.T) storetest.UsageStores {
		db := openSQLite(t)
		return storetest.UsageStores{Store: db.Usage, Sessions: db.Sessions}
	})
}

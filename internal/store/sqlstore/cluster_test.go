package sqlstore_test

import (
	"testing"

	"sekisho/internal/cluster"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Cluster(t, func(t *testing.T) cluster.Store { return open(t).Cluster })
	})
}

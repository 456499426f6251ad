package sqlstore_test

import (
	"testing"

	"sekisho/internal/storage/loggroup"
	"sekisho/internal/store/storetest"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	storetest.Logs(t, func(t *testing.T) loggroup.Store { return openSQLite(t).Logs })
}

package sqlstore_test

import (
	"testing"

	"sekisho/internal/storage/kmskey"
	"sekisho/internal/store/storetest"
)

func TestKMS(t *testing.T) {
	t.Parallel()
	storetest.KMS(t, func(t *testing.T) kmskey.Store { return openSQLite(t).Keys })
}

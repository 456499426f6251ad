package sqlstore_test

import (
	"testing"

	"sekisho/internal/kms"
	"sekisho/internal/storetest"
)

func TestKMS(t *testing.T) {
	t.Parallel()
	storetest.KMS(t, func(t *testing.T) kms.Store { return openSQLite(t) })
}

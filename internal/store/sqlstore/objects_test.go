package sqlstore_test

import (
	"testing"

	"sekisho/internal/storage/objects"
	"sekisho/internal/store/storetest"
)

func TestObjects(t *testing.T) {
	t.Parallel()
	storetest.Objects(t, func(t *testing.T) objects.Index { return openSQLite(t).Objects })
}

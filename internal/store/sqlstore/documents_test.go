package sqlstore_test

import (
	"testing"

	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/store/storetest"
)

func TestDocuments(t *testing.T) {
	t.Parallel()
	storetest.Documents(t, func(t *testing.T) doclibrary.Store { return openSQLite(t).Documents })
}

package sqlstore_test

import (
	"testing"

	"sekisho/internal/documents"
	"sekisho/internal/storetest"
)

func TestDocuments(t *testing.T) {
	t.Parallel()
	storetest.Documents(t, func(t *testing.T) documents.Store { return openSQLite(t) })
}

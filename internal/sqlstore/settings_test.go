package sqlstore_test

import (
	"testing"

	"sekisho/internal/settings"
	"sekisho/internal/storetest"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	storetest.Settings(t, func(t *testing.T) settings.Store { return openSQLite(t) })
}

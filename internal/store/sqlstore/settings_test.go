package sqlstore_test

import (
	"testing"

	"sekisho/internal/session/settings"
	"sekisho/internal/store/storetest"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	storetest.Settings(t, func(t *testing.T) settings.Store { return openSQLite(t).Settings })
}

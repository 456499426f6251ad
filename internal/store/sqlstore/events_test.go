package sqlstore_test

import (
	"testing"

	"sekisho/internal/activity/event"
	"sekisho/internal/store/storetest"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	storetest.Events(t, func(t *testing.T) event.Store { return openSQLite(t).Events })
}

package sqlstore_test

import (
	"testing"

	"sekisho/internal/runcommand"
	"sekisho/internal/store/storetest"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	storetest.Commands(t, func(t *testing.T) runcommand.Store { return openSQLite(t).Commands })
}

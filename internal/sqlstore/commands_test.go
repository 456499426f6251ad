package sqlstore_test

import (
	"testing"

	"sekisho/internal/command"
	"sekisho/internal/storetest"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	storetest.Commands(t, func(t *testing.T) command.Store { return openSQLite(t) })
}

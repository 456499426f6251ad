package sqlstore_test

import (
	"testing"

	"sekisho/internal/node/fleet"
	"sekisho/internal/store/storetest"
)

func TestSightings(t *testing.T) {
	t.Parallel()
	storetest.Sightings(t, func(t *testing.T) fleet.Store { return openSQLite(t).Fleet })
}

package sqlstore_test

import (
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/store/storetest"
)

func TestIdentityStore(t *testing.T) {
	t.Parallel()
	storetest.Identity(t, func(t *testing.T) identity.Store { return openSQLite(t).Identities })
}

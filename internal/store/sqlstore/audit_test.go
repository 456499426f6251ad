package sqlstore_test

import (
	"testing"

	"sekisho/internal/activity/audit"
	"sekisho/internal/store/storetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	storetest.Audit(t, func(t *testing.T) audit.Store { return openSQLite(t).Audit })
}

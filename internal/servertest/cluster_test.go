package servertest_test

import (
	"net/http"
	"testing"

	"sekisho/internal/servertest"
)

// A server that is not a member of a cluster lists no members, and nobody without permission learns that.
func TestListClusterMembersOfASingleServer(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if a := s.JSON(s.Admin, "sekisho", "ListClusterMembers", map[string]any{}); a.Status != http.StatusBadRequest ||
		a.Code() != "ResourceNotFoundException" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	reader := s.User("reader", servertest.Allow("*", "sekisho:ListEvents"))
	if a := s.JSON(reader, "sekisho", "ListClusterMembers", map[string]any{}); a.Code() != "AccessDeniedException" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

package sqlstore

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestListingsOfNodesUseIndexes: the queries behind a page of nodes read only
// what changed and what belongs to the page.
func TestListingsOfNodesUseIndexes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := OpenSQLite(ctx, filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for query, index := range map[string]string{
		changedNodes: "nodes_by_revision",
		fmt.Sprintf(sightingsOf, "'mi-1', 'mi-2'"): "sightings_by_node",
	} {
		rows, err := db.sql.QueryContext(ctx, "EXPLAIN QUERY PLAN "+strings.Replace(query, "$1", "7", 1))
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "; "); !strings.Contains(text, "USING INDEX "+index) ||
			strings.Contains(text, "SCAN") {
			t.Errorf("%.60s…: %s, want a search by %s", query, text, index)
		}
	}
}

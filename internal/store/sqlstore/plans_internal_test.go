package sqlstore

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/session/broker"
)

// plan returns SQLite's plan for a query.
func plan(t *testing.T, d *DB, query string, args []any) string {
	t.Helper()
	steps, err := queryAll(t.Context(), d.sql, func(row scanner) (step string, err error) {
		var id, parent, unused int
		err = row.Scan(&id, &parent, &unused, &step)
		return step, err
	}, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(steps, " | ")
}

// wantIndexed demands that a listing walks an index in its order: neither a
// scan nor a sort, whose cost grows with the table.
func wantIndexed(t *testing.T, name, got, index string) {
	t.Helper()
	if !strings.Contains(got, "USING INDEX "+index) || strings.Contains(got, "SCAN ") ||
		strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("%s: %s", name, got)
	}
}

func openForPlans(t *testing.T) *DB {
	t.Helper()
	d, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestPlansOfSessionListings(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	last := &sekisho.Session{ID: "a-1", StartedAt: time.Now()}
	for bits := range 64 {
		q := broker.Query{Active: bits&1 != 0, Limit: 50}
		index, after := "sessions_by_start", last
		if bits&2 != 0 {
			q.Status, index = sekisho.SessionTerminated, "sessions_by_status"
		}
		if bits&4 != 0 {
			q.Owner, index = "arn:x", "sessions_by_owner"
		}
		if bits&8 != 0 {
			q.Target, index = "mi-1", "sessions_by_target"
		}
		if bits&16 != 0 {
			q.StartedAfter, q.StartedBefore = time.Now(), time.Now()
		}
		if bits&32 != 0 {
			after = nil
		}
		query, args := sessionsQuery(&q, after)
		wantIndexed(t, fmt.Sprintf("%+v", q), plan(t, d, query, args), index)
	}
	query, args := sessionsQuery(&broker.Query{ID: "a-1", Target: "mi-1", Limit: 50}, nil)
	if got := plan(t, d, query, args); !strings.Contains(got, "sqlite_autoindex_sessions_1 (id=?)") {
		t.Errorf("by ID: %s", got)
	}
}

func TestPlansOfAuditLookups(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	yes := true
	for name, tc := range map[string]struct {
		q     audit.Query
		index string
	}{
		"all":           {audit.Query{}, "audit_records_by_time"},
		"time":          {audit.Query{Start: time.Now(), End: time.Now()}, "audit_records_by_time"},
		"event name":    {audit.Query{EventName: "x"}, "audit_records_by_event_name"},
		"source":        {audit.Query{EventSource: "x"}, "audit_records_by_source"},
		"user":          {audit.Query{Username: "x"}, "audit_records_by_username"},
		"key":           {audit.Query{AccessKeyID: "x"}, "audit_records_by_access_key"},
		"read only":     {audit.Query{ReadOnly: &yes}, "audit_records_by_read_only"},
		"name, user":    {audit.Query{EventName: "x", Username: "x", ReadOnly: &yes}, "audit_records_by_username"},
		"resource name": {audit.Query{ResourceName: "x"}, "audit_resources_by_name"},
		"resource ARN":  {audit.Query{ResourceName: "arn:x"}, "audit_resources_by_arn"},
		"resource type": {audit.Query{ResourceType: "x"}, "audit_resources_by_type"},
		"both":          {audit.Query{ResourceType: "x", ResourceName: "x"}, "audit_resources_by_name"},
	} {
		for _, before := range []int64{0, 7} {
			q := tc.q
			q.Limit, q.Before = 50, before
			query, args := auditQuery(&q, 1)
			wantIndexed(t, name, plan(t, d, query, args), tc.index)
		}
	}
	query, args := auditQuery(&audit.Query{EventID: "x", Username: "x", Limit: 1}, 0)
	if got := plan(t, d, query, args); !strings.Contains(got, "audit_records_by_event_id") {
		t.Errorf("by ID: %s", got)
	}
}

func TestPlansOfNodeListings(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	if got := plan(t, d, changedNodes, []any{7}); !strings.Contains(got, "USING INDEX nodes_by_revision") ||
		strings.Contains(got, "SCAN") {
		t.Errorf("changed nodes: %s", got)
	}
	query := fmt.Sprintf(sightingsOf, "$1, $2")
	if got := plan(t, d, query, []any{"mi-1", "mi-2"}); !strings.Contains(got, "USING INDEX sightings_by_node") ||
		strings.Contains(got, "SCAN") {
		t.Errorf("sightings of nodes: %s", got)
	}
}

package sqlstore

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/node/fleet"
	"sekisho/internal/runcommand"
	"sekisho/internal/session/access"
	"sekisho/internal/session/broker"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/storage/objects"
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

// wantIndexed requires a listing to walk an index in order, without a scan or a sort, whose
// cost grows with the table.
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
		if bits&14 == 0 {
			testAccessPlans(t, d, q, after)
		}
		query, args := sessionsQuery(&q, after)
		wantIndexed(t, fmt.Sprintf("%+v", q), plan(t, d, query, args), index)
	}
	query, args := sessionsQuery(&broker.Query{ID: "a-1", Target: "mi-1", Limit: 50}, nil)
	if got := plan(t, d, query, args); !strings.Contains(got, "sqlite_autoindex_sessions_1 (id=?)") {
		t.Errorf("by ID: %s", got)
	}
}

// testAccessPlans checks the filters that have partial indexes.
func testAccessPlans(t *testing.T, d *DB, q broker.Query, after *sekisho.Session) {
	t.Helper()
	for access, index := range map[string]string{"Standard": "sessions_standard", "JustInTime": "sessions_just_in_time"} {
		q.AccessType = access
		query, args := sessionsQuery(&q, after)
		wantIndexed(t, fmt.Sprintf("%+v", q), plan(t, d, query, args), index)
	}
	q.AccessType, q.Lapsing = "", true
	query, args := sessionsQuery(&q, after)
	wantIndexed(t, fmt.Sprintf("%+v", q), plan(t, d, query, args), "sessions_lapsing")
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
	for i, l := range strayListings() {
		index := []string{"sightings_by_node", "sightings_by_kind"}[i]
		if got := plan(t, d, l.text, l.args); !strings.Contains(got, "USING INDEX "+index) || strings.Contains(got, "SCAN") {
			t.Errorf("strays: %s", got)
		}
	}
	got := plan(t, d, deregisteredNodes, []any{200})
	if !strings.Contains(got, "USING INDEX nodes_deregistered") || strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("deregistered nodes: %s", got)
	}
}

// wantEachIndexed is wantIndexed for the listings of one list.
func wantEachIndexed(t *testing.T, d *DB, name string, listings []listing, index string) {
	t.Helper()
	if len(listings) == 0 {
		t.Errorf("%s: no query", name)
	}
	for _, l := range listings {
		got := plan(t, d, l.text, l.args)
		if i := strings.LastIndex(got, "SCAN "); i >= 0 && strings.Contains(got[i:], "USING INDEX "+index) {
			got = strings.Replace(got, "SCAN ", "WALK ", 1) // the whole index in its order, up to the limit
		}
		wantIndexed(t, name, got, index)
	}
}

func TestPlansOfActivationListings(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	for _, after := range []fleet.ActivationPlace{{}, {CreatedAt: time.Now(), ID: "a"}} {
		for name, c := range map[string]struct {
			q     fleet.ActivationQuery
			index string
		}{
			"all":           {fleet.ActivationQuery{}, "activations_by_time"},
			"names":         {fleet.ActivationQuery{Names: []string{"a", "b"}}, "activations_by_name"},
			"roles":         {fleet.ActivationQuery{Roles: []string{"a", "b"}}, "activations_by_role"},
			"node":          {fleet.ActivationQuery{NodeIDs: []string{"i-1"}}, "activations_by_node"},
			"name and role": {fleet.ActivationQuery{Names: []string{"a"}, Roles: []string{"b"}}, "activations_by_name"},
		} {
			c.q.Limit, c.q.After = 51, after
			wantEachIndexed(t, d, name, activationListings(&c.q), c.index)
		}
	}
	l := activationListings(&fleet.ActivationQuery{IDs: []string{"a"}, Names: []string{"b"}})[0]
	if got := plan(t, d, l.text, l.args); !strings.Contains(got, "sqlite_autoindex_activations_1 (id=?)") {
		t.Errorf("by ID: %s", got)
	}
}

func TestPlansOfCommandListings(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	failed := []runcommand.Status{runcommand.Failed, runcommand.Cancelled}
	for name, c := range map[string]struct {
		q                     runcommand.Query
		commands, invocations string
	}{
		"all":      {runcommand.Query{}, "commands_by_time", "command_invocations_by_time"},
		"document": {runcommand.Query{Document: "d"}, "commands_by_document", "command_invocations_by_document"},
		"status":   {runcommand.Query{Statuses: failed}, "commands_by_status", "command_invocations_by_status"},
		"status and document": {runcommand.Query{Statuses: failed, Document: "d"}, "commands_by_status",
			"command_invocations_by_status"},
		"node": {runcommand.Query{Node: "mi-1"}, "command_invocations_by_node", "command_invocations_by_node"},
		"node and others": {
			runcommand.Query{Node: "mi-1", Statuses: failed, Document: "d"}, "command_invocations_by_node",
			"command_invocations_by_node",
		},
		"active":             {runcommand.Query{Active: true}, "commands_by_active", ""},
		"command and status": {runcommand.Query{Command: "c", Statuses: failed}, "", "command_invocations_by_command"},
	} {
		for bits := range 4 {
			q := c.q
			q.Limit = 51
			if bits&1 != 0 {
				q.PastSeq, q.PastNode = 7, "mi-1"
			}
			if bits&2 != 0 {
				q.After, q.Before = time.Now(), time.Now()
			}
			if c.commands != "" {
				wantEachIndexed(t, d, "commands by "+name, commandListings(&q, 9), c.commands)
			}
			if c.invocations != "" {
				wantEachIndexed(t, d, "invocations by "+name, invocationListings(&q, 9), c.invocations)
			}
		}
	}
	one := invocationListings(&runcommand.Query{Command: "c", Limit: 51}, 0)
	if got := plan(t, d, one[0].text, one[0].args); !strings.Contains(got, "(command=?)") ||
		strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("invocations of a command: %s", got)
	}
}

func TestPlansOfAccessRequestListings(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	for _, last := range []*access.Request{nil, {ID: "a", CreatedAt: time.Now()}} {
		for name, c := range map[string]struct {
			q     access.Query
			index string
		}{
			"all":           {access.Query{}, "access_requests_by_time"},
			"open":          {access.Query{Open: true}, "access_requests_by_open"},
			"user":          {access.Query{UserID: "u"}, "access_requests_by_user"},
			"user and open": {access.Query{UserID: "u", Open: true}, "access_requests_by_user_open"},
		} {
			c.q.Limit = 51
			text, args := accessRequestsQuery(&c.q, last)
			wantEachIndexed(t, d, name, []listing{{text, args}}, c.index)
		}
	}
}

func TestPlansOfLogListings(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	for _, prefix := range []string{"", "/a"} {
		for _, after := range []string{"", "/a/b"} {
			text, args := logGroupsQuery(prefix, after, 51)
			wantEachIndexed(t, d, "groups", []listing{{text, args}}, "sqlite_autoindex_log_groups_1")
		}
	}
	for bits := range 8 {
		q := loggroup.StreamQuery{Group: "g", ByLastEvent: bits&1 != 0, Descending: bits&2 != 0, Limit: 51}
		index := "sqlite_autoindex_log_streams_1"
		if q.ByLastEvent {
			index = "log_streams_by_last_event"
		}
		if bits&4 != 0 {
			q.After = loggroup.StreamPlace{LastEvent: time.Now(), Name: "s"}
		}
		text, args := logStreamsQuery(&q)
		wantEachIndexed(t, d, fmt.Sprintf("%+v", q), []listing{{text, args}}, index)
	}
	text, args := logStreamsQuery(&loggroup.StreamQuery{Group: "g", Prefix: "p", Limit: 51})
	if got := plan(t, d, text, args); !strings.Contains(got, "(group_name=? AND name>? AND name<?)") {
		t.Errorf("streams by prefix: %s", got)
	}
}

func TestPlansOfObjectListings(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	for _, to := range []string{"", "k"} {
		r := objects.Range{Bucket: "b", From: "a", To: to, Limit: 1001}
		text, args := currentQuery(r)
		wantEachIndexed(t, d, "objects", []listing{{text, args}}, "object_versions_latest")
		r.Before = 9
		text, args = versionsQuery(r)
		wantEachIndexed(t, d, "versions", []listing{{text, args}}, "object_versions_by_place")
		r.After = "u"
		text, args = uploadsQuery(r)
		wantEachIndexed(t, d, "uploads", []listing{{text, args}}, "object_uploads_key")
	}
}

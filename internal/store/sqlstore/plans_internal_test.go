package sqlstore

import (
	"encoding/json"
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
	"sekisho/internal/store/storetest/pgtest"
)

// planned has databases whose plans a test reads.
type planned struct {
	sqlite   *DB
	postgres *DB // with many rows; nil if PostgreSQL is not installed
}

// plan returns SQLite's plan for a query.
func (d planned) plan(t *testing.T, query string, args []any) string {
	t.Helper()
	steps, err := queryAll(t.Context(), d.sqlite.sql, func(row scanner) (step string, err error) {
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
func (d planned) wantIndexed(t *testing.T, name, query string, args []any, index string) {
	t.Helper()
	if got := d.plan(t, query, args); !strings.Contains(got, "USING INDEX "+index) || strings.Contains(got, "SCAN ") ||
		strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("%s: %s", name, got)
	}
	d.wantBounded(t, name, query, args)
}

// wantPlan requires a part of SQLite's plan.
func (d planned) wantPlan(t *testing.T, name, query string, args []any, want string) {
	t.Helper()
	if got := d.plan(t, query, args); !strings.Contains(got, want) || strings.Contains(got, "SCAN ") {
		t.Errorf("%s: %s", name, got)
	}
	d.wantBounded(t, name, query, args)
}

// wantOrdered is wantPlan for a list whose rows are not sorted.
func (d planned) wantOrdered(t *testing.T, name, query string, args []any, want string) {
	t.Helper()
	if got := d.plan(t, query, args); !strings.Contains(got, want) || strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("%s: %s", name, got)
	}
	d.wantBounded(t, name, query, args)
}

// manyRows is how many rows the large tables have. A page of a list must not visit more than maxVisited: with
// two filters, the planner may read what matches each of them.
const (
	manyRows   = 20_000
	maxVisited = manyRows / 5
)

// step is a step of PostgreSQL's plan.
type step struct {
	NodeType string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Recheck  float64 `json:"Rows Removed by Index Recheck"`
	Plans    []step  `json:"Plans"`
}

// visited returns how many rows of tables the steps have read, and the tables that they have read as a whole.
func (s *step) visited() (rows float64, whole []string) {
	if s.Relation != "" {
		rows = (s.Rows + s.Removed + s.Recheck) * s.Loops
	}
	if s.NodeType == "Seq Scan" && rows > maxVisited {
		whole = append(whole, s.Relation)
	}
	for i := range s.Plans {
		r, w := s.Plans[i].visited()
		rows, whole = rows+r, append(whole, w...)
	}
	return rows, whole
}

// wantBounded runs a query on PostgreSQL, whose planner chooses by what the tables contain, and bounds the
// rows that it reads.
func (d planned) wantBounded(t *testing.T, name, query string, args []any) {
	t.Helper()
	if d.postgres == nil {
		return
	}
	var text string
	if err := d.postgres.sql.QueryRowContext(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "+query,
		args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var plans []struct{ Plan step }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	if rows, whole := plans[0].Plan.visited(); rows > maxVisited || len(whole) > 0 {
		t.Errorf("%s: PostgreSQL reads %.0f rows, and all of %v:\n%s\n%v\n%s", name, rows, whole, query, args, text)
	}
}

// TestPlans reads the plans of all lists.
func TestPlans(t *testing.T) {
	t.Parallel()
	d := openForPlans(t)
	for name, test := range map[string]func(t *testing.T, d planned){
		"sessions": testPlansOfSessions, "audit": testPlansOfAudit, "nodes": testPlansOfNodes,
		"activations": testPlansOfActivations, "commands": testPlansOfCommands, "access requests": testPlansOfAccessRequests,
		"logs": testPlansOfLogs, "objects": testPlansOfObjects,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}

func openForPlans(t *testing.T) planned {
	t.Helper()
	var d planned
	dbs := map[Place]**DB{{File: filepath.Join(t.TempDir(), "db")}: &d.sqlite}
	if pgtest.Installed() {
		_, postgres := emptyPlaces(t)
		dbs[postgres] = &d.postgres
	}
	for place, db := range dbs {
		var err error
		if *db, err = place.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := (*db).Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if d.postgres == nil {
		return d
	}
	for statement := range strings.SplitSeq(manyRowsSQL, ";\n") {
		if _, err := d.postgres.sql.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return d
}

// manyRowsSQL fills the tables of lists. The values that the tests look for are in a part of the rows.
const manyRowsSQL = `
INSERT INTO sessions (id, target, status, active, owner, owner_user_id, owner_user, access_key_id, document_name, reason,
	details, started_at, ended_at, source_ip, max_duration, idle_timeout, access_request, permission)
	SELECT 'a-' || i, 'mi-' || i % 20, CASE WHEN i % 100 = 0 THEN 'Connected' ELSE 'Terminated' END, i % 100 = 0,
	CASE WHEN i % 7 = 0 THEN 'arn:x' ELSE 'arn:' || i % 50 END, '', '', '', '', '', '', i * 1000000::bigint, i * 1000000::bigint,
	'', 0, 0, CASE WHEN i % 10 = 0 THEN 'r' ELSE '' END, CASE WHEN i % 3 = 0 THEN '{}' ELSE '' END
	FROM generate_series(1, 20000) i;
INSERT INTO audit_records (seq, event_id, time, event_name, event_source, username, access_key_id, read_only, hash, body)
	SELECT i, 'id' || i, i * 1000, CASE WHEN i % 10 = 0 THEN 'x' ELSE 'n' || i % 9 END, CASE WHEN i % 5 = 0 THEN 'x' ELSE 'y' END,
	CASE WHEN i % 11 = 0 THEN 'x' ELSE 'u' || i % 30 END, CASE WHEN i % 13 = 0 THEN 'x' ELSE 'k' || i % 30 END, i % 2 = 0, '', ''
	FROM generate_series(1, 20000) i;
INSERT INTO audit_resources (seq, pos, name, arn, type, time)
	SELECT i, 0, CASE WHEN i % 17 = 0 THEN 'x' ELSE 'n' || i END, CASE WHEN i % 17 = 0 THEN 'arn:x' ELSE 'arn:' || i END,
	CASE WHEN i % 3 = 0 THEN 'x' ELSE 'y' END, i * 1000 FROM generate_series(1, 20000) i;
INSERT INTO nodes (id, name, activation_id, iam_role, registered_at, public_key, fingerprint, agent_name, agent_version,
	agent_status, platform_type, platform_name, platform_version, computer_name, ip_address, last_ping_at, last_source_ip,
	connected_at, disconnected_at, disconnect_reason, deregistered_at, tags, revision)
	SELECT 'mi-' || i, '', '', '', i, '', '', '', '', '', '', '', '', '', '', 0, '', 0, 0, '', CASE WHEN i % 10 = 0 THEN i ELSE 0 END,
	'{}', CASE WHEN i > 19980 THEN i ELSE 1 END FROM generate_series(1, 20000) i;
INSERT INTO sightings (key, kind, node_id, source_ip, other, fingerprint, detail, first_at, last_at, count)
	SELECT 'k' || i, CASE WHEN i % 400 = 0 THEN 'UnknownNode' ELSE 'Other' END, CASE WHEN i % 401 = 0 THEN '' ELSE 'mi-' || i % 2000 END,
	'', '', '', '', i, i, 1 FROM generate_series(1, 20000) i;
INSERT INTO activations (id, code_hash, description, default_instance_name, iam_role, registration_limit, registration_count,
	expires_at, created_at, created_by, tags, node_kind, node_id)
	SELECT 'a' || i, '', '', chr(97 + i % 5), chr(97 + i % 4), 1, 0, 0, i, '', '{}', '', 'i-' || i FROM generate_series(1, 20000) i;
INSERT INTO commands (id, seq, document, status, active, requested_at, body, job)
	SELECT CASE WHEN i = 1 THEN 'c' ELSE 'c' || i END, i, CASE WHEN i % 5 = 0 THEN 'd' ELSE 'e' END,
	CASE i % 20 WHEN 0 THEN 'Failed' WHEN 1 THEN 'Cancelled' ELSE 'Success' END, i % 100 = 0, i, '{}', '{}'
	FROM generate_series(1, 20000) i;
INSERT INTO command_invocations (command, node, seq, document, status, requested_at, body)
	SELECT CASE WHEN i % 100 = 0 THEN 'c' ELSE 'c' || 1 + i % 19999 END, CASE WHEN i % 100 = 0 THEN 'n' || i WHEN i % 11 = 0 THEN 'mi-1'
	ELSE 'mi-' || 2 + i % 50 END, CASE WHEN i % 100 = 0 THEN 1 ELSE 1 + i % 19999 END, CASE WHEN i % 5 = 0 THEN 'd' ELSE 'e' END,
	CASE i % 20 WHEN 0 THEN 'Failed' WHEN 1 THEN 'Cancelled' ELSE 'Success' END, i, '{}'
	FROM generate_series(2, 19997) i;
INSERT INTO access_requests (id, user_id, open, created_at, body)
	SELECT 'r' || i, CASE WHEN i % 10 = 0 THEN 'u' ELSE 'v' || i % 50 END, i % 100 = 0, i, '{}' FROM generate_series(1, 20000) i;
INSERT INTO log_groups (name, created_at, retention, kms_key, tags, next_seq)
	SELECT '/a/' || i, 0, 0, '', '{}', 1 FROM generate_series(1, 20000) i;
INSERT INTO log_groups (name, created_at, retention, kms_key, tags, next_seq) VALUES ('g', 0, 0, '', '{}', 1);
INSERT INTO log_streams (group_name, name, created_at, first_event, last_event, last_ingestion)
	SELECT 'g', CASE WHEN i % 2 = 0 THEN 'p' ELSE 's' END || i, 0, 0, i, 0 FROM generate_series(1, 20000) i;
INSERT INTO buckets (name, created_at, versioning, settings) VALUES ('b', 0, '', '{}');
INSERT INTO object_versions (bucket, key, seq, version_id, latest, delete_marker, size, etag, modified_at, facts, pieces)
	SELECT 'b', ('a' || lpad(i::text, 5, '0'))::bytea, 1, 'v', true, i % 50 = 0, 0, '', 0, '{}', '[]' FROM generate_series(1, 20000) i;
INSERT INTO object_uploads (id, bucket, key, started_at, started_by, facts)
	SELECT 'u' || i, 'b', ('a' || lpad(i::text, 5, '0'))::bytea, 0, '', '{}' FROM generate_series(1, 20000) i;
ANALYZE`

func testPlansOfSessions(t *testing.T, d planned) {
	t.Helper()
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
		d.wantIndexed(t, fmt.Sprintf("%+v", q), query, args, index)
	}
	query, args := sessionsQuery(&broker.Query{ID: "a-1", Target: "mi-1", Limit: 50}, nil)
	d.wantPlan(t, "by ID", query, args, "sqlite_autoindex_sessions_1 (id=?)")
}

// testAccessPlans checks the filters that have partial indexes.
func testAccessPlans(t *testing.T, d planned, q broker.Query, after *sekisho.Session) {
	t.Helper()
	for access, index := range map[string]string{"Standard": "sessions_standard", "JustInTime": "sessions_just_in_time"} {
		q.AccessType = access
		query, args := sessionsQuery(&q, after)
		d.wantIndexed(t, fmt.Sprintf("%+v", q), query, args, index)
	}
	q.AccessType, q.Lapsing = "", true
	query, args := sessionsQuery(&q, after)
	d.wantIndexed(t, fmt.Sprintf("%+v", q), query, args, "sessions_lapsing")
}

func testPlansOfAudit(t *testing.T, d planned) {
	t.Helper()
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
			d.wantIndexed(t, name, query, args, tc.index)
		}
	}
	query, args := auditQuery(&audit.Query{EventID: "x", Username: "x", Limit: 1}, 0)
	d.wantPlan(t, "by ID", query, args, "audit_records_by_event_id")
}

func testPlansOfNodes(t *testing.T, d planned) {
	t.Helper()
	withoutOrder := func(name, query string, args []any, index string) {
		t.Helper()
		if got := d.plan(t, query, args); !strings.Contains(got, "USING INDEX "+index) || strings.Contains(got, "SCAN") {
			t.Errorf("%s: %s", name, got)
		}
		d.wantBounded(t, name, query, args)
	}
	withoutOrder("changed nodes", changedNodes, []any{7}, "nodes_by_revision")
	withoutOrder("sightings of nodes", fmt.Sprintf(sightingsOf, "$1, $2"), []any{"mi-1", "mi-2"}, "sightings_by_node")
	for i, l := range strayListings() {
		withoutOrder("strays", l.text, l.args, []string{"sightings_by_node", "sightings_by_kind"}[i])
	}
	d.wantOrdered(t, "deregistered nodes", deregisteredNodes, []any{200}, "USING INDEX nodes_deregistered")
}

// wantEachIndexed is wantIndexed for the listings of one list.
func wantEachIndexed(t *testing.T, d planned, name string, listings []listing, index string) {
	t.Helper()
	if len(listings) == 0 {
		t.Errorf("%s: no query", name)
	}
	for _, l := range listings {
		got := d.plan(t, l.text, l.args)
		if i := strings.LastIndex(got, "SCAN "); i >= 0 && strings.Contains(got[i:], "USING INDEX "+index) {
			d.wantBounded(t, name, l.text, l.args) // the whole index in its order, up to the limit
			continue
		}
		d.wantIndexed(t, name, l.text, l.args, index)
	}
}

func testPlansOfActivations(t *testing.T, d planned) {
	t.Helper()
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
	d.wantPlan(t, "by ID", l.text, l.args, "sqlite_autoindex_activations_1 (id=?)")
}

func testPlansOfCommands(t *testing.T, d planned) {
	t.Helper()
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
	d.wantOrdered(t, "invocations of a command", one[0].text, one[0].args, "(command=?)")
}

func testPlansOfAccessRequests(t *testing.T, d planned) {
	t.Helper()
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

func testPlansOfLogs(t *testing.T, d planned) {
	t.Helper()
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
	d.wantPlan(t, "streams by prefix", text, args, "(group_name=? AND name>? AND name<?)")
}

func testPlansOfObjects(t *testing.T, d planned) {
	t.Helper()
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

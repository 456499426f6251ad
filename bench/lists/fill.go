package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "modernc.org/sqlite" // the driver
)

// copies are rows to make from a row that the server has written: each column is
// copied, or computed by an expression in which i counts the rows from 1.
type copies struct {
	table string
	rows  int
	set   map[string]string
}

// filling returns the rows to add to the database.
func filling(nodes, sessions, others int) []copies {
	const second = 1_000_000
	node := fmt.Sprintf("printf('mi-%%017x', i %% %d + 1)", nodes)
	past := fmt.Sprintf("t.%%s - i * %d", second)
	ago := func(column string) string { return fmt.Sprintf(past, column) }
	return []copies{
		{"nodes", nodes, map[string]string{
			"id": node, "name": "'node-' || i", "computer_name": "'host-' || i", "iam_role": "'role-' || (i % 100)",
			"tags":          `'{"Env":"' || CASE i % 1000 WHEN 0 THEN 'rare' ELSE 'env-' || (i % 7) END || '"}'`,
			"platform_name": "CASE i % 3 WHEN 0 THEN 'Debian' ELSE 'Ubuntu' END", "agent_version": "'3.' || (i % 20)",
			"connected_at": "0", "revision": "1",
		}},
		{"sessions", sessions, map[string]string{
			"id": "printf('bench-%026d', i)", "target": node, "active": "0",
			"status":         "CASE i % 1000 WHEN 0 THEN 'Failed' ELSE 'Terminated' END",
			"owner":          "'arn:aws:iam::100000000000:user/user-' || (i % 500)",
			"started_at":     fmt.Sprintf("t.started_at - i * %d", second),
			"ended_at":       fmt.Sprintf("t.started_at - i * %d + 5000000", second),
			"access_request": "CASE i % 1000 WHEN 1 THEN 'oi-1' ELSE '' END", "permission": "''",
		}},
		{"activations", others, map[string]string{
			"id": "printf('%08x-0000-4000-8000-000000000000', i)", "default_instance_name": "'name-' || (i % 1000)",
			"iam_role": "'role-' || (i % 100)", "created_at": ago("created_at"), "node_id": "''",
		}},
		{"commands", others, map[string]string{
			"id": "printf('%08x-0000-4000-8000-000000000001', i)", "seq": "t.seq + i", "active": "0",
			"status":       "CASE i % 1000 WHEN 0 THEN 'Failed' ELSE 'Success' END",
			"document":     "CASE i % 1000 WHEN 1 THEN 'Rare' ELSE t.document END",
			"requested_at": fmt.Sprintf("t.requested_at + i * %d", second),
		}},
		{"command_invocations", others, map[string]string{
			"command": "printf('%08x-0000-4000-8000-000000000001', i)", "seq": "t.seq + i", "node": node,
			"status":       "CASE i % 1000 WHEN 0 THEN 'Failed' ELSE 'Success' END",
			"document":     "CASE i % 1000 WHEN 1 THEN 'Rare' ELSE t.document END",
			"requested_at": fmt.Sprintf("t.requested_at + i * %d", second),
			"body": "json_set(t.body, '$.Command', printf('%08x-0000-4000-8000-000000000001', i), '$.Node', " + node +
				", '$.Seq', t.seq + i)",
		}},
		{"audit_records", sessions / 5, map[string]string{
			"seq": "(SELECT MAX(seq) FROM audit_records) + i", "event_id": "printf('%08x-0000-7000-8000-000000000000', i)",
			"time": "t.time + i", "event_name": "CASE i % 1000 WHEN 0 THEN 'RareEvent' ELSE 'StartSession' END",
			"event_source": "CASE i % 1000 WHEN 0 THEN 'kms.amazonaws.com' ELSE 'ssm.amazonaws.com' END",
			"username":     "'user-' || (i % 500)", "access_key_id": "'AKIA' || (i % 500)", "read_only": "i % 1000 <> 0",
		}},
		{"audit_resources", sessions / 5, map[string]string{
			"seq": "(SELECT MAX(seq) FROM audit_records) + 1 - i", "pos": "100", "name": node,
			"arn":  "'arn:aws:ssm:us-east-1:100000000000:managed-instance/' || " + node,
			"type": "CASE i % 1000 WHEN 0 THEN 'AWS::KMS::Key' ELSE 'AWS::SSM::ManagedInstance' END",
			"time": "(SELECT MAX(time) FROM audit_records) - i",
		}},
		{"log_groups", others / 10, map[string]string{"name": "'/bench/' || printf('%06d', i)"}},
		{"log_streams", others, map[string]string{"name": "'stream-' || printf('%06d', i)", "last_event": "i * 1000000"}},
		{"object_versions", others, map[string]string{
			"key":        "CAST('folder-' || (i % 100) || '/object-' || printf('%06d', i) AS BLOB)",
			"version_id": "printf('%032x', i)",
		}},
	}
}

// fill adds the rows to the database of a server that is stopped.
func fill(ctx context.Context, path string, all []copies) (err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, c := range all {
		if err := c.make(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", c.table, err)
		}
	}
	// What a listing reads after the last revision that it knows: everything, once.
	_, err = db.ExecContext(ctx, `UPDATE node_revision SET revision = revision + 1`)
	return err
}

func (c *copies) make(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `SELECT name FROM pragma_table_info(?)`, c.table)
	if err != nil {
		return err
	}
	var names, values []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return errors.Join(err, rows.Close())
		}
		value, ok := c.set[name]
		if !ok {
			value = "t." + name
		}
		names, values = append(names, name), append(values, value)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	res, err := db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO %s (%s)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT %s FROM n CROSS JOIN (SELECT * FROM %s LIMIT 1) AS t`,
		c.table, strings.Join(names, ", "), c.rows, strings.Join(values, ", "), c.table))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != int64(c.rows) {
		return errors.Join(err, fmt.Errorf("%d rows were made, want %d: the server has written none to copy", n, c.rows))
	}
	return nil
}

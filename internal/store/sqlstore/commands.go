package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sekisho"
	"sekisho/internal/runcommand"
)

// CommandStore keeps Run Command's commands and their invocations.
type CommandStore struct{ sql pool }

var _ runcommand.Store = (*CommandStore)(nil)

// bodyJSON returns the stored form of a value that consists of strings, numbers and times.
func bodyJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// scanBody reads a row that contains only a body.
func scanBody[T any](row scanner) (*T, error) {
	var body string
	if err := row.Scan(&body); err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal([]byte(body), v); err != nil {
		return nil, fmt.Errorf("stored %T: %w", v, err)
	}
	return v, nil
}

// CreateCommand implements [runcommand.Store].
func (db *CommandStore) CreateCommand(
	ctx context.Context, c *runcommand.Command, invocations []*runcommand.Invocation,
) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if err := db.sql.serialize(ctx, tx, commandOrder); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) + 1 FROM commands`).Scan(&c.Seq); err != nil {
			return err
		}
		_, err := tx.ExecContext(
			ctx,
			`INSERT INTO commands (id, seq, document, status, active, requested_at, body, job) VALUES ($1, $2, $3, $4, $5, `+
				`$6, $7, $8)`,
			c.ID,
			c.Seq,
			c.Document,
			c.Status,
			!c.Status.Over(),
			micros(c.RequestedAt),
			commandBody(c),
			bodyJSON(c.Job),
		)
		if isUnique(err) {
			return sekisho.Errorf(sekisho.CodeConflict, "command %s exists", c.ID)
		}
		if err != nil {
			return err
		}
		for _, inv := range invocations {
			inv.Seq = c.Seq
			_, err := tx.ExecContext(
				ctx,
				`INSERT INTO command_invocations (command, node, seq, document, status, requested_at, body) VALUES ($1, $2, `+
					`$3, $4, $5, $6, $7)`,
				inv.Command,
				inv.Node,
				inv.Seq,
				inv.Document,
				inv.Status,
				micros(inv.RequestedAt),
				bodyJSON(bare(inv)),
			)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// commandBody is the stored form of c without its job.
func commandBody(c *runcommand.Command) string {
	b := *c
	b.Job = runcommand.Job{}
	return bodyJSON(b)
}

// scanCommand reads a command's body and job.
func scanCommand(row scanner) (*runcommand.Command, error) {
	var body, job string
	if err := row.Scan(&body, &job); err != nil {
		return nil, err
	}
	c := new(runcommand.Command)
	if err := json.Unmarshal([]byte(body), c); err != nil {
		return nil, fmt.Errorf("stored command: %w", err)
	}
	if err := json.Unmarshal([]byte(job), &c.Job); err != nil {
		return nil, fmt.Errorf("job of command %s: %w", c.ID, err)
	}
	return c, nil
}

// bare returns inv without its steps, which are stored separately.
func bare(inv *runcommand.Invocation) *runcommand.Invocation {
	c := *inv
	c.Steps = nil
	return &c
}

// SaveCommand implements [runcommand.Store].
func (db *CommandStore) SaveCommand(ctx context.Context, ch runcommand.Change) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		c := ch.Command
		if err := deleteOne(ctx, tx, `UPDATE commands SET status = $2, active = $3, body = $4 WHERE id = $1`,
			c.ID, c.Status, !c.Status.Over(), commandBody(c)); err != nil {
			return err
		}
		for _, inv := range ch.Invocations {
			if err := deleteOne(ctx, tx,
				`UPDATE command_invocations SET status = $3, body = $4 WHERE command = $1 AND node = $2`,
				c.ID, inv.Node, inv.Status, bodyJSON(bare(inv))); err != nil {
				return err
			}
		}
		for _, s := range ch.Steps {
			if _, err := tx.ExecContext(ctx, `INSERT INTO command_steps (command, node, step, body) VALUES ($1, $2, $3, $4)
				ON CONFLICT (command, node, step) DO UPDATE SET body = excluded.body`, c.ID, s.Node, s.Step.Index,
				bodyJSON(s.Step)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Command implements [runcommand.Store].
func (db *CommandStore) Command(ctx context.Context, id string) (*runcommand.Command, error) {
	c, err := scanCommand(db.sql.QueryRowContext(ctx, `SELECT body, job FROM commands WHERE id = $1`, id))
	return c, notFound(err, "command %s does not exist", id)
}

// between adds a query's time bounds on commands and invocations.
func (c *conditions) between(column string, q *runcommand.Query) {
	if !q.After.IsZero() {
		c.add(column+" > ?", micros(q.After))
	}
	if !q.Before.IsZero() {
		c.add(column+" < ?", micros(q.Before))
	}
}

// Commands implements [runcommand.Store].
func (db *CommandStore) Commands(ctx context.Context, q runcommand.Query) ([]*runcommand.Command, error) {
	at, err := db.pastTime(ctx, q.PastSeq)
	if err != nil {
		return nil, err
	}
	return queryListings(ctx, db.sql, scanCommand, commandListings(&q, at), func(a, b *runcommand.Command) int {
		return cmp.Or(b.RequestedAt.Compare(a.RequestedAt), cmp.Compare(b.Seq, a.Seq))
	}, q.Limit)
}

// pastTime returns the time of the last command of a page, which may have been removed in
// the meantime; 0 = no page.
func (db *CommandStore) pastTime(ctx context.Context, seq int64) (at int64, err error) {
	if seq == 0 {
		return 0, nil
	}
	err = db.sql.QueryRowContext(
		ctx, `SELECT requested_at FROM commands WHERE seq <= $1 ORDER BY seq DESC LIMIT 1`, seq).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return at, err
}

// commandListings select a page; at is the time of q.PastSeq. The most selective
// filter uses its index; a unary plus keeps the others from being chosen in its
// place.
func commandListings(q *runcommand.Query, at int64) []listing {
	var c conditions
	from, place, indexed := "commands c", "c.", false
	switch {
	case q.Node != "":
		// The invocations of a node are listed in the order of their commands.
		from, place, indexed = "command_invocations i CROSS JOIN commands c ON c.id = i.command", "i.", true
		c.add("i.node = ?", q.Node)
		if q.Command != "" {
			c.add("i.command = ?", q.Command)
		}
	case q.Command != "":
		indexed = true
		c.add("c.id = ?", q.Command)
	}
	eachStatus := len(q.Statuses) > 0 && !indexed
	if len(q.Statuses) > 0 && !eachStatus {
		c.isIn("c.status", texts(q.Statuses))
	}
	filter := func(column string, value any, set bool) {
		if set && (indexed || eachStatus) {
			column = "+" + column
		}
		if set {
			indexed = true
			c.add(column+" = ?", value)
		}
	}
	filter("c.document", q.Document, q.Document != "")
	filter("c.active", true, q.Active)
	c.between(place+"requested_at", q)
	if q.PastSeq > 0 {
		c.add(place+"requested_at <= ?", at)
		c.add("("+place+"requested_at < ? OR "+place+"seq < ?)", at, q.PastSeq)
	}
	complete := func(c *conditions) listing {
		text, args := c.query(
			"SELECT c.body, c.job FROM "+from, place+"requested_at DESC, "+place+"seq DESC", q.Limit)
		return listing{text, args}
	}
	if eachStatus {
		return forEach(&c, "c.status", texts(q.Statuses), complete)
	}
	return []listing{complete(&c)}
}

func texts[T ~string](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}

// Invocation implements [runcommand.Store].
func (db *CommandStore) Invocation(
	ctx context.Context, id string, node sekisho.NodeID,
) (*runcommand.Invocation, error) {
	inv, err := scanBody[runcommand.Invocation](
		db.sql.QueryRowContext(ctx, `SELECT body FROM command_invocations WHERE command = $1 AND node = $2`, id, node),
	)
	if err != nil {
		return nil, notFound(err, "command %s has no part on %s", id, node)
	}
	inv.Steps, err = db.commandSteps(ctx, id, node)
	return inv, err
}

func (db *CommandStore) commandSteps(ctx context.Context, id string, node sekisho.NodeID) ([]*runcommand.Step, error) {
	return queryAll(
		ctx,
		db.sql,
		scanBody[runcommand.Step],
		`SELECT body FROM command_steps WHERE command = $1 AND node = $2 ORDER BY step`,
		id,
		node,
	)
}

// Invocations implements [runcommand.Store].
func (db *CommandStore) Invocations(ctx context.Context, q runcommand.Query) ([]*runcommand.Invocation, error) {
	at, err := db.pastTime(ctx, q.PastSeq)
	if err != nil {
		return nil, err
	}
	all, err := queryListings(ctx, db.sql, scanBody[runcommand.Invocation], invocationListings(&q, at),
		func(a, b *runcommand.Invocation) int {
			return cmp.Or(b.RequestedAt.Compare(a.RequestedAt), cmp.Compare(b.Seq, a.Seq), cmp.Compare(a.Node, b.Node))
		}, q.Limit)
	if err != nil || !q.Steps {
		return all, err
	}
	for _, inv := range all {
		if inv.Steps, err = db.commandSteps(ctx, inv.Command, inv.Node); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// invocationListings select a page; at is the time of q.PastSeq. The most selective
// filter uses its index.
func invocationListings(q *runcommand.Query, at int64) []listing {
	var c conditions
	order, eachStatus := "requested_at DESC, seq DESC, node", len(q.Statuses) > 0
	indexed := eachStatus
	if q.Command != "" {
		c.add("command = ?", q.Command)
		order, indexed = "node", true
	}
	if q.Node != "" { // there is one per command, and few in total
		c.add("node = ?", q.Node)
		indexed, eachStatus = true, false
	}
	if len(q.Statuses) > 0 && !eachStatus {
		c.isIn("status", texts(q.Statuses))
	}
	if q.Document != "" {
		column := "document"
		if indexed {
			column = "+document"
		}
		c.add(column+" = ?", q.Document)
	}
	switch {
	case q.Command != "":
		c.between("+requested_at", q)
		if q.PastSeq > 0 {
			c.add("node > ?", q.PastNode)
		}
	default:
		c.between("requested_at", q)
		if q.PastSeq > 0 {
			c.add("requested_at <= ?", at)
			c.add("(requested_at < ? OR seq < ? OR seq = ? AND node > ?)", at, q.PastSeq, q.PastSeq, q.PastNode)
		}
	}
	complete := func(c *conditions) listing {
		text, args := c.query("SELECT body FROM command_invocations", order, q.Limit)
		return listing{text, args}
	}
	if eachStatus {
		return forEach(&c, "status", texts(q.Statuses), complete)
	}
	return []listing{complete(&c)}
}

// DropCommands implements [runcommand.Store].
func (db *CommandStore) DropCommands(ctx context.Context, t time.Time, keep int) (int64, error) {
	res, err := db.sql.ExecContext(ctx, `DELETE FROM commands WHERE active = $1 AND (requested_at < $2 OR seq IN (
		SELECT seq FROM (SELECT seq, SUM(size) OVER (ORDER BY seq DESC) AS total FROM (
			SELECT seq, 1 + (SELECT COUNT(*) FROM command_invocations WHERE command = commands.id) AS size
			FROM commands) AS sizes) AS totals
		WHERE total > $3))`, false, micros(t), keep)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

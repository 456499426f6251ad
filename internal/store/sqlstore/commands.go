package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/runcommand"
)

// CommandStore keeps Run Command's commands and their invocations.
type CommandStore struct{ sql pool }

var _ runcommand.Store = (*CommandStore)(nil)

// bodyJSON is the stored form of a value of texts, numbers and times.
func bodyJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// scanBody reads a row that is a body alone.
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
func (db *CommandStore) CreateCommand(ctx context.Context, c *runcommand.Command, invocations []*runcommand.Invocation) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) + 1 FROM commands`).Scan(&c.Seq); err != nil {
			return err
		}
		_, err := tx.ExecContext(
			ctx,
			`INSERT INTO commands (id, seq, document, status, active, requested_at, body, job) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
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
				`INSERT INTO command_invocations (command, node, seq, document, status, requested_at, body) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
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

// bare is inv without its steps, which are kept apart.
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
			if err := deleteOne(ctx, tx, `UPDATE command_invocations SET status = $3, body = $4 WHERE command = $1 AND node = $2`,
				c.ID, inv.Node, inv.Status, bodyJSON(bare(inv))); err != nil {
				return err
			}
		}
		for _, s := range ch.Steps {
			if _, err := tx.ExecContext(ctx, `INSERT INTO command_steps (command, node, step, body) VALUES ($1, $2, $3, $4)
				ON CONFLICT (command, node, step) DO UPDATE SET body = excluded.body`, c.ID, s.Node, s.Step.Index, bodyJSON(s.Step)); err != nil {
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

// common adds what commands and invocations are selected by alike.
func (c *conditions) common(q runcommand.Query) {
	if !q.After.IsZero() {
		c.add("requested_at > ?", micros(q.After))
	}
	if !q.Before.IsZero() {
		c.add("requested_at < ?", micros(q.Before))
	}
	if len(q.Statuses) > 0 {
		args := make([]any, len(q.Statuses))
		for i, s := range q.Statuses {
			args[i] = s
		}
		c.add("status IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	}
	if q.Document != "" {
		c.add("document = ?", q.Document)
	}
}

// Commands implements [runcommand.Store].
func (db *CommandStore) Commands(ctx context.Context, q runcommand.Query) ([]*runcommand.Command, error) {
	c := conditions{where: []string{"TRUE"}}
	c.common(q)
	if q.Command != "" {
		c.add("id = ?", q.Command)
	}
	if q.Node != "" {
		c.add("EXISTS (SELECT 1 FROM command_invocations WHERE command = commands.id AND node = ?)", q.Node)
	}
	if q.Active {
		c.add("active = ?", true)
	}
	if q.PastSeq > 0 {
		c.add("seq < ?", q.PastSeq)
	}
	return queryAll(
		ctx,
		db.sql,
		scanCommand,
		`SELECT body, job FROM commands WHERE `+c.clause()+` ORDER BY seq DESC`+c.limit(q.Limit),
		c.args...)
}

// Invocation implements [runcommand.Store].
func (db *CommandStore) Invocation(ctx context.Context, id string, node sekisho.NodeID) (*runcommand.Invocation, error) {
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
	c := conditions{where: []string{"TRUE"}}
	c.common(q)
	if q.Command != "" {
		c.add("command = ?", q.Command)
	}
	if q.Node != "" {
		c.add("node = ?", q.Node)
	}
	if q.PastSeq > 0 {
		c.add("(seq < ? OR (seq = ? AND node > ?))", q.PastSeq, q.PastSeq, q.PastNode)
	}
	all, err := queryAll(
		ctx,
		db.sql,
		scanBody[runcommand.Invocation],
		`SELECT body FROM command_invocations WHERE `+c.clause()+` ORDER BY seq DESC, node`+c.limit(q.Limit),
		c.args...)
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

// DropCommands implements [runcommand.Store].
func (db *CommandStore) DropCommands(ctx context.Context, t time.Time, keep int) error {
	_, err := db.sql.ExecContext(ctx, `DELETE FROM commands WHERE active = $1 AND (requested_at < $2 OR seq IN (
		SELECT seq FROM (SELECT seq, SUM(size) OVER (ORDER BY seq DESC) AS total FROM (
			SELECT seq, 1 + (SELECT COUNT(*) FROM command_invocations WHERE command = commands.id) AS size FROM commands) AS sizes) AS totals
		WHERE total > $3))`, false, micros(t), keep)
	return err
}

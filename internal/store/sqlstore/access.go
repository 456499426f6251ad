package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"sekisho"
	"sekisho/internal/session/access"
)

// AccessStore keeps access requests and the rules for them.
type AccessStore struct{ sql pool }

var _ access.Store = (*AccessStore)(nil)

func openRequest(r *access.Request) bool {
	return r.Status == access.Pending || r.Status == access.Approved
}

// scanJSON returns a function that reads a row of one JSON text.
func scanJSON[T any](what string) func(scanner) (*T, error) {
	return func(row scanner) (*T, error) {
		var body string
		if err := row.Scan(&body); err != nil {
			return nil, err
		}
		v := new(T)
		if err := json.Unmarshal([]byte(body), v); err != nil {
			return nil, fmt.Errorf("stored %s: %w", what, err)
		}
		return v, nil
	}
}

var (
	scanAccessRequest = scanJSON[access.Request]("access request")
	scanAccessRule    = scanJSON[access.Rule]("access rule")
)

// CreateAccessRequest implements [access.Store].
func (db *AccessStore) CreateAccessRequest(ctx context.Context, r *access.Request) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = db.sql.ExecContext(
		ctx,
		`INSERT INTO access_requests (id, user_id, open, created_at, body) VALUES ($1, $2, $3, $4, $5)`,
		r.ID,
		r.UserID,
		openRequest(r),
		micros(r.CreatedAt),
		string(body),
	)
	return err
}

func accessRequest(ctx context.Context, q querier, id string) (*access.Request, error) {
	r, err := scanAccessRequest(q.QueryRowContext(ctx, `SELECT body FROM access_requests WHERE id = $1`, id))
	return r, notFound(err, "access request %s does not exist", id)
}

// AccessRequest implements [access.Store].
func (db *AccessStore) AccessRequest(ctx context.Context, id string) (*access.Request, error) {
	return accessRequest(ctx, db.sql, id)
}

// UpdateAccessRequest implements [access.Store].
func (db *AccessStore) UpdateAccessRequest(ctx context.Context, id string, change func(r *access.Request) error) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		r, err := accessRequest(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := change(r); err != nil {
			return err
		}
		body, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE access_requests SET open = $2, body = $3 WHERE id = $1`,
			id,
			openRequest(r),
			string(body),
		)
		return err
	})
}

// AccessRequests implements [access.Store].
func (db *AccessStore) AccessRequests(ctx context.Context, q access.Query) ([]*access.Request, error) {
	where, args := []string{"1 = 1"}, []any{}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, condition)
	}
	if q.UserID != "" {
		add("user_id = ?", q.UserID)
	}
	if q.Open {
		add("open = ?", true)
	}
	if q.After != "" {
		last, err := db.AccessRequest(ctx, q.After)
		if err != nil {
			return nil, err
		}
		at := micros(last.CreatedAt)
		add("(created_at < ? OR (created_at = ? AND id > ?))", at, at, last.ID)
	}
	args = append(args, q.Limit)
	return queryAll(ctx, db.sql, scanAccessRequest, fmt.Sprintf(`SELECT body FROM access_requests WHERE %s
		ORDER BY created_at DESC, id LIMIT $%d`, strings.Join(where, " AND "), len(args)), args...)
}

// PutAccessRule implements [access.Store].
func (db *AccessStore) PutAccessRule(ctx context.Context, r *access.Rule) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = db.sql.ExecContext(ctx, `INSERT INTO access_rules (name, body) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET body = excluded.body`, r.Name, string(body))
	return err
}

// AccessRules implements [access.Store].
func (db *AccessStore) AccessRules(ctx context.Context) ([]*access.Rule, error) {
	return queryAll(ctx, db.sql, scanAccessRule, `SELECT body FROM access_rules ORDER BY name`)
}

// DeleteAccessRule implements [access.Store].
func (db *AccessStore) DeleteAccessRule(ctx context.Context, name string) error {
	res, err := db.sql.ExecContext(ctx, `DELETE FROM access_rules WHERE name = $1`, name)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return sekisho.Errorf(sekisho.CodeNotFound, "access rule %s does not exist", name)
}

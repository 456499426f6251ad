package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

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

func accessRequest(ctx context.Context, q querier, id, lock string) (*access.Request, error) {
	r, err := scanAccessRequest(q.QueryRowContext(ctx, `SELECT body FROM access_requests WHERE id = $1`+lock, id))
	return r, notFound(err, "access request %s does not exist", id)
}

// AccessRequest implements [access.Store].
func (db *AccessStore) AccessRequest(ctx context.Context, id string) (*access.Request, error) {
	return accessRequest(ctx, db.sql, id, "")
}

// UpdateAccessRequest implements [access.Store].
func (db *AccessStore) UpdateAccessRequest(ctx context.Context, id string, change func(r *access.Request) error) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		r, err := accessRequest(ctx, tx, id, forUpdate)
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
	var last *access.Request
	if q.After != "" {
		var err error
		if last, err = db.AccessRequest(ctx, q.After); err != nil {
			return nil, err
		}
	}
	query, args := accessRequestsQuery(&q, last)
	return queryAll(ctx, db.sql, scanAccessRequest, query, args...)
}

// accessRequestsQuery selects the page after last.
func accessRequestsQuery(q *access.Query, last *access.Request) (string, []any) {
	var where conditions
	if q.UserID != "" {
		where.add("user_id = ?", q.UserID)
	}
	if q.Open {
		where.add("open = ?", true)
	}
	if last != nil {
		where.add("created_at <= ?", micros(last.CreatedAt))
		where.add("(created_at < ? OR +id > ?)", micros(last.CreatedAt), last.ID)
	}
	return where.query("SELECT body FROM access_requests", "created_at DESC, id", q.Limit)
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

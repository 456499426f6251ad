package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"sekisho/internal/iam/identity"
)

// IdentityStore keeps the directory of users, groups, roles and policies.
type IdentityStore struct{ sql pool }

var _ identity.Store = (*IdentityStore)(nil)

// Changes implements [identity.Store].
func (db *IdentityStore) Changes(
	ctx context.Context, since int64,
) (objects []identity.Object, newest int64, err error) {
	// The generation is read first: changes that a writer adds in the meantime belong to a
	// later generation, are left out here, and are returned by the next call.
	if err := db.sql.QueryRowContext(ctx, `SELECT newest FROM identity_generation WHERE id = 1`).Scan(
		&newest); err != nil {
		return nil, 0, err
	}
	if newest == since {
		return nil, newest, nil
	}
	err = db.sql.inSnapshot(ctx, func(tx *sql.Tx) error {
		objects = nil
		if err := tx.QueryRowContext(ctx, `SELECT newest FROM identity_generation WHERE id = 1`).Scan(&newest); err != nil {
			return err
		}
		objects, err = changedObjects(ctx, tx, since, newest)
		return err
	})
	return objects, newest, err
}

func changedObjects(ctx context.Context, q querier, since, newest int64) (objects []identity.Object, err error) {
	rows, err := q.QueryContext(ctx, `SELECT kind, name, deleted, body FROM identity_objects
		WHERE generation > $1 AND generation <= $2 ORDER BY generation, kind, name`, since, newest)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var o identity.Object
		var body string
		if err := rows.Scan(&o.Kind, &o.Key, &o.Deleted, &body); err != nil {
			return nil, err
		}
		if !o.Deleted {
			o.Body = []byte(body)
		}
		objects = append(objects, o)
	}
	return objects, rows.Err()
}

// errGeneration makes a transaction of Commit roll back.
var errGeneration = errors.New("another generation is newest")

// Commit implements [identity.Store].
func (db *IdentityStore) Commit(ctx context.Context, base int64, objects []identity.Object) (bool, error) {
	err := db.sql.inTx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(
			ctx,
			`UPDATE identity_generation SET newest = $1 WHERE id = 1 AND newest = $2`,
			base+1,
			base,
		)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errGeneration)
		}
		for _, o := range objects {
			if _, err := tx.ExecContext(ctx, `INSERT INTO identity_objects (kind, name, generation, deleted, body)
				VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (kind, name) DO UPDATE
				SET generation = excluded.generation, deleted = excluded.deleted, body = excluded.body`,
				string(o.Kind), o.Key, base+1, o.Deleted, string(o.Body)); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errGeneration) {
		return false, nil
	}
	return err == nil, err
}

// Touch implements [identity.Store].
func (db *IdentityStore) Touch(ctx context.Context, uses []identity.Use) error {
	// In one order, so that concurrent calls do not wait for each other in a circle.
	uses = slices.SortedFunc(slices.Values(uses), func(a, b identity.Use) int { return strings.Compare(a.ID, b.ID) })
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		for _, u := range uses {
			if _, err := tx.ExecContext(ctx, `INSERT INTO identity_uses (id, used_at, service, region) VALUES ($1, $2, $3, $4)
				ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at, service = excluded.service, region = excluded.region
				WHERE excluded.used_at > identity_uses.used_at`, u.ID, micros(u.At), u.Service, u.Region); err != nil {
				return err
			}
		}
		return nil
	})
}

// LastUses implements [identity.Store].
func (db *IdentityStore) LastUses(ctx context.Context, ids []string) (map[string]identity.Use, error) {
	uses := map[string]identity.Use{}
	for _, id := range ids {
		u := identity.Use{ID: id}
		var at int64
		err := db.sql.QueryRowContext(ctx, `SELECT used_at, service, region FROM identity_uses WHERE id = $1`, id).
			Scan(&at, &u.Service, &u.Region)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u.At = fromMicros(at)
		uses[id] = u
	}
	return uses, nil
}

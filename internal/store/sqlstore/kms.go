package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"sekisho"
	"sekisho/internal/storage/kmskey"
)

// KeyStore keeps KMS keys and aliases.
type KeyStore struct{ sql pool }

var _ kmskey.Store = (*KeyStore)(nil)

const keyColumns = `id, description, state, created_at, deletion_at, policy, policy_names, rotates, rotate_every, ` +
	`tags, generations, grants`

// generation is the stored form of a [kmskey.Generation].
type generation struct {
	MadeAt int64  `json:"made"`
	Sealed []byte `json:"sealed"`
}

func keyValues(k *kmskey.Key) ([]any, error) {
	all := make([]generation, 0, len(k.Generations))
	for _, g := range k.Generations {
		all = append(all, generation{micros(g.MadeAt), g.Sealed})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	grants, err := json.Marshal(k.Grants)
	return []any{
		k.ID, k.Description, k.State, micros(k.CreatedAt), micros(k.DeletionAt), k.Policy.Document, tagsJSON(k.Policy.Names),
		k.Rotates, int64(k.RotateEvery),
		tagsJSON(k.Tags), string(text), string(grants),
	}, err
}

func scanKey(row scanner) (*kmskey.Key, error) {
	k := new(kmskey.Key)
	var created, deletion, every int64
	var tags, names, generations, grants string
	if err := row.Scan(&k.ID, &k.Description, &k.State, &created, &deletion, &k.Policy.Document, &names, &k.Rotates,
		&every, &tags, &generations, &grants); err != nil {
		return nil, err
	}
	k.CreatedAt, k.DeletionAt, k.RotateEvery = fromMicros(created), fromMicros(deletion), time.Duration(every)
	var all []generation
	if err := json.Unmarshal([]byte(generations), &all); err != nil {
		return nil, fmt.Errorf("stored material of the key %s: %w", k.ID, err)
	}
	for _, g := range all {
		k.Generations = append(k.Generations, kmskey.Generation{MadeAt: fromMicros(g.MadeAt), Sealed: g.Sealed})
	}
	if err := json.Unmarshal([]byte(grants), &k.Grants); err != nil {
		return nil, fmt.Errorf("stored grants of the key %s: %w", k.ID, err)
	}
	var err error
	if k.Policy.Names, err = tagsFromJSON(names); err != nil {
		return nil, err
	}
	k.Tags, err = tagsFromJSON(tags)
	return k, err
}

// CreateKey implements [kmskey.Store].
func (db *KeyStore) CreateKey(ctx context.Context, k *kmskey.Key) error {
	values, err := keyValues(k)
	if err != nil {
		return err
	}
	_, err = db.sql.ExecContext(
		ctx,
		`INSERT INTO kms_keys (`+keyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		values...)
	if isUnique(err) {
		return sekisho.Errorf(sekisho.CodeConflict, "key %s exists", k.ID)
	}
	return err
}

func (db *KeyStore) key(ctx context.Context, q querier, id, lock string) (*kmskey.Key, error) {
	k, err := scanKey(q.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM kms_keys WHERE id = $1`+lock, id))
	return k, notFound(err, "key %s does not exist", id)
}

// Key implements [kmskey.Store].
func (db *KeyStore) Key(ctx context.Context, id string) (*kmskey.Key, error) {
	return db.key(ctx, db.sql, id, "")
}

// Keys implements [kmskey.Store].
func (db *KeyStore) Keys(ctx context.Context) ([]*kmskey.Key, error) {
	return queryAll(ctx, db.sql, scanKey, `SELECT `+keyColumns+` FROM kms_keys ORDER BY id`)
}

// UpdateKey implements [kmskey.Store].
func (db *KeyStore) UpdateKey(ctx context.Context, id string, change func(k *kmskey.Key) error) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		k, err := db.key(ctx, tx, id, forUpdate)
		if err != nil {
			return err
		}
		if err := change(k); err != nil {
			return err
		}
		values, err := keyValues(k)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE kms_keys SET description = $2, state = $3, created_at = $4, deletion_at = $5, policy = $6,
			policy_names = $7, rotates = $8, rotate_every = $9, tags = $10, generations = $11, grants = $12 WHERE id = $1`,
			values...)
		return err
	})
}

// DeleteKey implements [kmskey.Store].
func (db *KeyStore) DeleteKey(ctx context.Context, id string) error {
	res, err := db.sql.ExecContext(ctx, `DELETE FROM kms_keys WHERE id = $1`, id)
	return affected(res, err, "key %s does not exist", id)
}

// affected turns "no rows changed" into a not_found error.
func affected(res sql.Result, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return sekisho.Errorf(sekisho.CodeNotFound, format, args...)
}

// CreateAlias implements [kmskey.Store].
func (db *KeyStore) CreateAlias(ctx context.Context, a kmskey.Alias) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := db.key(ctx, tx, a.KeyID, forUpdate); err != nil {
			return err
		}
		_, err := tx.ExecContext(
			ctx,
			`INSERT INTO kms_aliases (name, key_id, created_at, updated_at) VALUES ($1, $2, $3, $4)`,
			a.Name,
			a.KeyID,
			micros(a.CreatedAt),
			micros(a.UpdatedAt),
		)
		if isUnique(err) {
			return sekisho.Errorf(sekisho.CodeConflict, "alias %s exists", a.Name)
		}
		return err
	})
}

const aliasColumns = `name, key_id, created_at, updated_at`

func scanAlias(row scanner) (*kmskey.Alias, error) {
	a := new(kmskey.Alias)
	var created, updated int64
	if err := row.Scan(&a.Name, &a.KeyID, &created, &updated); err != nil {
		return nil, err
	}
	a.CreatedAt, a.UpdatedAt = fromMicros(created), fromMicros(updated)
	return a, nil
}

// Alias implements [kmskey.Store].
func (db *KeyStore) Alias(ctx context.Context, name string) (*kmskey.Alias, error) {
	a, err := scanAlias(db.sql.QueryRowContext(ctx, `SELECT `+aliasColumns+` FROM kms_aliases WHERE name = $1`, name))
	return a, notFound(err, "alias %s does not exist", name)
}

// Aliases implements [kmskey.Store].
func (db *KeyStore) Aliases(ctx context.Context) ([]*kmskey.Alias, error) {
	return queryAll(ctx, db.sql, scanAlias, `SELECT `+aliasColumns+` FROM kms_aliases ORDER BY name`)
}

// UpdateAlias implements [kmskey.Store].
func (db *KeyStore) UpdateAlias(ctx context.Context, name, keyID string, at time.Time) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := db.key(ctx, tx, keyID, forUpdate); err != nil {
			return err
		}
		res, err := tx.ExecContext(
			ctx,
			`UPDATE kms_aliases SET key_id = $2, updated_at = $3 WHERE name = $1`,
			name,
			keyID,
			micros(at),
		)
		return affected(res, err, "alias %s does not exist", name)
	})
}

// DeleteAlias implements [kmskey.Store].
func (db *KeyStore) DeleteAlias(ctx context.Context, name string) error {
	res, err := db.sql.ExecContext(ctx, `DELETE FROM kms_aliases WHERE name = $1`, name)
	return affected(res, err, "alias %s does not exist", name)
}

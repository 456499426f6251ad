package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/node/fleet"
)

// ActivationStore keeps activations.
type ActivationStore struct{ sql pool }

var _ fleet.ActivationStore = (*ActivationStore)(nil)

const activationColumns = `id, code_hash, description, default_instance_name, iam_role, registration_limit,
	registration_count, expires_at, created_at, created_by, tags, node_kind, node_id`

// CreateActivation implements [fleet.ActivationStore].
func (db *ActivationStore) CreateActivation(ctx context.Context, a *sekisho.Activation) error {
	_, err := db.sql.ExecContext(
		ctx,
		`INSERT INTO activations (`+activationColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		a.ID,
		a.CodeHash,
		a.Description,
		a.DefaultInstanceName,
		a.IAMRole,
		a.RegistrationLimit,
		a.RegistrationCount,
		micros(a.ExpiresAt),
		micros(a.CreatedAt),
		a.CreatedBy,
		tagsJSON(a.Tags),
		a.NodeKind,
		a.NodeID,
	)
	return err
}

func scanActivation(row scanner) (*sekisho.Activation, error) {
	a := new(sekisho.Activation)
	var expires, created int64
	var tags string
	if err := row.Scan(&a.ID, &a.CodeHash, &a.Description, &a.DefaultInstanceName, &a.IAMRole, &a.RegistrationLimit,
		&a.RegistrationCount, &expires, &created, &a.CreatedBy, &tags, &a.NodeKind, &a.NodeID); err != nil {
		return nil, err
	}
	a.ExpiresAt, a.CreatedAt = fromMicros(expires), fromMicros(created)
	var err error
	a.Tags, err = tagsFromJSON(tags)
	return a, err
}

// Activation implements [fleet.ActivationStore].
func (db *ActivationStore) Activation(ctx context.Context, id string) (*sekisho.Activation, error) {
	a, err := scanActivation(
		db.sql.QueryRowContext(ctx, `SELECT `+activationColumns+` FROM activations WHERE id = $1`, id),
	)
	return a, notFound(err, "activation %s does not exist", id)
}

// Activations implements [fleet.ActivationStore].
func (db *ActivationStore) Activations(ctx context.Context, q fleet.ActivationQuery) ([]*sekisho.Activation, error) {
	return queryListings(ctx, db.sql, scanActivation, activationListings(&q), func(a, b *sekisho.Activation) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.ID, b.ID))
	}, q.Limit)
}

// activationListings select a page. The first filter uses its index.
func activationListings(q *fleet.ActivationQuery) []listing {
	var where conditions
	column, values := "", []string(nil)
	for _, f := range []struct {
		column string
		values []string
	}{
		{"id", q.IDs}, {"node_id", q.NodeIDs}, {"default_instance_name", q.Names}, {"iam_role", q.Roles},
	} {
		switch {
		case f.values == nil:
		case column == "":
			column, values = f.column, slices.Compact(slices.Sorted(slices.Values(f.values)))
		default:
			where.isIn(f.column, f.values)
		}
	}
	if q.After != (fleet.ActivationPlace{}) {
		where.add("created_at <= ?", micros(q.After.CreatedAt))
		where.add("(created_at < ? OR +id > ?)", micros(q.After.CreatedAt), q.After.ID)
	}
	complete := func(c *conditions) listing {
		text, args := c.query("SELECT "+activationColumns+" FROM activations", "created_at DESC, id", q.Limit)
		return listing{text, args}
	}
	if column == "" {
		return []listing{complete(&where)}
	}
	return forEach(&where, column, values, complete)
}

// DeleteActivation implements [fleet.ActivationStore].
func (db *ActivationStore) DeleteActivation(ctx context.Context, id string) error {
	res, err := db.sql.ExecContext(ctx, `DELETE FROM activations WHERE id = $1`, id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return sekisho.Errorf(sekisho.CodeNotFound, "activation %s does not exist", id)
}

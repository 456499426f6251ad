package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"sekisho"
	"sekisho/internal/node/inventory"
)

// InventoryStore keeps the inventories of nodes.
type InventoryStore struct{ sql pool }

var _ inventory.Store = (*InventoryStore)(nil)

func scanInventory(row scanner, more ...any) (*inventory.Row, error) {
	r := new(inventory.Row)
	var attributes string
	if err := row.Scan(append([]any{&r.Type, &r.Version, &r.CapturedAt, &r.Hash, &attributes, &r.Size},
		more...)...); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(attributes), &r.Attributes); err != nil {
		return nil, fmt.Errorf("stored attributes of %s: %w", r.Type, err)
	}
	return r, nil
}

func listedInventory(row scanner) (*inventory.Row, error) { return scanInventory(row) }

const inventoryColumns = `type, version, captured_at, hash, attributes, size`

// UpdateInventory implements [inventory.Store].
func (db *InventoryStore) UpdateInventory(
	ctx context.Context,
	node sekisho.NodeID,
	change func(have []*inventory.Row) ([]*inventory.Row, error),
) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		var one int
		if err := tx.QueryRowContext(ctx, `SELECT 1 FROM nodes WHERE id = $1 AND deregistered_at = 0`+forUpdate,
			node).Scan(&one); err != nil {
			return notFound(err, "node %s is not registered", node)
		}
		have, err := queryAll(
			ctx,
			tx,
			listedInventory,
			`SELECT `+inventoryColumns+` FROM inventory WHERE node_id = $1 ORDER BY type`,
			node,
		)
		if err != nil {
			return err
		}
		rows, err := change(have)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.Content == nil {
				_, err = tx.ExecContext(
					ctx,
					`UPDATE inventory SET captured_at = $3 WHERE node_id = $1 AND type = $2`,
					node,
					r.Type,
					r.CapturedAt,
				)
			} else {
				_, err = tx.ExecContext(ctx, `INSERT INTO inventory (node_id, `+inventoryColumns+
					`, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
					ON CONFLICT (node_id, type) DO UPDATE
					SET version = excluded.version, captured_at = excluded.captured_at, hash = excluded.hash,
					attributes = excluded.attributes, size = excluded.size, content = excluded.content`,
					node, r.Type, r.Version, r.CapturedAt, r.Hash, namesJSON(r.Attributes), len(r.Content), r.Content)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func namesJSON(names []string) string {
	b, err := json.Marshal(append([]string{}, names...))
	if err != nil { // strings always marshal
		panic(err)
	}
	return string(b)
}

// InventoryRow implements [inventory.Store].
func (db *InventoryStore) InventoryRow(ctx context.Context, node sekisho.NodeID, typ string) (*inventory.Row, error) {
	var content []byte
	r, err := scanInventory(
		db.sql.QueryRowContext(
			ctx,
			`SELECT `+inventoryColumns+`, content FROM inventory WHERE node_id = $1 AND type = $2`,
			node,
			typ,
		),
		&content,
	)
	if err != nil {
		return nil, notFound(err, "node %s has no %s", node, typ)
	}
	r.Content = content
	return r, nil
}

// InventoryTypes implements [inventory.Store].
func (db *InventoryStore) InventoryTypes(ctx context.Context) ([]*inventory.Row, error) {
	return queryAll(
		ctx,
		db.sql,
		listedInventory,
		`SELECT DISTINCT type, version, '', '', attributes, 0 FROM inventory ORDER BY type, version, attributes`,
	)
}

// DeleteInventory implements [inventory.Store].
func (db *InventoryStore) DeleteInventory(ctx context.Context, node sekisho.NodeID) error {
	_, err := db.sql.ExecContext(ctx, `DELETE FROM inventory WHERE node_id = $1`, node)
	return err
}

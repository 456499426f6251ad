package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/node/fleet"
)

var _ fleet.Store = (*DB)(nil)

const activationColumns = `id, code_hash, description, default_instance_name, iam_role, registration_limit,
	registration_count, expires_at, created_at, created_by, tags, node_kind, node_id`

// CreateActivation implements [fleet.Store].
func (d *DB) CreateActivation(ctx context.Context, a *sekisho.Activation) error {
	_, err := d.sql.ExecContext(
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

type scanner interface{ Scan(dest ...any) error }

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

// Activation implements [fleet.Store].
func (d *DB) Activation(ctx context.Context, id string) (*sekisho.Activation, error) {
	a, err := scanActivation(
		d.sql.QueryRowContext(ctx, `SELECT `+activationColumns+` FROM activations WHERE id = $1`, id),
	)
	return a, notFound(err, "activation %s does not exist", id)
}

// Activations implements [fleet.Store].
func (d *DB) Activations(ctx context.Context) ([]*sekisho.Activation, error) {
	return queryAll(
		ctx,
		d.sql,
		scanActivation,
		`SELECT `+activationColumns+` FROM activations ORDER BY created_at DESC, id`,
	)
}

// queryAll scans every row of a query.
func queryAll[T any](
	ctx context.Context,
	q querier,
	scan func(scanner) (T, error),
	query string,
	args ...any,
) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// DeleteActivation implements [fleet.Store].
func (d *DB) DeleteActivation(ctx context.Context, id string) error {
	res, err := d.sql.ExecContext(ctx, `DELETE FROM activations WHERE id = $1`, id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return sekisho.Errorf(sekisho.CodeNotFound, "activation %s does not exist", id)
}

const nodeColumns = `id, name, activation_id, iam_role, registered_at, public_key, fingerprint, agent_name, agent_version,
	agent_status, platform_type, platform_name, platform_version, computer_name, ip_address, last_ping_at, last_source_ip,
	connected_at, disconnected_at, disconnect_reason, deregistered_at, tags, profile, architecture`

func nodeValues(n *sekisho.Node) []any {
	return []any{
		n.ID, n.Name, n.ActivationID, n.IAMRole, micros(n.RegisteredAt), n.PublicKey, n.Fingerprint, n.AgentName, n.AgentVersion,
		n.AgentStatus, n.PlatformType, n.PlatformName, n.PlatformVersion, n.ComputerName, n.IPAddress, micros(n.LastPingAt), n.LastSourceIP,
		micros(
			n.ConnectedAt,
		), micros(n.DisconnectedAt), n.DisconnectReason, micros(n.DeregisteredAt), tagsJSON(n.Tags), profileJSON(n.Profile), n.Architecture,
	}
}

// nodeProfile is the stored form of a [sekisho.NodeProfile].
type nodeProfile struct {
	Association, ID, ARN, Role, RoleBefore string
	Since                                  int64
}

func profileJSON(p *sekisho.NodeProfile) string {
	if p == nil {
		return ""
	}
	b, err := json.Marshal(nodeProfile{p.Association, p.ID, p.ARN, p.Role, p.RoleBefore, micros(p.Since)})
	if err != nil { // strings and a number always marshal
		panic(err)
	}
	return string(b)
}

func profileFromJSON(s string) (*sekisho.NodeProfile, error) {
	if s == "" {
		return nil, nil
	}
	var p nodeProfile
	if err := json.Unmarshal([]byte(s), &p); err != nil {
		return nil, fmt.Errorf("stored instance profile: %w", err)
	}
	return &sekisho.NodeProfile{
		Association: p.Association,
		ID:          p.ID,
		ARN:         p.ARN,
		Role:        p.Role,
		RoleBefore:  p.RoleBefore,
		Since:       fromMicros(p.Since),
	}, nil
}

func scanNode(row scanner) (*sekisho.Node, error) {
	n := new(sekisho.Node)
	var registered, ping, connected, disconnected, deregistered int64
	var tags, profile string
	if err := row.Scan(&n.ID, &n.Name, &n.ActivationID, &n.IAMRole, &registered, &n.PublicKey, &n.Fingerprint, &n.AgentName, &n.AgentVersion,
		&n.AgentStatus, &n.PlatformType, &n.PlatformName, &n.PlatformVersion, &n.ComputerName, &n.IPAddress, &ping, &n.LastSourceIP,
		&connected, &disconnected, &n.DisconnectReason, &deregistered, &tags, &profile, &n.Architecture); err != nil {
		return nil, err
	}
	n.RegisteredAt, n.LastPingAt, n.ConnectedAt = fromMicros(registered), fromMicros(ping), fromMicros(connected)
	n.DisconnectedAt, n.DeregisteredAt = fromMicros(disconnected), fromMicros(deregistered)
	var err error
	if n.Profile, err = profileFromJSON(profile); err != nil {
		return nil, err
	}
	n.Tags, err = tagsFromJSON(tags)
	return n, err
}

// RegisterNode implements [fleet.Store].
func (d *DB) RegisterNode(ctx context.Context, n *sekisho.Node) error {
	return d.inTx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE activations SET registration_count = registration_count + 1
			WHERE id = $1 AND registration_count < registration_limit`, n.ActivationID)
		if err != nil {
			return err
		}
		if rows, err := res.RowsAffected(); err != nil {
			return err
		} else if rows == 0 {
			var one int
			if err := tx.QueryRowContext(ctx, `SELECT 1 FROM activations WHERE id = $1`, n.ActivationID).Scan(&one); err != nil {
				return notFound(err, "activation %s does not exist", n.ActivationID)
			}
			return sekisho.Errorf(sekisho.CodeLimit, "The activation has been used as often as it allows.").
				WithHint("Make a new activation, or one with a higher registration limit.")
		}
		// An ID that was given in advance may have been another machine's.
		if _, err := tx.ExecContext(ctx, `DELETE FROM nodes WHERE id = $1 AND deregistered_at <> 0`, n.ID); err != nil {
			return err
		}
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO nodes (`+nodeColumns+`, revision) VALUES
			($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)`,
			append(nodeValues(n), revision)...)
		if isUnique(err) {
			return sekisho.Errorf(sekisho.CodeConflict, "The node %s is registered already.", n.ID).
				WithHint("Deregister it first, or make an activation without a fixed ID.")
		}
		return err
	})
}

// Node implements [fleet.Store].
func (d *DB) Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error) {
	kept, err := d.sql.prepared(ctx, `SELECT `+nodeColumns+` FROM nodes WHERE id = $1`)
	if err != nil {
		return nil, err
	}
	n, err := scanNode(kept.QueryRowContext(ctx, id))
	return n, notFound(err, "node %s does not exist", id)
}

// Nodes implements [fleet.Store].
func (d *DB) Nodes(ctx context.Context) ([]*sekisho.Node, error) {
	return queryAll(ctx, d.sql, scanNode, `SELECT `+nodeColumns+` FROM nodes WHERE deregistered_at = 0 ORDER BY id`)
}

// UpdateNode implements [fleet.Store].
func (d *DB) UpdateNode(ctx context.Context, id sekisho.NodeID, change func(n *sekisho.Node) error) error {
	return d.inTx(ctx, func(tx *sql.Tx) error {
		n, err := scanNode(tx.QueryRowContext(ctx, `SELECT `+nodeColumns+` FROM nodes WHERE id = $1`, id))
		if err != nil {
			return notFound(err, "node %s does not exist", id)
		}
		if err := change(n); err != nil {
			return err
		}
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE nodes SET name = $2, activation_id = $3, iam_role = $4, registered_at = $5, public_key = $6,
			fingerprint = $7, agent_name = $8, agent_version = $9, agent_status = $10, platform_type = $11, platform_name = $12,
			platform_version = $13, computer_name = $14, ip_address = $15, last_ping_at = $16, last_source_ip = $17, connected_at = $18,
			disconnected_at = $19, disconnect_reason = $20, deregistered_at = $21, tags = $22, profile = $23,
			architecture = $24, revision = $25 WHERE id = $1`,
			append(nodeValues(n), revision)...)
		return err
	})
}

// CloseConnections implements [fleet.Store].
func (d *DB) CloseConnections(ctx context.Context, at time.Time, reason string) error {
	return d.inTx(ctx, func(tx *sql.Tx) error {
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE nodes SET connected_at = 0, disconnected_at = $1, disconnect_reason = $2, revision = $3
			WHERE connected_at <> 0`,
			micros(at),
			reason,
			revision,
		)
		return err
	})
}

// nextRevision returns the revision of a change to nodes. It locks out other
// changes until tx ends, so that revisions become visible in order.
func nextRevision(ctx context.Context, tx *sql.Tx) (revision int64, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE node_revision SET revision = revision + 1 RETURNING revision`).Scan(&revision)
	return revision, err
}

// listedColumns are the columns of nodes in lists: without the key, which is
// large.
var listedColumns = strings.Replace(nodeColumns, "public_key", "'' AS public_key", 1)

// changedNodes reads the nodes that changed after a revision, by an index.
var changedNodes = `SELECT ` + listedColumns + ` FROM nodes WHERE revision > $1`

// NodeChanges implements [fleet.Store].
func (d *DB) NodeChanges(ctx context.Context, after int64) (nodes []*sekisho.Node, revision int64, err error) {
	// A change that is committed between the two queries is returned now and
	// once more by the next call.
	if err := d.sql.QueryRowContext(ctx, `SELECT revision FROM node_revision`).Scan(&revision); err != nil {
		return nil, 0, err
	}
	if revision == after {
		return nil, revision, nil
	}
	nodes, err = queryAll(ctx, d.sql, func(row scanner) (*sekisho.Node, error) {
		n, err := scanNode(row)
		if n != nil {
			n.PublicKey = nil
		}
		return n, err
	}, changedNodes, after)
	return nodes, revision, err
}

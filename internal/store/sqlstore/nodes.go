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

// NodeStore keeps nodes.
type NodeStore struct{ sql pool }

var _ fleet.NodeStore = (*NodeStore)(nil)

const nodeColumns = `id, name, activation_id, iam_role, registered_at, public_key, fingerprint, agent_name, ` +
	`agent_version,
	agent_status, platform_type, platform_name, platform_version, computer_name, ip_address, last_ping_at, last_source_ip,
	connected_at, disconnected_at, disconnect_reason, deregistered_at, tags, profile, architecture`

func nodeValues(n *sekisho.Node) []any {
	return []any{
		n.ID, n.Name, n.ActivationID, n.IAMRole, micros(n.RegisteredAt), n.PublicKey, n.Fingerprint, n.AgentName,
		n.AgentVersion,
		n.AgentStatus, n.PlatformType, n.PlatformName, n.PlatformVersion, n.ComputerName, n.IPAddress, micros(n.LastPingAt),
		n.LastSourceIP,
		micros(
			n.ConnectedAt,
		), micros(n.DisconnectedAt), n.DisconnectReason, micros(n.DeregisteredAt), tagsJSON(n.Tags), profileJSON(n.Profile),
		n.Architecture,
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
	if err := row.Scan(&n.ID, &n.Name, &n.ActivationID, &n.IAMRole, &registered, &n.PublicKey, &n.Fingerprint,
		&n.AgentName, &n.AgentVersion,
		&n.AgentStatus, &n.PlatformType, &n.PlatformName, &n.PlatformVersion, &n.ComputerName, &n.IPAddress, &ping,
		&n.LastSourceIP,
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

// RegisterNode implements [fleet.NodeStore].
func (db *NodeStore) RegisterNode(ctx context.Context, n *sekisho.Node) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
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
		// A preassigned ID may have belonged to another machine.
		if _, err := tx.ExecContext(ctx, `DELETE FROM nodes WHERE id = $1 AND deregistered_at <> 0`, n.ID); err != nil {
			return err
		}
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO nodes (`+nodeColumns+`, revision) VALUES
			($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
			$14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)`,
			append(nodeValues(n), revision)...)
		if isUnique(err) {
			return sekisho.Errorf(sekisho.CodeConflict, "The node %s is registered already.", n.ID).
				WithHint("Deregister it first, or make an activation without a fixed ID.")
		}
		return err
	})
}

// Node implements [fleet.NodeStore].
func (db *NodeStore) Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error) {
	n, err := scanNode(db.sql.queryPrepared(ctx, `SELECT `+nodeColumns+` FROM nodes WHERE id = $1`, id))
	return n, notFound(err, "node %s does not exist", id)
}

// Nodes implements [fleet.NodeStore].
func (db *NodeStore) Nodes(ctx context.Context) ([]*sekisho.Node, error) {
	return queryAll(ctx, db.sql, scanNode, `SELECT `+nodeColumns+` FROM nodes WHERE deregistered_at = 0 ORDER BY id`)
}

// UpdateNode implements [fleet.NodeStore].
func (db *NodeStore) UpdateNode(ctx context.Context, id sekisho.NodeID, change func(n *sekisho.Node) error) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		n, err := scanNode(tx.QueryRowContext(ctx, `SELECT `+nodeColumns+` FROM nodes WHERE id = $1`, id))
		if err != nil {
			return notFound(err, "node %s does not exist", id)
		}
		if err := change(n); err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE nodes SET name = $2, activation_id = $3, iam_role = $4, registered_at = $5, public_key = $6,
			fingerprint = $7, agent_name = $8, agent_version = $9, agent_status = $10, platform_type = $11, platform_name = $12,
			platform_version = $13, computer_name = $14, ip_address = $15, last_ping_at = $16, last_source_ip = $17,
			connected_at = $18, disconnected_at = $19, disconnect_reason = $20, deregistered_at = $21, tags = $22, profile = $23,
			architecture = $24, revision = $25 WHERE id = $1`,
			append(nodeValues(n), revision)...)
		return err
	})
}

// CloseConnections implements [fleet.NodeStore].
func (db *NodeStore) CloseConnections(ctx context.Context, at time.Time, reason string) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
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
// changes until tx ends, so that revisions become visible in order. Transactions
// call it before they read or lock a node.
func nextRevision(ctx context.Context, tx *sql.Tx) (revision int64, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE node_revision SET revision = revision + 1 RETURNING revision`).Scan(&revision)
	return revision, err
}

// listedColumns are the columns of nodes in lists: without the key, which is
// large.
var listedColumns = strings.Replace(nodeColumns, "public_key", "'' AS public_key", 1)

// changedNodes reads the nodes that changed after a revision, by an index.
var changedNodes = `SELECT ` + listedColumns + ` FROM nodes WHERE revision > $1`

// NodeChanges implements [fleet.NodeStore].
func (db *NodeStore) NodeChanges(ctx context.Context, after int64) (nodes []*sekisho.Node, revision int64, err error) {
	// A change that is committed between the two queries is returned now and again by the
	// next call.
	if err := db.sql.QueryRowContext(ctx, `SELECT revision FROM node_revision`).Scan(&revision); err != nil {
		return nil, 0, err
	}
	if revision == after {
		return nil, revision, nil
	}
	nodes, err = queryAll(ctx, db.sql, func(row scanner) (*sekisho.Node, error) {
		n, err := scanNode(row)
		if n != nil {
			n.PublicKey = nil
		}
		return n, err
	}, changedNodes, after)
	return nodes, revision, err
}

const deregisteredNodes = `SELECT ` + nodeColumns + ` FROM nodes WHERE deregistered_at <> 0
	ORDER BY deregistered_at DESC, id LIMIT $1`

// DeregisteredNodes implements [fleet.NodeStore].
func (db *NodeStore) DeregisteredNodes(ctx context.Context, most int) ([]*sekisho.Node, error) {
	return queryAll(ctx, db.sql, scanNode, deregisteredNodes, most)
}

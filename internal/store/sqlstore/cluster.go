package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sekisho"
	"sekisho/internal/cluster"
)

// ClusterStore keeps the members of a cluster and what they own. Its times are the database's.
type ClusterStore struct{ sql pool }

var _ cluster.Store = (*ClusterStore)(nil)

// SetMember makes the stores write as a member of a cluster: they refuse changes to sessions of other members.
func (d *DB) SetMember(name string, epoch func() int64) {
	d.Audit.member = name
	d.Sessions.owner = func() (string, int64) { return name, epoch() }
}

// clock is the database's clock in SQL: microseconds since the Unix epoch.
func (db *ClusterStore) clock() string {
	if db.sql.postgres {
		return `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	}
	return `CAST(unixepoch('subsec') * 1000000 AS BIGINT)`
}

// live is a condition on cluster_members m.
func (db *ClusterStore) live() string { return `m.lease_until > ` + db.clock() }

// Authority implements [cluster.Store].
func (db *ClusterStore) Authority(ctx context.Context) (certificate, sealedKey []byte, err error) {
	err = db.sql.QueryRowContext(ctx, `SELECT certificate, sealed_key FROM cluster_authority WHERE id = 1`).
		Scan(&certificate, &sealedKey)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, nil
	}
	return certificate, sealedKey, err
}

// PutAuthority implements [cluster.Store].
func (db *ClusterStore) PutAuthority(ctx context.Context, certificate, sealedKey []byte) error {
	_, err := db.sql.ExecContext(ctx, `INSERT INTO cluster_authority (id, certificate, sealed_key) VALUES (1, $1, $2)
		ON CONFLICT (id) DO NOTHING`, certificate, sealedKey)
	return err
}

// Now implements [cluster.Store].
func (db *ClusterStore) Now(ctx context.Context) (time.Time, error) {
	var us int64
	err := db.sql.QueryRowContext(ctx, `SELECT `+db.clock()).Scan(&us)
	return fromMicros(us), err
}

// returned runs a statement with a RETURNING clause. ok is false if it changed no row.
func (db *ClusterStore) returned(
	ctx context.Context, scan func(scanner) error, query string, args ...any,
) (ok bool, err error) {
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		ok = true
		err := scan(tx.QueryRowContext(ctx, query, args...))
		if errors.Is(err, sql.ErrNoRows) {
			ok = false
			return nil
		}
		return err
	})
	return ok && err == nil, err
}

// changed runs a statement and reports whether it changed a row.
func (db *ClusterStore) changed(ctx context.Context, query string, args ...any) (bool, error) {
	res, err := db.sql.ExecContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// Join implements [cluster.Store].
func (db *ClusterStore) Join(
	ctx context.Context, m *cluster.Member, lease time.Duration,
) (epoch int64, ok bool, err error) {
	ok, err = db.returned(ctx, func(row scanner) error { return row.Scan(&epoch) },
		`INSERT INTO cluster_members (name, epoch, address, version, protocol, instance, started_at, renewed_at, lease_until,
			skew) VALUES ($1, 1, $2, $3, $4, $5, `+db.clock()+`, `+db.clock()+`, `+db.clock()+` + $6, $7)
		ON CONFLICT (name) DO UPDATE SET epoch = cluster_members.epoch + 1, address = excluded.address,
			version = excluded.version, protocol = excluded.protocol, instance = excluded.instance,
			started_at = excluded.started_at, renewed_at = excluded.renewed_at, lease_until = excluded.lease_until,
			skew = excluded.skew
		WHERE cluster_members.lease_until <= `+db.clock()+` RETURNING epoch`,
		m.Name, m.Address, m.Version, m.Protocol, m.Instance, lease.Microseconds(), m.Skew.Microseconds())
	return epoch, ok, err
}

// Renew implements [cluster.Store].
func (db *ClusterStore) Renew(
	ctx context.Context, name string, epoch int64, lease, skew time.Duration,
) (bool, error) {
	return db.changed(ctx, `UPDATE cluster_members
		SET renewed_at = `+db.clock()+`, lease_until = `+db.clock()+` + $3, skew = $4
		WHERE name = $1 AND epoch = $2 AND lease_until > `+db.clock(),
		name, epoch, lease.Microseconds(), skew.Microseconds())
}

// Leave implements [cluster.Store].
func (db *ClusterStore) Leave(ctx context.Context, name string, epoch int64) error {
	_, err := db.changed(ctx, `UPDATE cluster_members SET lease_until = `+db.clock()+` WHERE name = $1 AND epoch = $2
		AND lease_until > `+db.clock(), name, epoch)
	return err
}

// countOwned are the columns with the nodes and active sessions of member m.
const countOwned = `(SELECT count(*) FROM node_owners n WHERE n.member = m.name AND n.member_epoch = m.epoch),
	(SELECT count(*) FROM session_owners o JOIN sessions s ON s.id = o.session
		WHERE o.member = m.name AND o.member_epoch = m.epoch AND s.active)`

// Members implements [cluster.Store].
func (db *ClusterStore) Members(ctx context.Context, count bool) ([]*cluster.Member, error) {
	counts := `0, 0`
	if count {
		counts = countOwned
	}
	return queryAll(ctx, db.sql, func(row scanner) (*cluster.Member, error) {
		m := new(cluster.Member)
		var started, renewed, until, skew, lag int64
		err := row.Scan(&m.Name, &m.Epoch, &m.Address, &m.Version, &m.Protocol, &m.Instance, &started, &renewed, &until,
			&skew,
			&lag, &m.Live, &m.Coordinator, &m.Nodes, &m.Sessions)
		m.StartedAt, m.RenewedAt, m.LeaseUntil = fromMicros(started), fromMicros(renewed), fromMicros(until)
		m.Skew, m.Lag = time.Duration(skew)*time.Microsecond, time.Duration(lag)*time.Microsecond
		return m, err
	}, `SELECT m.name, m.epoch, m.address, m.version, m.protocol, m.instance, m.started_at, m.renewed_at,
			m.lease_until, m.skew, `+db.clock()+` - m.renewed_at, `+db.live()+`,
			EXISTS (SELECT 1 FROM cluster_coordinator c WHERE c.member = m.name AND c.member_epoch = m.epoch) AND `+db.live()+`,
			`+counts+`
		FROM cluster_members m ORDER BY m.name`)
}

// Remove implements [cluster.Store].
func (db *ClusterStore) Remove(ctx context.Context, name string) error {
	ok, err := db.changed(ctx, `DELETE FROM cluster_members WHERE name = $1 AND lease_until <= `+db.clock(), name)
	if err != nil || ok {
		return err
	}
	var n int64
	if err := db.sql.QueryRowContext(ctx, `SELECT count(*) FROM cluster_members WHERE name = $1`,
		name).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		return sekisho.Errorf(sekisho.CodeNotFound, "There is no member %q.", name)
	}
	return sekisho.Errorf(sekisho.CodeInUse, "Member %q is running.", name).WithHint("Stop it first.")
}

// Coordinate implements [cluster.Store].
func (db *ClusterStore) Coordinate(ctx context.Context, name string, epoch int64) (bool, error) {
	var member string
	var memberEpoch int64
	err := db.sql.QueryRowContext(ctx, `SELECT c.member, c.member_epoch FROM cluster_coordinator c JOIN cluster_members m
		ON m.name = c.member AND m.epoch = c.member_epoch WHERE c.id = 1 AND `+db.live()).Scan(&member, &memberEpoch)
	if err == nil {
		return member == name && memberEpoch == epoch, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	return db.returned(ctx, func(row scanner) error { return row.Scan(&member) },
		`INSERT INTO cluster_coordinator (id, member, member_epoch)
		SELECT 1, m.name, m.epoch FROM cluster_members m WHERE m.name = $1 AND m.epoch = $2 AND `+db.live()+`
		ON CONFLICT (id) DO UPDATE SET member = excluded.member, member_epoch = excluded.member_epoch
		WHERE NOT EXISTS (SELECT 1 FROM cluster_members m WHERE m.name = cluster_coordinator.member
			AND m.epoch = cluster_coordinator.member_epoch AND `+db.live()+`) RETURNING member`, name, epoch)
}

// ClaimNode implements [cluster.Store].
func (db *ClusterStore) ClaimNode(ctx context.Context, n cluster.NodeRow) (bool, error) {
	return db.changed(ctx, `INSERT INTO node_owners (node, member, member_epoch, source, process, changed_at)
		SELECT $1, m.name, m.epoch, $2, $3, `+db.clock()+` FROM cluster_members m
		WHERE m.name = $4 AND m.epoch = $5 AND `+db.live()+`
		ON CONFLICT (node) DO UPDATE SET member = excluded.member, member_epoch = excluded.member_epoch,
			source = excluded.source, process = excluded.process, changed_at = excluded.changed_at`,
		string(n.Node), n.Source, n.Process, n.Member, n.Epoch)
}

// ReleaseNode implements [cluster.Store].
func (db *ClusterStore) ReleaseNode(
	ctx context.Context, node sekisho.NodeID, member string, epoch int64,
) (bool, error) {
	return db.changed(ctx, `UPDATE node_owners SET member = '', changed_at = `+db.clock()+`
		WHERE node = $1 AND member = $2 AND member_epoch = $3`, string(node), member, epoch)
}

// NodeOwner implements [cluster.Store].
func (db *ClusterStore) NodeOwner(ctx context.Context, node sekisho.NodeID) (cluster.Owner, error) {
	return db.owner(ctx, `SELECT o.member, o.member_epoch, m.address, 0, `+db.live()+` FROM node_owners o
		JOIN cluster_members m ON m.name = o.member AND m.epoch = o.member_epoch WHERE o.node = $1`, string(node))
}

func (db *ClusterStore) owner(ctx context.Context, query string, id string) (o cluster.Owner, err error) {
	err = db.sql.QueryRowContext(ctx, query, id).Scan(&o.Member, &o.Epoch, &o.Address, &o.Term, &o.Live)
	if errors.Is(err, sql.ErrNoRows) {
		return cluster.Owner{}, nil
	}
	return o, err
}

func scanNodeRow(row scanner) (n cluster.NodeRow, err error) {
	err = row.Scan(&n.Node, &n.Member, &n.Epoch, &n.Source, &n.Process)
	return n, err
}

// NodesSince implements [cluster.Store].
func (db *ClusterStore) NodesSince(
	ctx context.Context, since time.Time,
) (rows []cluster.NodeRow, now time.Time, err error) {
	if now, err = db.Now(ctx); err != nil {
		return nil, now, err
	}
	rows, err = queryAll(ctx, db.sql, scanNodeRow, `SELECT node, member, member_epoch, source, process FROM node_owners
		WHERE changed_at >= $1`, micros(since))
	return rows, now, err
}

// OrphanNodes implements [cluster.Store].
func (db *ClusterStore) OrphanNodes(ctx context.Context, limit int) ([]cluster.NodeRow, error) {
	return queryAll(ctx, db.sql, scanNodeRow, `SELECT node, member, member_epoch, source, process FROM node_owners o
		WHERE o.member <> '' AND NOT EXISTS (SELECT 1 FROM cluster_members m WHERE m.name = o.member
			AND m.epoch = o.member_epoch AND `+db.live()+`) ORDER BY node LIMIT $1`, limit)
}

// ClaimSession implements [cluster.Store].
func (db *ClusterStore) ClaimSession(
	ctx context.Context, session sekisho.SessionID, member string, epoch int64,
) (cluster.Owner, error) {
	o := cluster.Owner{Member: member, Epoch: epoch, Live: true}
	ok, err := db.returned(ctx, func(row scanner) error { return row.Scan(&o.Term) },
		`INSERT INTO session_owners (session, member, member_epoch, term, since)
		SELECT $1, m.name, m.epoch, 1, `+db.clock()+` FROM cluster_members m
		WHERE m.name = $2 AND m.epoch = $3 AND `+db.live()+`
		ON CONFLICT (session) DO UPDATE SET
			term = session_owners.term + CASE WHEN session_owners.member = excluded.member
				AND session_owners.member_epoch = excluded.member_epoch THEN 0 ELSE 1 END,
			member = excluded.member, member_epoch = excluded.member_epoch, since = excluded.since
		WHERE session_owners.member = excluded.member AND session_owners.member_epoch = excluded.member_epoch
			OR NOT EXISTS (SELECT 1 FROM cluster_members m WHERE m.name = session_owners.member
				AND m.epoch = session_owners.member_epoch AND `+db.live()+`)
		RETURNING term`, string(session), member, epoch)
	if err != nil || ok {
		return o, err
	}
	return db.SessionOwner(ctx, session)
}

// SessionOwner implements [cluster.Store].
func (db *ClusterStore) SessionOwner(ctx context.Context, session sekisho.SessionID) (cluster.Owner, error) {
	return db.owner(ctx, `SELECT o.member, o.member_epoch, m.address, o.term, m.epoch = o.member_epoch AND `+db.live()+`
		FROM session_owners o JOIN cluster_members m ON m.name = o.member WHERE o.session = $1`, string(session))
}

// OrphanSessions implements [cluster.Store].
func (db *ClusterStore) OrphanSessions(
	ctx context.Context, after time.Duration, limit int,
) ([]sekisho.SessionID, error) {
	return queryAll(ctx, db.sql, func(row scanner) (s sekisho.SessionID, err error) {
		err = row.Scan(&s)
		return s, err
	}, `SELECT s.id FROM sessions s LEFT JOIN session_owners o ON o.session = s.id
		LEFT JOIN cluster_members m ON m.name = o.member AND m.epoch = o.member_epoch
		WHERE s.active AND coalesce(m.lease_until, o.since, s.started_at) <= `+db.clock()+` - $1 ORDER BY s.id LIMIT $2`,
		after.Microseconds(), limit)
}

package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/node/fleet"
)

// SightingStore keeps sightings of machines.
type SightingStore struct{ sql pool }

var _ fleet.SightingStore = (*SightingStore)(nil)

const sightingColumns = `key, kind, node_id, source_ip, other, fingerprint, detail, first_at, last_at, count`

func scanSighting(row scanner) (*fleet.Sighting, error) {
	s := new(fleet.Sighting)
	var first, last int64
	if err := row.Scan(&s.Key, &s.Kind, &s.Node, &s.SourceIP, &s.Other, &s.Fingerprint, &s.Detail, &first, &last,
		&s.Count); err != nil {
		return nil, err
	}
	s.FirstAt, s.LastAt = fromMicros(first), fromMicros(last)
	return s, nil
}

// NoteSighting implements [fleet.SightingStore].
func (db *SightingStore) NoteSighting(ctx context.Context, s *fleet.Sighting, most int) (before time.Time, err error) {
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		before = time.Time{}
		if err := db.sql.serialize(ctx, tx, strangerLimit); err != nil {
			return err
		}
		var last int64
		switch err := tx.QueryRowContext(ctx, `SELECT last_at FROM sightings WHERE key = $1`, s.Key).Scan(&last); {
		case err == nil:
			before = fromMicros(last)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO sightings (`+sightingColumns+
			`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (key) DO UPDATE
			SET source_ip = excluded.source_ip, other = excluded.other, fingerprint = excluded.fingerprint,
			detail = excluded.detail, last_at = excluded.last_at, count = sightings.count + 1`,
			s.Key, s.Kind, s.Node, s.SourceIP, s.Other, s.Fingerprint, s.Detail, micros(s.FirstAt), micros(s.LastAt),
			s.Count); err != nil {
			return err
		}
		if s.Node != "" || !before.IsZero() {
			return nil
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM sightings WHERE node_id = '' AND key NOT IN
			(SELECT key FROM sightings WHERE node_id = '' ORDER BY last_at DESC, key LIMIT $1)`, most)
		return err
	})
	return before, err
}

// Sightings implements [fleet.SightingStore].
func (db *SightingStore) Sightings(ctx context.Context, node sekisho.NodeID) ([]*fleet.Sighting, error) {
	return db.SightingsOf(ctx, []sekisho.NodeID{node})
}

// Strays implements [fleet.SightingStore].
func (db *SightingStore) Strays(ctx context.Context) ([]*fleet.Sighting, error) {
	return queryListings(ctx, db.sql, scanSighting, strayListings(), func(a, b *fleet.Sighting) int {
		return cmp.Or(b.LastAt.Compare(a.LastAt), strings.Compare(a.Key, b.Key))
	}, 0)
}

// strayListings select the sightings of machines that are not managed.
func strayListings() []listing {
	return []listing{
		{`SELECT ` + sightingColumns + ` FROM sightings WHERE node_id = '' ORDER BY last_at DESC, key`, nil},
		{
			`SELECT ` + sightingColumns + ` FROM sightings WHERE kind = $1 AND +node_id <> '' ORDER BY last_at DESC, key`,
			[]any{string(fleet.SeenUnknownNode)},
		},
	}
}

// sightingsOf reads the sightings of some nodes, by an index.
const sightingsOf = `SELECT ` + sightingColumns + ` FROM sightings WHERE node_id IN (%s) ORDER BY last_at DESC, key`

// SightingsOf implements [fleet.SightingStore].
func (db *SightingStore) SightingsOf(ctx context.Context, nodes []sekisho.NodeID) ([]*fleet.Sighting, error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	places, args := make([]string, len(nodes)), make([]any, len(nodes))
	for i, node := range nodes {
		places[i], args[i] = fmt.Sprintf("$%d", i+1), string(node)
	}
	return queryAll(ctx, db.sql, scanSighting, fmt.Sprintf(sightingsOf, strings.Join(places, ", ")), args...)
}

// ForgetSightings implements [fleet.SightingStore].
func (db *SightingStore) ForgetSightings(ctx context.Context, node sekisho.NodeID, kind fleet.SightingKind) error {
	_, err := db.sql.ExecContext(
		ctx,
		`DELETE FROM sightings WHERE node_id = $1 AND node_id <> '' AND ($2 = '' OR kind = $2)`,
		string(node),
		string(kind),
	)
	return err
}

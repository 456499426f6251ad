package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sekisho"
	"sekisho/internal/activity/event"
)

// EventStore keeps events and the queues of webhooks.
type EventStore struct{ sql pool }

var _ event.Store = (*EventStore)(nil)

const eventColumns = `seq, id, type, subject, time, body`

func scanEvent(row scanner) (*event.Record, error) {
	r := new(event.Record)
	var at int64
	err := row.Scan(&r.Seq, &r.ID, &r.Type, &r.Subject, &at, &r.Body)
	r.Time = fromMicros(at)
	return r, err
}

// AddEvents implements [event.Store].
func (db *EventStore) AddEvents(ctx context.Context, b event.Batch) error {
	err := db.sql.inTx(ctx, func(tx *sql.Tx) error {
		last := int64(0)
		for _, r := range b.Records {
			if _, err := tx.ExecContext(ctx, `INSERT INTO events (`+eventColumns+`) VALUES ($1, $2, $3, $4, $5, $6)`,
				r.Seq, r.ID, r.Type, r.Subject, micros(r.Time), r.Body); err != nil {
				return err
			}
			last = max(last, r.Seq)
		}
		for _, it := range b.Drop {
			if _, err := tx.ExecContext(ctx, `DELETE FROM event_items WHERE webhook = $1 AND seq = $2`, it.Webhook,
				it.Seq); err != nil {
				return err
			}
		}
		for _, it := range b.Items {
			if _, err := tx.ExecContext(ctx,
				`INSERT INTO event_items (webhook, seq, subject, queued_at, attempts) VALUES ($1, $2, $3, $4, $5)`,
				it.Webhook, it.Seq, it.Subject, micros(it.At), it.Attempts); err != nil {
				return err
			}
		}
		for webhook, n := range b.Dropped {
			if err := tally(ctx, tx, event.Tally{Webhook: webhook, Dropped: n}); err != nil {
				return err
			}
		}
		for node, up := range b.NodesUp {
			if _, err := tx.ExecContext(ctx, `INSERT INTO event_nodes (node_id, up) VALUES ($1, $2)
				ON CONFLICT (node_id) DO UPDATE SET up = excluded.up`, string(node), up); err != nil {
				return err
			}
		}
		if last == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO event_last (one, seq) VALUES (1, $1)
			ON CONFLICT (one) DO UPDATE SET seq = excluded.seq`, last)
		return err
	})
	if isUnique(err) {
		return sekisho.Errorf(sekisho.CodeConflict, "an event of this number is stored already: %w", err)
	}
	return err
}

// tally adds to a webhook's tally.
func tally(ctx context.Context, tx *sql.Tx, t event.Tally) error {
	_, err := tx.ExecContext(
		ctx,
		`INSERT INTO event_tallies (webhook, delivered, given_up, dropped, last_delivered_at, last_failed_at, last_failure)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (webhook) DO UPDATE SET delivered = event_tallies.delivered + excluded.delivered,
		given_up = event_tallies.given_up + excluded.given_up, dropped = event_tallies.dropped + excluded.dropped,
		last_delivered_at = CASE WHEN excluded.last_delivered_at = 0
			THEN event_tallies.last_delivered_at ELSE excluded.last_delivered_at END,
		last_failed_at = CASE WHEN excluded.last_failed_at = 0
			THEN event_tallies.last_failed_at ELSE excluded.last_failed_at END,
		last_failure = CASE WHEN excluded.last_failed_at = 0 THEN event_tallies.last_failure ELSE excluded.last_failure END`,
		t.Webhook,
		t.Delivered,
		t.GivenUp,
		t.Dropped,
		micros(t.LastDeliveredAt),
		micros(t.LastFailedAt),
		t.LastFailure,
	)
	return err
}

// LastEvent implements [event.Store].
func (db *EventStore) LastEvent(ctx context.Context) (int64, error) {
	var seq int64
	err := db.sql.QueryRowContext(ctx, `SELECT seq FROM event_last WHERE one = 1`).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return seq, err
}

// RemoveEvents implements [event.Store].
func (db *EventStore) RemoveEvents(ctx context.Context, before time.Time, keep int64) (r event.Removal, err error) {
	const expired = ` FROM events WHERE (time < $1 OR seq <= (SELECT seq FROM event_last WHERE one = 1) - $2)
		AND NOT EXISTS (SELECT 1 FROM event_items WHERE event_items.seq = events.seq)`
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		r = event.Removal{}
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0)`+expired,
			micros(before), keep).Scan(&r.Events, &r.First, &r.Last); err != nil || r.Events == 0 {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE`+expired, micros(before), keep)
		return err
	})
	return r, err
}

// Event implements [event.Store].
func (db *EventStore) Event(ctx context.Context, seq int64) (*event.Record, error) {
	r, err := scanEvent(db.sql.QueryRowContext(ctx, `SELECT `+eventColumns+` FROM events WHERE seq = $1`, seq))
	return r, notFound(err, "event %d is not kept", seq)
}

// Events implements [event.Store].
func (db *EventStore) Events(ctx context.Context, q event.Query) ([]*event.Record, error) {
	return queryAll(ctx, db.sql, scanEvent, `SELECT `+eventColumns+` FROM events
		WHERE ($1 = '' OR type = $1) AND ($2 = '' OR subject = $2) AND (CAST($3 AS BIGINT) = 0 OR seq < $3)
		ORDER BY seq DESC LIMIT $4`,
		string(q.Type), q.Subject, q.Before, q.Limit)
}

// EventItems implements [event.Store].
func (db *EventStore) EventItems(ctx context.Context, webhook string) ([]event.Item, error) {
	return queryAll(ctx, db.sql, func(row scanner) (event.Item, error) {
		var it event.Item
		var at int64
		err := row.Scan(&it.Webhook, &it.Seq, &it.Subject, &at, &it.Attempts)
		it.At = fromMicros(at)
		return it, err
	}, `SELECT webhook, seq, subject, queued_at, attempts FROM event_items WHERE webhook = $1 ORDER BY seq`, webhook)
}

// SettleEvent implements [event.Store].
func (db *EventStore) SettleEvent(ctx context.Context, o event.Outcome) error {
	t := event.Tally{Webhook: o.Item.Webhook}
	if o.Delivered {
		t.Delivered, t.LastDeliveredAt = 1, o.At
	} else {
		t.LastFailedAt, t.LastFailure = o.At, o.Failure
	}
	if o.GivenUp {
		t.GivenUp = 1
	}
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		var err error
		if o.Delivered || o.GivenUp {
			_, err = tx.ExecContext(
				ctx,
				`DELETE FROM event_items WHERE webhook = $1 AND seq = $2`,
				o.Item.Webhook,
				o.Item.Seq,
			)
		} else {
			_, err = tx.ExecContext(ctx, `UPDATE event_items SET attempts = $3 WHERE webhook = $1 AND seq = $2`, o.Item.Webhook,
				o.Item.Seq, o.Item.Attempts)
		}
		if err != nil {
			return err
		}
		return tally(ctx, tx, t)
	})
}

// Tallies implements [event.Store].
func (db *EventStore) Tallies(ctx context.Context) ([]event.Tally, error) {
	return queryAll(ctx, db.sql, func(row scanner) (event.Tally, error) {
		var t event.Tally
		var delivered, failed int64
		err := row.Scan(&t.Webhook, &t.Delivered, &t.GivenUp, &t.Dropped, &delivered, &failed, &t.LastFailure)
		t.LastDeliveredAt, t.LastFailedAt = fromMicros(delivered), fromMicros(failed)
		return t, err
	}, `SELECT webhook, delivered, given_up, dropped, last_delivered_at, last_failed_at, last_failure FROM `+
		`event_tallies ORDER BY webhook`)
}

// ForgetWebhooks implements [event.Store].
func (db *EventStore) ForgetWebhooks(ctx context.Context, except []string) (gone int64, err error) {
	keep := map[string]bool{}
	for _, name := range except {
		keep[name] = true
	}
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		gone = 0
		names, err := queryAll(ctx, tx, func(row scanner) (name string, err error) {
			err = row.Scan(&name)
			return name, err
		},
			`SELECT webhook FROM event_items UNION SELECT webhook FROM event_tallies`)
		if err != nil {
			return err
		}
		for _, name := range names {
			if keep[name] {
				continue
			}
			res, err := tx.ExecContext(ctx, `DELETE FROM event_items WHERE webhook = $1`, name)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			gone += n
			if _, err := tx.ExecContext(ctx, `DELETE FROM event_tallies WHERE webhook = $1`, name); err != nil {
				return err
			}
		}
		return nil
	})
	return gone, err
}

// NodesUp implements [event.Store].
func (db *EventStore) NodesUp(ctx context.Context) (map[sekisho.NodeID]bool, error) {
	type told struct {
		node sekisho.NodeID
		up   bool
	}
	all, err := queryAll(ctx, db.sql, func(row scanner) (t told, err error) {
		err = row.Scan(&t.node, &t.up)
		return t, err
	}, `SELECT node_id, up FROM event_nodes`)
	out := make(map[sekisho.NodeID]bool, len(all))
	for _, t := range all {
		out[t.node] = t.up
	}
	return out, err
}

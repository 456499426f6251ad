package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/storage/loggroup"
)

// LogStore keeps log groups, streams and events.
type LogStore struct{ sql pool }

var _ loggroup.Store = (*LogStore)(nil)

const logGroupColumns = `name, created_at, retention, kms_key, tags`

func scanLogGroup(row scanner) (*loggroup.Group, error) {
	g := new(loggroup.Group)
	var created int64
	var tags string
	if err := row.Scan(&g.Name, &created, &g.Retention, &g.KMSKey, &tags); err != nil {
		return nil, err
	}
	g.CreatedAt = fromMicros(created)
	var err error
	g.Tags, err = tagsFromJSON(tags)
	return g, err
}

// CreateLogGroup implements [loggroup.Store].
func (db *LogStore) CreateLogGroup(ctx context.Context, g *loggroup.Group) error {
	_, err := db.sql.ExecContext(
		ctx,
		`INSERT INTO log_groups (`+logGroupColumns+`, next_seq) VALUES ($1, $2, $3, $4, $5, 1)`,
		g.Name,
		micros(g.CreatedAt),
		g.Retention,
		g.KMSKey,
		tagsJSON(g.Tags),
	)
	if isUnique(err) {
		return sekisho.Errorf(sekisho.CodeConflict, "The specified log group already exists")
	}
	return err
}

func logGroupIn(ctx context.Context, q querier, name, lock string) (*loggroup.Group, error) {
	g, err := scanLogGroup(q.QueryRowContext(ctx, `SELECT `+logGroupColumns+` FROM log_groups WHERE name = $1`+lock, name))
	return g, notFound(err, "The specified log group does not exist.")
}

// LogGroup implements [loggroup.Store].
func (db *LogStore) LogGroup(ctx context.Context, name string) (*loggroup.Group, error) {
	return logGroupIn(ctx, db.sql, name, "")
}

// LogGroups implements [loggroup.Store].
func (db *LogStore) LogGroups(ctx context.Context, prefix, after string, limit int) ([]*loggroup.Group, error) {
	query, args := logGroupsQuery(prefix, after, limit)
	return queryAll(ctx, db.sql, scanLogGroup, query, args...)
}

func logGroupsQuery(prefix, after string, limit int) (string, []any) {
	var where conditions
	where.add("name > ?", after)
	where.textUnder("name", prefix)
	return where.query("SELECT "+logGroupColumns+" FROM log_groups", "name", limit)
}

// UpdateLogGroup implements [loggroup.Store].
func (db *LogStore) UpdateLogGroup(ctx context.Context, name string, change func(*loggroup.Group) error) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		g, err := logGroupIn(ctx, tx, name, forUpdate)
		if err != nil {
			return err
		}
		if err := change(g); err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE log_groups SET retention = $1, kms_key = $2, tags = $3 WHERE name = $4`,
			g.Retention,
			g.KMSKey,
			tagsJSON(g.Tags),
			name,
		)
		return err
	})
}

// DeleteLogGroup implements [loggroup.Store].
func (db *LogStore) DeleteLogGroup(ctx context.Context, name string) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := logGroupIn(ctx, tx, name, forUpdate); err != nil {
			return err
		}
		for _, q := range []string{`DELETE FROM log_events WHERE group_name = $1`,
			`DELETE FROM log_streams WHERE group_name = $1`, `DELETE FROM log_groups WHERE name = $1`} {
			if _, err := tx.ExecContext(ctx, q, name); err != nil {
				return err
			}
		}
		return nil
	})
}

const logStreamColumns = `group_name, name, created_at, first_event, last_event, last_ingestion`

func scanLogStream(row scanner) (*loggroup.Stream, error) {
	s := new(loggroup.Stream)
	var created, first, last, ingested int64
	if err := row.Scan(&s.Group, &s.Name, &created, &first, &last, &ingested); err != nil {
		return nil, err
	}
	s.CreatedAt, s.FirstEvent, s.LastEvent, s.LastIngestion = fromMicros(
		created,
	), fromMicros(
		first,
	), fromMicros(
		last,
	), fromMicros(
		ingested,
	)
	return s, nil
}

// CreateLogStream implements [loggroup.Store].
func (db *LogStore) CreateLogStream(ctx context.Context, s *loggroup.Stream) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := logGroupIn(ctx, tx, s.Group, forUpdate); err != nil {
			return err
		}
		_, err := tx.ExecContext(
			ctx,
			`INSERT INTO log_streams (`+logStreamColumns+`) VALUES ($1, $2, $3, 0, 0, 0)`,
			s.Group,
			s.Name,
			micros(s.CreatedAt),
		)
		if isUnique(err) {
			return sekisho.Errorf(sekisho.CodeConflict, "The specified log stream already exists")
		}
		return err
	})
}

func logStreamIn(ctx context.Context, q querier, group, name string) (*loggroup.Stream, error) {
	s, err := scanLogStream(
		q.QueryRowContext(
			ctx,
			`SELECT `+logStreamColumns+` FROM log_streams WHERE group_name = $1 AND name = $2`,
			group,
			name,
		),
	)
	if errors.Is(err, sql.ErrNoRows) {
		if _, err := logGroupIn(ctx, q, group, ""); err != nil {
			return nil, err
		}
	}
	return s, notFound(err, "The specified log stream does not exist.")
}

// LogStream implements [loggroup.Store].
func (db *LogStore) LogStream(ctx context.Context, group, name string) (*loggroup.Stream, error) {
	return logStreamIn(ctx, db.sql, group, name)
}

// LogStreams implements [loggroup.Store].
func (db *LogStore) LogStreams(ctx context.Context, q loggroup.StreamQuery) ([]*loggroup.Stream, error) {
	query, args := logStreamsQuery(&q)
	return queryAll(ctx, db.sql, scanLogStream, query, args...)
}

func logStreamsQuery(q *loggroup.StreamQuery) (string, []any) {
	var where conditions
	where.add("group_name = ?", q.Group)
	where.textUnder("name", q.Prefix)
	past, direction := ">", ""
	if q.Descending {
		past, direction = "<", " DESC"
	}
	order := "name" + direction
	if q.ByLastEvent {
		order = "last_event" + direction + ", " + order
	}
	switch {
	case q.After.Name == "":
	case q.ByLastEvent:
		where.add("(last_event, name) "+past+" (?, ?)", micros(q.After.LastEvent), q.After.Name)
	default:
		where.add("name "+past+" ?", q.After.Name)
	}
	return where.query("SELECT "+logStreamColumns+" FROM log_streams", order, q.Limit)
}

// DeleteLogStream implements [loggroup.Store].
func (db *LogStore) DeleteLogStream(ctx context.Context, group, name string) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := logGroupIn(ctx, tx, group, forUpdate); err != nil {
			return err
		}
		if _, err := logStreamIn(ctx, tx, group, name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM log_events WHERE group_name = $1 AND stream = $2`, group,
			name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM log_streams WHERE group_name = $1 AND name = $2`, group, name)
		return err
	})
}

// AppendLogEvents implements [loggroup.Store].
func (db *LogStore) AppendLogEvents(ctx context.Context, group, stream string, events []*loggroup.Event) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		// The update locks the group before its stream is read.
		var next int64
		if err := tx.QueryRowContext(ctx, `UPDATE log_groups SET next_seq = next_seq + $1 WHERE name = $2
			RETURNING next_seq`, len(events), group).Scan(&next); err != nil {
			return notFound(err, "The specified log group does not exist.")
		}
		s, err := logStreamIn(ctx, tx, group, stream)
		if err != nil {
			return err
		}
		insert, err := tx.PrepareContext(
			ctx,
			`INSERT INTO log_events (group_name, stream, time, seq, ingested_at, message) VALUES ($1, $2, $3, $4, $5, $6)`,
		)
		if err != nil {
			return err
		}
		defer insert.Close()
		for i, e := range events {
			e.Seq = next - int64(len(events)) + int64(i)
			if _, err := insert.ExecContext(ctx, group, stream, e.Time.UnixMilli(), e.Seq, micros(e.IngestedAt),
				e.Message); err != nil {
				return err
			}
			if s.FirstEvent.IsZero() || e.Time.Before(s.FirstEvent) {
				s.FirstEvent = e.Time
			}
			if e.Time.After(s.LastEvent) {
				s.LastEvent = e.Time
			}
			s.LastIngestion = e.IngestedAt
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE log_streams SET first_event = $1, last_event = $2, last_ingestion = $3 WHERE group_name = $4 AND name = $5`,
			micros(s.FirstEvent),
			micros(s.LastEvent),
			micros(s.LastIngestion),
			group,
			stream,
		)
		return err
	})
}

// LogEvents implements [loggroup.Store].
func (db *LogStore) LogEvents(ctx context.Context, q loggroup.Query, each func(*loggroup.Event) (bool, error)) error {
	where, args := []string{"group_name = $1"}, []any{q.Group}
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	if q.Streams != nil {
		var in []string
		for _, s := range q.Streams {
			in = append(in, arg(s))
		}
		where = append(where, "stream IN ("+strings.Join(append(in, "NULL"), ", ")+")")
	}
	if q.Prefix != "" {
		where = append(where, fmt.Sprintf("substr(stream, 1, %d) = %s", len([]rune(q.Prefix)), arg(q.Prefix)))
	}
	if !q.Start.IsZero() {
		where = append(where, "time >= "+arg(q.Start.UnixMilli()))
	}
	if !q.End.IsZero() {
		where = append(where, "time < "+arg(q.End.UnixMilli()))
	}
	cmp, order := ">", ""
	if q.Backward {
		cmp, order = "<", " DESC"
	}
	if q.After != nil {
		at := arg(q.After.Time.UnixMilli())
		where = append(
			where,
			fmt.Sprintf("time %s= %s AND (time %s %s OR seq %s %s)", cmp, at, cmp, at, cmp, arg(q.After.Seq)),
		)
	}
	rows, err := db.sql.QueryContext(
		ctx,
		`SELECT group_name, stream, time, seq, ingested_at, message FROM log_events WHERE `+
			strings.Join(where, " AND ")+` ORDER BY time`+order+`, seq`+order,
		args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e := new(loggroup.Event)
		var at, ingested int64
		if err := rows.Scan(&e.Group, &e.Stream, &at, &e.Seq, &ingested, &e.Message); err != nil {
			return err
		}
		e.Time, e.IngestedAt = time.UnixMilli(at).UTC(), fromMicros(ingested)
		if more, err := each(e); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// ExpireLogEvents implements [loggroup.Store].
func (db *LogStore) ExpireLogEvents(ctx context.Context, group string, before time.Time) error {
	_, err := db.sql.ExecContext(
		ctx,
		`DELETE FROM log_events WHERE group_name = $1 AND time < $2`,
		group,
		before.UnixMilli(),
	)
	return err
}

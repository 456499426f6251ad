package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"sekisho"
	"sekisho/internal/activity/audit"
)

var _ audit.Store = (*DB)(nil)

const auditColumns = `seq, event_id, time, event_name, event_source, username, access_key_id, read_only, hash, body`

// AppendAudit implements [audit.Store].
func (d *DB) AppendAudit(ctx context.Context, b audit.Batch) error {
	return d.inTx(ctx, func(tx *sql.Tx) error {
		for _, i := range b.Begun {
			if _, err := tx.ExecContext(ctx, `INSERT INTO audit_intents (id, body) VALUES ($1, $2)`, i.ID, i.Body); err != nil {
				return err
			}
		}
		for i := range b.Records {
			if err := appendAudit(ctx, tx, &b.Records[i]); err != nil {
				return err
			}
		}
		for _, id := range b.Finished {
			if _, err := tx.ExecContext(ctx, `DELETE FROM audit_intents WHERE id = $1`, id); err != nil {
				return err
			}
		}
		if h := b.Head; h != nil {
			_, err := tx.ExecContext(ctx, `INSERT INTO audit_heads (seq, hash, time, signature) VALUES ($1, $2, $3, $4) ON CONFLICT (seq) DO NOTHING`,
				h.Seq, h.Hash, micros(h.Time), h.Signature)
			return err
		}
		return nil
	})
}

func appendAudit(ctx context.Context, tx *sql.Tx, r *audit.Record) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO audit_records (`+auditColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		r.Seq, r.EventID, micros(r.Time), r.EventName, r.EventSource, r.Username, r.AccessKeyID, r.ReadOnly, r.Hash, r.Body)
	if isUnique(err) {
		return sekisho.Errorf(sekisho.CodeConflict, "audit record %d exists", r.Seq)
	}
	if err != nil {
		return err
	}
	for i, res := range r.Resources {
		if _, err := tx.ExecContext(ctx, `INSERT INTO audit_resources (seq, pos, name, arn, type) VALUES ($1, $2, $3, $4, $5)`,
			r.Seq, i, res.Name, res.ARN, res.Type); err != nil {
			return err
		}
	}
	return nil
}

// AuditIntents implements [audit.Store].
func (d *DB) AuditIntents(ctx context.Context, limit int) ([]audit.Intent, error) {
	return queryAll(ctx, d.sql, func(row scanner) (i audit.Intent, err error) {
		err = row.Scan(&i.ID, &i.Body)
		return i, err
	}, `SELECT id, body FROM audit_intents ORDER BY id LIMIT $1`, limit)
}

func scanAudit(row scanner) (audit.Record, error) {
	var r audit.Record
	var at int64
	err := row.Scan(&r.Seq, &r.EventID, &at, &r.EventName, &r.EventSource, &r.Username, &r.AccessKeyID, &r.ReadOnly, &r.Hash, &r.Body)
	r.Time = fromMicros(at)
	return r, err
}

// auditRecords runs a query for records and adds their resources.
func (d *DB) auditRecords(ctx context.Context, query string, args ...any) ([]audit.Record, error) {
	records, err := queryAll(ctx, d.sql, scanAudit, query, args...)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	bySeq := make(map[int64]*audit.Record, len(records))
	first, last := records[0].Seq, records[0].Seq
	for i := range records {
		bySeq[records[i].Seq] = &records[i]
		first, last = min(first, records[i].Seq), max(last, records[i].Seq)
	}
	// A sparse look-up spans many records: then ask for each of its own.
	ranges := [][2]int64{{first, last}}
	if last-first >= 4*int64(len(records)) {
		ranges = ranges[:0]
		for seq := range bySeq {
			ranges = append(ranges, [2]int64{seq, seq})
		}
	}
	for _, r := range ranges {
		if err := d.auditResources(ctx, r[0], r[1], bySeq); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (d *DB) auditResources(ctx context.Context, first, last int64, into map[int64]*audit.Record) error {
	rows, err := d.sql.QueryContext(ctx, `SELECT seq, name, arn, type FROM audit_resources WHERE seq BETWEEN $1 AND $2 ORDER BY seq, pos`, first, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		var res audit.ResourceIndex
		if err := rows.Scan(&seq, &res.Name, &res.ARN, &res.Type); err != nil {
			return err
		}
		if r := into[seq]; r != nil {
			r.Resources = append(r.Resources, res)
		}
	}
	return rows.Err()
}

// LastAudit implements [audit.Store].
func (d *DB) LastAudit(ctx context.Context) (audit.Record, error) {
	records, err := d.auditRecords(ctx, `SELECT `+auditColumns+` FROM audit_records ORDER BY seq DESC LIMIT 1`)
	if err != nil || len(records) == 0 {
		return audit.Record{}, err
	}
	return records[0], nil
}

// AuditAfter implements [audit.Store].
func (d *DB) AuditAfter(ctx context.Context, seq int64, limit int) ([]audit.Record, error) {
	return d.auditRecords(ctx, `SELECT `+auditColumns+` FROM audit_records WHERE seq > $1 ORDER BY seq LIMIT $2`, seq, limit)
}

// LookupAudit implements [audit.Store].
func (d *DB) LookupAudit(ctx context.Context, q audit.Query) ([]audit.Record, error) {
	if q.Limit <= 0 {
		return nil, errors.New("audit look-up without a limit")
	}
	where, args := []string{"seq > 0"}, []any(nil)
	add := func(cond string, v any) {
		args = append(args, v)
		where = append(where, strings.ReplaceAll(cond, "?", fmt.Sprintf("$%d", len(args))))
	}
	for _, c := range []struct{ cond, value string }{
		{"event_id = ?", q.EventID},
		{"event_name = ?", q.EventName},
		{"event_source = ?", q.EventSource},
		{"username = ?", q.Username},
		{"access_key_id = ?", q.AccessKeyID},
		{"seq IN (SELECT seq FROM audit_resources WHERE type = ?)", q.ResourceType},
		{"seq IN (SELECT seq FROM audit_resources WHERE name = ? OR arn = ?)", q.ResourceName},
	} {
		if c.value != "" {
			add(c.cond, c.value)
		}
	}
	if q.ReadOnly != nil {
		add("read_only = ?", *q.ReadOnly)
	}
	if !q.Start.IsZero() {
		add("time >= ?", micros(q.Start))
	}
	if !q.End.IsZero() {
		add("time <= ?", micros(q.End))
	}
	if q.Before > 0 {
		add("seq < ?", q.Before)
	}
	args = append(args, q.Limit)
	records, err := d.auditRecords(ctx, fmt.Sprintf(`SELECT `+auditColumns+` FROM audit_records WHERE %s ORDER BY seq DESC LIMIT $%d`,
		strings.Join(where, " AND "), len(args)), args...)
	return records, err
}

// AuditHeads implements [audit.Store].
func (d *DB) AuditHeads(ctx context.Context) ([]audit.Head, error) {
	return queryAll(ctx, d.sql, func(row scanner) (audit.Head, error) {
		var h audit.Head
		var at int64
		err := row.Scan(&h.Seq, &h.Hash, &at, &h.Signature)
		h.Time = fromMicros(at)
		return h, err
	}, `SELECT seq, hash, time, signature FROM audit_heads ORDER BY seq`)
}

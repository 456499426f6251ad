package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"

	"sekisho"
	"sekisho/internal/activity/audit"
)

// AuditStore keeps the audit trail.
type AuditStore struct {
	sql pool
	// member is the member of a cluster that writes intents; empty for a single server.
	member string
}

var _ audit.Store = (*AuditStore)(nil)

const auditColumns = `seq, event_id, time, event_name, event_source, username, access_key_id, read_only, hash, body`

// The statements of a batch. They are prepared once because they are most of the cost of
// recording a call.
const (
	insertIntent   = `INSERT INTO audit_intents (id, body, member) VALUES ($1, $2, $3)`
	deleteIntent   = `DELETE FROM audit_intents WHERE id = $1`
	insertRecord   = `INSERT INTO audit_records (` + auditColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	insertResource = `INSERT INTO audit_resources (seq, pos, name, arn, type, time) VALUES ($1, $2, $3, $4, $5, $6)`
	insertHead     = `INSERT INTO audit_heads (seq, hash, time, signature) VALUES ($1, $2, $3, $4) ON CONFLICT (seq) ` +
		`DO NOTHING`
)

// AppendAudit implements [audit.Store].
func (db *AuditStore) AppendAudit(ctx context.Context, b audit.Batch) error {
	if db.sql.postgres {
		return db.appendPostgres(ctx, &b)
	}
	return db.sql.inTx(ctx, func(tx *sql.Tx) error { return db.appendIn(ctx, tx, &b) })
}

// AppendAuditAfter implements [audit.Store].
func (db *AuditStore) AppendAuditAfter(ctx context.Context, build func(last audit.Record) audit.Batch) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if err := db.sql.serialize(ctx, tx, auditOrder); err != nil {
			return err
		}
		last, err := scanAudit(tx.QueryRowContext(ctx, lastRecord))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		b := build(last)
		if !db.sql.postgres {
			return db.appendIn(ctx, tx, &b)
		}
		_, err = tx.ExecContext(ctx, appendBatch, db.batchArgs(&b)...)
		return taken(err, &b)
	})
}

// appendIn stores a batch in a transaction of SQLite.
func (db *AuditStore) appendIn(ctx context.Context, tx *sql.Tx, b *audit.Batch) error {
	within := map[string]*sql.Stmt{} // prepared statements, on the connection of tx
	exec := func(query string, args ...any) error {
		s := within[query]
		if s == nil {
			kept, err := db.sql.prepared(ctx, query)
			if err != nil {
				return err
			}
			s = tx.StmtContext(ctx, kept)
			within[query] = s
		}
		_, err := s.ExecContext(ctx, args...)
		return err
	}
	for _, i := range b.Begun {
		if err := exec(insertIntent, i.ID, i.Body, db.member); err != nil {
			return err
		}
	}
	for i := range b.Records {
		if err := appendRecord(exec, &b.Records[i]); err != nil {
			return err
		}
	}
	for _, id := range b.Finished {
		if err := exec(deleteIntent, id); err != nil {
			return err
		}
	}
	for _, h := range b.Heads {
		if err := exec(insertHead, h.Seq, h.Hash, micros(h.Time), h.Signature); err != nil {
			return err
		}
	}
	return nil
}

func appendRecord(exec func(query string, args ...any) error, r *audit.Record) error {
	err := exec(
		insertRecord,
		r.Seq,
		r.EventID,
		micros(r.Time),
		r.EventName,
		r.EventSource,
		r.Username,
		r.AccessKeyID,
		r.ReadOnly,
		r.Hash,
		r.Body,
	)
	if isUnique(err) {
		return sekisho.Errorf(sekisho.CodeConflict, "audit record %d exists", r.Seq)
	}
	for pos, res := range r.Resources {
		if err == nil {
			err = exec(insertResource, r.Seq, pos, res.Name, res.ARN, res.Type, micros(r.Time))
		}
	}
	return err
}

// AuditIntents implements [audit.Store].
func (db *AuditStore) AuditIntents(ctx context.Context, limit int) ([]audit.Intent, error) {
	return queryAll(ctx, db.sql, func(row scanner) (i audit.Intent, err error) {
		err = row.Scan(&i.ID, &i.Body)
		return i, err
	}, `SELECT id, body FROM audit_intents WHERE member = $1 ORDER BY id LIMIT $2`, db.member, limit)
}

func scanAudit(row scanner) (audit.Record, error) {
	var r audit.Record
	var at int64
	err := row.Scan(
		&r.Seq,
		&r.EventID,
		&at,
		&r.EventName,
		&r.EventSource,
		&r.Username,
		&r.AccessKeyID,
		&r.ReadOnly,
		&r.Hash,
		&r.Body,
	)
	r.Time = fromMicros(at)
	return r, err
}

// auditRecords runs a query for records and adds their resources.
func (db *AuditStore) auditRecords(ctx context.Context, query string, args ...any) ([]audit.Record, error) {
	records, err := queryAll(ctx, db.sql, scanAudit, query, args...)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	bySeq := make(map[int64]*audit.Record, len(records))
	first, last := records[0].Seq, records[0].Seq
	for i := range records {
		bySeq[records[i].Seq] = &records[i]
		first, last = min(first, records[i].Seq), max(last, records[i].Seq)
	}
	// The results of a sparse look-up span many records: query each record separately then.
	ranges := [][2]int64{{first, last}}
	if last-first >= 4*int64(len(records)) {
		ranges = ranges[:0]
		for seq := range bySeq {
			ranges = append(ranges, [2]int64{seq, seq})
		}
	}
	for _, r := range ranges {
		if err := db.auditResources(ctx, r[0], r[1], bySeq); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (db *AuditStore) auditResources(ctx context.Context, first, last int64, into map[int64]*audit.Record) error {
	rows, err := db.sql.QueryContext(
		ctx,
		`SELECT seq, name, arn, type FROM audit_resources WHERE seq BETWEEN $1 AND $2 ORDER BY seq, pos`,
		first,
		last,
	)
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

const lastRecord = `SELECT ` + auditColumns + ` FROM audit_records ORDER BY seq DESC LIMIT 1`

// LastAudit implements [audit.Store].
func (db *AuditStore) LastAudit(ctx context.Context) (audit.Record, error) {
	records, err := db.auditRecords(ctx, lastRecord)
	if err != nil || len(records) == 0 {
		return audit.Record{}, err
	}
	return records[0], nil
}

// AuditAfter implements [audit.Store].
func (db *AuditStore) AuditAfter(ctx context.Context, seq int64, limit int) ([]audit.Record, error) {
	return db.auditRecords(
		ctx,
		`SELECT `+auditColumns+` FROM audit_records WHERE seq > $1 ORDER BY seq LIMIT $2`,
		seq,
		limit,
	)
}

// LookupAudit implements [audit.Store].
func (db *AuditStore) LookupAudit(ctx context.Context, q audit.Query) ([]audit.Record, error) {
	if q.Limit <= 0 {
		return nil, errors.New("audit look-up without a limit")
	}
	before := int64(0) // time of the record q.Before
	if q.Before > 0 {
		err := db.sql.QueryRowContext(ctx, `SELECT time FROM audit_records WHERE seq = $1`, q.Before).Scan(&before)
		if err != nil {
			return nil, notFound(err, "audit record %d does not exist", q.Before)
		}
	}
	query, args := auditQuery(&q, before)
	return db.auditRecords(ctx, query, args...)
}

// auditQuery selects the page after the record q.Before, which has the given time. The
// first filter uses its index; a unary plus keeps the others from being chosen in its
// place.
func auditQuery(q *audit.Query, before int64) (string, []any) {
	var where conditions
	from, at, indexed := "audit_records r", "r", false
	resource := func(column, value string) {
		switch {
		case value == "":
		case !indexed:
			// A record can have several matching resources: the first counts.
			indexed, at = true, "x"
			from = "audit_resources x CROSS JOIN audit_records r ON r.seq = x.seq"
			where.add(
				"x."+column+" = ? AND NOT EXISTS (SELECT 1 FROM audit_resources y WHERE y.seq = x.seq AND y.pos < x.pos AND y."+
					column+" = ?)",
				value,
				value,
			)
		default:
			where.add("EXISTS (SELECT 1 FROM audit_resources z WHERE z.seq = r.seq AND +z."+column+" = ?)", value)
		}
	}
	filter := func(column string, value any, set bool) {
		if !set {
			return
		}
		plus := ""
		if indexed {
			plus = "+"
		}
		indexed = true
		where.add(plus+"r."+column+" = ?", value)
	}
	filter("event_id", q.EventID, q.EventID != "")
	name := "name"
	if strings.HasPrefix(q.ResourceName, "arn:") {
		name = "arn"
	}
	resource(name, q.ResourceName)
	filter("access_key_id", q.AccessKeyID, q.AccessKeyID != "")
	filter("username", q.Username, q.Username != "")
	filter("event_name", q.EventName, q.EventName != "")
	resource("type", q.ResourceType)
	filter("event_source", q.EventSource, q.EventSource != "")
	filter("read_only", q.ReadOnly != nil && *q.ReadOnly, q.ReadOnly != nil)
	if !q.Start.IsZero() {
		where.add(at+".time >= ?", micros(q.Start))
	}
	end := int64(math.MaxInt64)
	if !q.End.IsZero() {
		end = micros(q.End)
	}
	if q.Before > 0 {
		end = min(end, before)
		where.add("("+at+".time < ? OR "+at+".seq < ?)", before, q.Before)
	}
	where.add(at+".time <= ?", end)
	return where.query(
		"SELECT r."+strings.ReplaceAll(auditColumns, ", ", ", r.")+" FROM "+from,
		at+".time DESC, "+at+".seq DESC",
		q.Limit,
	)
}

// LastAuditHead returns the newest head; nil if there is none.
func (db *AuditStore) LastAuditHead(ctx context.Context) (*audit.Head, error) {
	var h audit.Head
	var at int64
	err := db.sql.QueryRowContext(ctx, `SELECT seq, hash, time, signature FROM audit_heads ORDER BY seq DESC LIMIT 1`).
		Scan(&h.Seq, &h.Hash, &at, &h.Signature)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	h.Time = fromMicros(at)
	return &h, err
}

// DeleteAudit implements [audit.Archiver]. It deletes in steps, so that other writers do
// not wait long for the database.
func (db *AuditStore) DeleteAudit(ctx context.Context, last int64) error {
	const step = 1000
	for {
		var first sql.NullInt64
		if err := db.sql.QueryRowContext(ctx, `SELECT min(seq) FROM audit_records`).Scan(&first); err != nil {
			return err
		}
		if !first.Valid || first.Int64 > last {
			return nil
		}
		upTo := min(last, first.Int64+step-1)
		err := db.sql.inTx(ctx, func(tx *sql.Tx) error {
			for _, query := range []string{
				`DELETE FROM audit_resources WHERE seq <= $1`, `DELETE FROM audit_records WHERE seq <= $1`,
				`DELETE FROM audit_heads WHERE seq < $1`,
			} {
				if _, err := tx.ExecContext(ctx, query, upTo); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// AuditHeads implements [audit.Store].
func (db *AuditStore) AuditHeads(ctx context.Context) ([]audit.Head, error) {
	return queryAll(ctx, db.sql, func(row scanner) (audit.Head, error) {
		var h audit.Head
		var at int64
		err := row.Scan(&h.Seq, &h.Hash, &at, &h.Signature)
		h.Time = fromMicros(at)
		return h, err
	}, `SELECT seq, hash, time, signature FROM audit_heads ORDER BY seq`)
}

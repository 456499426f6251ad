package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"sekisho"
	"sekisho/internal/activity/audit"
)

// appendBatch stores a batch in one statement, and so in one round trip, whatever its size. It first waits
// for members that append in turns: otherwise its record could take the number for which one of them has
// just computed the hash, again and again.
const appendBatch = `WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock($25, $26)),
	begun AS (INSERT INTO audit_intents (id, body, member)
		SELECT i.id, i.body, $24::text FROM unnest($1::text[], $2::bytea[]) AS i (id, body)),
	records AS (INSERT INTO audit_records (` + auditColumns + `)
		SELECT r.* FROM turn, unnest($3::bigint[], $4::text[], $5::bigint[],
		$6::text[], $7::text[], $8::text[], $9::text[], $10::bool[], $11::bytea[], $12::bytea[]) r),
	resources AS (INSERT INTO audit_resources (seq, pos, name, arn, type, time)
		SELECT x.* FROM turn, unnest($13::bigint[], $14::bigint[], $15::text[], $16::text[], $17::text[], $18::bigint[]) x),
	heads AS (INSERT INTO audit_heads (seq, hash, time, signature)
		SELECT * FROM unnest($19::bigint[], $20::bytea[], $21::bigint[], $22::bytea[]) ON CONFLICT (seq) DO NOTHING)
	DELETE FROM audit_intents WHERE id = ANY($23::text[])`

// batchArgs are the arguments of appendBatch.
func (db *AuditStore) batchArgs(b *audit.Batch) []any {
	var beginIDs, eventIDs, names, sources, users, keys, resNames, resARNs, resTypes []string
	var beginBodies, hashes, bodies, headHashes, signatures [][]byte
	var seqs, times, resSeqs, resPlaces, resTimes, headSeqs, headTimes []int64
	var readOnly []bool
	var finished []string
	for _, id := range b.Finished {
		// The parts of one statement do not see each other.
		if !slices.ContainsFunc(b.Begun, func(i audit.Intent) bool { return i.ID == id }) {
			finished = append(finished, id)
		}
	}
	for _, i := range b.Begun {
		if !slices.Contains(b.Finished, i.ID) {
			beginIDs, beginBodies = append(beginIDs, i.ID), append(beginBodies, present(i.Body))
		}
	}
	for i := range b.Records {
		r := &b.Records[i]
		seqs, eventIDs, times = append(seqs, r.Seq), append(eventIDs, r.EventID), append(times, micros(r.Time))
		names, sources = append(names, r.EventName), append(sources, r.EventSource)
		users, keys = append(users, r.Username), append(keys, r.AccessKeyID)
		readOnly = append(readOnly, r.ReadOnly)
		hashes, bodies = append(hashes, present(r.Hash)), append(bodies, present(r.Body))
		for pos, x := range r.Resources {
			resSeqs, resPlaces = append(resSeqs, r.Seq), append(resPlaces, int64(pos))
			resNames, resARNs = append(resNames, x.Name), append(resARNs, x.ARN)
			resTypes, resTimes = append(resTypes, x.Type), append(resTimes, micros(r.Time))
		}
	}
	for _, h := range b.Heads {
		headSeqs, headHashes = append(headSeqs, h.Seq), append(headHashes, present(h.Hash))
		headTimes, signatures = append(headTimes, micros(h.Time)), append(signatures, present(h.Signature))
	}
	return []any{
		beginIDs, beginBodies, seqs, eventIDs, times, names, sources, users, keys, readOnly, hashes, bodies,
		resSeqs, resPlaces, resNames, resARNs, resTypes, resTimes, headSeqs, headHashes, headTimes, signatures, finished,
		db.member, lockClass, int32(auditOrder),
	}
}

// present is b, and not nil: no column is nullable.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// appendPostgres is AppendAudit on PostgreSQL.
func (db *AuditStore) appendPostgres(ctx context.Context, b *audit.Batch) error {
	args := db.batchArgs(b)
	sent := false
	return db.sql.retried(ctx, func() error {
		if sent { // it may have taken effect before the connection was lost
			stored, err := db.has(ctx, b)
			if err != nil || stored {
				return err
			}
		}
		_, err := db.sql.DB.ExecContext(ctx, appendBatch, args...)
		sent = sent || lostConnection(err)
		return taken(err, b)
	})
}

// has reports whether a batch is stored.
func (db *AuditStore) has(ctx context.Context, b *audit.Batch) (bool, error) {
	var err error
	var hash []byte
	switch {
	case len(b.Records) > 0:
		last := b.Records[len(b.Records)-1]
		err = db.sql.QueryRowContext(ctx, `SELECT hash FROM audit_records WHERE seq = $1`, last.Seq).Scan(&hash)
		if err == nil {
			return bytes.Equal(hash, last.Hash), nil
		}
	case len(b.Begun) > 0:
		err = db.sql.QueryRowContext(ctx, `SELECT body FROM audit_intents WHERE id = $1`, b.Begun[0].ID).Scan(&hash)
	default:
		return false, nil // heads and removals can be repeated
	}
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// taken gives the error of a batch with a number that is taken its code.
func taken(err error, b *audit.Batch) error {
	e, is := errors.AsType[*pgconn.PgError](err)
	if is && e.Code == stateUnique && (e.TableName == "audit_records" || e.TableName == "audit_resources") {
		return sekisho.Errorf(sekisho.CodeConflict, "audit record %d exists", b.Records[0].Seq)
	}
	return err
}

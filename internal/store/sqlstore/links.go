package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"sekisho"
	"sekisho/internal/session/share"
)

// LinkStore keeps links to recordings.
type LinkStore struct{ sql pool }

var _ share.Store = (*LinkStore)(nil)

const linkColumns = `id, session_id, token_hash, created_by, created_at, expires_at, revoked_by, revoked_at`

func scanLink(row scanner) (*share.Link, error) {
	l := new(share.Link)
	var created, expires, revoked int64
	if err := row.Scan(
		&l.ID, &l.Session, &l.TokenHash, &l.CreatedBy, &created, &expires, &l.RevokedBy, &revoked,
	); err != nil {
		return nil, err
	}
	l.CreatedAt, l.ExpiresAt, l.RevokedAt = fromMicros(created), fromMicros(expires), fromMicros(revoked)
	return l, nil
}

// CreateRecordingLink implements [share.Store].
func (db *LinkStore) CreateRecordingLink(
	ctx context.Context, l *share.Link, maxUsable int, dropBefore time.Time,
) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if err := db.sql.serialize(ctx, tx, recordingLinkLimit); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx,
			`DELETE FROM recording_links WHERE session_id = $1 AND expires_at < $2`, l.Session, micros(dropBefore)); err != nil {
			return err
		}
		var usable int
		if err := tx.QueryRowContext(ctx,
			`SELECT count(*) FROM recording_links WHERE session_id = $1 AND revoked_by = '' AND expires_at > $2`,
			l.Session, micros(l.CreatedAt)).Scan(&usable); err != nil {
			return err
		}
		if usable >= maxUsable {
			return sekisho.Errorf(sekisho.CodeLimit, "The recording of session %s has %d links.", l.Session, usable).
				WithHint("Revoke one of them.")
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO recording_links (`+linkColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			l.ID, l.Session, l.TokenHash, l.CreatedBy, micros(l.CreatedAt), micros(l.ExpiresAt), l.RevokedBy,
			micros(l.RevokedAt))
		return err
	})
}

// RecordingLink implements [share.Store].
func (db *LinkStore) RecordingLink(ctx context.Context, linkID string) (*share.Link, error) {
	l, err := scanLink(db.sql.QueryRowContext(ctx, `SELECT `+linkColumns+` FROM recording_links WHERE id = $1`, linkID))
	return l, notFound(err, "link %s does not exist", linkID)
}

// RecordingLinks implements [share.Store].
func (db *LinkStore) RecordingLinks(ctx context.Context, session sekisho.SessionID) ([]*share.Link, error) {
	return queryAll(ctx, db.sql, scanLink,
		`SELECT `+linkColumns+` FROM recording_links WHERE session_id = $1 ORDER BY created_at DESC, id`, session)
}

// RevokeRecordingLink implements [share.Store].
func (db *LinkStore) RevokeRecordingLink(ctx context.Context, linkID, by string, at time.Time) error {
	res, err := db.sql.ExecContext(ctx, `UPDATE recording_links SET
		revoked_at = CASE revoked_by WHEN '' THEN $3 ELSE revoked_at END,
		revoked_by = CASE revoked_by WHEN '' THEN $2 ELSE revoked_by END WHERE id = $1`, linkID, by, micros(at))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return sekisho.Errorf(sekisho.CodeNotFound, "link %s does not exist", linkID)
}

package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sekisho"
	"sekisho/internal/session/broker"
)

// SessionStore keeps sessions and the tokens of their channels.
type SessionStore struct {
	sql pool
	// owner returns this member of a cluster; nil for a single server.
	owner func() (member string, epoch int64)
}

var _ broker.Store = (*SessionStore)(nil)

const sessionColumns = `id, target, status, active, owner, owner_user_id, owner_user, access_key_id, ` +
	`document_name, reason, details,
	started_at, ended_at, source_ip, max_duration, idle_timeout, document_version, run_as_user, omit_input, lease,
	recording, logs, agent_process, permission, access_request, record_forwards, recording_days,
	disable_copy, disable_paste`

func sessionValues(s *sekisho.Session) []any {
	return []any{
		s.ID, s.Target, s.Status, s.Status.Active(), s.Owner, s.OwnerUserID, s.OwnerUser, s.AccessKeyID, s.DocumentName,
		s.Reason, s.Details,
		micros(s.StartedAt), micros(s.EndedAt), s.SourceIP, int64(s.MaxDuration), int64(s.IdleTimeout),
		s.DocumentVersion, s.RunAsUser, s.OmitInput, s.Lease, s.Recording, logsJSON(s.Logs), s.AgentProcess,
		permissionJSON(s.Permission), accessRequestOf(s),
		s.RecordForwards, s.RecordingDays, s.DisableCopy, s.DisablePaste,
	}
}

func logsJSON(l sekisho.SessionLogs) string {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // cannot fail: only strings and a bool
	}
	return string(b)
}

// accessRequestOf returns the access request of a session, for the searchable column.
func accessRequestOf(s *sekisho.Session) string {
	if s.Permission == nil {
		return ""
	}
	return s.Permission.AccessRequest
}

func permissionJSON(p *sekisho.SessionPermission) string {
	if p == nil {
		return ""
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // cannot fail: only strings, times and maps of them
	}
	return string(b)
}

func scanSession(row scanner) (*sekisho.Session, error) {
	s := new(sekisho.Session)
	var started, ended int64
	var active bool
	var logs, permission, request string
	if err := row.Scan(&s.ID, &s.Target, &s.Status, &active, &s.Owner, &s.OwnerUserID, &s.OwnerUser, &s.AccessKeyID,
		&s.DocumentName,
		&s.Reason, &s.Details, &started, &ended, &s.SourceIP, &s.MaxDuration, &s.IdleTimeout,
		&s.DocumentVersion, &s.RunAsUser, &s.OmitInput, &s.Lease, &s.Recording, &logs, &s.AgentProcess, &permission, &request,
		&s.RecordForwards, &s.RecordingDays, &s.DisableCopy, &s.DisablePaste); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(logs), &s.Logs); err != nil {
		return nil, fmt.Errorf("session %s: its logs: %w", s.ID, err)
	}
	if permission != "" {
		if err := json.Unmarshal([]byte(permission), &s.Permission); err != nil {
			return nil, fmt.Errorf("session %s: its permission: %w", s.ID, err)
		}
	}
	s.StartedAt, s.EndedAt = fromMicros(started), fromMicros(ended)
	return s, nil
}

// CreateSession implements [broker.Store].
func (db *SessionStore) CreateSession(
	ctx context.Context, s *sekisho.Session, t broker.Token, limits ...broker.Limit,
) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if err := db.withinLimits(ctx, tx, limits); err != nil {
			return err
		}
		err := db.sql.execIn(ctx, tx, `INSERT INTO sessions (`+sessionColumns+`) VALUES
			($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
			$26, $27, $28, $29)`, sessionValues(s)...)
		if isUnique(err) {
			return sekisho.Errorf(sekisho.CodeConflict, "session %s exists", s.ID)
		}
		if err != nil {
			return err
		}
		return db.sql.execIn(ctx, tx, insertToken, t.Hash, t.Subject, t.Leg, micros(t.ExpiresAt))
	})
}

// withinLimits returns a *broker.LimitError if one more session would exceed a limit.
func (db *SessionStore) withinLimits(ctx context.Context, tx *sql.Tx, limits []broker.Limit) error {
	if len(limits) == 0 {
		return nil
	}
	if err := db.sql.serialize(ctx, tx, sessionLimit); err != nil {
		return err
	}
	for _, l := range limits {
		column, value := "owner", l.Owner
		if l.Owner == "" {
			column, value = "target", string(l.Target)
		}
		n := 0
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sessions WHERE active = $1 AND `+column+` = $2`, true, value).
			Scan(&n); err != nil {
			return err
		}
		if n >= l.Most {
			return &broker.LimitError{Limit: l, Active: n}
		}
	}
	return nil
}

func (db *SessionStore) session(
	ctx context.Context, q querier, id sekisho.SessionID, lock string,
) (*sekisho.Session, error) {
	s, err := scanSession(q.QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`+lock, id))
	return s, notFound(err, "session %s does not exist", id)
}

// Session implements [broker.Store].
func (db *SessionStore) Session(ctx context.Context, id sekisho.SessionID) (*sekisho.Session, error) {
	return db.session(ctx, db.sql, id, "")
}

// UpdateSession implements [broker.Store].
func (db *SessionStore) UpdateSession(ctx context.Context, id sekisho.SessionID,
	change func(s *sekisho.Session) error) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		s, err := db.session(ctx, tx, id, forUpdate)
		if err != nil {
			return err
		}
		before := s.Status
		if err := change(s); err != nil {
			return err
		}
		if s.Status != before {
			if err := db.fence(ctx, tx, id); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE sessions SET target = $2, status = $3, active = $4, owner = $5, owner_user_id = $6, owner_user = $7,
			access_key_id = $8, document_name = $9, reason = $10, details = $11, started_at = $12, ended_at = $13,
			source_ip = $14, max_duration = $15, idle_timeout = $16, document_version = $17, run_as_user = $18,
			omit_input = $19, lease = $20, recording = $21, logs = $22, agent_process = $23,
			permission = $24, access_request = $25, record_forwards = $26, recording_days = $27,
			disable_copy = $28, disable_paste = $29 WHERE id = $1`,
			sessionValues(s)...)
		return err
	})
}

// fence refuses a change by a member that is not the session's owner, or not any more.
func (db *SessionStore) fence(ctx context.Context, tx *sql.Tx, id sekisho.SessionID) error {
	if db.owner == nil {
		return nil
	}
	var member string
	var epoch int64
	err := tx.QueryRowContext(ctx, `SELECT member, member_epoch FROM session_owners WHERE session = $1`+forUpdate, id).
		Scan(&member, &epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if name, now := db.owner(); err == nil && (member != name || epoch != now) {
		return sekisho.Errorf(sekisho.CodeConflict, "Session %s belongs to member %s of the cluster.", id, member)
	}
	return err
}

// Sessions implements [broker.Store].
func (db *SessionStore) Sessions(ctx context.Context, q broker.Query) ([]*sekisho.Session, error) {
	var last *sekisho.Session
	if q.After != "" {
		var err error
		if last, err = db.Session(ctx, q.After); err != nil {
			return nil, err
		}
	}
	query, args := sessionsQuery(&q, last)
	return queryAll(ctx, db.sql, scanSession, query, args...)
}

// sessionsQuery selects the page after last. The most selective filter uses its
// index; a unary plus keeps the others from being chosen in its place.
func sessionsQuery(q *broker.Query, last *sekisho.Session) (string, []any) {
	var where conditions
	indexed := false
	filter := func(column, value string) {
		if value == "" {
			return
		}
		if indexed {
			column = "+" + column
		}
		indexed = true
		where.add(column+" = ?", value)
	}
	filter("id", q.ID)
	active := "active = ?"
	if indexed {
		active = "+active = ?"
	}
	where.add(active, q.Active)
	filter("target", q.Target)
	filter("owner", q.Owner)
	filter("status", string(q.Status))
	// Each of these conditions has a partial index.
	switch q.AccessType {
	case "Standard":
		where.add("access_request = ''")
	case "JustInTime":
		where.add("access_request <> ''")
	}
	if q.Lapsing {
		where.add("permission <> ''")
	}
	if !q.StartedAfter.IsZero() {
		where.add("started_at > ?", micros(q.StartedAfter))
	}
	if !q.StartedBefore.IsZero() {
		where.add("started_at < ?", micros(q.StartedBefore))
	}
	if last != nil {
		// Written so that the first comparison bounds the range of the index.
		where.add("started_at <= ?", micros(last.StartedAt))
		where.add("(started_at < ? OR id > ?)", micros(last.StartedAt), last.ID)
	}
	return where.query("SELECT "+sessionColumns+" FROM sessions", "started_at DESC, id", q.Limit)
}

const insertToken = `INSERT INTO channel_tokens (hash, subject, leg, expires_at, used_at) VALUES ($1, $2, $3, $4, 0)`

// PutToken implements [broker.Store].
func (db *SessionStore) PutToken(ctx context.Context, t broker.Token) error {
	return db.sql.execPrepared(ctx, insertToken, t.Hash, t.Subject, t.Leg, micros(t.ExpiresAt))
}

// UseToken implements [broker.Store].
func (db *SessionStore) UseToken(ctx context.Context, hash []byte, now time.Time) (broker.Token, error) {
	t := broker.Token{Hash: hash}
	err := db.sql.inTx(ctx, func(tx *sql.Tx) error {
		var expires, used int64
		err := tx.QueryRowContext(ctx, `SELECT subject, leg, expires_at, used_at FROM channel_tokens WHERE hash = $1`, hash).
			Scan(&t.Subject, &t.Leg, &expires, &used)
		if err != nil {
			return notFound(err, "no such token")
		}
		t.ExpiresAt = fromMicros(expires)
		if used != 0 {
			return sekisho.Errorf(sekisho.CodeConflict, "the token was used before")
		}
		if !now.Before(t.ExpiresAt) {
			return sekisho.Errorf(sekisho.CodeExpired, "the token has expired")
		}
		// The condition repeats the values read: of two concurrent calls, one succeeds.
		res, err := tx.ExecContext(
			ctx,
			`UPDATE channel_tokens SET used_at = $2 WHERE hash = $1 AND used_at = 0`,
			hash,
			micros(now),
		)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n != 1 {
			return sekisho.Errorf(sekisho.CodeConflict, "the token was used before")
		}
		return nil
	})
	return t, err
}

// DropTokens implements [broker.Store].
func (db *SessionStore) DropTokens(ctx context.Context, t time.Time) error {
	_, err := db.sql.ExecContext(ctx, `DELETE FROM channel_tokens WHERE expires_at < $1`, micros(t))
	return err
}

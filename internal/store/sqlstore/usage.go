package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"sekisho"
	"sekisho/internal/activity/usage"
)

// UsageStore keeps the definitions of usage reports, and reads their data.
type UsageStore struct{ sql pool }

var _ usage.Store = (*UsageStore)(nil)

func scanUsageReport(row scanner) (*usage.Definition, error) {
	var body string
	if err := row.Scan(&body); err != nil {
		return nil, err
	}
	d := new(usage.Definition)
	if err := json.Unmarshal([]byte(body), d); err != nil {
		return nil, fmt.Errorf("stored usage report: %w", err)
	}
	return d, nil
}

// CreateUsageReport implements [usage.Store].
func (db *UsageStore) CreateUsageReport(ctx context.Context, report *usage.Definition, most int) error {
	body, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if err := db.sql.serialize(ctx, tx, usageReportsLimit); err != nil {
			return err
		}
		var n, same int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(CASE WHEN name = $1 THEN 1 END) FROM usage_reports`,
			report.Name).Scan(&n, &same); err != nil {
			return err
		}
		if same > 0 {
			return sekisho.Errorf(sekisho.CodeConflict, "A report with the name %q already exists.", report.Name)
		}
		if n >= most {
			return sekisho.Errorf(sekisho.CodeLimit, "The account has %d reports, which is the maximum.", n).
				WithHint("Delete one first.")
		}
		_, err := tx.ExecContext(
			ctx,
			`INSERT INTO usage_reports (name, body) VALUES ($1, $2)`,
			report.Name,
			string(body),
		)
		return err
	})
}

// UsageReports implements [usage.Store].
func (db *UsageStore) UsageReports(ctx context.Context) ([]*usage.Definition, error) {
	return queryAll(ctx, db.sql, scanUsageReport, `SELECT body FROM usage_reports ORDER BY name`)
}

// UpdateUsageReport implements [usage.Store].
func (db *UsageStore) UpdateUsageReport(ctx context.Context, name string, change func(report *usage.Definition)) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		row := tx.QueryRowContext(ctx, `SELECT body FROM usage_reports WHERE name = $1`+forUpdate, name)
		report, err := scanUsageReport(row)
		if err != nil {
			return notFound(err, "There is no report with the name %q.", name)
		}
		change(report)
		body, err := json.Marshal(report)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE usage_reports SET body = $2 WHERE name = $1`, name, string(body))
		return err
	})
}

// DeleteUsageReport implements [usage.Store].
func (db *UsageStore) DeleteUsageReport(ctx context.Context, name string) error {
	res, err := db.sql.ExecContext(ctx, `DELETE FROM usage_reports WHERE name = $1`, name)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return sekisho.Errorf(sekisho.CodeNotFound, "There is no report with the name %q.", name)
	}
	return err
}

// usagePage is how many sessions a report reads at a time.
const usagePage = 500

// EachSessionDuring implements [usage.Store].
func (db *UsageStore) EachSessionDuring(ctx context.Context, from, to time.Time,
	visit func(x *sekisho.Session) error) error {
	if err := db.eachSession(ctx, 0, 0, to, visit); err != nil { // those that have not ended
		return err
	}
	return db.eachSession(ctx, max(1, micros(from)), -1, to, visit)
}

// eachSession visits the sessions that started before a time, and ended between first and
// last; a last of -1 means no upper bound.
func (db *UsageStore) eachSession(
	ctx context.Context,
	first, last int64,
	to time.Time,
	visit func(x *sekisho.Session) error,
) error {
	var after *sekisho.Session
	for {
		query, args := sessionsDuring(first, last, to, after)
		page, err := queryAll(ctx, db.sql, scanSession, query, args...)
		if err != nil {
			return err
		}
		for _, x := range page {
			if err := visit(x); err != nil {
				return err
			}
			after = x
		}
		if len(page) < usagePage {
			return nil
		}
	}
}

func sessionsDuring(first, last int64, to time.Time, after *sekisho.Session) (string, []any) {
	var where conditions
	if after != nil {
		first = micros(after.EndedAt)
	}
	where.add("ended_at >= ?", first)
	if last >= 0 {
		where.add("ended_at <= ?", last)
	}
	where.add("+started_at < ?", micros(to))
	if after != nil {
		where.add("(ended_at > ? OR id > ?)", first, after.ID)
	}
	return where.query("SELECT "+sessionColumns+" FROM sessions", "ended_at, id", usagePage)
}

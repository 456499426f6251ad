// Package sqlstore keeps the state of every engine in a SQL database. Each
// engine declares the store interface that it needs, and one type here
// implements it.
//
// One SQL text serves SQLite and PostgreSQL: $1 placeholders, TEXT, BIGINT, BOOLEAN and
// BYTEA columns (SQLite stores a blob unchanged under any declared type), times as
// microseconds since the Unix epoch, maps as JSON text. No column is nullable. Code specific to
// SQLite is in sqlite.go, to PostgreSQL in postgres*.go. Schema changes are goose migrations,
// numbered in tens by engine.
package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sekisho"
	"sekisho/internal/node/fleet"
)

// DB is an open database: one store per subject.
type DB struct {
	sql pool

	Access     *AccessStore
	Links      *LinkStore
	Audit      *AuditStore
	Cluster    *ClusterStore
	Commands   *CommandStore
	Documents  *DocumentStore
	Events     *EventStore
	Fleet      FleetStore
	Identities *IdentityStore
	Inventory  *InventoryStore
	Keys       *KeyStore
	Logs       *LogStore
	Objects    *ObjectStore
	Sessions   *SessionStore
	Settings   *SettingStore
	SignIns    *SignInStore
	Usage      *UsageStore
}

// FleetStore keeps everything that a fleet needs.
type FleetStore struct {
	*ActivationStore
	*NodeStore
	*SightingStore
}

var _ fleet.Store = FleetStore{}

func newDB(db *sql.DB, postgres bool) *DB {
	p := newPool(db, postgres)
	return &DB{
		sql: p,

		Access:     &AccessStore{p},
		Links:      &LinkStore{p},
		Audit:      &AuditStore{sql: p},
		Cluster:    &ClusterStore{p},
		Commands:   &CommandStore{p},
		Documents:  &DocumentStore{p},
		Events:     &EventStore{p},
		Fleet:      FleetStore{&ActivationStore{p}, &NodeStore{p}, &SightingStore{p}},
		Identities: &IdentityStore{p},
		Inventory:  &InventoryStore{p},
		Keys:       &KeyStore{p},
		Logs:       &LogStore{p},
		Objects:    &ObjectStore{p},
		Sessions:   &SessionStore{sql: p},
		Settings:   &SettingStore{p},
		SignIns:    &SignInStore{p},
		Usage:      &UsageStore{p},
	}
}

// Used reports whether the database has ever had a user.
func (d *DB) Used(ctx context.Context) (bool, error) {
	var newest int64
	err := d.sql.QueryRowContext(ctx, `SELECT newest FROM identity_generation WHERE id = 1`).Scan(&newest)
	return newest > 0, err
}

// settingInstallation names the setting that holds the ID of the installation.
const settingInstallation = "installation"

// Installation returns the ID of the installation that the database belongs to; ""
// if it has none yet.
func (d *DB) Installation(ctx context.Context) (id string, err error) {
	return d.setting(ctx, settingInstallation)
}

// SetInstallation stores the ID of the installation, unless the database has one, and returns the
// stored ID.
func (d *DB) SetInstallation(ctx context.Context, id string) (stored string, err error) {
	if _, err := d.sql.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO NOTHING`, settingInstallation, id); err != nil {
		return "", err
	}
	return d.Installation(ctx)
}

// settingMoved names the setting that says where the state was moved to.
const settingMoved = "moved"

// MovedTo returns where the state was moved to; "" if it was not moved.
func (d *DB) MovedTo(ctx context.Context) (to string, err error) { return d.setting(ctx, settingMoved) }

// SetMoved stores where the state was moved to. Servers refuse the database from then on.
func (d *DB) SetMoved(ctx context.Context, to string) error {
	_, err := d.sql.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)`, settingMoved, to)
	return err
}

func (d *DB) setting(ctx context.Context, name string) (value string, err error) {
	err = d.sql.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

// Recorded returns how many sessions have a recording.
func (d *DB) Recorded(ctx context.Context) (n int64, err error) {
	err = d.sql.QueryRowContext(ctx, `SELECT count(*) FROM sessions WHERE status <> $1`,
		string(sekisho.SessionFailed)).Scan(&n)
	return n, err
}

// LiveBlobs returns how many files the objects need.
func (d *DB) LiveBlobs(ctx context.Context) (n int64, err error) {
	err = d.sql.QueryRowContext(ctx, `SELECT count(*) FROM object_blobs WHERE NOT dead`).Scan(&n)
	return n, err
}

// Probe reports whether the database can be written.
func (d *DB) Probe(ctx context.Context) error {
	_, err := d.sql.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ('health', $1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, time.Now().UTC().Format(time.RFC3339Nano))
	return err
}

// Close closes the database.
func (d *DB) Close() error { return d.sql.Close() }

// micros is the stored form of a time; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros reads a stored time.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// tagsJSON is the stored form of a tag set.
func tagsJSON(tags map[string]string) string {
	if len(tags) == 0 {
		return "{}"
	}
	b, err := json.Marshal(tags)
	if err != nil { // a map of strings always marshals
		panic(err)
	}
	return string(b)
}

// tagsFromJSON reads a stored tag set; an empty one is nil.
func tagsFromJSON(s string) (map[string]string, error) {
	var tags map[string]string
	if err := json.Unmarshal([]byte(s), &tags); err != nil {
		return nil, fmt.Errorf("stored tags: %w", err)
	}
	if len(tags) == 0 {
		return nil, nil
	}
	return tags, nil
}

// isUnique reports whether err is a violation of a unique constraint.
func isUnique(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == stateUnique
}

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/server/datalock"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/store/sqlstore"
)

// Migration is what [MigrateState] did.
type Migration struct {
	Tables       []sqlstore.TableCopy
	Rows         int64
	AuditRecords int64
	// TrailProblems are problems of the audit trail, which the source has too.
	TrailProblems []string
	// Source is where the source is now. Servers refuse it.
	Source string
}

// MigrateState moves the database of a stopped server between SQLite and PostgreSQL. dir is its data
// directory, which stays as it is. The target must be empty; after an error it still is, and the source is
// unchanged. progress is called after each table.
func MigrateState(
	ctx context.Context, dir string, from, to sqlstore.Place, progress func(sqlstore.TableCopy),
) (m Migration, err error) {
	if (from.Postgres == nil) == (to.Postgres == nil) {
		return m, sekisho.Errorf(sekisho.CodeInvalid, "%s and %s are databases of the same kind.", from, to).
			WithHint("Give a file of SQLite and a postgres:// URL.")
	}
	if empty, err := from.IsEmpty(ctx); err != nil {
		return m, err
	} else if empty {
		return m, sekisho.Errorf(sekisho.CodeNotFound, "There is no server's state in %s.", from)
	}
	unlock, err := datalock.Lock(dir, datalock.Server)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Stat(filepath.Join(dir, "keys", "keyring.json")); err != nil {
		return m, sekisho.Errorf(sekisho.CodeNotFound, "%s has no keys: %w.", dir, err).
			WithHint("Give the data directory of the server that the state belongs to.")
	}
	ring, err := keyring.Load(filepath.Join(dir, "keys"))
	if err != nil {
		return m, err
	}
	src, claim, err := claimed(ctx, from)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, claim(), src.Close()) }()
	if to, err := src.MovedTo(ctx); err != nil {
		return m, err
	} else if to != "" {
		return m, sekisho.Errorf(sekisho.CodeConflict, "The state in %s was moved to %s before.", from, to)
	}
	at := State{Dir: dir, Database: from.Postgres}
	if err := checkKeys(ctx, at, src, ring); err != nil {
		return m, err
	}
	dst, release, err := claimed(ctx, to)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, release(), dst.Close()) }()
	if m.Tables, err = sqlstore.Copy(ctx, from, to, progress); err != nil {
		return m, err
	}
	for _, t := range m.Tables {
		m.Rows += t.Rows
	}
	problems, err := audit.Check(ctx, dst.Audit, ring.PublicKey(), func(audit.Record) { m.AuditRecords++ })
	if err != nil {
		return m, err
	}
	for _, p := range problems {
		m.TrailProblems = append(m.TrailProblems, p.Error())
	}
	m.Source, err = retire(ctx, from, to, src)
	return m, err
}

// claimed opens a database that no server uses, and keeps servers from using it until release.
func claimed(ctx context.Context, place sqlstore.Place) (db *sqlstore.DB, release func() error, err error) {
	if db, err = place.Open(ctx); err != nil {
		return nil, nil, err
	}
	claim, err := db.Claim(ctx, false)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, func() error { return claim.Release(context.WithoutCancel(ctx)) }, nil
}

// retire keeps servers from using a database whose state was moved, and returns where it is.
func retire(ctx context.Context, from, to sqlstore.Place, src *sqlstore.DB) (string, error) {
	if err := src.SetMoved(ctx, to.String()); err != nil {
		return from.String(), fmt.Errorf("mark %s as moved: %w", from, err)
	}
	if from.Postgres != nil {
		return from.String(), nil
	}
	// Under another name, so that the state can come back to this one.
	aside := from.File + time.Now().UTC().Format(".moved-20060102T150405Z")
	return aside, src.MoveFile(ctx, from.File, aside)
}

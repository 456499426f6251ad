package sqlstore

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/pressly/goose/v3"
)

// Migrations for both engines are in migrations. A schema change that the engines need in different
// forms has one file of the same number for each, in migrations/sqlite and migrations/postgres.
//
//go:embed migrations
var migrations embed.FS

// schemaOf is the directory of one engine's migrations.
type schemaOf struct {
	own     string // directory of the migrations that only this engine has
	rewrite func([]byte) []byte
}

var (
	sqliteSchema   = schemaOf{"migrations/sqlite", func(b []byte) []byte { return b }}
	postgresSchema = schemaOf{"migrations/postgres", collated}
)

var textColumn = regexp.MustCompile(`\bTEXT\b`)

// collated makes PostgreSQL compare and sort text by its bytes, as SQLite does, whatever the
// database's own collation is.
func collated(b []byte) []byte { return textColumn.ReplaceAll(b, []byte(`TEXT COLLATE "C"`)) }

// Glob implements [fs.GlobFS].
func (s schemaOf) Glob(pattern string) ([]string, error) {
	var names []string
	for _, dir := range []string{"migrations", s.own} {
		sub, err := fs.Sub(migrations, dir)
		if err != nil {
			return nil, err
		}
		some, err := fs.Glob(sub, pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, some...)
	}
	slices.Sort(names)
	return names, nil
}

// Open implements [fs.FS].
func (s schemaOf) Open(name string) (fs.File, error) {
	b, err := migrations.ReadFile(s.own + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = migrations.ReadFile("migrations/" + name)
	}
	if err != nil {
		return nil, err
	}
	b = s.rewrite(b)
	return &migrationFile{Reader: bytes.NewReader(b), name: name, size: int64(len(b))}, nil
}

// migrationFile is an open file of a schemaOf, and its own description.
type migrationFile struct {
	*bytes.Reader
	name string
	size int64
}

func (f *migrationFile) Stat() (fs.FileInfo, error) { return migrationInfo{f}, nil }
func (f *migrationFile) Close() error               { return nil }

type migrationInfo struct{ f *migrationFile }

func (i migrationInfo) Name() string     { return i.f.name }
func (i migrationInfo) Size() int64      { return i.f.size }
func (migrationInfo) Mode() fs.FileMode  { return 0o444 }
func (migrationInfo) ModTime() time.Time { return time.Time{} }
func (migrationInfo) IsDir() bool        { return false }
func (migrationInfo) Sys() any           { return nil }

// catalog has the queries that count the tables of a database.
type catalog struct {
	versions string // of tables with schema versions
	tables   string // of all tables
}

// refuseNewer refuses a database that a newer version has migrated: this version would
// ignore and damage the newer version's data.
func refuseNewer(ctx context.Context, db querier, p *goose.Provider, path string, c catalog) error {
	var tables int
	if err := db.QueryRowContext(ctx, c.versions).Scan(&tables); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if tables == 0 {
		if err := db.QueryRowContext(ctx, c.tables).Scan(&tables); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if tables > 0 {
			return fmt.Errorf(
				"%s is not a database of Sekisho: it has tables, but no schema version. Restore it from a backup, or move it away",
				path,
			)
		}
		return nil
	}
	known := map[int64]bool{0: true}
	for _, s := range p.ListSources() {
		known[s.Version] = true
	}
	applied, err := queryAll(ctx, db, func(row scanner) (v int64, err error) {
		err = row.Scan(&v)
		return v, err
	}, `SELECT version_id FROM goose_db_version WHERE is_applied`)
	if err != nil {
		return fmt.Errorf("read the schema version of %s: %w", path, err)
	}
	for _, v := range applied {
		if !known[v] {
			return fmt.Errorf(
				"%s was written by a newer version of Sekisho: it has the schema change %d, which this version does not know. "+
					"Run that version or a later one, or restore a backup from before the upgrade",
				path,
				v,
			)
		}
	}
	return nil
}

package sqlstore

import "context"

// Place is where a database is: in a file of SQLite or, if Postgres is set, on a PostgreSQL server.
type Place struct {
	File     string
	Postgres *Postgres
}

// String returns the file or the address, without secrets.
func (p Place) String() string {
	if p.Postgres != nil {
		return p.Postgres.String()
	}
	return p.File
}

// Open opens the database and brings its schema up to date. It refuses a schema of a newer version.
func (p Place) Open(ctx context.Context) (*DB, error) {
	if p.Postgres != nil {
		return OpenPostgres(ctx, *p.Postgres)
	}
	return OpenSQLite(ctx, p.File)
}

// OpenReader opens the database read-only, without migrating it. A server can use it at the same time.
func (p Place) OpenReader(ctx context.Context) (*DB, error) {
	if p.Postgres != nil {
		return OpenPostgresReader(ctx, *p.Postgres)
	}
	return OpenSQLiteReader(ctx, p.File)
}

// IsEmpty reports whether the database is missing or has no tables.
func (p Place) IsEmpty(ctx context.Context) (bool, error) {
	if p.Postgres != nil {
		return p.Postgres.IsEmpty(ctx)
	}
	return IsEmpty(ctx, p.File)
}

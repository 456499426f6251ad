package sqlstore

import (
	"context"
	"errors"
	"fmt"
)

// Snapshot copies a consistent state of a database to a new file of SQLite. A server can use the
// database at the same time. It returns the IDs of the object store's files that the copy refers to.
func Snapshot(ctx context.Context, from Place, to string) (blobs []string, err error) {
	if from.Postgres != nil {
		if _, err = Copy(ctx, from, Place{File: to}, func(TableCopy) {}); err == nil {
			err = oneFile(ctx, to)
		}
	} else {
		err = vacuum(ctx, from.File, to)
	}
	if err != nil {
		return nil, err
	}
	if err := restrict(to); err != nil {
		return nil, err
	}
	dst, err := openFile(to, "mode=ro")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	return queryAll(ctx, dst, scanText, `SELECT id FROM object_blobs WHERE NOT dead`)
}

// oneFile makes a database one file: a log needs others beside it.
func oneFile(ctx context.Context, path string) (err error) {
	db, err := openFile(path, "mode=rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `PRAGMA journal_mode=DELETE`)
	return err
}

func vacuum(ctx context.Context, path, to string) (err error) {
	src, err := openFile(path, "mode=ro")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if _, err := src.ExecContext(ctx, `VACUUM INTO $1`, to); err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	return nil
}

package sqlstore

import (
	"context"
	"errors"
	"fmt"
)

// Snapshot copies a consistent state of the database file at path to the new file at to. A
// server can use the database at the same time. It returns the IDs of the object store's
// files that the copy refers to.
func Snapshot(ctx context.Context, path, to string) (blobs []string, err error) {
	src, err := openFile(path, "mode=ro")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if _, err := src.ExecContext(ctx, `VACUUM INTO $1`, to); err != nil {
		return nil, fmt.Errorf("copy %s: %w", path, err)
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

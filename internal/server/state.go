package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sekisho/internal/session/record"
	"sekisho/internal/store/sqlstore"
)

// databaseFile is the database's name in the data directory.
const databaseFile = "sekisho.db"

// checkFiles refuses a used data directory without a database: starting would create a new database
// and hide the loss.
func checkFiles(ctx context.Context, dir string) error {
	database := filepath.Join(dir, databaseFile)
	if empty, err := sqlstore.IsEmpty(ctx, database); err != nil || !empty {
		return err
	}
	for _, name := range []string{"keys", "recordings", "objects"} {
		left := filepath.Join(dir, name)
		switch there, err := has(left); {
		case err != nil:
			return err
		case there:
			return fmt.Errorf(
				"%s is missing or empty, but %s exists: this is not a new installation. Restore %s from a backup, "+
					"or move everything out of %s to start with a new account",
				database,
				left,
				databaseFile,
				dir,
			)
		}
	}
	return nil
}

// checkState refuses a database that does not match the rest of the state: a database without its
// keys, or a new one beside old recordings or objects.
func checkState(ctx context.Context, dir string, db *sqlstore.DB) error {
	used, err := db.Used(ctx)
	if err != nil {
		return err
	}
	keys := filepath.Join(dir, "keys")
	if there, err := has(keys); err != nil {
		return err
	} else if used && !there {
		return fmt.Errorf("%s is missing or empty, and without it nothing in %s can be decrypted: restore the whole "+
			"directory from one backup",
			keys, filepath.Join(dir, databaseFile))
	}
	if used {
		return nil
	}
	for _, left := range []string{filepath.Join(dir, "recordings", record.LedgerFile), filepath.Join(dir, "objects")} {
		switch there, err := has(left); {
		case err != nil:
			return err
		case there:
			return fmt.Errorf(
				"%s has no users, but %s exists: this is not a new installation. Restore %s from a backup, "+
					"or move everything out of %s to start with a new account",
				filepath.Join(dir, databaseFile),
				left,
				databaseFile,
				dir,
			)
		}
	}
	return nil
}

// has reports whether a file is not empty, or a directory tree contains files.
func has(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return info.Size() > 0, nil
	}
	found := errors.New("found")
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			return found
		}
		return err
	})
	if errors.Is(err, found) {
		return true, nil
	}
	return false, err
}

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
func checkFiles(ctx context.Context, at State) error {
	if empty, err := at.place().IsEmpty(ctx); err != nil || !empty {
		return err
	}
	dir := at.Dir
	for _, name := range []string{"keys", "recordings", "objects"} {
		left := filepath.Join(dir, name)
		switch there, err := has(left); {
		case err != nil:
			return err
		case there:
			return fmt.Errorf(
				"%s is missing or empty, but %s exists: this is not a new installation. Restore the database from a backup%s, "+
					"or move everything out of %s to start with a new account",
				at.place(),
				left,
				at.orMigrate(),
				dir,
			)
		}
	}
	return nil
}

// checkState refuses a database that does not match the rest of the state: a database without its
// keys, or a new one beside old recordings or objects.
func checkState(ctx context.Context, at State, db *sqlstore.DB) error {
	dir := at.Dir
	if to, err := db.MovedTo(ctx); err != nil {
		return err
	} else if to != "" {
		return fmt.Errorf("the state in %s was moved to %s: "+
			"correct database.url, or migrate the state back to a new database",
			at.place(), to)
	}
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
			keys, at.place())
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
				"%s has no users, but %s exists: this is not a new installation. Restore the database from a backup%s, "+
					"or move everything out of %s to start with a new account",
				at.place(),
				left,
				at.orMigrate(),
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

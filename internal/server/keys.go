package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/store/sqlstore"
)

// RotateKeys creates a new master key for the state in a data directory, and re-encrypts every
// stored secret under it. The server can be running: it looks up keys that it does not know.
// RotateKeys returns the number of secrets.
func RotateKeys(ctx context.Context, dir string) (sealed int, err error) {
	if _, err := os.Stat(filepath.Join(dir, "sekisho.db")); err != nil {
		return 0, sekisho.Errorf(sekisho.CodeNotFound, "There is no server's state in %s.", dir)
	}
	ring, err := keyring.Load(filepath.Join(dir, "keys"))
	if err != nil {
		return 0, err
	}
	db, err := sqlstore.OpenSQLite(ctx, filepath.Join(dir, "sekisho.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkKeys(ctx, dir, db, ring); err != nil {
		return 0, err
	}
	if err := ring.Rotate(); err != nil {
		return 0, err
	}
	// The account ID does not matter here.
	directory, err := identity.New(ctx, identity.Config{Store: db.Identities, Keyring: ring, Account: "000000000000"})
	if err != nil {
		return 0, err
	}
	sealed, err = directory.Reseal(ctx)
	if err != nil {
		return sealed, err
	}
	keys, err := kmskey.New(kmskey.Config{Store: db.Keys, Sealer: ring}).Reseal(ctx)
	return sealed + keys, err
}

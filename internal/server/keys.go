package server

import (
	"context"
	"errors"
	"path/filepath"

	"sekisho/internal/iam/identity"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/storage/kmskey"
)

// RotateKeys creates a new master key for the state in a data directory, and re-encrypts every
// stored secret under it. The server can be running: it looks up keys that it does not know.
// RotateKeys returns the number of secrets.
func RotateKeys(ctx context.Context, at State) (sealed int, err error) {
	if err := at.exists(ctx); err != nil {
		return 0, err
	}
	ring, err := keyring.Load(filepath.Join(at.Dir, "keys"))
	if err != nil {
		return 0, err
	}
	db, err := at.place().Open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkKeys(ctx, at, db, ring); err != nil {
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

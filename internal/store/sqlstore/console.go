package sqlstore

import (
	"context"
	"database/sql"
	"time"
)

// SignInStore keeps sign-ins to the console.
type SignInStore struct{ sql pool }

// PutConsoleSignIn implements the console's Store.
func (db *SignInStore) PutConsoleSignIn(ctx context.Context, tokenHash, data []byte, expires, now time.Time) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM console_sign_ins WHERE expires_at <= $1`, micros(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO console_sign_ins (token_hash, data, expires_at) VALUES ($1, $2, $3)`,
			tokenHash, data, micros(expires))
		return err
	})
}

// ConsoleSignIn implements the console's Store.
func (db *SignInStore) ConsoleSignIn(ctx context.Context, tokenHash []byte) ([]byte, error) {
	var data []byte
	err := db.sql.QueryRowContext(ctx, `SELECT data FROM console_sign_ins WHERE token_hash = $1`, tokenHash).Scan(&data)
	return data, notFound(err, "no such sign-in")
}

// UpdateConsoleSignIn implements the console's Store.
func (db *SignInStore) UpdateConsoleSignIn(ctx context.Context, tokenHash, data []byte) error {
	_, err := db.sql.ExecContext(ctx, `UPDATE console_sign_ins SET data = $1 WHERE token_hash = $2`, data, tokenHash)
	return err
}

// DeleteConsoleSignIn implements the console's Store.
func (db *SignInStore) DeleteConsoleSignIn(ctx context.Context, tokenHash []byte) (deleted bool, err error) {
	res, err := db.sql.ExecContext(ctx, `DELETE FROM console_sign_ins WHERE token_hash = $1`, tokenHash)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

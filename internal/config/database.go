package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sekisho/internal/store/sqlstore"
)

// Database says where the state is, other than recordings, keys and the content of objects. Without a
// URL, it is a file of SQLite in the data directory.
type Database struct {
	// URL is postgres://user@host:port/database, without a password.
	URL string `yaml:"url"`
	// PasswordFile contains the user's password. Empty: PGPASSWORD in the environment, the file that
	// PGPASSFILE names, or an authentication method without a password.
	PasswordFile string `yaml:"password_file"`
	// MaxConnections bounds the server's connections to the database; 0 = 20.
	MaxConnections int `yaml:"max_connections"`
}

const (
	minDatabaseConnections = 4
	maxDatabaseConnections = 1000
)

// form checks the settings without reading files.
func (d *Database) form() error {
	if d.URL == "" {
		if d.PasswordFile != "" || d.MaxConnections != 0 {
			return errors.New("database: url: missing; the other settings of database have no effect without it")
		}
		return nil
	}
	var errs []error
	if err := (sqlstore.Postgres{URL: d.URL}).Check(); err != nil {
		errs = append(errs, fmt.Errorf("database: url: %w", err))
	}
	if d.MaxConnections != 0 &&
		(d.MaxConnections < minDatabaseConnections || d.MaxConnections > maxDatabaseConnections) {
		errs = append(errs, fmt.Errorf("database: max_connections: %d is not between %d and %d", d.MaxConnections,
			minDatabaseConnections, maxDatabaseConnections))
	}
	return errors.Join(errs...)
}

// Postgres returns how to reach the database, with its password; nil if the database is a file of SQLite.
func (d *Database) Postgres() (*sqlstore.Postgres, error) {
	if d.URL == "" {
		return nil, nil
	}
	password, err := ReadPassword(d.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("database: password_file: %w", err)
	}
	return &sqlstore.Postgres{URL: d.URL, Password: password, MaxConnections: d.MaxConnections}, nil
}

// maxPassword bounds a file of a password.
const maxPassword = 4 << 10

// ReadPassword reads a file that contains a password, which other users must not be able to read. It
// returns "" if the file's name is empty.
func ReadPassword(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	st, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if st.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("other users can read %[1]s; run: chmod 600 %[1]s", file)
	}
	if st.Size() > maxPassword {
		return "", fmt.Errorf("%s has %d bytes: it is not a file with a password", file, st.Size())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return password, nil
}

package server

import (
	"context"
	"fmt"
	"path/filepath"

	"sekisho"
	"sekisho/internal/config"
	"sekisho/internal/store/sqlstore"
)

// State is where a server keeps its state.
type State struct {
	Dir string // the data directory
	// Database has the state that is not in files; nil = SQLite in the data directory.
	Database *sqlstore.Postgres
	// Shared means that other members of a cluster have parts of the state.
	Shared bool
}

// StateOf returns where a configured server keeps its state.
func StateOf(c *config.Server) (State, error) {
	database, err := c.Database.Postgres()
	return State{Dir: c.Data, Database: database}, err
}

// CheckDatabase contacts the PostgreSQL database of a configuration, and returns what it is; "" if the
// configuration names none. It changes nothing.
func CheckDatabase(ctx context.Context, c *config.Server) (string, error) {
	p, err := c.Database.Postgres()
	if err != nil || p == nil {
		return "", err
	}
	found, err := p.Describe(ctx)
	if err != nil {
		return "", fmt.Errorf("database: %w", err)
	}
	return found, nil
}

// place returns where the database is.
func (s State) place() sqlstore.Place {
	if s.Database != nil {
		return sqlstore.Place{Postgres: s.Database}
	}
	return sqlstore.Place{File: filepath.Join(s.Dir, databaseFile)}
}

// exists refuses a place without a server's state.
func (s State) exists(ctx context.Context) error {
	empty, err := s.place().IsEmpty(ctx)
	if err != nil || !empty {
		return err
	}
	missing := sekisho.Errorf(sekisho.CodeNotFound, "There is no server's state in %s.", s.place())
	if s.Database == nil {
		missing = missing.WithHint("If the server uses PostgreSQL, give its configuration file with --config.")
	}
	return missing
}

// orMigrate is the remedy for an empty PostgreSQL database beside the files of an installation.
func (s State) orMigrate() string {
	if s.Database == nil {
		return ""
	}
	return ", move the state there with \"sekishod migrate-state\""
}

// databaseTaken reports that another server uses the database. This one must stop.
func (s *Server) databaseTaken(err error) {
	s.cfg.Log.Error("another server took the database while it was not available: stopping", "error", err)
	s.state.taken.Store(true)
}

// where returns where the server keeps its state.
func (s *Server) where() State {
	return State{Dir: s.cfg.DataDir, Database: s.cfg.Database, Shared: s.cfg.Cluster != nil}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sekisho/internal/config"
	"sekisho/internal/server"
	"sekisho/internal/store/sqlstore"
)

func migrateStateCommand() *cobra.Command {
	var file, from, to, passwordFile string
	c := &cobra.Command{
		Use:   "migrate-state --config FILE --from DATABASE --to DATABASE",
		Short: "Move the database of a stopped server between SQLite and PostgreSQL",
		Long: `Move the database of a stopped server between SQLite and PostgreSQL.

DATABASE is the path of a file of SQLite, such as /var/lib/sekisho/sekisho.db, or
postgres://user@host:5432/database. The password is that of the configuration if its
database.url is the same, or else in --password-file or PGPASSWORD: never in the URL.

The target must be empty. The copy is one transaction: after an error the target is
empty and the source is unchanged. It is read back and compared table by table, and its
audit trail is verified. Afterwards servers refuse the source: a file is renamed, and a
PostgreSQL database is marked.

Keys, recordings and objects stay in the data directory of the configuration.`,
		Example: `  sekishod migrate-state --from /var/lib/sekisho/sekisho.db --to postgres://sekisho@db.example.com/sekisho
  sekishod migrate-state --from postgres://sekisho@db.example.com/sekisho --to /var/lib/sekisho/sekisho.db`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return errors.New("--from and --to are required")
			}
			cfg, err := config.Read(file)
			if err != nil {
				return err
			}
			places := make([]sqlstore.Place, 2)
			for i, text := range []string{from, to} {
				if places[i], err = placeOf(text, passwordFile, cfg); err != nil {
					return err
				}
			}
			out := c.OutOrStdout()
			var printing error
			m, err := server.MigrateState(c.Context(), cfg.Data, places[0], places[1], func(t sqlstore.TableCopy) {
				_, err := fmt.Fprintf(out, "%-22s %9d rows  %x\n", t.Name, t.Rows, t.Digest[:8])
				printing = errors.Join(printing, err)
			})
			if err = errors.Join(err, printing); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(out, "Moved %d rows of %d tables, and compared them. The audit trail has %d records.\n",
				m.Rows, len(m.Tables), m.AuditRecords); err != nil {
				return err
			}
			for _, p := range m.TrailProblems {
				if _, err := fmt.Fprintf(out, "The copy is exact, and so has a problem of the source: %s\n", p); err != nil {
					return err
				}
			}
			next := "remove the database section"
			if places[1].Postgres != nil {
				next = "set database.url to " + places[1].Postgres.URL
			}
			_, err = fmt.Fprintf(out, "Servers refuse the source from now on: %s\nNext: %s in %s, and start the server.\n",
				m.Source, next, file)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	f.StringVar(&from, "from", "", "database that has the state")
	f.StringVar(&to, "to", "", "empty database that gets the state")
	f.StringVar(&passwordFile, "password-file", "", "file with the password for the PostgreSQL database")
	return c
}

// placeOf returns the database that an argument names.
func placeOf(text, passwordFile string, cfg *config.Server) (sqlstore.Place, error) {
	if !strings.Contains(text, "://") {
		file, err := filepath.Abs(text)
		if err != nil {
			return sqlstore.Place{}, err
		}
		if st, err := os.Stat(file); err == nil && st.IsDir() {
			return sqlstore.Place{}, fmt.Errorf("%s is a directory: name the file, such as %s/sekisho.db", text, text)
		}
		return sqlstore.Place{File: file}, nil
	}
	d := config.Database{URL: text, PasswordFile: passwordFile}
	if text == cfg.Database.URL && passwordFile == "" {
		d = cfg.Database
	}
	if err := (sqlstore.Postgres{URL: text}).Check(); err != nil {
		return sqlstore.Place{}, err
	}
	p, err := d.Postgres()
	return sqlstore.Place{Postgres: p}, err
}

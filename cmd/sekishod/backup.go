package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"sekisho/internal/config"
	"sekisho/internal/server"
)

// secretOptions are the flags that say how a backup is encrypted.
type secretOptions struct{ passphraseFile string }

func (o *secretOptions) passphrase() (string, error) {
	b, err := os.ReadFile(o.passphraseFile)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(b), "\r\n")
	if len(text) < 12 {
		return "", fmt.Errorf("%s: the passphrase has %d characters; use at least 12", o.passphraseFile, len(text))
	}
	return text, nil
}

// stateOf returns where the server of a configuration file keeps its state. If data is not empty, it is
// that directory, with its own database.
func stateOf(file, data string) (server.State, error) {
	if data != "" {
		return server.State{Dir: data}, nil
	}
	cfg, err := config.Read(file)
	if err != nil {
		return server.State{}, err
	}
	return server.StateOf(cfg)
}

func backupCommand() *cobra.Command {
	var file, data, out string
	var recipients []string
	var secret secretOptions
	var options server.BackupOptions
	c := &cobra.Command{
		Use:   "backup --out FILE (--recipient age1... | --passphrase-file FILE)",
		Short: "Write an encrypted backup of the whole state",
		Long: `Write an encrypted backup of the whole state: database, keys, recordings, objects.

The server can be running. The backup is encrypted with age
(https://age-encryption.org), for public keys or with a passphrase. It contains
all of the server's secrets: keep its key in another place.`,
		Example: `  sekishod backup --out sekisho.backup --recipient age1...
  sekishod backup --data /var/lib/sekisho --out - --passphrase-file pass | ssh backup 'cat > sekisho.backup'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			var to []age.Recipient
			for _, text := range recipients {
				r, err := age.ParseX25519Recipient(text)
				if err != nil {
					return fmt.Errorf("recipient %q: %w", text, err)
				}
				to = append(to, r)
			}
			if secret.passphraseFile != "" {
				pass, err := secret.passphrase()
				if err != nil {
					return err
				}
				r, err := age.NewScryptRecipient(pass)
				if err != nil {
					return err
				}
				to = append(to, r)
			}
			if out == "" || len(to) == 0 || len(recipients) > 0 && secret.passphraseFile != "" {
				return errors.New("--out, and either --recipient or --passphrase-file, are required")
			}
			at, err := stateOf(file, data)
			if err != nil {
				return err
			}
			options.Database = at.Database
			w := io.Writer(os.Stdout)
			if out != "-" {
				f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return err
				}
				defer func() {
					err = errors.Join(err, f.Sync(), f.Close())
					if err != nil { // a partial backup is useless
						err = errors.Join(err, os.Remove(out))
					}
				}()
				w = f
			}
			sum, err := server.Backup(c.Context(), at.Dir, w, options, to...)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(os.Stderr, "Backed up %d files, %d bytes.\n", sum.Files, sum.Bytes)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	f.StringVar(&data, "data", "", "data directory (default: the configuration file's)")
	f.StringVar(&out, "out", "", "file to write, which must not exist yet; - means standard output")
	f.BoolVar(
		&options.WithoutMasterKey,
		"without-master-key",
		false,
		"leave out keys/master.key; keep a copy of it elsewhere, and replace that copy after each rotation",
	)
	f.StringArrayVar(&recipients, "recipient", nil, "age public key that can decrypt the backup; repeatable")
	f.StringVar(&secret.passphraseFile, "passphrase-file", "", "file with the passphrase that encrypts the backup")
	return c
}

func restoreCommand() *cobra.Command {
	var in, file, data, identityFile, masterKey string
	var secret secretOptions
	c := &cobra.Command{
		Use:   "restore --in FILE --data DIR (--identity-file FILE | --passphrase-file FILE)",
		Short: "Restore a backup into an empty directory, and verify it",
		Long: `Restore a backup into an empty directory, and verify it.

A backup can be restored to either kind of database, whichever the server used.
With --config, the database goes where that file's database section says. A
PostgreSQL database must be empty.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if in == "" || data == "" || (identityFile == "") == (secret.passphraseFile == "") {
				return errors.New("--in, --data, and either --identity-file or --passphrase-file, are required")
			}
			var keys []age.Identity
			if identityFile != "" {
				f, err := os.Open(identityFile)
				if err != nil {
					return err
				}
				defer f.Close()
				if keys, err = age.ParseIdentities(f); err != nil {
					return fmt.Errorf("%s: %w", identityFile, err)
				}
			} else {
				pass, err := secret.passphrase()
				if err != nil {
					return err
				}
				k, err := age.NewScryptIdentity(pass)
				if err != nil {
					return err
				}
				keys = append(keys, k)
			}
			var options server.RestoreOptions
			if file != "" {
				at, err := stateOf(file, "")
				if err != nil {
					return err
				}
				options.Database = at.Database
			}
			if masterKey != "" {
				var err error
				if options.MasterKey, err = os.ReadFile(masterKey); err != nil {
					return err
				}
			}
			r := io.Reader(os.Stdin)
			if in != "-" {
				f, err := os.Open(in)
				if err != nil {
					return err
				}
				defer f.Close()
				r = f
			}
			sum, err := server.Restore(c.Context(), data, r, options, keys...)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(
				os.Stdout,
				"Restored %d files, %d bytes, to %s. The audit trail (%d records) is complete. "+
					"Run \"sekishod verify\" to check the recordings.\n",
				sum.Files,
				sum.Bytes,
				data,
				sum.AuditRecords,
			)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&in, "in", "", "backup to read; - means standard input")
	f.StringVar(&file, "config", "", "configuration file whose database receives the state (default: a file in --data)")
	f.StringVar(&data, "data", "", "directory to restore to; must be empty or not exist")
	f.StringVar(&masterKey, "master-key", "", "the server's master.key at the time of the backup, for a backup without it")
	f.StringVar(&identityFile, "identity-file", "", "age private keys, as age-keygen writes them")
	f.StringVar(
		&secret.passphraseFile,
		"passphrase-file",
		"",
		"file with the passphrase that the backup was encrypted with",
	)
	return c
}

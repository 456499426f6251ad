package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sekisho/internal/config"
	"sekisho/internal/server"
	"sekisho/internal/server/doctor"
	"sekisho/internal/server/setup"
)

// packageUser and packageAgents are the user and the agents' directory that the packages create.
const (
	packageUser   = "sekisho"
	packageAgents = "/usr/lib/sekisho/agents"
)

func setupCommand() *cobra.Command {
	var o setup.Options
	var tls string
	var yes bool
	c := &cobra.Command{
		Use:   "setup --name HOST",
		Short: "Set up a server on this machine",
		Long: `Set up a server on this machine.

It checks the port, the clock, the disk and the certificate, and then writes the
configuration, a certificate authority of its own (unless you choose --tls files
or acme), the state directory, and a file with the first administrator's credentials that only
you can read. It overwrites nothing. On a terminal it prompts for missing options.`,
		Example: `  sekishod setup --name sekisho.example.com
  sekishod setup --name sekisho.example.com --tls files --certificate fullchain.pem --key key.pem
  sekishod setup --name sekisho.example.com --tls acme --acme-accept-terms --acme-email ops@example.com`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.TLS = setup.TLSSource(tls)
			if f, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) && !yes {
				if err := ask(c, &o); err != nil {
					return err
				}
			}
			o.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			r, err := setup.Run(c.Context(), o)
			if err != nil {
				return err
			}
			return next(c.OutOrStdout(), &o, r)
		},
	}
	f := c.Flags()
	f.StringSliceVar(
		&o.Names,
		"name",
		nil,
		"DNS names and IP addresses of this server; agents and clients use the first",
	)
	f.StringVar(&o.Listen, "listen", "0.0.0.0:443", "address to listen on")
	f.StringVar(
		&o.Config,
		"config",
		"/etc/sekisho/sekishod.yaml",
		"configuration file to write; certificates and credentials are written beside it",
	)
	f.StringVar(&o.Data, "data", "/var/lib/sekisho", "state directory")
	f.StringVar(&o.Account, "account-id", "100000000000", "account ID, any 12 digits")
	f.StringVar(&o.Region, "region", "us-east-1", "region name")
	f.StringVar(&tls, "tls", string(setup.OwnCA), "where the certificate comes from: own-ca, files or acme")
	f.StringVar(&o.Certificate, "certificate", "", "PEM file of the certificate and its chain, for --tls files")
	f.StringVar(&o.Key, "key", "", "PEM file of the key, for --tls files")
	f.StringVar(&o.ACME.Directory, "acme-directory", "", "URL of the authority, for --tls acme (default Let's Encrypt)")
	f.StringVar(&o.ACME.Email, "acme-email", "", "address for the authority's notices")
	f.StringVar(&o.ACME.Root, "acme-root", "", "PEM file of a private authority that clients must trust")
	f.BoolVar(&o.ACME.AcceptTerms, "acme-accept-terms", false, "accept the authority's terms of service")
	f.StringVar(&o.User, "user", defaultUser(), "user who runs the server")
	f.StringVar(&o.AgentsDir, "agents-dir", defaultAgents(), "directory of the agents that machines can download")
	f.BoolVar(&yes, "yes", false, "do not prompt; use the defaults")
	return c
}

// defaultUser returns the user that the package creates, or "" if that user does not exist.
func defaultUser() string {
	if _, err := user.Lookup(packageUser); err != nil {
		return ""
	}
	return packageUser
}

func defaultAgents() string {
	if _, err := os.Stat(packageAgents); err != nil {
		return ""
	}
	return packageAgents
}

// ask prompts for the options that were not given as flags.
func ask(c *cobra.Command, o *setup.Options) error {
	in := bufio.NewReader(c.InOrStdin())
	question := func(flag, text, preset string) (string, error) {
		if c.Flags().Changed(flag) {
			return preset, nil
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s [%s]: ", text, preset)
		line, err := in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if line = strings.TrimSpace(line); line == "" {
			return preset, nil
		}
		return line, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if len(o.Names) > 0 {
		host = strings.Join(o.Names, ",")
	}
	names, err := question("name", "Name under which agents and clients reach this server", host)
	if err != nil {
		return err
	}
	o.Names = strings.Split(names, ",")
	if o.Listen, err = question("listen", "Address to listen on", o.Listen); err != nil {
		return err
	}
	source, err := question("tls", "Certificate: own-ca (created now), files or acme (Let's Encrypt)", string(o.TLS))
	if err != nil {
		return err
	}
	o.TLS = setup.TLSSource(source)
	if o.TLS == setup.Files {
		if o.Certificate, err = question("certificate", "PEM file of the certificate", o.Certificate); err != nil {
			return err
		}
		if o.Key, err = question("key", "PEM file of its key", o.Key); err != nil {
			return err
		}
	}
	if o.TLS == setup.ACME && !o.ACME.AcceptTerms {
		accept, err := question("acme-accept-terms", "Do you accept the authority's terms of service? yes or no", "no")
		if err != nil {
			return err
		}
		o.ACME.AcceptTerms = accept == "yes"
	}
	o.Data, err = question("data", "State directory", o.Data)
	return err
}

// removeIfThere removes a file of an earlier reset.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// next prints the next three commands.
func next(w io.Writer, o *setup.Options, r *setup.Result) error {
	start := "sekishod serve --config " + r.Config
	if _, err := os.Stat("/run/systemd/system"); err == nil && o.User == packageUser {
		start = "systemctl enable --now sekishod"
	}
	_, err := fmt.Fprintf(w, `wrote %s
wrote %s  (only you can read it)

Next:
  %s
  . %s && sekisho quick-setup
  sekisho nodes

Console: %s/console/
`, r.Config, r.Credentials, start, r.Credentials, r.Endpoint)
	if err == nil && r.CA != "" {
		_, err = fmt.Fprintf(w, "Clients must trust %s\n", r.CA)
	}
	return err
}

func doctorCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong with the server on this machine",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !doctor.Run(c.Context(), file, c.OutOrStdout()) {
				return errors.New("not all checks passed")
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	return c
}

func adminCommand() *cobra.Command {
	var file, name string
	reset := &cobra.Command{
		Use:   "reset",
		Short: "Restore an administrator's access, as root on the server",
		Long: `Restore an administrator's access, as root on the server.

The user becomes an administrator with a new password, which must be changed at
the next sign-in. Its MFA devices are unassigned and its permissions boundary is
removed. A missing user is created. The server must be stopped. The audit trail
records the reset.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Read(file)
			if err != nil {
				return err
			}
			at, err := server.StateOf(cfg)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			password, err := server.ResetAdministrator(
				c.Context(),
				server.Config{DataDir: at.Dir, Database: at.Database, Account: cfg.Account, Region: cfg.Region, Log: log},
				name,
			)
			if err != nil {
				return err
			}
			path := filepath.Join(filepath.Dir(file), "reset-"+name)
			err = errors.Join(
				removeIfThere(path),
				setup.WriteNew(path, 0o600, []byte("user name "+name+"\npassword  "+password+"\n")),
			)
			if err != nil {
				return fmt.Errorf("the password was reset but not stored; run the command again: %w", err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s is an administrator again; the password is in %s\n", name, path)
			return err
		},
	}
	reset.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	reset.Flags().StringVar(&name, "user", "admin", "user to reset or create")
	c := &cobra.Command{Use: "admin", Short: "Administer the account from the server's machine"}
	c.AddCommand(reset)
	return c
}

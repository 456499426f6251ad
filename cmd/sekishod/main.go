// Command sekishod is the Sekisho server.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // grants and calendars name time zones, which the machine may lack

	"github.com/spf13/cobra"

	"sekisho/internal/config"
	"sekisho/internal/dev"
	"sekisho/internal/server"
	"sekisho/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	root := command()
	addManual(root)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "sekishod: %v\n", err)
		stop()
		code := 1
		if f, ok := errors.AsType[*findingsError](err); ok {
			code = f.code
		}
		os.Exit(code)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "sekishod",
		Short:         "The server of Sekisho, a self-hosted Session Manager",
		Version:       version.Long(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		setupCommand(),
		doctorCommand(),
		devCommand(),
		serveCommand(),
		configCommand(),
		keysCommand(),
		verifyCommand(),
		recordingsCommand(),
		adminCommand(),
		backupCommand(),
		restoreCommand(),
		migrateStateCommand(),
		clusterCommand(),
	)
	return root
}

func logger(verbose bool, format string) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

func serveCommand() *cobra.Command {
	var file string
	var verbose bool
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Read(file)
			if err != nil {
				return err
			}
			return server.Run(c.Context(), cfg, os.Stdout, logger(verbose, cfg.LogFormat))
		},
	}
	c.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	c.Flags().BoolVar(&verbose, "verbose", false, "log debug messages")
	return c
}

func configCommand() *cobra.Command {
	var file string
	var offline bool
	check := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check a configuration file",
		Long: `Check a configuration file: its settings, the files that it names, and the database, the
store of recordings and the witnesses, which check contacts. In the store, check writes, reads
and removes one object. It writes nothing to the database and to witnesses.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Read(file)
			if err == nil {
				err = cfg.Check()
			}
			if err == nil && !offline {
				err = checkStores(c.Context(), cfg)
			}
			if err == nil {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s is valid.\n", file)
			}
			return err
		},
	}
	check.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	check.Flags().BoolVar(&offline, "offline", false,
		"contact neither the database, nor the store of recordings, nor the witnesses")
	c := &cobra.Command{Use: "config", Short: "Work with the configuration file"}
	c.AddCommand(check)
	return c
}

// storeTimeout bounds how long config check waits for the store and the witnesses.
const storeTimeout = 30 * time.Second

func checkStores(ctx context.Context, cfg *config.Server) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, database := server.CheckDatabase(ctx, cfg)
	_, store := server.CheckRecordingStore(ctx, cfg)
	_, witnesses := server.CheckWitnesses(ctx, cfg)
	return errors.Join(database, store, witnesses)
}

func devCommand() *cobra.Command {
	o := dev.Options{Stdout: os.Stdout, Stderr: os.Stderr}
	var verbose bool
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: server, console and an agent",
		Long: `Run everything on this machine: server, console and an agent.

Its state is in the data directory and is reused at the next start. DIR/env, which a
shell can source, points the aws CLI here.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Log = logger(verbose, "text")
			return dev.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.DataDir, "data", ".sekisho", "data directory")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8443", "address to listen on; port 0 means any free port")
	f.StringVar(&o.Region, "region", "", "region name (default us-east-1)")
	f.StringVar(&o.Account, "account-id", "", "account ID, 12 digits (default 100000000000)")
	f.IntVar(&o.Nodes, "nodes", 1, "number of agents to run")
	f.StringVar(
		&o.AgentsDir,
		"agents-dir",
		"",
		"directory of the agents that machines can download (default: the directory of sekishod)",
	)
	f.BoolVar(&verbose, "verbose", false, "log debug messages")
	f.StringVar(&o.Webhook, "webhook", "", "URL on this machine that receives every event (docs/events.md)")
	f.StringVar(&o.PolicyClock, "policy-clock", "", "time that policies see, or a file that contains it")
	f.BoolVar(&o.FirstRun, "first-run", false, "let the user complete first-run setup in the console")
	f.StringVar(&o.RecordingStore, "recording-store", "", "file with the settings of recordings.store")
	f.StringVar(&o.DatabaseURL, "database-url", "", "PostgreSQL database for the state")
	for _, name := range []string{"policy-clock", "first-run", "recording-store", "database-url"} { // for tests
		if err := f.MarkHidden(name); err != nil {
			panic(err)
		}
	}
	return c
}

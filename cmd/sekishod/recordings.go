package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sekisho"
	"sekisho/internal/config"
	"sekisho/internal/server"
)

func recordingsCommand() *cobra.Command {
	c := &cobra.Command{Use: "recordings", Short: "Work with the recordings of a stopped server"}
	c.AddCommand(moveRecordingsCommand())
	return c
}

// The values of --to.
const (
	toStore = "store"
	toData  = "data"
)

func moveRecordingsCommand() *cobra.Command {
	var file, to string
	c := &cobra.Command{
		Use:   "move --config FILE --to store|data",
		Short: "Move sealed recordings to the store of the configuration, or back",
		Long: `Move sealed recordings to the store of the configuration, or back.

The server must be stopped. Every recording is read back, or verified, before
it is removed where it was. An interrupted move continues when it is started
again.

A running server moves recordings to its store by itself. To do without a
store, move everything to the data directory, and then remove
recordings.store from the configuration.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if to != toStore && to != toData {
				return fmt.Errorf("--to: %q is neither store nor data", to)
			}
			cfg, err := config.Read(file)
			if err != nil {
				return err
			}
			n := 0
			var printing error
			err = server.MoveRecordings(c.Context(), cfg, to == toData, func(id sekisho.SessionID) {
				n++
				if _, err := fmt.Fprintln(c.OutOrStdout(), id); err != nil {
					printing = err
				}
			})
			if err == nil {
				err = printing
			}
			if err != nil {
				return fmt.Errorf("after %d recordings: %w", n, err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d recordings moved\n", n)
			return err
		},
	}
	c.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	c.Flags().StringVar(&to, "to", "", "store, or data for the data directory")
	return c
}

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sekisho/internal/server"
)

func keysCommand() *cobra.Command {
	var file, data string
	rotate := &cobra.Command{
		Use:   "rotate --config FILE | --data DIR",
		Short: "Create a new master key and re-encrypt every stored secret under it",
		Long: `Create a new master key and re-encrypt every stored secret under it.

The server can be running: it picks up the new key by itself. The old master key
can no longer decrypt anything. Back up the new one, DIR/keys/master.key.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			at, err := stateOf(file, data)
			if err != nil {
				return err
			}
			sealed, err := server.RotateKeys(c.Context(), at)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(
				os.Stdout,
				"Created a new master key and re-encrypted %d stored secrets under it. Back up %s/keys.\n",
				sealed,
				at.Dir,
			)
			return err
		},
	}
	rotate.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	rotate.Flags().StringVar(&data, "data", "", "data directory (default: the configuration file's)")
	c := &cobra.Command{Use: "keys", Short: "Manage the keys that protect stored secrets"}
	c.AddCommand(rotate)
	return c
}

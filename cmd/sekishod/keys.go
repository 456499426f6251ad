package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sekisho/internal/config"
	"sekisho/internal/server"
)

func keysCommand() *cobra.Command {
	var file, data string
	rotate := &cobra.Command{
		Use:   "rotate --config FILE | --data DIR",
		Short: "Make a new master key, and seal every stored secret under it",
		Long: `Make a new master key, and seal every stored secret under it.

The server may run meanwhile: it finds the new key by itself. The old master
key opens nothing any more; back up the new one, DIR/keys/master.key.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir := data
			if dir == "" {
				cfg, err := config.Read(file)
				if err != nil {
					return err
				}
				dir = cfg.Data
			}
			sealed, err := server.RotateKeys(c.Context(), dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(
				os.Stdout,
				"The master key is new, %d stored secrets are sealed under it. Back up %s/keys.\n",
				sealed,
				dir,
			)
			return err
		},
	}
	rotate.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	rotate.Flags().StringVar(&data, "data", "", "data directory, in place of the configuration file's")
	c := &cobra.Command{Use: "keys", Short: "Work with the keys that protect stored secrets"}
	c.AddCommand(rotate)
	return c
}

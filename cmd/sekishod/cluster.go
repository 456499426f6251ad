package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/config"
	"sekisho/internal/server"
)

func clusterCommand() *cobra.Command {
	c := &cobra.Command{Use: "cluster", Short: "Work with the members of a cluster"}
	c.AddCommand(clusterStatusCommand(), clusterRemoveCommand())
	return c
}

func clusterStatusCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status --config FILE",
		Short: "Show the members of the cluster and what each has",
		Long: `Show the members of the cluster and what each has.

It reads the database, so it works while members are stopped.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Read(file)
			if err != nil {
				return err
			}
			members, err := server.ClusterMembers(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(os.Stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(members)
			}
			return writeMembers(os.Stdout, members)
		},
	}
	c.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func writeMembers(w io.Writer, members []sekishoapi.ClusterMember) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEMBER\tSTATUS\tNODES\tSESSIONS\tRENEWED\tCLOCK\tEPOCH\tADDRESS\tVERSION")
	seconds := func(s float64) time.Duration {
		return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
	}
	for _, m := range members {
		status := m.Status
		if m.Coordinator {
			status += ", coordinator"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s ago\t%s\t%d\t%s\t%s\n", m.Name, status, m.Nodes, m.Sessions,
			seconds(m.RenewedSecondsAgo), seconds(m.ClockOffsetSeconds), m.Epoch, m.Address, m.Version)
	}
	return t.Flush()
}

func clusterRemoveCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "remove --config FILE MEMBER",
		Short: "Remove a stopped member from the list",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := config.Read(file)
			if err != nil {
				return err
			}
			return server.RemoveClusterMember(c.Context(), cfg, args[0])
		},
	}
	c.Flags().StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	return c
}

package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func nodes(dial dialer) *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List managed nodes and whether they are connected",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([][]string, len(list))
			group, ctx := errgroup.WithContext(cmd.Context())
			group.SetLimit(8)
			for i, n := range list {
				name := n.Name
				if name == "" {
					name = n.ComputerName
				}
				platform := strings.TrimSpace(n.PlatformName + " " + n.PlatformVersion)
				group.Go(func() error {
					status, err := c.ConnectionStatus(ctx, n.InstanceID)
					rows[i] = []string{n.InstanceID, name, status, n.PingStatus, when(n.LastPingDateTime), n.IPAddress, platform, n.AgentVersion}
					return err
				})
			}
			if err := group.Wait(); err != nil {
				return err
			}
			return table(cmd.OutOrStdout(), []string{"NODE", "NAME", "CONNECTION", "PING", "LAST PING", "ADDRESS", "PLATFORM", "AGENT"}, rows)
		},
	}
}

package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sekisho/internal/client"
)

func nodes(dial dialer) *cobra.Command {
	var seen bool
	c := &cobra.Command{
		Use:   "nodes",
		Short: "List managed nodes and their connection state",
		Args:  cobra.NoArgs,
	}
	format := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if seen {
			return seenMachines(cmd, c, format)
		}
		list, err := c.Nodes(cmd.Context())
		if err != nil {
			return err
		}
		if err := fillStates(cmd.Context(), c, list); err != nil {
			return err
		}
		return format.write(cmd.OutOrStdout(), nonNil(list), func(w io.Writer) error { return printNodes(w, list) })
	}
	c.Flags().BoolVar(&seen, "seen", false, "list unmanaged machines: refused and deregistered ones")
	return c
}

func printNodes(w io.Writer, list []client.Node) error {
	list = slices.SortedStableFunc(slices.Values(list), func(a, b client.Node) int {
		return client.CompareNames(a.DisplayName(), b.DisplayName())
	})
	rows := make([][]string, len(list))
	for i, n := range list {
		address := n.SourceIP
		if address == "" {
			address = n.IPAddress
		}
		platform := strings.TrimSpace(n.PlatformName + " " + n.PlatformVersion)
		rows[i] = []string{
			n.InstanceID,
			n.DisplayName(),
			n.State,
			n.PingStatus,
			when(n.LastPingDateTime),
			address,
			platform,
			n.AgentVersion,
		}
	}
	if err := table(w, []string{"NODE", "NAME", "STATE", "PING", "LAST PING", "ADDRESS", "PLATFORM", "AGENT"},
		rows); err != nil {
		return err
	}
	return printRemarks(w, list)
}

// fillStates gets the states from servers that do not list them.
func fillStates(ctx context.Context, c *client.Client, list []client.Node) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range list {
		if list[i].State != "" {
			continue
		}
		group.Go(func() (err error) {
			list[i].State, err = c.ConnectionStatus(ctx, list[i].InstanceID)
			return err
		})
	}
	return group.Wait()
}

// printRemarks prints the remarks on each node.
func printRemarks(w io.Writer, list []client.Node) error {
	for _, n := range list {
		var lines []string
		if n.NotConnectedReason != "" {
			lines = append(lines, n.NotConnectedReason)
		}
		for _, x := range n.Notes {
			line := fmt.Sprintf("%s (%s, %d times)", x.Text, when(x.LastAt), x.Count)
			if x.Kind == "IdentityChanged" {
				line += " To approve: sekisho approve-identity " + n.InstanceID + " " + x.Fingerprint
			}
			lines = append(lines, line)
		}
		for i, line := range lines {
			head := "  "
			if i == 0 {
				head = "\n" + n.InstanceID + "\n  "
			}
			if _, err := fmt.Fprintf(w, "%s%s\n", head, client.Printable(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

func seenMachines(cmd *cobra.Command, c *client.Client, format *format) error {
	seen, gone, err := c.SeenMachines(cmd.Context())
	if err != nil {
		return err
	}
	value := struct {
		Machines     []client.SeenMachine
		Deregistered []client.FormerNode
	}{nonNil(seen), nonNil(gone)}
	return format.write(cmd.OutOrStdout(), value, func(w io.Writer) error {
		var rows [][]string
		for _, m := range seen {
			rows = append(
				rows,
				[]string{m.SourceIP, m.Kind, m.InstanceID, when(m.LastSeenAt), strconv.Itoa(m.Count), m.Reason},
			)
		}
		for _, n := range gone {
			rows = append(
				rows,
				[]string{
					n.SourceIP,
					"Deregistered",
					n.InstanceID,
					when(n.DeregisteredAt),
					"",
					strings.TrimSpace(n.Name + " " + n.ComputerName),
				},
			)
		}
		return table(w, []string{"ADDRESS", "WHAT", "NODE", "WHEN", "TIMES", "REASON"}, rows)
	})
}

func approveIdentity(dial dialer) *cobra.Command {
	return &cobra.Command{
		Use:   "approve-identity NODE FINGERPRINT",
		Short: "Approve a node whose machine identity changed",
		Long: `Approve a node whose machine identity changed.

The server refuses a node whose fingerprint differs from the one it registered
with: its hardware changed, or its disk was copied to another machine. "sekisho
nodes" shows the fingerprint. After approval, the machine with this fingerprint
is the node, and the previous machine is refused.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeNodes(dial),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.ApproveIdentity(cmd.Context(), args[0], args[1])
		},
	}
}

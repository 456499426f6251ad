package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func sshProxy(std Streams, dial dialer) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "ssh-proxy TARGET [PORT]",
		Short: "Carry an SSH connection (ProxyCommand)",
		Long: `ssh-proxy connects its standard input and output to the SSH server of a node.
It is meant for ssh's ProxyCommand; "sekisho ssh-config" writes that.

` + targetHelp,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeNodes(dial),
		RunE: func(cmd *cobra.Command, args []string) error {
			port := "22"
			if len(args) == 2 {
				port = args[1]
			}
			return withTarget(cmd, dial, args[0], func(c *client.Client, target string) error {
				in, err := client.SSHInput(target, port, reason)
				if err != nil {
					return err
				}
				terminal := client.Pipe(std.In, cmd.OutOrStdout(), cmd.ErrOrStderr())
				return c.Run(cmd.Context(), in, terminal, onStderr(cmd))
			})
		},
	}
	reasonFlag(cmd, &reason)
	return cmd
}

func sshConfig(dial dialer) *cobra.Command {
	var config client.SSHConfig
	cmd := &cobra.Command{
		Use:   "ssh-config",
		Short: "Write an SSH configuration with all nodes",
		Long: `ssh-config prints an SSH configuration with which "ssh NAME" reaches every node
that you may list. scp, sftp, rsync and editors work too. For example:

  sekisho ssh-config > ~/.ssh/sekisho.conf
  echo 'Include sekisho.conf' >> ~/.ssh/config     (as its first line)

Each node has a block under its ID and the name that an administrator gave it
(the activation's default instance name). Names that machines report are used
only with --prefix: without one, a machine could take the place of another host.
A name that is not unique or not a host name is skipped, with a notice on standard
error. Host keys are stored by node ID.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if config.Program == "" {
				if config.Program, err = os.Executable(); err != nil {
					return err
				}
			}
			config.Profile = cmd.Flag("profile").Value.String()
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			nodes, err := c.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			skipped, err := config.Write(cmd.OutOrStdout(), nodes)
			for _, n := range skipped {
				fmt.Fprintf(
					cmd.ErrOrStderr(),
					"sekisho: node %s: skipping the name %q: %s\n",
					client.Printable(n.NodeID),
					n.Name,
					n.Reason,
				)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&config.Prefix, "prefix", "", "prefix of each name")
	cmd.Flags().StringVar(&config.User, "user", "", "OS user of the SSH connections")
	cmd.Flags().StringVar(&config.Program, "program", "", "path of sekisho (default: this program)")
	return cmd
}

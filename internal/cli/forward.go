package cli

import (
	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func forward(dial dialer) *cobra.Command {
	var in client.ForwardInput
	var local, remote, dynamic []string
	cmd := &cobra.Command{
		Use:   "forward TARGET",
		Short: "Forward ports to or through a node",
		Long: `forward listens on this machine and connects from a node, until Ctrl-C.

` + targetHelp + `

  -L [BIND:]PORT:HOST:HOSTPORT   listen here, connect from the node
  -D [BIND:]PORT                 listen here as a SOCKS 5 proxy
  -R [BIND:]PORT:HOST:HOSTPORT   listen on the node, connect from here

You can repeat each option. BIND defaults to localhost; "*" means every address.
PORT 0 means any free port. In -L, the HOST "localhost" is the node.

Each destination has its own session: policies decide on it, and the audit trail
records it. -L to the node needs the document AWS-StartPortForwardingSession.
Other destinations of -L and -D need AWS-StartPortForwardingSessionToRemoteHost,
or the document named with --document-name, whose pattern for the parameter
host can restrict destinations. -R needs
Sekisho-StartReversePortForwardingSession.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNodes(dial),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, list := range []struct {
				texts []string
				parse func(string) (client.Forwarding, error)
				to    *[]client.Forwarding
			}{
				{local, client.ParseForwarding, &in.Local},
				{remote, client.ParseForwarding, &in.Remote},
				{dynamic, client.ParseDynamic, &in.Dynamic},
			} {
				for _, text := range list.texts {
					f, err := list.parse(text)
					if err != nil {
						return &usageError{cmd, err}
					}
					*list.to = append(*list.to, f)
				}
			}
			if len(in.Local)+len(in.Remote)+len(in.Dynamic) == 0 {
				return usagef(cmd, "nothing to forward: use -L, -R or -D")
			}
			return withTarget(cmd, dial, args[0], func(c *client.Client, target string) error {
				in.Target = target
				return c.Forward(cmd.Context(), in, onStderr(cmd))
			})
		},
	}
	cmd.Flags().
		StringArrayVarP(&local, "local", "L", nil, "listen here and connect from the node: [BIND:]PORT:HOST:HOSTPORT")
	cmd.Flags().
		StringArrayVarP(&remote, "remote", "R", nil, "listen on the node and connect from here: [BIND:]PORT:HOST:HOSTPORT")
	cmd.Flags().StringArrayVarP(&dynamic, "dynamic", "D", nil, "listen here as a SOCKS 5 proxy: [BIND:]PORT")
	cmd.Flags().
		StringVar(&in.Document, "document-name", "", "session document, with the parameters host and portNumber")
	completeDocument(cmd, dial)
	reasonFlag(cmd, &in.Reason)
	return cmd
}

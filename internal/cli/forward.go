package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func forward(dial dialer) *cobra.Command {
	var in client.ForwardInput
	var local, remote, dynamic []string
	cmd := &cobra.Command{
		Use:   "forward TARGET",
		Short: "Forward ports through a node",
		Long: `forward takes connections here and makes them from a node, until Ctrl-C.

` + targetHelp + `

  -L [BIND:]PORT:HOST:HOSTPORT   listen here, connect from the node
  -D [BIND:]PORT                 the same as a SOCKS 5 proxy, to anywhere
  -R [BIND:]PORT:HOST:HOSTPORT   listen on the node, connect from here

Each may be repeated. BIND is localhost when it is left out and every address
when it is "*"; PORT 0 is any free one. HOST "localhost" in -L is the node.

Every destination is a session of its own: policies decide on each, and each
is in the audit trail by itself. -L to the node needs the document
AWS-StartPortForwardingSession, other destinations of -L and -D need
AWS-StartPortForwardingSessionToRemoteHost or the one of --document-name,
whose pattern for the parameter host is a list of what is allowed. -R needs
Sekisho-StartReversePortForwardingSession.`,
		Args: cobra.ExactArgs(1),
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
						return err
					}
					*list.to = append(*list.to, f)
				}
			}
			if len(in.Local)+len(in.Remote)+len(in.Dynamic) == 0 {
				return errors.New("forward: say what to forward with -L, -R or -D")
			}
			return withTarget(cmd, dial, args[0], func(c *client.Client, target string) error {
				in.Target = target
				return c.Forward(cmd.Context(), in, onStderr(cmd))
			})
		},
	}
	cmd.Flags().StringArrayVarP(&local, "local", "L", nil, "[BIND:]PORT:HOST:HOSTPORT to forward from here")
	cmd.Flags().StringArrayVarP(&remote, "remote", "R", nil, "[BIND:]PORT:HOST:HOSTPORT to forward from the node")
	cmd.Flags().StringArrayVarP(&dynamic, "dynamic", "D", nil, "[BIND:]PORT of a SOCKS 5 proxy")
	cmd.Flags().StringVar(&in.Document, "document-name", "", "session document with the parameters host and portNumber")
	reasonFlag(cmd, &in.Reason)
	return cmd
}

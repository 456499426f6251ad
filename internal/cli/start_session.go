package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

const targetHelp = `TARGET is the ID of a node (mi-… or i-…), a name that only one node has, or
tag:KEY=VALUE that selects only one. Names and tags are looked up in the list
of nodes that you may see; policies decide on the ID.`

func startSession(std Streams, dial dialer) *cobra.Command {
	var in client.StartInput
	var parameters []string
	cmd := &cobra.Command{
		Use:   "start-session TARGET",
		Short: "Open a session on a node",
		Long: `start-session opens a session on a node: a shell, or whatever the document says.

` + targetHelp + `

Keys pass to the node as they are, Ctrl-C and Ctrl-Z included. "~." at the
beginning of a line leaves a session that no longer answers; "~~" is a tilde.
A connection that is lost is opened again, and nothing of the session is lost.

The exit code is that of the command, where the document runs one without a
terminal.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Parameters, err = parseParameters(parameters); err != nil {
				return err
			}
			return withTarget(cmd, dial, args[0], func(c *client.Client, target string) error {
				in.Target = target
				terminal, release := client.OpenTerminal(std.In, std.Out, std.Err)
				defer release()
				return c.Shell(cmd.Context(), in, terminal)
			})
		},
	}
	cmd.Flags().StringVar(&in.DocumentName, "document-name", "", "session document; the server's default when empty")
	reasonFlag(cmd, &in.Reason)
	cmd.Flags().StringArrayVar(&parameters, "parameters", nil, `parameter of the document, NAME=VALUE; may be repeated; or all of them as JSON, {"NAME":["VALUE"]}`)
	return cmd
}

func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why, for the record")
}

// withTarget calls do with a client and the ID that target means.
func withTarget(cmd *cobra.Command, dial dialer, target string, do func(c *client.Client, target string) error) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	id, err := c.Resolve(cmd.Context(), target)
	if err != nil {
		return err
	}
	return do(c, id)
}

// onStderr is the voice of commands whose stdout belongs to others.
func onStderr(cmd *cobra.Command) client.Voice {
	return client.Voice{
		Notice:    func(text string) { fmt.Fprintf(cmd.ErrOrStderr(), "sekisho: %s\n", text) },
		Listening: func(address string) { fmt.Fprintf(cmd.ErrOrStderr(), "Listening on %s.\n", address) },
	}
}

func parseParameters(args []string) (map[string][]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	out := make(map[string][]string)
	for _, arg := range args {
		if strings.HasPrefix(strings.TrimSpace(arg), "{") {
			if err := json.Unmarshal([]byte(arg), &out); err != nil {
				return nil, fmt.Errorf("--parameters: %w", err)
			}
			continue
		}
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--parameters: %q is not NAME=VALUE", arg)
		}
		out[name] = append(out[name], value)
	}
	return out, nil
}

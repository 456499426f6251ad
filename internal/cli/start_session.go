package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

const targetHelp = `TARGET is a node ID (mi-… or i-…), the name of exactly one node, or
tag:KEY=VALUE that matches exactly one node. Names and tags are looked up among
the nodes you may list; policies are evaluated for the node's ID.`

func startSession(std Streams, dial dialer) *cobra.Command {
	var in client.StartInput
	var parameters []string
	cmd := &cobra.Command{
		Use:   "start-session TARGET",
		Short: "Open a session on a node",
		Long: `start-session opens a session on a node: a shell, or what the document specifies.

` + targetHelp + `

Keys are sent to the node unchanged, including Ctrl-C and Ctrl-Z. "~." at the
beginning of a line leaves a session that no longer responds; "~~" is a tilde.
A lost connection is restored without losing input or output.

If standard input is not a terminal, it is sent to the shell, followed by end of
file. The exit code is that of the shell or command.`,
		Args:              cobra.ExactArgs(1),
		Annotations:       map[string]string{reportsExitCode: "true"},
		ValidArgsFunction: completeNodes(dial),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Parameters, err = parseParameters(parameters); err != nil {
				return &usageError{cmd, err}
			}
			return withTarget(cmd, dial, args[0], func(c *client.Client, target string) error {
				in.Target = target
				terminal, release := client.OpenTerminal(std.In, std.Out, std.Err)
				defer release()
				return c.Shell(cmd.Context(), in, terminal)
			})
		},
	}
	cmd.Flags().StringVar(&in.DocumentName, "document-name", "", "session document (default: the server's)")
	reasonFlag(cmd, &in.Reason)
	completeDocument(cmd, dial)
	cmd.Flags().
		StringArrayVar(&parameters, "parameters", nil,
			`document parameter NAME=VALUE (repeatable), or all parameters as JSON, {"NAME":["VALUE"]}`)
	return cmd
}

func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "reason, recorded with the session")
}

// withTarget calls do with a client and the ID of the target node.
func withTarget(cmd *cobra.Command, dial dialer, target string, do func(c *client.Client, target string) error) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	nodeID, err := c.Resolve(cmd.Context(), target)
	if err != nil {
		return err
	}
	return do(c, nodeID)
}

// onStderr reports on stderr, for commands whose stdout carries data.
func onStderr(cmd *cobra.Command) client.Callbacks {
	return client.Callbacks{
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

package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func startSession(std Streams, dial dialer) *cobra.Command {
	var in client.StartInput
	var parameters []string
	cmd := &cobra.Command{
		Use:   "start-session TARGET",
		Short: "Open a session on a node",
		Long: `start-session opens a session on the node TARGET, mi-… or i-….

Keys pass to the node as they are, Ctrl-C and Ctrl-Z included. "~." at the
beginning of a line leaves a session that no longer answers; "~~" is a tilde.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Target = args[0]
			var err error
			if in.Parameters, err = parseParameters(parameters); err != nil {
				return err
			}
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			terminal, release := client.OpenTerminal(std.In, std.Out, std.Err)
			defer release()
			return c.Shell(cmd.Context(), in, terminal)
		},
	}
	cmd.Flags().StringVar(&in.DocumentName, "document-name", "", "session document; the server's default when empty")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, for the record")
	cmd.Flags().StringArrayVar(&parameters, "parameters", nil, `parameter of the document, NAME=VALUE; may be repeated; or all of them as JSON, {"NAME":["VALUE"]}`)
	return cmd
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

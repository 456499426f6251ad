package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func join(std Streams, dial dialer) *cobra.Command {
	var list bool
	cmd := &cobra.Command{
		Use:   "join SESSION-ID",
		Short: "Type into the running session of somebody else",
		Long: `join connects this terminal to a running session of somebody else: you see
what its owner sees, and can type. It needs sekisho:JoinSession and
sekisho:GetSessionRecording for the session, and Sekisho's agent on the node.

The owner sees a line when you come and when you leave, and the recording says
who typed what. To leave, type Enter, then "~.".

--list shows who watches the session and who joined it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstArgument(completeSessions(dial, false)),
	}
	cmd.Flags().BoolVar(&list, "list", false, "list who watches the session and who joined it")
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if list {
			all, err := c.Participants(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return format.write(cmd.OutOrStdout(), nonNil(all), func(w io.Writer) error { return printParticipants(w, all) })
		}
		terminal, release := client.OpenTerminal(std.In, std.Out, std.Err)
		defer release()
		err = c.JoinSession(cmd.Context(), args[0], terminal)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	return cmd
}

func printParticipants(w io.Writer, all []client.Participant) error {
	rows := make([][]string, len(all))
	for i, p := range all {
		what := "watches"
		if p.Keyboard {
			what = "can type"
		}
		rows[i] = []string{p.Principal, what, p.Since, p.LastTyped}
	}
	return table(w, []string{"PRINCIPAL", "ROLE", "SINCE", "LAST TYPED"}, rows)
}

package cli

import (
	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func sessions(dial dialer) *cobra.Command {
	var history bool
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List sessions",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Sessions(cmd.Context(), history)
			if err != nil {
				return err
			}
			return printSessions(cmd, list)
		},
	}
	cmd.Flags().BoolVar(&history, "history", false, "list ended sessions")
	return cmd
}

func printSessions(cmd *cobra.Command, list []client.Session) error {
	rows := make([][]string, len(list))
	for i, s := range list {
		rows[i] = []string{s.SessionID, s.Target, s.Status, when(s.StartDate), when(s.EndDate), s.Owner, s.DocumentName, s.Reason}
	}
	return table(cmd.OutOrStdout(), []string{"SESSION", "TARGET", "STATUS", "STARTED", "ENDED", "OWNER", "DOCUMENT", "REASON"}, rows)
}

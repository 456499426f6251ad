package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func search(dial dialer) *cobra.Command {
	var opt client.SearchOptions
	cmd := &cobra.Command{
		Use:   "search TEXT",
		Short: "Search the terminal output of sessions",
		Long: `search looks for TEXT in the terminal output of all recordings that you may
read, newest month first. It ignores the case of ASCII letters. Each match
shows its session and the time since the session's start.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			opt.Text = args[0]
			for token := ""; ; {
				found, next, err := c.SearchPage(cmd.Context(), opt, token)
				if err != nil {
					return err
				}
				for _, r := range found {
					at := (time.Duration(r.OffsetMs) * time.Millisecond).Round(time.Second)
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s  %s\n",
						client.Printable(r.SessionID), client.Printable(r.Target), at, client.Printable(r.Text)); err != nil {
						return err
					}
				}
				if next == "" || next == token {
					return nil
				}
				token = next
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Owner, "owner", "", "ARN of the user or role session whose sessions to search")
	f.StringVar(&opt.Target, "node", "", "ID of the node whose sessions to search")
	f.StringVar(&opt.After, "after", "", "search only sessions started after this time, such as 2026-11-30T08:00:00Z")
	f.StringVar(&opt.Before, "before", "", "search only sessions started before this time")
	return cmd
}

package cli

import (
	"fmt"
	"io"
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
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		opt.Text = args[0]
		var all []client.SearchResult
		for token := ""; ; {
			found, next, err := c.SearchPage(cmd.Context(), opt, token)
			if err != nil {
				return err
			}
			if *format == formatTable { // matches appear as they are found
				if err := printMatches(cmd.OutOrStdout(), found); err != nil {
					return err
				}
			} else {
				all = append(all, found...)
			}
			if next == "" || next == token {
				break
			}
			token = next
		}
		return format.write(cmd.OutOrStdout(), nonNil(all), func(io.Writer) error { return nil })
	}
	f := cmd.Flags()
	f.StringVar(&opt.Owner, "owner", "", "ARN of the user or role session whose sessions to search")
	f.StringVar(&opt.Target, "node", "", "ID of the node whose sessions to search")
	f.StringVar(&opt.After, "after", "", "search only sessions started after this time, such as 2026-11-30T08:00:00Z")
	f.StringVar(&opt.Before, "before", "", "search only sessions started before this time")
	return cmd
}

func printMatches(w io.Writer, found []client.SearchResult) error {
	for _, r := range found {
		at := (time.Duration(r.OffsetMs) * time.Millisecond).Round(time.Second)
		if _, err := fmt.Fprintf(w, "%s  %s  %s  %s\n", client.Printable(r.SessionID), client.Printable(r.Target), at,
			client.Printable(r.Text)); err != nil {
			return err
		}
	}
	return nil
}

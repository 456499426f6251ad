package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func sessions(dial dialer) *cobra.Command {
	var history bool
	var target, owner, status string
	var since time.Duration
	var limit int
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List or terminate sessions",
		Long: `sessions lists running sessions, or with --history ended ones, newest first.

The server applies the filters. --owner takes the ARN of a user or role.`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 0 {
			return usagef(cmd, "--limit must not be negative")
		}
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		q := client.SessionQuery{History: history, Owner: owner, Status: status, Limit: limit}
		if target != "" {
			if q.Target, err = c.Resolve(cmd.Context(), target); err != nil {
				return err
			}
		}
		if since > 0 {
			q.After = time.Now().Add(-since)
		}
		list, err := c.Sessions(cmd.Context(), q)
		if err != nil {
			return err
		}
		return format.write(cmd.OutOrStdout(), nonNil(list), func(w io.Writer) error { return printSessions(w, list) })
	}
	f := cmd.Flags()
	f.BoolVar(&history, "history", false, "list ended sessions")
	f.StringVar(&target, "target", "", "only sessions on this node")
	f.StringVar(&owner, "owner", "", "only sessions of this principal (ARN)")
	f.StringVar(&status, "status", "", "only sessions with this status, such as Connected or Terminated")
	f.DurationVar(&since, "since", 0, "only sessions started within this time, such as 24h")
	f.IntVar(&limit, "limit", 0, "at most this many sessions (0: all)")
	completeTarget(cmd, dial)
	cmd.AddCommand(terminate(dial))
	return cmd
}

func printSessions(w io.Writer, list []client.ListedSession) error {
	rows := make([][]string, len(list))
	for i, s := range list {
		rows[i] = []string{
			s.SessionID,
			s.Target,
			s.NodeName,
			s.Status,
			when(s.StartDate),
			when(s.EndDate),
			s.Owner,
			s.DocumentName,
			s.Reason,
		}
	}
	return table(w, []string{"SESSION", "TARGET", "NAME", "STATUS", "STARTED", "ENDED", "OWNER", "DOCUMENT", "REASON"},
		rows)
}

func terminate(dial dialer) *cobra.Command {
	return &cobra.Command{
		Use:   "terminate SESSION-ID...",
		Short: "Terminate running sessions",
		Long: `terminate ends running sessions. It tries all of them; if some cannot be
terminated, it reports each and fails.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSessions(dial, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			var failed []error
			for _, sessionID := range args {
				if err := c.TerminateSession(cmd.Context(), sessionID); err != nil {
					failed = append(failed, fmt.Errorf("%s: %w", client.Printable(sessionID), err))
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "Terminated %s.\n", client.Printable(sessionID)); err != nil {
					return err
				}
			}
			return errors.Join(failed...)
		},
	}
}

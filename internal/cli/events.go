package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func events(dial dialer) *cobra.Command {
	var webhooks, asJSON bool
	var last int
	var detailType, subject string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List session and node events, and webhook delivery status",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 1 {
				return fmt.Errorf("--last must be at least 1")
			}
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			if webhooks {
				list, err := c.Webhooks(cmd.Context())
				if err != nil {
					return err
				}
				return printWebhooks(cmd, list)
			}
			list, err := c.Events(cmd.Context(), last, detailType, subject)
			if err != nil {
				return err
			}
			return printEvents(cmd, list, asJSON)
		},
	}
	cmd.Flags().BoolVar(&webhooks, "webhooks", false, "list webhooks and the state of their deliveries")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each event as sent to webhooks, one per line, oldest first")
	cmd.Flags().IntVarP(&last, "last", "n", 20, "number of events")
	cmd.Flags().StringVar(&detailType, "type", "", `only events of this type, such as "Session Denied"`)
	cmd.Flags().StringVar(&subject, "of", "", "only events of this session or node")
	return cmd
}

func printEvents(cmd *cobra.Command, list []client.Event, asJSON bool) error {
	var rows [][]string
	for i := range list {
		e := list[len(list)-1-i] // the newest last, as in a log
		if asJSON {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", e.Raw); err != nil {
				return err
			}
			continue
		}
		at := e.Time
		if t, err := time.Parse(time.RFC3339, e.Time); err == nil {
			at = when(client.Time{Time: t})
		}
		detail := func(names ...string) string {
			for _, name := range names {
				if s, _ := e.Detail[name].(string); s != "" {
					return s
				}
			}
			return ""
		}
		rows = append(rows, []string{
			at, e.DetailType, detail("session-id"), strings.TrimSpace(detail("instance-id") + " " + detail("instance-name")),
			detail("owner", "principal", "source-ip"), detail("cause", "error-message", "message", "reason", "eventName"),
		})
	}
	if asJSON {
		return nil
	}
	return table(cmd.OutOrStdout(), []string{"TIME", "EVENT", "SESSION", "NODE", "WHO", "WHY"}, rows)
}

func printWebhooks(cmd *cobra.Command, list []client.Webhook) error {
	rows := make([][]string, len(list))
	for i, w := range list {
		events := w.Events
		if events == "" {
			events = "all"
		}
		failure := ""
		if w.LastFailure != "" {
			failure = when(w.LastFailedAt) + ": " + w.LastFailure
		}
		count := func(n int64) string { return strconv.FormatInt(n, 10) }
		rows[i] = []string{
			w.Name, w.Address, events, w.Status, strconv.Itoa(w.Waiting), count(w.Delivered), count(w.GivenUp), count(w.Dropped),
			when(w.LastDeliveredAt), failure,
		}
	}
	return table(cmd.OutOrStdout(), []string{"WEBHOOK", "ADDRESS", "EVENTS", "STATUS", "WAITING", "DELIVERED", "GIVEN UP", "DROPPED", "LAST", "LAST FAILURE"}, rows)
}

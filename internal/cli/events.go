package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
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
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if last < 1 {
			return usagef(cmd, "--last must be at least 1")
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
			return format.write(
				cmd.OutOrStdout(),
				nonNil(list),
				func(w io.Writer) error { return printWebhooks(w, list) },
			)
		}
		list, err := c.Events(cmd.Context(), last, detailType, subject)
		if err != nil {
			return err
		}
		slices.Reverse(list) // oldest first, as in a log
		if asJSON {
			return printEventLines(cmd.OutOrStdout(), list)
		}
		raw := make([]json.RawMessage, len(list))
		for i, e := range list {
			raw[i] = e.Raw
		}
		return format.write(cmd.OutOrStdout(), raw, func(w io.Writer) error { return printEvents(w, list) })
	}
	cmd.Flags().BoolVar(&webhooks, "webhooks", false, "list webhooks and the state of their deliveries")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each event as sent to webhooks, one per line")
	cmd.Flags().IntVarP(&last, "last", "n", 20, "number of events")
	cmd.Flags().StringVar(&detailType, "type", "", `only events of this type, such as "Session Denied"`)
	cmd.Flags().StringVar(&subject, "of", "", "only events of this session or node")
	return cmd
}

func printEventLines(w io.Writer, list []client.Event) error {
	for _, e := range list {
		if _, err := fmt.Fprintf(w, "%s\n", e.Raw); err != nil {
			return err
		}
	}
	return nil
}

func printEvents(w io.Writer, list []client.Event) error {
	var rows [][]string
	for _, e := range list {
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
		why := detail("cause", "error-message", "message", "reason", "eventName")
		if request := detail("access-request-id"); request != "" && !strings.Contains(why, request) {
			why = strings.TrimSuffix(strings.TrimSpace(request+" "+detail("status"))+": "+why, ": ")
		}
		rows = append(rows, []string{
			at, e.DetailType, detail("session-id"), strings.TrimSpace(detail("instance-id") + " " + detail("instance-name")),
			detail(
				"principal",
				"owner",
				"source-ip",
			), why,
		})
	}
	return table(w, []string{"TIME", "EVENT", "SESSION", "NODE", "WHO", "WHY"}, rows)
}

func printWebhooks(w io.Writer, list []client.Webhook) error {
	rows := make([][]string, len(list))
	for i, hook := range list {
		events := hook.Events
		if events == "" {
			events = "all"
		}
		failure := ""
		if hook.LastFailure != "" {
			failure = when(hook.LastFailedAt) + ": " + hook.LastFailure
		}
		count := func(n int64) string { return strconv.FormatInt(n, 10) }
		rows[i] = []string{
			hook.Name, hook.Address, events, hook.Status, strconv.Itoa(hook.Waiting), count(hook.Delivered), count(hook.GivenUp),
			count(hook.Dropped), when(hook.LastDeliveredAt), failure,
		}
	}
	head := []string{
		"WEBHOOK",
		"ADDRESS",
		"EVENTS",
		"STATUS",
		"WAITING",
		"DELIVERED",
		"GIVEN UP",
		"DROPPED",
		"LAST",
		"LAST FAILURE",
	}
	return table(w, head, rows)
}

package cli

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func reach(dial dialer) *cobra.Command {
	var in client.ReachInput
	var user, from, to string
	var mfa bool
	var format *format
	c := &cobra.Command{
		Use:   "reach [--target NODE | --user NAME]",
		Short: "List which nodes you can reach, who can reach a node, or what a user or role can reach, and when",
		Long: `List on which nodes you can open sessions, who can on a node, or on which nodes
a user or role can, and when. The answer is computed from the policies, for the
next week unless --from and --to say otherwise. Anything known only when a
request is made, such as a second factor, is listed as a condition.

For yourself you need no permission. The answer is about requests from your
present address; a condition is listed as the aspect that it is about, such as
MFA, unless you have iam:SimulatePrincipalPolicy. For others you need that
permission.`,
		Example: `  sekisho reach
  sekisho reach --target mi-0123456789abcdef0
  sekisho reach --user alice --source-ip 203.0.113.7 --mfa`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, t := range []struct {
				flag, text string
				to         *float64
			}{{"--from", from, &in.From}, {"--to", to, &in.To}} {
				if t.text == "" {
					continue
				}
				when, err := time.Parse(time.RFC3339, t.text)
				if err != nil {
					return usagef(cmd, "%s: %q is not a time such as 2026-04-15T02:00:00Z", t.flag, t.text)
				}
				*t.to = client.Seconds(when)
			}
			if in.Target == "" && user == "" && (in.SourceIP != "" || cmd.Flags().Changed("mfa")) {
				return usagef(cmd, "--source-ip and --mfa require --target or --user")
			}
			if in.UserName = user; strings.HasPrefix(user, "arn:") {
				in.UserName, in.PrincipalArn = "", user
			}
			if cmd.Flags().Changed("mfa") {
				in.MFA = &mfa
			}
			return with(dial, func(c *client.Client) error {
				entries, err := c.Reach(cmd.Context(), in)
				if err != nil {
					return err
				}
				head := []string{"WHO OR WHAT", "FROM", "UNTIL", "ACCESS", "DEPENDS ON"}
				rows := reachRows(entries)
				if in.Target == "" && user == "" {
					head = []string{"NODE", "CONNECTED", "FROM", "UNTIL", "ACCESS", "DEPENDS ON"}
				}
				return format.write(cmd.OutOrStdout(), nonNil(entries), func(w io.Writer) error { return table(w, head, rows) })
			})
		},
	}
	format = outputFlag(c)
	f := c.Flags()
	f.StringVar(&in.Target, "target", "", "node ID: list who can reach it")
	f.StringVar(&user, "user", "", "user name, or the ARN of a user or role: list what it can reach")
	f.StringVar(&in.DocumentName, "document-name", "", "session document")
	f.StringVar(&in.SourceIP, "source-ip", "", "source address of the request (default: any)")
	f.BoolVar(&mfa, "mfa", false, "assume a second factor, or none with --mfa=false (default: either)")
	f.StringVar(&from, "from", "", "start of the period (default: now)")
	f.StringVar(&to, "to", "", "end of the period (default: a week after its start)")
	c.MarkFlagsMutuallyExclusive("target", "user")
	completeTarget(c, dial)
	completeDocument(c, dial)
	return c
}

func reachRows(entries []client.ReachEntry) [][]string {
	var rows [][]string
	for _, e := range entries {
		name := e.PrincipalArn
		if name == "" {
			name = strings.TrimSpace(e.NodeID + " " + e.NodeName)
		}
		for _, s := range e.Spans {
			depends := strings.Join(s.DependsOn, "; ")
			if e.Sampled {
				depends = strings.TrimPrefix(
					depends+"; the policies compare the time as text, so some periods may be missing",
					"; ",
				)
			}
			row := []string{name}
			if e.ConnectionStatus != "" {
				row = append(row, map[bool]string{true: "yes", false: "no"}[e.ConnectionStatus == "connected"])
			}
			rows = append(
				rows,
				append(row, s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339), s.Access, depends),
			)
		}
	}
	return rows
}

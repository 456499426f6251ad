package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func reach(dial dialer) *cobra.Command {
	var in client.ReachInput
	var user, from, to string
	var mfa bool
	c := &cobra.Command{
		Use:   "reach {--target NODE | --user NAME}",
		Short: "List who can reach a node, or what a user or role can reach, and when",
		Long: `List who can open sessions on a node, or on which nodes a user or role can,
and when. The answer is computed from the policies, for the next week unless
--from and --to say otherwise. Anything known only when a request is made, such as its source
address, is listed as a condition. You need iam:SimulatePrincipalPolicy.`,
		Example: `  sekisho reach --target mi-0123456789abcdef0
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
					return fmt.Errorf("%s: %q is not a time such as 2026-04-15T02:00:00Z", t.flag, t.text)
				}
				*t.to = client.Seconds(when)
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
				return table(
					cmd.OutOrStdout(),
					[]string{"WHO OR WHAT", "FROM", "UNTIL", "ACCESS", "DEPENDS ON"},
					reachRows(entries),
				)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&in.Target, "target", "", "node ID: list who can reach it")
	f.StringVar(&user, "user", "", "user name, or the ARN of a user or role: list what it can reach")
	f.StringVar(&in.DocumentName, "document", "", "session document")
	f.StringVar(&in.SourceIP, "source-ip", "", "source address of the request (default: any)")
	f.BoolVar(&mfa, "mfa", false, "assume a second factor, or none with --mfa=false (default: either)")
	f.StringVar(&from, "from", "", "start of the period (default: now)")
	f.StringVar(&to, "to", "", "end of the period (default: a week after its start)")
	c.MarkFlagsMutuallyExclusive("target", "user")
	c.MarkFlagsOneRequired("target", "user")
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
			rows = append(
				rows,
				[]string{name, s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339), s.Access, depends},
			)
		}
	}
	return rows
}

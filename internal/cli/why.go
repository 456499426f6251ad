package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

// deniedStatus is how "sekisho why" ends when the answer is no: other than a
// fault, which is 1.
const deniedStatus = 3

func why(dial dialer) *cobra.Command {
	var in client.WhyInput
	var user, at, from, to string
	c := &cobra.Command{
		Use:   "why --user NAME --target NODE",
		Short: "Say whether somebody could do something, and why not",
		Long: `Say whether somebody could do something, and why not.

The server asks the policies what the call itself would ask: for a session, the
node and the document. Nothing is done. You need iam:SimulatePrincipalPolicy on
the user.`,
		Example: `  sekisho why --user alice --target mi-0123456789abcdef0 --source-ip 203.0.113.7 --at 2026-04-15T02:00:00Z
  sekisho why --user alice --target mi-0123456789abcdef0 --from 2026-04-15T00:00:00Z --to 2026-04-16T00:00:00Z
  sekisho why --user alice --action ssm:TerminateSession --target bob-abcdefghijklmnopqrstuvwxyz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, t := range []struct {
				flag, text string
				to         *float64
			}{{"--at", at, &in.At}, {"--from", from, &in.From}, {"--to", to, &in.To}} {
				if t.text == "" {
					continue
				}
				when, err := time.Parse(time.RFC3339, t.text)
				if err != nil {
					return fmt.Errorf("%s: %q is no time such as 2026-04-15T02:00:00Z", t.flag, t.text)
				}
				*t.to = client.Seconds(when)
			}
			if in.UserName = user; len(user) > 4 && user[:4] == "arn:" {
				in.UserName, in.PrincipalArn = "", user
			}
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			answer, err := c.ExplainAccess(cmd.Context(), in)
			if err != nil {
				return err
			}
			if err := printWhy(cmd.OutOrStdout(), answer, in.From != 0); err != nil {
				return err
			}
			if !answer.Allowed {
				return &client.ExitError{Code: deniedStatus}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&user, "user", "", "user name, or the ARN of a user or role")
	f.StringVar(&in.Action, "action", "ssm:StartSession", "what would be done")
	f.StringVar(&in.Target, "target", "", "node ID, or session ID")
	f.StringVar(&in.ResourceArn, "resource", "", "ARN, for actions on other things")
	f.StringVar(&in.DocumentName, "document", "", "session document")
	f.StringVar(&in.SourceIP, "source-ip", "", "address it would be done from")
	f.StringVar(&at, "at", "", "when it would be done (default now)")
	f.StringVar(&from, "from", "", "with --to: when, in this span of time, it is allowed")
	f.StringVar(&to, "to", "", "end of the span")
	f.BoolVar(&in.MFA, "mfa", false, "with a second factor shown just before")
	_ = c.MarkFlagRequired("user") // it exists
	return c
}

func printWhy(w io.Writer, a client.Why, windows bool) error {
	verdict := "no: "
	if a.Allowed {
		verdict = "yes: "
	}
	if _, err := fmt.Fprintln(w, verdict+client.Printable(a.Reason)); err != nil {
		return err
	}
	rows := make([][]string, len(a.Steps))
	for i, s := range a.Steps {
		check := ""
		if s.DocumentCheck {
			check = "with document check"
		}
		rows[i] = []string{s.ResourceArn, check, s.Decision, s.Reason}
	}
	fmt.Fprintln(w)
	if err := table(w, []string{"RESOURCE", "PASS", "DECISION", "REASON"}, rows); err != nil {
		return err
	}
	if !windows {
		return nil
	}
	fmt.Fprintln(w)
	if a.Sampled {
		fmt.Fprint(w, "The policies look at the time as a text: this was tried at 288 moments of the span, and shorter windows may be missing.\n\n")
	}
	if len(a.Windows) == 0 {
		_, err := fmt.Fprintln(w, "at no time within the span")
		return err
	}
	rows = rows[:0]
	for _, s := range a.Windows {
		rows = append(rows, []string{s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339)})
	}
	return table(w, []string{"ALLOWED FROM", "UNTIL"}, rows)
}

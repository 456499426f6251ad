package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func why(dial dialer) *cobra.Command {
	var in client.WhyInput
	var user, at, from, to string
	c := &cobra.Command{
		Use:   "why --user NAME --target NODE",
		Short: "Explain whether a user could do something, and why",
		Long: `Explain whether a user could do something, and why.

The server evaluates the policies as for the call itself: for a session, on the
node and on the document. It does not make the call. You need
iam:SimulatePrincipalPolicy on the user.`,
		Example: `  sekisho why --user alice --target mi-0123456789abcdef0 --source-ip 203.0.113.7 --at 2026-04-15T02:00:00Z
  sekisho why --user alice --target mi-0123456789abcdef0 --from 2026-04-15T00:00:00Z --to 2026-04-16T00:00:00Z
  sekisho why --user alice --action ssm:TerminateSession --target bob-abcdefghijklmnopqrstuvwxyz`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if in.Target == "" && in.ResourceArn == "" && strings.EqualFold(in.Action, actionStartSession) {
			return usagef(cmd, "--target is missing: give a node ID, a name or tag:KEY=VALUE")
		}
		for _, t := range []struct {
			flag, text string
			to         *float64
		}{{"--at", at, &in.At}, {"--from", from, &in.From}, {"--to", to, &in.To}} {
			if t.text == "" {
				continue
			}
			when, err := time.Parse(time.RFC3339, t.text)
			if err != nil {
				return usagef(cmd, "%s: %q is not a time such as 2026-04-15T02:00:00Z", t.flag, t.text)
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
		request := in
		if request.Target, err = whyTarget(cmd.Context(), c, in.Action, in.Target); err != nil {
			return err
		}
		answer, err := c.ExplainAccess(cmd.Context(), request)
		if err != nil {
			return err
		}
		if err := format.write(cmd.OutOrStdout(), answer,
			func(w io.Writer) error { return printWhy(w, answer, in.From != 0) }); err != nil {
			return err
		}
		if !answer.Allowed {
			return &client.ExitError{Code: exitNo}
		}
		return nil
	}
	f := c.Flags()
	f.StringVar(&user, "user", "", "user name, or the ARN of a user or role")
	f.StringVar(&in.Action, "action", actionStartSession, "action of the call")
	f.StringVar(&in.Target, "target", "", "node (ID, name or tag:KEY=VALUE), or session ID for actions on sessions")
	f.StringVar(&in.ResourceArn, "resource", "", "ARN of another kind of resource")
	f.StringVar(&in.DocumentName, "document-name", "", "session document")
	f.StringVar(&in.SourceIP, "source-ip", "", "source address of the call")
	f.StringVar(&at, "at", "", "time of the call (default: now)")
	f.StringVar(&from, "from", "", "with --to: find when the call is allowed in this period")
	f.StringVar(&to, "to", "", "end of the period")
	f.BoolVar(&in.MFA, "mfa", false, "assume a recent second factor")
	_ = c.MarkFlagRequired("user") // cannot fail: the flag exists
	completeTarget(c, dial)
	completeDocument(c, dial)
	return c
}

// actionStartSession is the action that why asks about by default.
const actionStartSession = "ssm:StartSession"

// whyTarget returns the ID of the target. Actions on sessions take session IDs, which are not
// looked up here; any other target is a node.
func whyTarget(ctx context.Context, c *client.Client, action, target string) (string, error) {
	switch strings.ToLower(action) {
	case "ssm:terminatesession", "ssm:resumesession", "sekisho:getsessionrecording", "sekisho:verifysessionrecording":
		return target, nil
	}
	if target == "" {
		return "", nil
	}
	return c.Resolve(ctx, target)
}

// describeAspect says what each value of Failed means.
func describeAspect(aspect string) string {
	switch aspect {
	case "Who":
		return "who (no permission for this action, or only for other principals)"
	case "Where":
		return "where (the source address or connection)"
	case "Which":
		return "which (the node, document or other resource, or its tags)"
	case "When":
		return "when (the time)"
	case "MFA":
		return "MFA (a second factor is missing or too old)"
	}
	return aspect
}

func printWhy(w io.Writer, a client.Why, windows bool) error {
	verdict := "no: "
	if a.Allowed {
		verdict = "yes: "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n", verdict, client.Printable(a.Reason))
	if a.Statement != "" && !strings.Contains(a.Reason, a.Statement) {
		fmt.Fprintf(&b, "closest: %s\n", client.Printable(a.Statement))
	}
	if len(a.Failed) > 0 {
		failed := make([]string, len(a.Failed))
		for i, aspect := range a.Failed {
			failed[i] = describeAspect(aspect)
		}
		fmt.Fprintf(&b, "failed: %s\n", client.Printable(strings.Join(failed, ", ")))
	}
	if a.SecondFactor {
		b.WriteString("note: allowed with a fresh second factor\n")
	}
	for _, note := range a.Notes {
		fmt.Fprintf(&b, "note: %s\n", client.Printable(note))
	}
	if _, err := io.WriteString(w, b.String()+"\n"); err != nil {
		return err
	}
	// The sentence above is not repeated. The rows show where each resource
	// was decided.
	rows := make([][]string, len(a.Steps))
	for i, s := range a.Steps {
		check := ""
		if s.DocumentCheck {
			check = "with document check"
		}
		reason := s.Reason
		if reason == a.Reason {
			reason = ""
		}
		rows[i] = []string{s.ResourceArn, check, s.Decision, s.Statement, reason}
	}
	head := []string{"RESOURCE", "PASS", "DECISION", "STATEMENT", "OTHER REASON"}
	if !slices.ContainsFunc(rows, func(row []string) bool { return row[4] != "" }) {
		head = head[:4]
		for i := range rows {
			rows[i] = rows[i][:4]
		}
	}
	if err := table(w, head, rows); err != nil {
		return err
	}
	if !windows {
		return nil
	}
	fmt.Fprintln(w)
	if a.Sampled {
		fmt.Fprint(
			w,
			"The policies compare the time as text: 288 points in the period were evaluated, so shorter windows may be "+
				"missing.\n\n",
		)
	}
	if len(a.Windows) == 0 {
		_, err := fmt.Fprintln(w, "never within the period")
		return err
	}
	rows = rows[:0]
	for _, s := range a.Windows {
		rows = append(rows, []string{s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339)})
	}
	return table(w, []string{"ALLOWED FROM", "UNTIL"}, rows)
}

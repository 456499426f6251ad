package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func grantAccess(dial dialer) *cobra.Command {
	var in client.GrantInput
	var notBefore, notAfter string
	var apply bool
	var mfaWithin time.Duration
	c := &cobra.Command{
		Use:   "grant --target TARGET",
		Short: "Write a policy that lets someone open sessions",
		Long: `Write a policy that lets a user, group or role open sessions, limited by node, time
and source address, and print it. With --apply, also attach it to the user, group or
role as an inline policy, replacing any policy of the same name.`,
		Example: `  sekisho grant --user alice --target tag:Env=prod --weekdays mon-fri --from 09:00 --to 18:00 --zone ` +
			`Asia/Tokyo \
    --source-ip 203.0.113.0/24 --apply
  sekisho grant --target mi-0123456789abcdef0 --mfa --except holidays`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, t := range []struct {
				flag, text string
				to         *float64
			}{{"--not-before", notBefore, &in.NotBefore}, {"--not-after", notAfter, &in.NotAfter}} {
				if t.text == "" {
					continue
				}
				when, err := time.Parse(time.RFC3339, t.text)
				if err != nil {
					return usagef(cmd, "%s: %q is not a time such as 2026-04-15T02:00:00Z", t.flag, t.text)
				}
				*t.to = client.Seconds(when)
			}
			in.MFAWithin = int64(mfaWithin / time.Second)
			if apply && in.UserName == "" && in.GroupName == "" && in.RoleName == "" {
				return usagef(cmd, "--apply requires --user, --group or --role")
			}
			return with(dial, func(c *client.Client) error {
				build := c.BuildPolicy
				if apply {
					build = c.GrantAccess
				}
				text, err := build(cmd.Context(), in)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
				return err
			})
		},
	}
	f := c.Flags()
	f.StringVar(&in.UserName, "user", "", "user to attach the policy to")
	f.StringVar(&in.GroupName, "group", "", "group to attach the policy to")
	f.StringVar(&in.RoleName, "role", "", "role to attach the policy to")
	f.StringVar(&in.PolicyName, "policy-name", "sekisho-grant", "name of the inline policy")
	f.StringSliceVar(&in.Targets, "target", nil, "node ID, tag:KEY=VALUE, or * for every node; repeatable")
	f.StringSliceVar(
		&in.Documents,
		"document-name",
		nil,
		"session document to allow (default: the shell); repeatable",
	)
	f.StringSliceVar(&in.Weekdays, "weekdays", nil, "such as mon-fri or sat,sun")
	f.StringVar(&in.From, "from", "", "local time of day from which sessions are allowed, HH:MM")
	f.StringVar(&in.To, "to", "", "local time of day until which sessions are allowed; can be on the next day")
	f.StringVar(&in.FirstDay, "first-day", "", "first local date on which sessions are allowed, such as 2026-04-15")
	f.StringVar(&in.LastDay, "last-day", "", "last local date on which sessions are allowed")
	f.StringVar(&in.Zone, "zone", "", "time zone of weekdays, times of day and days, such as Asia/Tokyo")
	f.StringVar(&notBefore, "not-before", "", "time at which the permission begins, such as 2026-04-15T02:00:00Z")
	f.StringVar(&notAfter, "not-after", "", "time at which the permission ends")
	f.StringSliceVar(&in.SourceIPs, "source-ip", nil, "source address or CIDR range to allow; repeatable")
	f.BoolVar(&in.MFA, "mfa", false, "require a second factor")
	f.DurationVar(&mfaWithin, "mfa-within", 0, "require a second factor not older than this, such as 15m")
	f.StringSliceVar(&in.During, "during", nil, "calendar during which sessions are allowed; repeatable")
	f.StringSliceVar(&in.Except, "except", nil, "calendar during which sessions are not allowed; repeatable")
	f.BoolVar(&apply, "apply", false, "attach the policy")
	c.MarkFlagsMutuallyExclusive("user", "group", "role")
	_ = c.MarkFlagRequired("target") // cannot fail: the flag exists
	return c
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
)

func access(dial dialer) *cobra.Command {
	c := &cobra.Command{
		Use:   "access",
		Short: "Request just-in-time access to nodes, and decide on requests",
		Long: `Request access to nodes for a reason, and approve, reject or revoke requests.

Rules say who may request access to which nodes, how many people must approve
it, and how long it lasts. While a request is approved, you can start sessions
on its nodes; when it ends or is revoked, these sessions end.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(
		requestAccess(dial),
		listAccess(dial),
		accessRules(dial),
		decideAccess(dial, "approve", client.ApproveAccess, "Approve an access request"),
		decideAccess(dial, "reject", client.RejectAccess, "Reject an access request"),
		decideAccess(
			dial,
			"revoke",
			client.RevokeAccess,
			"Revoke an access request and end the sessions started under it",
		),
	)
	return c
}

func requestAccess(dial dialer) *cobra.Command {
	var targets []string
	var reason string
	var breakGlass bool
	cmd := &cobra.Command{
		Use: "request --target NODE --reason TEXT", Short: "Request access to nodes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(dial, func(c *client.Client) error {
				nodes := make([]string, len(targets))
				for i, t := range targets {
					var err error
					if nodes[i], err = c.Resolve(cmd.Context(), t); err != nil {
						return err
					}
				}
				id, err := c.RequestAccess(cmd.Context(), nodes, reason, breakGlass)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), client.Printable(id))
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&targets, "target", nil, "node to request access to; repeatable")
	f.StringVar(&reason, "reason", "", "why you need access")
	f.BoolVar(&breakGlass, "break-glass", false, "get access immediately, without approval; this raises an alarm")
	for _, name := range []string{"target", "reason"} {
		_ = cmd.MarkFlagRequired(name) // cannot fail: the flag exists
	}
	completeTarget(cmd, dial)
	return cmd
}

func listAccess(dial dialer) *cobra.Command {
	var mine, all bool
	cmd := &cobra.Command{Use: "list", Short: "List access requests", Args: cobra.NoArgs}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return with(dial, func(c *client.Client) error {
			list, err := c.AccessRequests(cmd.Context(), mine, !all)
			if api, ok := errors.AsType[*client.APIError](err); ok && api.AccessDenied() && !mine {
				return fmt.Errorf("%w. With --mine, the command lists your own requests", err)
			}
			if err != nil {
				return err
			}
			return format.write(
				cmd.OutOrStdout(),
				nonNil(list),
				func(w io.Writer) error { return printAccess(w, list) },
			)
		})
	}
	cmd.Flags().BoolVar(&mine, "mine", false, "only your own requests")
	cmd.Flags().BoolVar(&all, "all", false, "include rejected, revoked and expired requests")
	return cmd
}

func printAccess(w io.Writer, list []client.AccessRequest) error {
	rows := make([][]string, len(list))
	for i, r := range list {
		approvals := 0
		for _, d := range r.Decisions {
			if d.Status == "Approved" {
				approvals++
			}
		}
		rule := r.Rule
		if r.BreakGlass {
			rule = "(break glass)"
		}
		rows[i] = []string{
			r.AccessRequestID, r.Status, r.Requester, strings.Join(r.InstanceIDs, " "),
			fmt.Sprintf("%d of %d", approvals, r.ApprovalsNeeded),
			rule, when(r.ExpiresAt), r.Reason,
		}
	}
	return table(w, []string{"REQUEST", "STATUS", "REQUESTER", "NODES", "APPROVALS", "RULE", "EXPIRES", "REASON"}, rows)
}

func decideAccess(dial dialer, use, decision, short string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: use + " REQUEST --reason TEXT", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(dial, func(c *client.Client) error {
				r, err := c.DecideAccess(cmd.Context(), decision, args[0], reason)
				if err != nil {
					return err
				}
				return printAccess(cmd.OutOrStdout(), []client.AccessRequest{r})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "reason for the decision")
	_ = cmd.MarkFlagRequired("reason") // cannot fail: the flag exists
	return cmd
}

func accessRules(dial dialer) *cobra.Command {
	c := &cobra.Command{Use: "rules", Short: "Manage the rules of just-in-time access", Args: cobra.NoArgs}
	c.AddCommand(listAccessRules(dial), putAccessRule(dial), deleteAccessRule(dial))
	return c
}

func listAccessRules(dial dialer) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List access rules", Args: cobra.NoArgs}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return with(dial, func(c *client.Client) error {
			list, err := c.AccessRules(cmd.Context())
			if err != nil {
				return err
			}
			return format.write(cmd.OutOrStdout(), nonNil(list), func(w io.Writer) error {
				rows := make([][]string, len(list))
				for i, r := range list {
					var tags []string
					for _, t := range r.Tags {
						tags = append(tags, t.Key+"="+t.Value)
					}
					nodes := strings.Join(tags, " ")
					if len(tags) == 0 {
						nodes = "every node"
					}
					rows[i] = []string{
						r.Name, nodes, strings.Join(r.Requesters, " "), strings.Join(r.Approvers, " "),
						strconv.Itoa(r.Approvals), (time.Duration(r.DurationSeconds) * time.Second).String(),
					}
				}
				return table(w, []string{"NAME", "NODES", "REQUESTERS", "APPROVERS", "APPROVALS", "DURATION"}, rows)
			})
		})
	}
	return cmd
}

func putAccessRule(dial dialer) *cobra.Command {
	var tags map[string]string
	var requesters, approvers []string
	var approvals int
	var duration time.Duration
	var everyNode bool
	cmd := &cobra.Command{
		Use: "put NAME", Short: "Create or replace an access rule", Args: cobra.ExactArgs(1),
		Example: `  sekisho access rules put prod --tag Env=prod --approvals 2 --duration 1h --approver ` +
			`'arn:aws:iam::*:user/oncall-*'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(tags) == 0) != everyNode {
				return usagef(cmd, "give --tag, or --all-nodes for a rule about every node")
			}
			return with(dial, func(c *client.Client) error {
				r := client.AccessRule{
					Name: args[0], Requesters: requesters, Approvers: approvers, Approvals: approvals,
					DurationSeconds: int64(duration / time.Second),
				}
				for k, v := range tags {
					r.Tags = append(r.Tags, client.Tag{Key: k, Value: v})
				}
				return c.PutAccessRule(cmd.Context(), r)
			})
		},
	}
	f := cmd.Flags()
	f.StringToStringVar(&tags, "tag", nil, "tag that nodes must have, as KEY=VALUE; repeatable")
	f.BoolVar(&everyNode, "all-nodes", false, "apply the rule to every node")
	f.StringArrayVar(
		&requesters,
		"requester",
		nil,
		"ARN of principals who can request access; * matches any text; repeatable (default: everyone)",
	)
	f.StringArrayVar(
		&approvers,
		"approver",
		nil,
		"ARN of principals who can approve; * matches any text; repeatable (default: everyone with the permission)",
	)
	f.IntVar(&approvals, "approvals", 1, "number of people who must approve; 0 approves immediately")
	f.DurationVar(&duration, "duration", time.Hour, "how long the access lasts")
	return cmd
}

func deleteAccessRule(dial dialer) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete an access rule", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(dial, func(c *client.Client) error { return c.DeleteAccessRule(cmd.Context(), args[0]) })
		},
	}
}

package cli

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"sekisho"
	"sekisho/internal/client"
)

func quickSetup(dial dialer) *cobra.Command {
	var targets, tags []string
	var register int
	var name string
	c := &cobra.Command{
		Use:   "quick-setup",
		Short: "Make the roles that nodes need, give them to nodes, and print how to add machines",
		Long: `Make the roles that nodes need, give them to nodes, and print how to add machines.

It makes ` + client.InstanceRole + ` and
` + client.AutomationRole + ` with their policies and
the instance profile, and gives the first to the nodes named. What is there
stays as it is: run it as often as you like.

With --register it also makes an activation and prints one line that installs
and registers the agent, and the same for cloud-init. Both hold the activation's
code: whoever reads them can add machines until the activation is used up or a
day has passed.`,
		Example: `  sekisho quick-setup --target mi-0123456789abcdef0
  sekisho quick-setup --tag Env=prod --register 10 --name web`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := client.QuickSetupInput{Nodes: targets}
			for _, t := range tags {
				k, v, ok := strings.Cut(t, "=")
				if !ok || k == "" {
					return sekisho.Errorf(sekisho.CodeInvalid, "--tag takes KEY=VALUE, not %q", t)
				}
				in.Tags = append(in.Tags, client.NodeFilter{Key: "tag:" + k, Values: []string{v}})
			}
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			out := cmd.OutOrStdout()
			changes, err := c.QuickSetup(cmd.Context(), in, func(what string) { fmt.Fprintln(out, client.Printable(what)) })
			if err != nil {
				return err
			}
			if changes == 0 {
				fmt.Fprintln(out, "Everything was there already: nothing was changed.")
			}
			if register == 0 {
				return nil
			}
			from, err := c.Installation(cmd.Context())
			if err != nil {
				return err
			}
			a, err := c.CreateActivation(cmd.Context(), client.ActivationInput{IamRole: client.InstanceRole, DefaultInstanceName: name, RegistrationLimit: register})
			if err != nil {
				return err
			}
			line, err := installLine(from, a)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "\nOn each machine:\n\n%s\n\nOr as user data of cloud-init:\n\n#cloud-config\nruncmd:\n  - ['sh', '-c', %s]\n", line, yamlQuote(strings.Replace(line, "| sudo sh", "| sh", 1)))
			return err
		},
	}
	f := c.Flags()
	f.StringSliceVar(&targets, "target", nil, "node that gets the role: its ID, its name, or tag:KEY=VALUE")
	f.StringSliceVar(&tags, "tag", nil, "KEY=VALUE: all nodes with this tag get the role")
	f.IntVar(&register, "register", 0, "make an activation for so many machines and print how to add them")
	f.StringVar(&name, "name", "", "name of the machines that are added")
	return c
}

// installLine is one line for a shell. What is secret goes through a pipe and
// is nobody's argument: echo is a part of the shell.
func installLine(from client.Installation, a client.Activation) (string, error) {
	// They become a part of a script that root runs.
	if !plain.MatchString(a.ActivationID) || !plain.MatchString(a.ActivationCode) {
		return "", sekisho.Errorf(sekisho.CodeInternal, "the server made an activation of characters that activations do not have")
	}
	secrets := fmt.Sprintf("echo SEKISHO_ACTIVATION_ID=%s; echo SEKISHO_ACTIVATION_CODE=%s; ", a.ActivationID, a.ActivationCode)
	if from.CA == "" {
		return "{ " + secrets + "curl -fsSL " + shellQuote(from.Endpoint+"/install/agent.sh") + "; } | sudo sh", nil
	}
	return "ca=$(mktemp) && echo " + base64.StdEncoding.EncodeToString([]byte(from.CA)) + ` | base64 -d > "$ca" && { ` + secrets +
		`curl -fsSL --cacert "$ca" ` + shellQuote(from.Endpoint+"/install/agent.sh") + "; } | sudo sh", nil
}

// plain is what needs no quotes anywhere.
var plain = regexp.MustCompile(`^[A-Za-z0-9+/=-]{1,250}$`)

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// yamlQuote is s as a single-quoted scalar.
func yamlQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho"
	"sekisho/internal/client"
)

func quickSetup(dial dialer) *cobra.Command {
	var targets, tags, nodeTags []string
	var register client.InstallInput
	var expires time.Duration
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
  sekisho quick-setup --tag Env=prod --register 10 --name web
  sekisho quick-setup --register 1 --node-tag Hostname=web1 --id-type instance`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := client.QuickSetupInput{Nodes: targets}
			var err error
			if in.Tags, err = tagsOf("--tag", tags); err != nil {
				return err
			}
			if register.Tags, err = tagsOf("--node-tag", nodeTags); err != nil {
				return err
			}
			if expires != 0 {
				register.ExpirationDate = float64(time.Now().Add(expires).Unix())
			}
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.Close()
			steps, err := c.QuickSetup(cmd.Context(), in)
			if err := writeSteps(cmd.OutOrStdout(), steps, err == nil); err != nil {
				return err
			}
			if err != nil || register.RegistrationLimit == 0 {
				return err
			}
			install, err := c.CreateInstallCommand(cmd.Context(), register)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\nOn each machine (%d until %s):\n\n%s\n\nOr as user data of cloud-init:\n\n%s\nTo remove it again:\n\n%s\n",
				install.RegistrationLimit, install.ExpirationDate.Local().Format(time.DateTime),
				text(install.Command), text(install.UserData), text(install.UninstallCommand))
			return err
		},
	}
	f := c.Flags()
	f.StringSliceVar(&targets, "target", nil, "node that gets the role: its ID, its name, or tag:KEY=VALUE")
	f.StringSliceVar(&tags, "tag", nil, "KEY=VALUE: all nodes with this tag get the role")
	f.IntVar(&register.RegistrationLimit, "register", 0, "make an activation for so many machines and print how to add them")
	f.StringVar(&register.DefaultInstanceName, "name", "", "name of the machines that are added")
	f.StringSliceVar(&nodeTags, "node-tag", nil, "KEY=VALUE: tag of the machines that are added")
	f.DurationVar(&expires, "expires", 0, "how long machines can be added, such as 2h (default 24h, at most 720h)")
	f.StringVar(&register.NodeIDType, "id-type", "", "IDs of the machines that are added: managed-instance (mi-…, default) or instance (i-…)")
	f.StringVar(&register.Agent, "agent", "", `agent of the machines that are added: sekisho (default), or amazon for AWS's`)
	f.StringVar(&register.Architecture, "arch", "", "architecture of the machines that are added, amd64 or arm64: refused when the server has no agent for it")
	f.StringVar(&register.PackageURL, "agent-package", "", "path or https:// address of AWS's agent as .deb or .rpm, for machines that do not have it")
	f.StringVar(&register.PackageSha256, "agent-sha256", "", "SHA-256 of --agent-package")
	return c
}

func tagsOf(flag string, list []string) ([]client.Tag, error) {
	var all []client.Tag
	for _, t := range list {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s takes KEY=VALUE, not %q", flag, t)
		}
		all = append(all, client.Tag{Key: k, Value: v})
	}
	return all, nil
}

// writeSteps says what was changed, and what stays as it is though it is not
// what Quick Setup makes.
func writeSteps(w io.Writer, steps []client.QuickSetupStep, whole bool) error {
	changes := 0
	for _, s := range steps {
		line := ""
		switch s.Outcome {
		case "Made":
			changes++
			line = s.Text
		case "Differs":
			line = "note: " + s.Resource + ": " + s.Detail
		}
		if line == "" {
			continue
		}
		if _, err := fmt.Fprintln(w, client.Printable(line)); err != nil {
			return err
		}
	}
	if changes > 0 || !whole {
		return nil
	}
	_, err := fmt.Fprintln(w, "Everything was there already: nothing was changed.")
	return err
}

// text is a server's text of several lines, made safe to print.
func text(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = client.Printable(l)
	}
	return strings.Join(lines, "\n")
}

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
		Short: "Create the roles that nodes need, assign them, and print how to add machines",
		Long: `Create the roles that nodes need, assign them, and print how to add machines.

quick-setup creates ` + client.InstanceRole + ` and
` + client.AutomationRole + ` with their policies and
the instance profile, and gives the first role to the named nodes. It does not
change what exists, so you can run it repeatedly.

With --register it also creates an activation and prints a command that installs
and registers the agent, and the same as cloud-init user data. Both contain the
activation's code: anyone who reads them can add machines until the activation is
used up or expires.`,
		Example: `  sekisho quick-setup --target mi-0123456789abcdef0
  sekisho quick-setup --tag Env=prod --register 10 --name web
  sekisho quick-setup --register 1 --node-tag Hostname=web1 --id-type instance`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
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
		result := quickSetupResult{Steps: []client.QuickSetupStep{}}
		steps, err := c.QuickSetup(cmd.Context(), in)
		result.Steps = append(result.Steps, steps...)
		if *format == formatTable {
			if err := writeSteps(cmd.OutOrStdout(), steps, err == nil); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if register.RegistrationLimit > 0 {
			install, err := c.CreateInstallCommand(cmd.Context(), register)
			if err != nil {
				return err
			}
			result.Install = &install
			for _, warning := range install.Warnings {
				if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "warning:", text(warning)); err != nil {
					return err
				}
			}
		}
		return format.write(
			cmd.OutOrStdout(),
			result,
			func(w io.Writer) error { return printInstall(w, result.Install) },
		)
	}
	f := c.Flags()
	f.StringSliceVar(&targets, "target", nil, "node that gets the role: an ID, a name, or tag:KEY=VALUE")
	f.StringSliceVar(&tags, "tag", nil, "give the role to all nodes with this tag (KEY=VALUE)")
	f.IntVar(
		&register.RegistrationLimit,
		"register",
		0,
		"create an activation for this many machines and print how to add them",
	)
	f.StringVar(&register.DefaultInstanceName, "name", "", "name of the added machines")
	f.StringSliceVar(&nodeTags, "node-tag", nil, "tag of the added machines (KEY=VALUE)")
	f.DurationVar(&expires, "expires", 0, "lifetime of the activation, such as 2h (default 24h, at most 720h)")
	f.StringVar(
		&register.NodeIDType,
		"id-type",
		"",
		"ID type of the added machines: managed-instance (mi-…, default) or instance (i-…)",
	)
	f.StringVar(&register.Agent, "agent", "", "agent of the added machines: sekisho (default) or amazon")
	f.StringVar(&register.Architecture, "arch", "", "architecture of the added machines: amd64 or arm64")
	f.StringVar(
		&register.PackageURL,
		"agent-package",
		"",
		"path or https:// URL of AWS's agent as .deb or .rpm, for machines without it",
	)
	f.StringVar(
		&register.Host,
		"host",
		"",
		"host[:port] at which the added machines reach the server (default: the address this command uses)",
	)
	f.StringVar(&register.PackageSha256, "agent-sha256", "", "SHA-256 of --agent-package")
	return c
}

// quickSetupResult is the output of quick-setup -o json.
type quickSetupResult struct {
	Steps   []client.QuickSetupStep
	Install *client.InstallCommand `json:",omitempty"` // contains the activation's code
}

func printInstall(w io.Writer, install *client.InstallCommand) error {
	if install == nil {
		return nil
	}
	_, err := fmt.Fprintf(
		w,
		"\nOn each machine (%d until %s):\n\n%s\n\nOr as user data of cloud-init:\n\n%s\nTo remove it again:\n\n%s\n",
		install.RegistrationLimit,
		install.ExpirationDate.Local().Format(time.DateTime),
		text(install.Command),
		text(install.UserData),
		text(install.UninstallCommand),
	)
	return err
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

// writeSteps prints what changed, and what exists but differs from what Quick
// Setup would create.
func writeSteps(w io.Writer, steps []client.QuickSetupStep, complete bool) error {
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
	if changes > 0 || !complete {
		return nil
	}
	_, err := fmt.Fprintln(w, "Everything exists already. Nothing was changed.")
	return err
}

// text makes multi-line text from the server safe to print.
func text(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = client.Printable(l)
	}
	return strings.Join(lines, "\n")
}

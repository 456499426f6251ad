// Package cli is the command line of sekisho. Each command has a file that parses
// flags, calls internal/client and prints.
package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"sekisho/internal/client"
	"sekisho/internal/version"
)

// Streams are the process's standard streams and environment.
type Streams struct {
	In       *os.File
	Out, Err *os.File
	Getenv   func(string) string
}

// New returns the root command.
func New(std Streams) *cobra.Command {
	root := &cobra.Command{
		Use:     "sekisho",
		Short:   "Open, watch and replay sessions on managed nodes",
		Version: version.Long(),
		Long: `sekisho opens, watches and replays sessions on managed nodes.

It reads the server's address, your credentials and the certificate authority
from AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN and AWS_CA_BUNDLE, or from a profile in ~/.aws.

` + exitCodeHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(std.Err)
	profile := root.PersistentFlags().String("profile", "", "profile in ~/.aws/config and ~/.aws/credentials")
	// Commands create their client when they run: help needs no configuration.
	dial := func() (*client.Client, error) {
		cfg, err := client.Load(*profile, std.Getenv)
		if err != nil {
			return nil, err
		}
		c := client.New(cfg)
		askSecondFactor(std, cfg, c)
		return c, nil
	}
	root.AddCommand(
		startSession(std, dial),
		execute(std, dial),
		forward(dial),
		cp(std, dial),
		sshProxy(std, dial),
		sshConfig(dial),
		sessions(
			dial,
		),
		replay(dial),
		join(std, dial),
		recordings(dial),
		evidenceOf(dial),
		search(dial),
		verify(dial),
		nodes(dial),
		approveIdentity(dial),
		login(
			std,
			profile,
		),
		logout(std),
		whoami(dial),
		contexts(std),
		credentialProcess(std),
		quickSetup(dial),
		why(dial),
		events(dial),
		calendars(dial),
		grantAccess(dial),
		access(dial),
		reach(dial),
	)
	usageErrors(root)
	return root
}

// Main runs the command line, with the commands that add adds, and returns its
// exit code.
func Main(ctx context.Context, std Streams, args []string, add ...func(root *cobra.Command)) int {
	if IsPlugin(args[0]) {
		return report(ctx, std.Err, nil, Plugin(ctx, std, args[1:]))
	}
	root := New(std)
	for _, f := range add {
		f(root)
	}
	root.SetArgs(args[1:])
	cmd, err := root.ExecuteContextC(ctx)
	return report(ctx, std.Err, cmd, err)
}

type dialer func() (*client.Client, error)

func when(t client.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// Package cli is the command line of sekisho. Each command has a file that parses
// flags, calls internal/client and prints.
package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

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
AWS_SESSION_TOKEN and AWS_CA_BUNDLE, or from a profile in ~/.aws.`,
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
		return client.New(cfg), nil
	}
	root.AddCommand(startSession(std, dial), execute(std, dial), forward(dial), cp(std, dial), sshProxy(std, dial), sshConfig(dial),
		sessions(dial), replay(dial), verify(dial), nodes(dial), approveIdentity(dial), quickSetup(dial), why(dial), events(dial))
	return root
}

type dialer func() (*client.Client, error)

// table prints rows in columns. It escapes the cells, which are untrusted.
func table(w io.Writer, head []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(head, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			row[i] = client.Printable(cell)
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

func when(t client.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

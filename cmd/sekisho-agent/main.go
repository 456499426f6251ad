// Command sekisho-agent makes a machine a managed node and runs the sessions that users open on it.
// It connects to the server; unless --imds makes it serve instance metadata, it does not listen.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sekisho"
	"sekisho/internal/agent"
	"sekisho/internal/agent/copy"
	"sekisho/internal/agent/doctor"
	"sekisho/internal/agent/enroll"
	"sekisho/internal/agent/imds"
	"sekisho/internal/agent/port"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/uplink"
)

func main() {
	// Children inherit the umask and the ignored signals. Notifying undoes an ignored hang-up or
	// interrupt (nohup, "&" in a script); otherwise Ctrl-C would do nothing in sessions.
	syscall.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	root := command(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	addManual(root)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "sekisho-agent: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// command is the whole command line.
func command(stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:           "sekisho-agent",
		Short:         "Make this machine a managed node of Sekisho",
		Version:       uplink.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(registerCommand(getenv), runCommand(), doctorCommand())
	for _, c := range root.Commands() {
		c.Args = cobra.NoArgs
		c.Flags().String("state", agent.DefaultStateDir, "directory of the agent's identity and configuration")
	}
	root.AddCommand(copyCommand(getenv))
	return root
}

// copyCommand is what the agent runs as a session's user for sekisho cp.
func copyCommand(getenv func(string) string) *cobra.Command {
	return &cobra.Command{
		Use:    "copy DIRECTION PATH",
		Short:  "Run the node's side of a copy",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return copy.Run(args[0], args[1], getenv("HOME"), c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
}

// stateOf is the --state flag.
func stateOf(c *cobra.Command) string { return c.Flag("state").Value.String() }

func registerCommand(getenv func(string) string) *cobra.Command {
	var r enroll.Registration
	var ca string
	c := &cobra.Command{
		Use:   "register --endpoint URL --activation-id ID --activation-code CODE",
		Short: "Register this machine with an activation",
		Long: `Register this machine with an activation.

The activation code is a secret until the activation expires or is used up. On a
shared machine, keep it off the command line: set the environment variable
SEKISHO_ACTIVATION_CODE, or pass "-" to read it from standard input.`,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if r.ActivationCode, err = activationCode(r.ActivationCode, c.InOrStdin(), getenv); err != nil {
				return err
			}
			if r.Server.CA, err = readCA(ca); err != nil {
				return err
			}
			if r.Server.Region == "" {
				r.Server.Region = getenv("AWS_REGION")
			}
			if r.Server.Region == "" {
				r.Server.Region = "us-east-1"
			}
			vault, err := enroll.OpenVault(stateOf(c), true)
			if err != nil {
				return err
			}
			defer vault.Close()
			if err := vault.Lock(); err != nil {
				return err
			}
			done, err := enroll.Register(c.Context(), vault, r)
			if err != nil {
				return err
			}
			if done.OldIdentity != "" {
				fmt.Fprintf(c.ErrOrStderr(), "The old identity is kept in %s.\n", done.OldIdentity)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\n", done.Node)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&r.Server.Endpoint, "endpoint", "", "the server, https://host[:port]")
	f.StringVar(&r.ActivationID, "activation-id", "", "ID of the activation")
	f.StringVar(
		&r.ActivationCode,
		"activation-code",
		"",
		`code of the activation; "-" reads it from standard input`,
	)
	f.StringVar(&ca, "ca", "", "PEM file of the one CA to trust; default: the system's")
	f.StringVar(&r.Server.Region, "region", "", "region of the server (default: AWS_REGION, or us-east-1)")
	f.BoolVar(&r.Force, "force", false, "register again; the old identity is kept in a backup file")
	return c
}

// maxSecret bounds an activation code, in bytes.
const maxSecret = 1024

func activationCode(flag string, stdin io.Reader, getenv func(string) string) (string, error) {
	switch flag {
	case "":
		return getenv("SEKISHO_ACTIVATION_CODE"), nil
	case "-":
		line, err := bufio.NewReader(io.LimitReader(stdin, maxSecret)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the activation code: %w", err)
		}
		return strings.TrimSpace(line), nil
	}
	return flag, nil
}

// maxCA bounds a CA file.
const maxCA = 1 << 19

func readCA(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("CA file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCA+1))
	if err != nil {
		return "", fmt.Errorf("CA file: %w", err)
	}
	if len(b) > maxCA {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "CA file %s is larger than %d bytes", path, maxCA)
	}
	return string(b), nil
}

// parsePrefixes parses addresses and CIDR ranges such as 10.0.0.0/8.
func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			return nil, sekisho.Errorf(
				sekisho.CodeInvalid,
				"%.60q is neither an IP address nor a CIDR range such as 10.0.0.0/8.",
				s,
			)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// minInventory is the shortest interval between inventory reports.
const minInventory = time.Minute

func runCommand() *cobra.Command {
	var debug, v1, addAddress, noCommands bool
	var endpoint, metadata string
	var deny, allow, imdsAllow []string
	var stock time.Duration
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the agent",
		RunE: func(c *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if debug {
				level = slog.LevelDebug
			}
			answer := agent.Metadata{V1: v1, AddAddress: addAddress}
			if metadata != "off" {
				var err error
				if answer.Listen, err = imds.ParseAddress(metadata); err != nil {
					return err
				}
				if answer.Allowed, err = imds.ParseAllowed(imdsAllow); err != nil {
					return err
				}
			}
			var rules port.Rules
			for _, to := range []struct {
				all   *[]netip.Prefix
				texts []string
			}{{&rules.Deny, deny}, {&rules.Allow, allow}} {
				var err error
				if *to.all, err = parsePrefixes(to.texts); err != nil {
					return err
				}
			}
			if stock != 0 && stock < minInventory {
				return sekisho.Errorf(sekisho.CodeInvalid, "--inventory must be 0 (never) or at least %s.", minInventory)
			}
			retry := make(chan os.Signal, 1)
			signal.Notify(retry, syscall.SIGUSR1)
			defer signal.Stop(retry)
			return agent.Run(c.Context(), agent.Config{
				RetryNow:  retry,
				Inventory: stock,
				Metadata:  answer, Forwarding: rules, NoCommands: noCommands,
				StateDir: stateOf(c),
				Endpoint: endpoint,
				Users:    runas.System(),
				Log:      slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
			})
		},
	}
	c.Flags().BoolVar(&debug, "debug", false, "log debug messages")
	c.Flags().
		StringSliceVar(&deny, "deny-forward", nil,
			"addresses and CIDR ranges that sessions cannot forward to, in addition to link-local and metadata addresses")
	c.Flags().StringSliceVar(&allow, "allow-forward", nil, "exceptions to the addresses that sessions cannot forward to")
	c.Flags().BoolVar(&noCommands, "no-commands", false, "refuse every command of Run Command")
	c.Flags().
		DurationVar(&stock, "inventory", 0, "how often to report packages and network interfaces, such as 12h; 0 means never")
	c.Flags().
		StringVar(&metadata, "imds", "off", "answer the instance metadata service: 127.0.0.1:PORT, 169.254.169.254:80 or off")
	c.Flags().
		StringSliceVar(&imdsAllow, "imds-allow", nil,
			"users and @GROUPs whose programs can use the metadata service (default: all)")
	c.Flags().BoolVar(&v1, "imds-v1", false, "also answer metadata requests without a token (version 1)")
	c.Flags().
		BoolVar(&addAddress, "imds-add-address", false,
			"give the loopback interface the address of --imds while the agent runs")
	c.Flags().StringVar(&endpoint, "endpoint", "", "new URL of the server, if it has moved since registration")
	return c
}

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Find out why the agent does not reach its server",
		RunE: func(c *cobra.Command, _ []string) error {
			if !doctor.Run(c.Context(), stateOf(c), c.OutOrStdout()) {
				return errors.New("not all checks passed")
			}
			return nil
		},
	}
}

// Command session measures the delays that a user notices: from the command to the first
// prompt, and from a keystroke to its echo. It runs ssh to a throw-away sshd on a loopback
// port, the aws CLI with AWS's session-manager-plugin, and our own client in turn, round
// after round, so that other load on the machine affects them equally.
//
//	session [-bin DIR] [-plugin FILE] [-rounds N] [-keys N]
//	session -env FILE -first    one session through a running server
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"

	"sekisho/bench/program"
	"sekisho/bench/sshd"
	"sekisho/bench/terminal"
	"sekisho/e2e/harness"
)

func main() { program.Main("session", run) }

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("session", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of sekishod and sekisho")
	plugin := flags.String("plugin", "bin/test/session-manager-plugin", "AWS's plugin")
	envFile := flags.String("env", "", "environment file of a running server, instead of starting one")
	first := flags.Bool("first", false, "open one session with the aws CLI, print the time to its prompt, end it")
	rounds := flags.Int("rounds", 15, "sessions to start with each client")
	keys := flags.Int("keys", 400, "keystrokes to time in each client")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, dir, stop, err := serverOf(*bin, *plugin, *envFile)
	if err != nil {
		return err
	}
	defer func() { _ = stop() }()
	aws := terminal.Contender{Name: "aws + plugin", Command: func() *exec.Cmd {
		return server.Shell(ctx, nil, `aws ssm start-session --target "$SEKISHO_TARGET"`)
	}}
	if *first {
		s, took, err := terminal.Open(ctx, aws)
		if err != nil {
			return err
		}
		defer s.Kill()
		fmt.Fprintf(out, "first prompt after %s\n", round(took))
		return s.End(ctx)
	}

	peer, err := sshd.Start(ctx, dir, true)
	if err != nil {
		return fmt.Errorf("sshd: %w", err)
	}
	defer peer.Stop()
	contenders := []terminal.Contender{
		{Name: "ssh localhost", Command: peer.Shell},
		{Name: "sekisho start-session", Command: func() *exec.Cmd {
			return server.Shell(ctx, nil, `exec sekisho start-session "$SEKISHO_TARGET"`)
		}},
		aws,
	}

	starts, echoes := make([][]time.Duration, len(contenders)), make([][]time.Duration, len(contenders))
	for r := range *rounds + 1 {
		for i, c := range contenders {
			s, took, err := terminal.Open(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			err = s.End(ctx)
			s.Kill()
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			if r > 0 { // the first round warms the caches of files
				starts[i] = append(starts[i], took)
			}
		}
	}

	sessions := make([]*terminal.Shell, len(contenders))
	for i, c := range contenders {
		if sessions[i], _, err = terminal.Open(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		defer sessions[i].Kill()
		// The kernel of the far end echoes, not a shell's line editor.
		if err := sessions[i].Silence(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	for k := range *keys {
		for i, s := range sessions {
			took, err := s.Key(ctx, "abcdefghijklmnopqrstuvwxyz"[k%26])
			if err != nil {
				return fmt.Errorf("%s: key %d: %w", contenders[i].Name, k, err)
			}
			echoes[i] = append(echoes[i], took)
		}
	}

	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tstart p50\tp99\t× ssh\techo p50\tp99\t× ssh\t")
	for i, c := range contenders {
		s, e := starts[i], echoes[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%s\t%s\t%.2f\t\n", c.Name,
			round(terminal.Percentile(s, 50)), round(terminal.Percentile(s, 99)),
			ratio(terminal.Percentile(s, 50), terminal.Percentile(starts[0], 50)),
			round(terminal.Percentile(e, 50)), round(terminal.Percentile(e, 99)),
			ratio(terminal.Percentile(e, 50), terminal.Percentile(echoes[0], 50)))
	}
	fmt.Fprintf(w, "%d starts and %d keystrokes each, in turn\n", *rounds, *keys)
	return w.Flush()
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// round keeps about three significant digits.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// serverOf starts a server, or uses the running one of an environment file. dir is a
// temporary folder, which stop removes.
func serverOf(bin, plugin, envFile string) (server *harness.Server, dir string, stop func() error, err error) {
	if envFile == "" {
		return program.Serve(bin, plugin)
	}
	programs, err := program.Programs(bin, plugin)
	if err != nil {
		return nil, "", nil, err
	}
	if dir, err = os.MkdirTemp("", "sekisho-bench-"); err != nil {
		return nil, "", nil, err
	}
	server = &harness.Server{Programs: programs, Data: filepath.Dir(envFile), Home: dir}
	return server, dir, func() error { return os.RemoveAll(dir) }, nil
}

// Command session measures what a person waits for: from the command to the
// first prompt, and from a keystroke to its echo. It runs ssh to a throw-away
// sshd on a loopback port, the aws CLI with AWS's session-manager-plugin, and
// our own client in turn, round after round, so that whatever else the
// machine does meets all of them alike.
//
//	session [-bin DIR] [-plugin FILE] [-rounds N] [-keys N]
//	session -env FILE -first    one session through a running server
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/creack/pty"

	"sekisho/bench/program"
	"sekisho/bench/sshd"
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
	dir, err := os.MkdirTemp("", "sekisho-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	programs, err := program.Programs(*bin, *plugin)
	if err != nil {
		return err
	}
	var server *harness.Server
	if *envFile == "" {
		if server, err = harness.Start(programs, dir); err != nil {
			return err
		}
		defer func() { _ = server.Stop() }()
	} else {
		server = &harness.Server{Programs: programs, Data: filepath.Dir(*envFile), Home: dir}
	}
	aws := contender{"aws + plugin", func() *exec.Cmd {
		return server.Shell(ctx, nil, `aws ssm start-session --target "$SEKISHO_TARGET"`)
	}}
	if *first {
		s, took, err := open(ctx, aws)
		if err != nil {
			return err
		}
		defer s.kill()
		fmt.Fprintf(out, "first prompt after %s\n", round(took))
		return s.end(ctx)
	}

	peer, err := sshd.Start(ctx, dir, true)
	if err != nil {
		return fmt.Errorf("sshd: %w", err)
	}
	defer peer.Stop()
	contenders := []contender{
		{"ssh localhost", peer.Shell},
		{"sekisho start-session", func() *exec.Cmd {
			return server.Shell(ctx, nil, `exec sekisho start-session "$SEKISHO_TARGET"`)
		}},
		aws,
	}

	starts, echoes := make([][]time.Duration, len(contenders)), make([][]time.Duration, len(contenders))
	for r := range *rounds + 1 {
		for i, c := range contenders {
			s, took, err := open(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			err = s.end(ctx)
			s.kill()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if r > 0 { // the first round warms the caches of files
				starts[i] = append(starts[i], took)
			}
		}
	}

	sessions := make([]*session, len(contenders))
	for i, c := range contenders {
		if sessions[i], _, err = open(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		defer sessions[i].kill()
		// The kernel of the far end echoes, no shell's line editor does.
		if err := sessions[i].silence(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for k := range *keys {
		for i, s := range sessions {
			took, err := s.key(ctx, "abcdefghijklmnopqrstuvwxyz"[k%26])
			if err != nil {
				return fmt.Errorf("%s: key %d: %w", contenders[i].name, k, err)
			}
			echoes[i] = append(echoes[i], took)
		}
	}

	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tstart p50\tp99\t× ssh\techo p50\tp99\t× ssh\t")
	for i, c := range contenders {
		s, e := starts[i], echoes[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%s\t%s\t%.2f\t\n", c.name,
			round(at(s, 50)), round(at(s, 99)), ratio(at(s, 50), at(starts[0], 50)),
			round(at(e, 50)), round(at(e, 99)), ratio(at(e, 50), at(echoes[0], 50)))
	}
	fmt.Fprintf(w, "%d starts and %d keystrokes each, in turn\n", *rounds, *keys)
	return w.Flush()
}

// contender is one way to a shell on this machine.
type contender struct {
	name    string
	command func() *exec.Cmd
}

// session is a shell in a pseudo-terminal; what it shows comes in chunks.
type session struct {
	cmd    *exec.Cmd
	tty    *os.File
	output chan []byte
	shown  []byte
}

const patience = 30 * time.Second

var (
	prompt  = regexp.MustCompile(`[#$] (\x1b\[[0-9;?]*[a-zA-Z])*$`)
	waiting = []byte("wait-for-keys\r")
)

// open starts a contender and returns when its prompt stands.
func open(ctx context.Context, c contender) (*session, time.Duration, error) {
	cmd := c.command()
	began := time.Now()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		return nil, 0, err
	}
	s := &session{cmd: cmd, tty: tty, output: make(chan []byte, 64)}
	go func() {
		defer close(s.output)
		for {
			buf := make([]byte, 4096)
			n, err := tty.Read(buf)
			if n > 0 {
				s.output <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	if err := s.until(ctx, prompt.Match); err != nil {
		s.kill()
		return nil, 0, err
	}
	return s, time.Since(began), nil
}

// until reads until what was shown satisfies done.
func (s *session) until(ctx context.Context, done func([]byte) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !done(s.shown) {
		select {
		case chunk, ok := <-s.output:
			if !ok {
				return fmt.Errorf("it ended after showing %q", s.shown)
			}
			s.shown = append(s.shown, chunk...)
		case <-ctx.Done():
			return fmt.Errorf("%w; it showed %q", ctx.Err(), s.shown)
		}
	}
	s.shown = s.shown[:0]
	return nil
}

// silence leaves a program running that reads and says nothing, so that the
// terminal's own echo is all that answers a key.
func (s *session) silence(ctx context.Context) error {
	if _, err := s.tty.WriteString("echo wait-''for-keys; cat >/dev/null\r"); err != nil {
		return err
	}
	return s.until(ctx, func(b []byte) bool { return bytes.Contains(b, waiting) })
}

// key types one key and waits for its echo.
func (s *session) key(ctx context.Context, key byte) (time.Duration, error) {
	began := time.Now()
	if _, err := s.tty.Write([]byte{key}); err != nil {
		return 0, err
	}
	err := s.until(ctx, func(b []byte) bool { return bytes.IndexByte(b, key) >= 0 })
	return time.Since(began), err
}

// end leaves the shell and waits until the client has ended.
func (s *session) end(ctx context.Context) error {
	if _, err := s.tty.WriteString("exit\r"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case _, ok := <-s.output:
			if !ok {
				return nil
			}
		case <-ctx.Done():
			return errors.New("the client did not end with its shell")
		}
	}
}

// kill ends whatever is left of the session.
func (s *session) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
	_ = s.tty.Close()
}

// at returns the p-th percentile: the smallest sample that p percent do not exceed.
func at(samples []time.Duration, p int) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// round keeps three figures or so.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// Package harness runs Sekisho's real programs for the end-to-end tests: it starts servers
// and agents, sources the environment file they write, and drives clients in a
// pseudo-terminal. It never sleeps; it waits for conditions, with a deadline.
package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Deadlines are generous: they only end a test that would hang. The programs can include
// the race detector and share two cores.
const (
	startDeadline = 90 * time.Second
	stopDeadline  = 30 * time.Second
)

// Programs says where the programs under test are.
type Programs struct {
	Bin    string // holds sekishod, sekisho-agent and sekisho
	Plugin string // holds session-manager-plugin
}

// Locate finds the programs: SEKISHO_BIN and SEKISHO_PLUGIN_DIR, else bin and
// bin/test of the module in root.
func Locate(root string) (Programs, error) {
	p := Programs{Bin: os.Getenv("SEKISHO_BIN"), Plugin: os.Getenv("SEKISHO_PLUGIN_DIR")}
	if p.Bin == "" {
		p.Bin = filepath.Join(root, "bin")
	}
	if p.Plugin == "" {
		p.Plugin = filepath.Join(root, "bin", "test")
	}
	var err error
	if p.Bin, err = filepath.Abs(p.Bin); err != nil {
		return p, err
	}
	if p.Plugin, err = filepath.Abs(p.Plugin); err != nil {
		return p, err
	}
	for _, program := range []string{
		filepath.Join(p.Bin, "sekishod"),
		filepath.Join(p.Bin, "sekisho-agent"),
		filepath.Join(p.Bin, "sekisho"),
		filepath.Join(p.Plugin, "session-manager-plugin"),
	} {
		if _, err := os.Stat(program); err != nil {
			return p, fmt.Errorf("%w (make e2e builds it)", err)
		}
	}
	return p, nil
}

// Server is a running `sekishod dev`.
type Server struct {
	Programs
	Data    string // the folder given with --data
	Console string // the URL of the ready line
	Home    string // an empty home directory for the clients, so that no ~/.aws affects the test

	// AgentEndpoint is where agents reach the server, if different from
	// clients.
	AgentEndpoint string

	listen string
	flags  []string
	log    string
	proc   *process
}

// Start runs `sekishod dev` on a free port of 127.0.0.1 and waits until it is
// ready. All its files are in dir.
func Start(p Programs, dir string, flags ...string) (*Server, error) {
	s := &Server{
		Programs: p,
		Data:     filepath.Join(dir, "data"),
		Home:     filepath.Join(dir, "home"),
		listen:   "127.0.0.1:0",
		flags:    flags,
		log:      filepath.Join(dir, "sekishod.log"),
	}
	if err := os.MkdirAll(s.Home, 0o755); err != nil {
		return nil, err
	}
	if err := s.Run(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Run starts the server again after Stop or Kill, with the same folder and
// port.
func (s *Server) Run() error {
	args := append([]string{"dev", "--data", s.Data, "--listen", s.listen}, s.flags...)
	cmd := exec.Command(filepath.Join(s.Bin, "sekishod"), args...)
	cmd.Env = baseEnv(s.Home, "")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if s.proc, err = startProcess(cmd, s.log); err != nil {
		return err
	}
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if u, ok := strings.CutPrefix(lines.Text(), "ready: "); ok {
				ready <- strings.TrimSpace(u)
				break
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
	}()
	deadline := time.NewTimer(startDeadline)
	defer deadline.Stop()
	select {
	case u, ok := <-ready:
		if !ok {
			return fmt.Errorf("sekishod ended before it was ready\n%s", s.LogTail())
		}
		parsed, err := url.Parse(u)
		if err != nil {
			return fmt.Errorf("the ready line names no URL: %w", err)
		}
		s.Console, s.listen = u, parsed.Host
		return nil
	case <-deadline.C:
		return fmt.Errorf("sekishod was not ready after %s\n%s", startDeadline, s.LogTail())
	}
}

// Stop ends the server as a service manager does and reports any error of its
// end, including data races.
func (s *Server) Stop() error {
	if s.proc == nil {
		return nil
	}
	err := s.proc.stop(syscall.SIGTERM)
	s.proc = nil
	if log, readErr := os.ReadFile(s.log); readErr == nil && bytes.Contains(log, []byte("WARNING: DATA RACE")) {
		err = errors.Join(err, fmt.Errorf("the server reported a data race:\n%s", tail(log, 200)))
	}
	return err
}

// Kill ends the server like a power failure.
func (s *Server) Kill() error {
	err := s.proc.stop(syscall.SIGKILL)
	s.proc = nil
	return err
}

// Pid returns the server's process ID.
func (s *Server) Pid() int { return s.proc.cmd.Process.Pid }

// LogTail returns the end of the server's log.
func (s *Server) LogTail() string {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return tail(log, 40)
}

// EnvFile returns the path of the file that users source.
func (s *Server) EnvFile() string { return filepath.Join(s.Data, "env") }

// Env sources the environment file with a shell, as users do, and returns the
// environment of a program started from that shell.
func (s *Server) Env() (map[string]string, error) {
	cmd := exec.Command("sh", "-c", `. "$1" && env -0`, "sh", s.EnvFile())
	cmd.Env = baseEnv(s.Home, s.Plugin)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.EnvFile(), err)
	}
	env := make(map[string]string)
	for pair := range strings.SplitSeq(string(out), "\x00") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			env[k] = v
		}
	}
	return env, nil
}

// Shell returns a command that sources the environment file and runs script,
// with the folders of path first on PATH and args as $1, $2…
func (s *Server) Shell(ctx context.Context, path []string, script string, args ...string) *exec.Cmd {
	// With job control, Ctrl-C reaches the program only. This shell has none;
	// the trap keeps it alive as job control would.
	argv := append([]string{"-c", `trap : INT; . "$1" || exit; shift; ` + script, "sh", s.EnvFile()}, args...)
	cmd := exec.CommandContext(ctx, "sh", argv...)
	cmd.Env = baseEnv(s.Home, append(path, s.Bin, s.Plugin)...)
	return cmd
}

// baseEnv is the environment of a fresh login, without any AWS variables.
func baseEnv(home string, path ...string) []string {
	env := []string{
		"HOME=" + home,
		"TERM=xterm-256color",
		"LANG=C.UTF-8",
		"PATH=" + strings.Join(append(path, os.Getenv("PATH")), ":"),
	}
	for _, keep := range []string{"TMPDIR", "GORACE", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(keep); ok {
			env = append(env, keep+"="+v)
		}
	}
	return env
}

// Result is the result of a finished command.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Do runs cmd to its end, with empty input, and returns its result. It fails the test only
// if the command could not be run.
func Do(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Eventually waits until check returns nil, and fails the test with the last
// error after limit.
func Eventually(t testing.TB, limit time.Duration, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", limit, err)
		}
	}
}

// process is a started program whose end is awaited in one place.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // the result; read after done
}

// startProcess starts cmd in a process group of its own, its standard error
// appended to the file log.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stderr = f
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM // if the tests themselves are killed
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// stop signals the program, waits for its end, and kills the remaining programs of its process
// group. It is not an error if the program ended successfully or by that signal.
func (p *process) stop(sig syscall.Signal) error {
	pid := p.cmd.Process.Pid
	defer func() { _ = syscall.Kill(-pid, syscall.SIGKILL) }()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	deadline := time.NewTimer(stopDeadline)
	defer deadline.Stop()
	select {
	case <-p.done:
	case <-deadline.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %s of %s", filepath.Base(p.cmd.Path), stopDeadline, sig)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == sig {
			return nil
		}
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(p.cmd.Path), p.err)
	}
	return nil
}

// tail returns the last n lines of text.
func tail(text []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

package runcommand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/internal/agent/output"
	"sekisho/internal/agent/pty"
)

// drainWait is how long output is read after the script's end if programs that
// it left in the background keep it open.
const drainWait = 2 * time.Second

// The codes of scripts that AWS's agent gives a meaning.
const (
	codeKilled  = 137
	codeSuccess = 168 // the document ends here, well
	codeFailure = 169 // the document ends here, badly
	codeReboot  = 194
)

// Causes that end a script early.
var (
	errTimedOut  = refuse("The script ran longer than its timeoutSeconds and was ended.")
	errCancelled = refuse("The command was cancelled.")
	errStopped   = refuse("The agent was stopped while the command ran.")
)

// script is one run of a shell script.
type script struct {
	in       *scriptInput
	dir      string // of the step's own
	work     string // where relative working directories are
	env      []string
	out, err io.Writer
	began    func(group int) // called with the script's process group
}

// run runs the script to its end. It does not wait for programs that the script
// leaves in the background: they keep running, and what they write more than
// drainWait after the script's end is lost. When ctx ends or the script's time
// is over, the script and what it started are killed, and the error is the
// cause.
func (s *script) run(ctx context.Context) (code int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.in.timeout(), errTimedOut)
	defer cancel()
	cmd, err := s.command()
	if err != nil {
		return 1, err
	}
	stdout, outWrite, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer stdout.Close()
	stderr, errWrite, err := os.Pipe()
	if err != nil {
		outWrite.Close()
		return 1, err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = outWrite, errWrite
	err = pty.ShutInherited()
	if err == nil {
		err = cmd.Start()
	}
	outWrite.Close()
	errWrite.Close()
	if err != nil {
		return 1, refuse("The script could not be started: %w.", err)
	}
	s.began(cmd.Process.Pid)
	stop := context.AfterFunc(ctx, func() {
		// The script leads its group, and its ID is not free until cmd.Wait.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	var copies sync.WaitGroup
	copies.Go(func() { _, _ = io.Copy(s.out, &output.Tail{From: stdout}) }) // any error is the end
	copies.Go(func() { _, _ = io.Copy(s.err, &output.Tail{From: stderr}) })
	exitErr := awaitExit(cmd.Process.Pid)
	deadline := time.Now().Add(drainWait)
	_ = stdout.SetReadDeadline(deadline) // pipes have deadlines
	_ = stderr.SetReadDeadline(deadline)
	copies.Wait()
	waitErr := cmd.Wait()
	if !stop() {
		return codeKilled, context.Cause(ctx)
	}
	if exitErr != nil {
		return 1, fmt.Errorf("wait for the script: %w", exitErr)
	}
	return exitCode(waitErr)
}

// awaitExit waits for the end of a child process, whose ID stays its own until
// it is waited for again.
func awaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// command is the script in its file, with the interpreter that its first line
// names. The agent reads that line itself, so that the file may lie where
// nothing can be executed.
func (s *script) command() (*exec.Cmd, error) {
	dir := s.in.WorkingDirectory
	if !filepath.IsAbs(dir) {
		if dir != "" && !filepath.IsLocal(dir) {
			return nil, refuse("workingDirectory %.200q leads out of the command's directory.", dir)
		}
		dir = filepath.Join(s.work, dir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	} else if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil, refuse("There is no workingDirectory %.200q on the node.", dir)
	}
	file := filepath.Join(s.dir, "_script.sh")
	if err := os.WriteFile(file, []byte(strings.Join(s.in.RunCommand, "\n")+"\n"), 0o700); err != nil {
		return nil, err
	}
	first := ""
	if len(s.in.RunCommand) > 0 {
		first, _, _ = strings.Cut(s.in.RunCommand[0], "\n")
	}
	args := append(interpreter(first), file)
	return &exec.Cmd{
		Path: args[0], Args: args, Dir: dir, Env: s.env,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // no terminal, and a group of its own
	}, nil
}

// interpreter is what runs a script that begins with line.
func interpreter(line string) []string {
	rest, ok := strings.CutPrefix(line, "#!")
	rest = strings.TrimSpace(rest)
	if !ok || rest == "" {
		return []string{"/bin/sh"}
	}
	i := strings.IndexAny(rest, " \t")
	if i < 0 {
		return []string{rest}
	}
	return []string{rest[:i], strings.TrimSpace(rest[i:])} // all of it one argument, as the kernel has it
}

// exitCode is what a shell would say: 128 and the signal's number for a
// script that a signal ended.
func exitCode(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return 1, fmt.Errorf("wait: %w", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// environment is what scripts see: what the agent was started with, but for
// what is its own, and what the command is.
func environment(more map[string]string, own map[string]string) []string {
	env := make(map[string]string)
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		if !agentsOwn(name) {
			env[name] = value
		}
	}
	if env["PATH"] == "" {
		env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	maps.Copy(env, more)
	maps.Copy(env, own)
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

// agentsOwn reports whether a variable is between the agent and who started
// it.
func agentsOwn(name string) bool {
	for _, prefix := range []string{"SEKISHO_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "INVOCATION_ID", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

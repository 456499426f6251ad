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

// Exit codes of scripts with a meaning for AWS's agent.
const (
	codeKilled  = 137
	codeSuccess = 168 // the document ends here, successfully
	codeFailure = 169 // the document ends here, as failed
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
	dir      string // the step's directory
	work     string // where relative working directories are
	env      []string
	out, err io.Writer
	began    func(group int) // called with the script's process group
}

// run runs the script until it exits. It does not wait for programs that the script leaves in the
// background: they keep running, and their output later than drainWait after the script's end is
// lost. When ctx ends or the timeout expires, run kills the script and its children, and returns
// the cause.
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
		return 1, refuse("Could not start the script: %w.", err)
	}
	s.began(cmd.Process.Pid)
	stop := context.AfterFunc(ctx, func() {
		// The script leads its group, and its ID is not reused before cmd.Wait.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	var copies sync.WaitGroup
	copies.Go(func() { _, _ = io.Copy(s.out, &output.Tail{From: stdout}) }) // any error means the end
	copies.Go(func() { _, _ = io.Copy(s.err, &output.Tail{From: stderr}) })
	exitErr := awaitExit(cmd.Process.Pid)
	deadline := time.Now().Add(drainWait)
	_ = stdout.SetReadDeadline(deadline) // cannot fail: pipes support deadlines
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

// awaitExit waits for a child process to exit without reaping it, so that its ID is not reused.
func awaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// command returns the command that runs the script's file with the interpreter in its first line.
// The agent parses that line itself, so that the file can be on a file system without execute
// permission.
func (s *script) command() (*exec.Cmd, error) {
	dir := s.in.WorkingDirectory
	if !filepath.IsAbs(dir) {
		if dir != "" && !filepath.IsLocal(dir) {
			return nil, refuse("workingDirectory %.200q is outside the command's directory.", dir)
		}
		dir = filepath.Join(s.work, dir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	} else if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil, refuse("The workingDirectory %.200q does not exist on the node.", dir)
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

// interpreter returns the interpreter, with its argument, of a script that begins with line.
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
	return []string{rest[:i], strings.TrimSpace(rest[i:])} // the rest is one argument, as in the kernel
}

// exitCode follows the shells' convention: 128 plus the signal number for a script that was killed
// by a signal.
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

// environment returns the environment of scripts: the agent's without its private variables, plus
// those of the command.
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

// agentsOwn reports whether a variable is private to the agent and the program that started it.
func agentsOwn(name string) bool {
	for _, prefix := range []string{"SEKISHO_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "INVOCATION_ID", "JOURNAL_STREAM",
		"CREDENTIALS_DIRECTORY"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

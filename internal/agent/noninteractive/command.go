// Package noninteractive runs NonInteractiveCommands sessions: one command without
// a terminal and without input.
package noninteractive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"sekisho"
	"sekisho/internal/agent/output"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/pty"
	"sekisho/internal/wire/mgs"
)

// drainWait is how long output is read after the command has ended, if a process that it left in
// the background keeps the pipe open.
const drainWait = 2 * time.Second

// notStarted is the exit code that shells use for a command that could not be
// started.
const notStarted = 127

// Command is one run of a command.
type Command struct {
	// Exec is complete except for its standard streams.
	Exec *exec.Cmd
	// Separate sends standard error separately from standard output, and
	// the exit code at the end.
	Separate bool
	// ReportExit sends the exit code even if Separate is not set.
	ReportExit bool
	// OutPrefix and ErrPrefix precede each chunk of separate output that
	// begins a line.
	OutPrefix, ErrPrefix string
	Log                  *slog.Logger
}

// Run runs the command until it exits, and returns after all of its output has been sent to stream. When ctx ends or
// stream closes, it ends the command and its children, and returns the reason.
func (c *Command) Run(ctx context.Context, stream plugin.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pipes, err := c.start()
	if err != nil {
		if c.Separate {
			err = errors.Join(err, c.tellExit(ctx, stream, notStarted))
		}
		return err
	}
	pid := c.Exec.Process.Pid
	exited := make(chan struct{})
	var waitErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(exited)
		waitErr = pty.Wait(c.Exec)
	})
	wg.Go(func() { cancel(c.input(ctx, stream, pid)) })
	sent := make(chan error, len(pipes))
	for _, p := range pipes {
		wg.Go(func() { p.buffer.Fill(&output.Tail{From: p.from}) })
		wg.Go(func() { sent <- p.send(ctx, stream) })
	}

	select {
	case <-exited:
		for _, p := range pipes {
			_ = p.from.SetReadDeadline(time.Now().Add(drainWait)) // pipes have deadlines
		}
	case <-ctx.Done():
	}
	for range pipes {
		select {
		case e := <-sent:
			err = errors.Join(err, e)
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		pty.EndSession(context.WithoutCancel(ctx), pid, exited)
	}
	<-exited
	if err == nil && (c.Separate || c.ReportExit) {
		err = c.tellExit(ctx, stream, exitCode(waitErr))
	}
	cancel(nil)
	for _, p := range pipes {
		p.buffer.Close()
		_ = p.from.Close() // only read from
	}
	wg.Wait()
	return err
}

func (c *Command) tellExit(ctx context.Context, stream plugin.Stream, code int) error {
	return stream.Send(ctx, mgs.PayloadExitCode, mgs.AppendExitCode(nil, code))
}

// pipe is one of the command's outputs.
type pipe struct {
	from   *os.File
	buffer *output.Buffer
	pt     mgs.PayloadType
	prefix []byte
}

func (p *pipe) send(ctx context.Context, stream plugin.Stream) error {
	begins := true // whether the next byte begins a line
	return p.buffer.Send(func(b []byte) error {
		if begins && len(p.prefix) > 0 {
			b = append(bytes.Clone(p.prefix), b...)
		}
		begins = b[len(b)-1] == '\n'
		return stream.Send(ctx, p.pt, b)
	})
}

// start starts the command with pipes for its output.
func (c *Command) start() (pipes []*pipe, err error) {
	outputs := []*pipe{{pt: mgs.PayloadOutput}}
	if c.Separate {
		outputs[0].prefix = []byte(c.OutPrefix)
		outputs = append(outputs, &pipe{pt: mgs.PayloadStdErr, prefix: []byte(c.ErrPrefix)})
	}
	theirs := make([]*os.File, 0, len(outputs))
	defer func() {
		for _, f := range theirs {
			_ = f.Close() // the command has its own copy
		}
		if err != nil {
			for _, p := range outputs {
				if p.from != nil {
					_ = p.from.Close() // nothing was read
				}
			}
		}
	}()
	for _, p := range outputs {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("pipe: %w", err)
		}
		p.from, p.buffer = r, output.New()
		theirs = append(theirs, w)
	}
	if err := pty.ShutInherited(); err != nil {
		return nil, err
	}
	begin := func() error {
		c.Exec.Stdout, c.Exec.Stderr = theirs[0], theirs[len(theirs)-1] // stdin is empty
		if c.Exec.SysProcAttr == nil {
			c.Exec.SysProcAttr = &syscall.SysProcAttr{}
		}
		c.Exec.SysProcAttr.Setsid = true
		return c.Exec.Start()
	}
	err = begin()
	if err != nil && c.Exec.Dir != "/" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		// A user who cannot enter the home directory can still log in.
		c.Exec = &exec.Cmd{
			Path:        c.Exec.Path,
			Args:        c.Exec.Args,
			Env:         c.Exec.Env,
			Dir:         "/",
			SysProcAttr: c.Exec.SysProcAttr,
		}
		err = begin()
	}
	if err != nil {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"Could not start the program %.200q: %w.",
			c.Exec.Path,
			err,
		)
	}
	return outputs, nil
}

// Keys with which clients without a terminal request signals.
const (
	ctrlC         = 0x03
	ctrlBackslash = 0x1c
)

// input translates the client's keys into signals. The command has no other input.
func (c *Command) input(ctx context.Context, stream plugin.Stream, pid int) error {
	for {
		pt, b, err := stream.Receive(ctx)
		if err != nil {
			return err
		}
		if plugin.Terminates(pt, b) {
			return plugin.ErrTerminate
		}
		if pt != mgs.PayloadOutput {
			continue
		}
		for _, key := range b {
			sig := syscall.SIGINT
			switch key {
			case ctrlC:
			case ctrlBackslash:
				sig = syscall.SIGQUIT
			default:
				continue
			}
			if err := pty.Signal(pid, sig); err != nil {
				c.Log.Debug("could not signal the command", "error", err)
			}
		}
	}
}

// exitCode follows the shells' convention: 128 plus the signal number for a
// command that was killed by a signal.
func exitCode(err error) int {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return 0
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

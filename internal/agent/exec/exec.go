// Package exec runs a program on the node without a terminal. The client's data is its standard
// input; standard output and standard error are sent separately, followed by the exit code.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/pty"
	"sekisho/internal/wire/mgs"
)

// patience is the time between successive signals that end a program. It is also how long output is
// read after the program has ended, if a program that it left in the background keeps the pipe
// open.
const patience = 2 * time.Second

// lastLook is the final wait for buffered output of an ended program.
const lastLook = 50 * time.Millisecond

// chunk is the maximum size of an output message.
const chunk = mgs.JumboPayload

// Program is one run of a program.
type Program struct {
	// Command is complete except for its standard streams.
	Command *exec.Cmd
	// Data is the payload type of the program's input and output; zero means
	// mgs.PayloadOutput. Other types are not recorded.
	Data mgs.PayloadType
	Log  *slog.Logger
}

// Run runs the program until it exits, and returns after its output and exit code have been sent to stream. When ctx
// ends or stream closes, it ends the program and its children, and returns the reason.
func (p *Program) Run(ctx context.Context, stream plugin.Stream) error {
	if p.Data == 0 {
		p.Data = mgs.PayloadOutput
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	files, err := p.start()
	if err != nil {
		return p.notStarted(ctx, stream, err)
	}
	var input, output sync.WaitGroup
	input.Go(func() { cancel(p.input(ctx, stream, files.in)) })
	sent := make(chan error, 2)
	for pt, from := range map[mgs.PayloadType]*os.File{p.Data: files.out, mgs.PayloadStdErr: files.err} {
		output.Go(func() { sent <- copyOut(ctx, stream, pt, from) })
	}
	stop := context.AfterFunc(ctx, func() { p.signal(syscall.SIGTERM) })
	kill := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-files.ended:
		case <-timer.C:
			p.signal(syscall.SIGKILL)
		}
	})
	waitErr := pty.Wait(p.Command)
	close(files.ended)
	stop()
	kill()
	deadline := time.Now().Add(patience)
	_ = files.out.SetReadDeadline(deadline) // cannot fail: pipes support deadlines
	_ = files.err.SetReadDeadline(deadline)
	output.Wait()
	err = errors.Join(<-sent, <-sent)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else if err == nil {
		var code int
		if code, err = exitCode(waitErr); err == nil {
			err = stream.Send(ctx, mgs.PayloadExitCode, mgs.AppendExitCode(nil, code))
		}
	}
	cancel(nil)
	_ = files.in.Close() // input may be blocked in a write
	input.Wait()
	_ = files.out.Close()
	_ = files.err.Close()
	return err
}

// notStarted reports a failed start as a shell would: on standard error and with an exit code.
func (p *Program) notStarted(ctx context.Context, stream plugin.Stream, why error) error {
	code := 126
	if errors.Is(why, fs.ErrNotExist) {
		code = 127
	}
	text := fmt.Sprintf("could not start %.200q: %v\n", p.Command.Args[0], why)
	if err := stream.Send(ctx, mgs.PayloadStdErr, []byte(text)); err != nil {
		return err
	}
	return stream.Send(ctx, mgs.PayloadExitCode, mgs.AppendExitCode(nil, code))
}

// files are the agent's ends of the program's standard streams.
type files struct {
	in, out, err *os.File
	ended        chan struct{}
}

func (p *Program) start() (*files, error) {
	var ours, theirs [3]*os.File
	closeAll := func(all [3]*os.File) {
		for _, f := range all {
			if f != nil {
				_ = f.Close()
			}
		}
	}
	for i := range ours {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ours)
			closeAll(theirs)
			return nil, fmt.Errorf("pipe: %w", err)
		}
		ours[i], theirs[i] = r, w
		if i == 0 {
			ours[i], theirs[i] = w, r
		}
	}
	defer closeAll(theirs)
	widen(ours[0])
	widen(ours[1])
	if err := pty.ShutInherited(); err != nil {
		closeAll(ours)
		return nil, err
	}
	cmd := p.Command
	begin := func() error {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Setsid = true // no terminal; one process group to signal
		return cmd.Start()
	}
	err := begin()
	if err != nil && cmd.Dir != "/" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		// A user who cannot enter the home directory can still log in.
		cmd = &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: "/", SysProcAttr: cmd.SysProcAttr}
		p.Command = cmd
		err = begin()
	}
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	return &files{in: ours[0], out: ours[1], err: ours[2], ended: make(chan struct{})}, nil
}

// pipeSize is the size of the pipes of standard input and output. The kernel gives
// 64 KiB, with which program and agent wait for each other several times per message.
const pipeSize = 1 << 20

// widen enlarges a pipe. A system that allows no larger one keeps it as it is.
func widen(f *os.File) {
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

// signal signals the program's process group.
func (p *Program) signal(sig syscall.Signal) {
	if err := syscall.Kill(-p.Command.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.Log.Warn("could not signal the program", "signal", sig, "error", err)
	}
}

// input copies the client's data to the program and returns why it ended.
func (p *Program) input(ctx context.Context, stream plugin.Stream, in *os.File) error {
	for {
		pt, b, err := stream.Receive(ctx)
		if err != nil {
			return err
		}
		switch pt {
		case p.Data:
			// If the program does not read, the client waits.
			if _, err := in.Write(b); err != nil {
				p.Log.Debug("input lost", "error", err)
			}
		case mgs.PayloadFlag:
			f, err := mgs.ParseFlag(b)
			if err != nil {
				continue
			}
			switch f {
			case mgs.FlagDisconnectToPort:
				_ = in.Close() // end of the input; any more is discarded
			case mgs.FlagTerminateSession:
				return plugin.ErrTerminate
			}
		}
	}
}

// copyOut sends everything read from from.
func copyOut(ctx context.Context, stream plugin.Stream, pt mgs.PayloadType, from *os.File) error {
	buf := make([]byte, chunk)
	late := false
	for {
		n, err := from.Read(buf)
		if n > 0 {
			late = false
			if err := stream.Send(ctx, pt, buf[:n]); err != nil {
				// Keep reading: otherwise the program would block on a full pipe.
				_, _ = io.Copy(io.Discard, from)
				return fmt.Errorf("send output: %w", err)
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded) && late:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The client may have been slow: read the buffered output.
			late = true
			_ = from.SetReadDeadline(time.Now().Add(lastLook))
		case err != nil:
			return fmt.Errorf("read output: %w", err)
		}
	}
}

// exitCode follows the shells' convention: 128 plus the signal number for a
// program that was killed by a signal.
func exitCode(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return 0, fmt.Errorf("wait: %w", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// Package shell is the plugin of Standard_Stream and InteractiveCommands sessions: a shell, or one
// command, on a terminal.
package shell

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/output"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/pty"
	"sekisho/internal/wire/mgs"
)

// sizeWait is how long the shell waits for the size of the user's terminal, so that its first
// prompt fits.
const sizeWait = 500 * time.Millisecond

// drainWait bounds reading the last output of an exited shell. The kernel normally ends it sooner.
const drainWait = 2 * time.Second

// Terminal size if the client sends none.
const defaultCols, defaultRows = 80, 24

// Shell is one shell session.
type Shell struct {
	// Command is the shell to start. Its extra files are closed once it is running.
	Command *exec.Cmd
	// User is the name of the user, for error messages.
	User string
	// Size is the terminal size, if the client sent it before the start.
	Size mgs.Size
	// Type is typed into the terminal at the start.
	Type string
	// ReportExit sends the exit code, which only Sekisho's client accepts.
	ReportExit bool
	// Echo is called when the terminal starts or stops echoing input; may be nil.
	Echo func(on bool)
	// Typed is input of people who joined the session; may be nil.
	Typed <-chan []byte
	Log   *slog.Logger
}

// Run starts the shell and connects it to stream. It returns nil after the shell has exited and all of its output has
// been sent to stream. When ctx ends or stream closes, it ends the shell and its jobs, and returns the reason.
func (s *Shell) Run(ctx context.Context, stream plugin.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first, err := s.awaitSize(ctx, stream)
	if err != nil {
		return err
	}
	p, err := s.start()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		cancel(s.input(ctx, stream, p, first))
	})
	wg.Go(func() { s.typed(ctx, p) })
	echo := &echoWatch{process: p, report: s.Echo}
	wg.Go(func() { echo.run(ctx) })
	out := output.New()
	wg.Go(func() { out.Fill(&output.Tail{From: p}) })
	sent := make(chan error, 1)
	wg.Go(func() {
		sent <- out.Send(func(b []byte) error {
			echo.check() // before a prompt is shown
			return stream.Send(ctx, mgs.PayloadOutput, b)
		})
	})

	select {
	case <-p.Exited():
		// It fails only on a closed file, whose reads end anyway.
		_ = p.SetReadDeadline(time.Now().Add(drainWait))
		select {
		case err = <-sent:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err == nil && s.ReportExit {
			err = stream.Send(ctx, mgs.PayloadExitCode, mgs.AppendExitCode(nil, p.ExitCode()))
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if ctx.Err() != nil {
		p.End(context.WithoutCancel(ctx))
	}
	// Like ssh, this hangs up all processes except those put in the background deliberately (nohup,
	// disown).
	p.Close()
	cancel(nil)
	out.Close()
	wg.Wait()
	return err
}

// payload was received before the shell was started.
type payload struct {
	pt mgs.PayloadType
	b  []byte
}

// awaitSize waits for the client's first Size. Any other payload ends the wait and
// is returned.
func (s *Shell) awaitSize(ctx context.Context, stream plugin.Stream) (*payload, error) {
	if s.Size != (mgs.Size{}) {
		return nil, nil
	}
	wait, cancel := context.WithTimeout(ctx, sizeWait)
	defer cancel()
	for {
		pt, b, err := stream.Receive(wait)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			return nil, nil
		case err != nil:
			return nil, err
		case pt == mgs.PayloadOutput || pt == mgs.PayloadFlag:
			return &payload{pt, b}, nil
		case pt != mgs.PayloadSize:
			continue
		}
		if size, err := mgs.ParseBody[mgs.Size](b); err == nil && size.Cols > 0 && size.Rows > 0 {
			s.Size = size
			return nil, nil
		}
	}
}

func (s *Shell) start() (*pty.Process, error) {
	defer func() {
		for _, f := range s.Command.ExtraFiles {
			_ = f.Close() // nothing is written to them
		}
	}()
	size := s.Size
	if size == (mgs.Size{}) {
		size = mgs.Size{Cols: defaultCols, Rows: defaultRows}
	}
	p, err := pty.Start(s.Command, size.Cols, size.Rows)
	if err != nil && s.Command.Dir != "/" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		// A user who cannot enter the home directory can still log in.
		again := &exec.Cmd{
			Path: s.Command.Path, Args: s.Command.Args, Env: s.Command.Env, Dir: "/",
			SysProcAttr: s.Command.SysProcAttr, ExtraFiles: s.Command.ExtraFiles,
		}
		p, err = pty.Start(again, size.Cols, size.Rows)
	}
	if err != nil {
		return nil, sekisho.Errorf(
			sekisho.CodeInternal,
			"Could not start %q as the OS user %q: %w.",
			s.Command.Path,
			s.User,
			err,
		)
	}
	return p, nil
}

// input handles the client's payloads until the stream ends, and returns why.
func (s *Shell) input(ctx context.Context, stream plugin.Stream, p *pty.Process, first *payload) error {
	if s.Type != "" {
		if _, err := p.Write([]byte(s.Type)); err != nil {
			s.Log.Debug("input lost", "error", err)
		}
	}
	if first != nil {
		if err := s.handle(p, first.pt, first.b); err != nil {
			return err
		}
	}
	for {
		pt, b, err := stream.Receive(ctx)
		if err != nil {
			return err
		}
		if err := s.handle(p, pt, b); err != nil {
			return err
		}
	}
}

// typed types what people send who joined the session, until ctx ends.
func (s *Shell) typed(ctx context.Context, p *pty.Process) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-s.Typed:
			if _, err := p.Write(b); err != nil {
				s.Log.Debug("input lost", "error", err)
			}
		}
	}
}

func (s *Shell) handle(p *pty.Process, pt mgs.PayloadType, b []byte) error {
	switch pt {
	case mgs.PayloadOutput:
		if _, err := p.Write(b); err != nil {
			// The shell is exiting and reads nothing more.
			s.Log.Debug("input lost", "error", err)
		}
	case mgs.PayloadSize:
		size, err := mgs.ParseBody[mgs.Size](b)
		if err != nil || size.Cols == 0 || size.Rows == 0 {
			s.Log.Debug("not a terminal size", "error", err)
			return nil
		}
		if err := p.Resize(size.Cols, size.Rows); err != nil {
			s.Log.Debug("resize", "error", err)
		}
	case mgs.PayloadFlag:
		if plugin.Terminates(pt, b) {
			return plugin.ErrTerminate
		}
	default:
		s.Log.Debug("ignored a payload", "payload_type", pt)
	}
	return nil
}

// Environment returns the variables of a shell beyond its user's own.
func Environment(session sekisho.SessionID) []string {
	return []string{"TERM=xterm-256color", "SEKISHO_SESSION_ID=" + strings.ToValidUTF8(string(session), "")}
}

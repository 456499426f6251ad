// Package shell is the plugin of Standard_Stream sessions: a person's login
// shell at a terminal.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/agent/pty"
	"sekisho/internal/mgs"
)

// Stream is a session's data channel.
type Stream interface {
	Send(ctx context.Context, pt mgs.PayloadType, p []byte) error
	Receive(ctx context.Context) (mgs.PayloadType, []byte, error)
}

// sizeWait is how long the shell waits to learn the size of the person's
// terminal, so that its first prompt is drawn for it.
const sizeWait = 500 * time.Millisecond

// drainWait bounds reading what an ended shell has left behind. The kernel
// normally ends it sooner.
const drainWait = 2 * time.Second

// Terminal size of a client that does not tell.
const defaultCols, defaultRows = 80, 24

// Shell is one shell session.
type Shell struct {
	// Command is the shell, ready to be started.
	Command *exec.Cmd
	// User is whose shell it is, for error messages.
	User string
	// Size is the size the client gave before the shell was run, if it did.
	Size mgs.Size
	Log  *slog.Logger
}

// Run starts the shell and connects it to stream until the shell exits: then
// everything it wrote has been given to stream, and Run returns nil. When ctx
// ends or stream closes, the shell and its jobs are ended, and Run returns
// why.
func (s *Shell) Run(ctx context.Context, stream Stream) error {
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
	out := newBuffer()
	wg.Go(func() { out.fill(p) })
	sent := make(chan error, 1)
	wg.Go(func() { sent <- out.send(ctx, stream) })

	select {
	case <-p.Exited():
		// Errors only on a closed file, whose reads end by themselves.
		_ = p.SetReadDeadline(time.Now().Add(drainWait))
		select {
		case err = <-sent:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if ctx.Err() != nil {
		p.End(context.WithoutCancel(ctx))
	}
	// Processes that the shell has put in the background on purpose go on,
	// as they do after ssh; the rest is hung up by this.
	p.Close()
	cancel(nil)
	out.close()
	wg.Wait()
	return err
}

// payload is something received before the shell ran.
type payload struct {
	pt mgs.PayloadType
	b  []byte
}

// awaitSize waits for the client's first Size. Anything else that comes first
// ends the wait and is returned.
func (s *Shell) awaitSize(ctx context.Context, stream Stream) (*payload, error) {
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
	size := s.Size
	if size == (mgs.Size{}) {
		size = mgs.Size{Cols: defaultCols, Rows: defaultRows}
	}
	p, err := pty.Start(s.Command, size.Cols, size.Rows)
	if err != nil && s.Command.Dir != "/" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		// The home may be closed to its own user, who comes in anyway.
		again := &exec.Cmd{Path: s.Command.Path, Args: s.Command.Args, Env: s.Command.Env, Dir: "/", SysProcAttr: s.Command.SysProcAttr}
		p, err = pty.Start(again, size.Cols, size.Rows)
	}
	if err != nil {
		return nil, sekisho.Errorf(sekisho.CodeInternal, "The shell %q of the OS user %q could not be started: %w.", s.Command.Path, s.User, err)
	}
	return p, nil
}

// errTerminate ends a session whose client asked for it.
var errTerminate = errors.New("the client ended the session")

// IsTerminate reports whether err means that the client wished the end.
func IsTerminate(err error) bool { return errors.Is(err, errTerminate) }

// input does what the client sends until there is no more of it, and says why.
func (s *Shell) input(ctx context.Context, stream Stream, p *pty.Process, first *payload) error {
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

func (s *Shell) handle(p *pty.Process, pt mgs.PayloadType, b []byte) error {
	switch pt {
	case mgs.PayloadOutput:
		if _, err := p.Write(b); err != nil {
			// The shell is ending: whatever is typed now has no reader.
			s.Log.Debug("input is lost", "error", err)
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
		if f, err := mgs.ParseFlag(b); err == nil && f == mgs.FlagTerminateSession {
			return errTerminate
		}
	default:
		s.Log.Debug("ignored a payload", "payload_type", pt)
	}
	return nil
}

// bufferSize is how much output may wait for the channel. While it is full
// the terminal is not read, and so the programs wait.
const bufferSize = 64 << 10

// buffer is output between the terminal and the channel. What gathers while
// the channel is busy goes out as one.
type buffer struct {
	mu     sync.Mutex
	change sync.Cond
	b      []byte
	eof    bool // nothing more comes
	closed bool // nothing more is wanted
}

func newBuffer() *buffer {
	o := &buffer{}
	o.change.L = &o.mu
	return o
}

// fill reads r to its end.
func (o *buffer) fill(r interface{ Read([]byte) (int, error) }) {
	chunk := make([]byte, 16<<10)
	for {
		// Any error is the end: the terminal of an ended process fails with EIO.
		n, err := r.Read(chunk)
		o.mu.Lock()
		for len(o.b)+n > bufferSize && !o.closed {
			o.change.Wait()
		}
		o.b = append(o.b, chunk[:n]...)
		o.eof = o.eof || err != nil
		end := o.eof || o.closed
		o.change.Broadcast()
		o.mu.Unlock()
		if end {
			return
		}
	}
}

// send gives everything to stream.
func (o *buffer) send(ctx context.Context, stream Stream) error {
	var b []byte
	for {
		b = o.take(b[:0])
		if len(b) == 0 {
			return nil
		}
		if err := stream.Send(ctx, mgs.PayloadOutput, b); err != nil {
			return fmt.Errorf("send output: %w", err)
		}
	}
}

// take waits for output and moves it to the end of b. Nothing is the end. A
// character that is not whole yet stays behind: who shows or records output
// frame by frame need not put characters together.
func (o *buffer) take(b []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		n := len(o.b)
		if !o.eof {
			n -= unfinished(o.b)
		}
		if n > 0 || o.eof || o.closed {
			b = append(b, o.b[:n]...)
			o.b = append(o.b[:0], o.b[n:]...)
			o.change.Broadcast()
			return b
		}
		o.change.Wait()
	}
}

func (o *buffer) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.b = nil
	o.change.Broadcast()
}

// unfinished is the number of bytes at the end of b that begin a UTF-8
// character whose rest is still to come.
func unfinished(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		c := b[len(b)-i]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}

// Environment is what a shell's environment holds beyond its user's own.
func Environment(session sekisho.SessionID) []string {
	return []string{"TERM=xterm-256color", "SEKISHO_SESSION_ID=" + strings.ToValidUTF8(string(session), "")}
}

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"sekisho/internal/wire/mgs"
)

// Callbacks report what happens in a session, apart from its data. Nil functions
// are not called.
type Callbacks struct {
	// Started is called when the session begins. stdio means that stdout
	// carries the session's data, so that nothing else can be written there.
	Started func(sessionID string, stdio bool)
	// Notice reports a change that the user should know about.
	Notice func(text string)
	// Listening reports an address that the client listens on.
	Listening func(address string)
	// Exited, if set, gets the exit code, which then is not returned as an error.
	Exited func(code int)
	// Ended is called when the session has ended normally.
	Ended func(sessionID string)
}

func (v *Callbacks) started(sessionID string, stdio bool) {
	if v.Started != nil {
		v.Started(sessionID, stdio)
	}
}

func (v *Callbacks) notice(format string, args ...any) {
	if v.Notice != nil {
		v.Notice(fmt.Sprintf(format, args...))
	}
}

func (v *Callbacks) listening(address string) {
	if v.Listening != nil {
		v.Listening(address)
	}
}

func (v *Callbacks) ended(sessionID string) {
	if v.Ended != nil {
		v.Ended(sessionID)
	}
}

// Shell starts a session and connects it to the terminal until it ends. If the
// session did not end normally, the error gives the reason.
//
// Shell does not wait for its last Read of t.In, which may never return.
func (c *Client) Shell(ctx context.Context, in StartInput, t *Terminal) error {
	on := Callbacks{
		Started: func(session string, _ bool) {
			fmt.Fprintf(t.Err, "Session %s on %s.\n", Printable(session), Printable(in.Target))
		},
		Notice:    t.notice,
		Listening: func(address string) { fmt.Fprintf(t.Err, "Listening on %s.\n", address) },
	}
	return c.Run(ctx, in, t, on)
}

// Run is Shell with other callbacks.
func (c *Client) Run(ctx context.Context, in StartInput, t *Terminal, on Callbacks) error {
	l, err := c.start(ctx, in, on.notice)
	if err != nil {
		return err
	}
	return l.run(ctx, t, on)
}

// Join is Run for a session that another program has started. Like AWS's plugin,
// it gets an exit code only where AWS's agent sends one.
func (c *Client) Join(ctx context.Context, stream Stream, target string, t *Terminal, on Callbacks) error {
	l, err := c.legOf(stream, target, on.notice)
	if err != nil {
		return err
	}
	l.likePlugin = true
	return l.run(ctx, t, on)
}

// run runs a session of the type that the node reports.
func (l *leg) run(ctx context.Context, t *Terminal, on Callbacks) error {
	if t.Interactive {
		l.hint = " (~. at the start of a line leaves)"
	}
	l.attach(ctx)
	err := l.greet(ctx)
	if err == nil {
		stdio := l.hello.kind == typePort && l.hello.Type != portForwarding
		on.started(l.stream.SessionID, stdio)
		for line := range strings.Lines(l.hello.message) {
			on.notice("%s", Printable(strings.TrimRight(line, "\r\n")))
		}
		switch {
		case stdio:
			err = l.stdio(ctx, t.In, t.Out)
		case l.hello.kind == typePort:
			err = l.listenAsDocumented(ctx, on)
		default:
			err = l.shell(ctx, t)
		}
	}
	exit, hasExit := errors.AsType[*ExitError](err)
	if hasExit {
		l.detach() // the node has already ended the session
	} else if err = l.end(ctx, err); err != nil {
		return err
	} else if !l.likePlugin && l.hello.offers(offerExitCode) {
		return l.noExitCode()
	}
	if hasExit && on.Exited != nil {
		on.Exited(exit.Code)
		hasExit = false
	}
	on.ended(l.stream.SessionID)
	if hasExit && exit.Code != 0 {
		return exit
	}
	return nil
}

// terminateFlag asks the node to end the session and waits for the
// acknowledgement.
func (l *leg) terminateFlag(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordTime)
	defer cancel()
	if l.send(ctx, mgs.PayloadFlag, mgs.FlagTerminateSession.Bytes()) == nil {
		_ = l.ch.Drain(ctx) // the API call ends the session in any case
	}
}

var _ io.Writer = (*outputWriter)(nil)

// outputWriter sends what is written to it as stream data of type pt, by default
// output.
type outputWriter struct {
	ctx context.Context
	l   *leg
	pt  mgs.PayloadType
}

// Write implements io.Writer.
func (w *outputWriter) Write(p []byte) (int, error) {
	pt := w.pt
	if pt == 0 {
		pt = mgs.PayloadOutput
	}
	if err := w.l.send(w.ctx, pt, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

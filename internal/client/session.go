package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"sekisho/internal/wire/mgs"
)

// Voice is how a session speaks to the person beside what the node sends. Nil
// functions say nothing.
type Voice struct {
	// Started is called when the session may begin; stdio is whether its
	// bytes are stdin's and stdout's own, so that nothing may be mixed in.
	Started func(session string, stdio bool)
	// Notice tells something that happens on the way.
	Notice func(text string)
	// Listening says where connections are taken.
	Listening func(address string)
	// Exited, if there is one, is told the exit code, which then is no error.
	Exited func(code int)
	// Ended is called when the session ended as sessions do.
	Ended func(session string)
}

func (v *Voice) started(session string, stdio bool) {
	if v.Started != nil {
		v.Started(session, stdio)
	}
}

func (v *Voice) notice(format string, args ...any) {
	if v.Notice != nil {
		v.Notice(fmt.Sprintf(format, args...))
	}
}

func (v *Voice) listening(address string) {
	if v.Listening != nil {
		v.Listening(address)
	}
}

func (v *Voice) ended(session string) {
	if v.Ended != nil {
		v.Ended(session)
	}
}

// Shell starts a session and joins it to the terminal until it ends. The
// error of a session that ended for a reason says the reason.
//
// Shell does not wait for its last Read of t.In, which may never return.
func (c *Client) Shell(ctx context.Context, in StartInput, t *Terminal) error {
	voice := Voice{
		Started: func(session string, _ bool) {
			fmt.Fprintf(t.Err, "Session %s on %s.\n", Printable(session), Printable(in.Target))
		},
		Notice:    t.notice,
		Listening: func(address string) { fmt.Fprintf(t.Err, "Listening on %s.\n", address) },
	}
	return c.Run(ctx, in, t, voice)
}

// Run is Shell with another voice.
func (c *Client) Run(ctx context.Context, in StartInput, t *Terminal, voice Voice) error {
	l, err := c.start(ctx, in, voice.notice)
	if err != nil {
		return err
	}
	return l.run(ctx, t, voice)
}

// Join is Run for a session that another program has started.
func (c *Client) Join(ctx context.Context, stream Stream, target string, t *Terminal, voice Voice) error {
	l, err := c.legOf(stream, target, voice.notice)
	if err != nil {
		return err
	}
	return l.run(ctx, t, voice)
}

// run runs a session of whatever kind the node says it is.
func (l *leg) run(ctx context.Context, t *Terminal, voice Voice) error {
	if t.Interactive {
		l.hint = " (~. at the start of a line leaves)"
	}
	l.attach(ctx)
	err := l.greet(ctx)
	if err == nil {
		stdio := l.hello.kind == typePort && l.hello.Type != portForwarding
		voice.started(l.stream.SessionID, stdio)
		for line := range strings.Lines(l.hello.message) {
			voice.notice("%s", Printable(strings.TrimRight(line, "\r\n")))
		}
		switch {
		case stdio:
			err = l.stdio(ctx, t.In, t.Out)
		case l.hello.kind == typePort:
			err = l.listenAsAsked(ctx, voice)
		default:
			err = l.shell(ctx, t)
		}
	}
	exit, hasExit := errors.AsType[*ExitError](err)
	if hasExit {
		l.detach() // the node has ended the session
	} else if err = l.end(ctx, err); err != nil {
		return err
	}
	if hasExit && voice.Exited != nil {
		voice.Exited(exit.Code)
		hasExit = false
	}
	voice.ended(l.stream.SessionID)
	if hasExit && exit.Code != 0 {
		return exit
	}
	return nil
}

// terminateFlag asks the node to end the session, and waits until it has
// heard that.
func (l *leg) terminateFlag(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordTime)
	defer cancel()
	if l.send(ctx, mgs.PayloadFlag, mgs.FlagTerminateSession.Bytes()) == nil {
		_ = l.ch.Drain(ctx) // it is ended by the API in any case
	}
}

var _ io.Writer = (*outputWriter)(nil)

// outputWriter sends what is written to it as stream data of one type; the
// zero one means output.
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

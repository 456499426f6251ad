package client

import (
	"cmp"
	"context"
	"errors"
	"io"

	"sekisho/internal/shellquote"
	"sekisho/internal/wire/mgs"
)

// Session documents for commands without a terminal.
const (
	documentExec    = "Sekisho-Exec"
	documentExecAWS = "AWS-StartNonInteractiveCommand"
)

// ExecInput says what to run on a node.
type ExecInput struct {
	Target, Reason string
	Args           []string // the program and its arguments; no shell interprets them
}

// Exec runs a program on a node without a terminal, with separate stdin, stdout
// and stderr. A nonzero exit code is an *ExitError.
//
// AWS's agent runs the program too, but gives it no stdin.
func (c *Client) Exec(
	ctx context.Context,
	in ExecInput,
	stdin io.Reader,
	stdout, stderr io.Writer,
	on Callbacks,
) error {
	start := StartInput{
		Target: in.Target, Reason: in.Reason, DocumentName: documentExec,
		Parameters: map[string][]string{"command": {shellquote.Join(in.Args)}},
	}
	l, err := c.start(ctx, start, on.notice)
	if refused, ok := errors.AsType[*APIError](err); ok && refused.Code == "InvalidDocument" {
		// The server is not Sekisho.
		start.DocumentName = documentExecAWS
		start.Parameters["separateOutputStream"] = []string{"true"}
		l, err = c.start(ctx, start, on.notice)
	}
	if err != nil {
		return err
	}
	l.attach(ctx)
	if err = l.greet(ctx); err == nil {
		on.started(l.stream.SessionID, false)
		go l.feed(ctx, stdin, on) // cannot be waited for: a Read of stdin may never return
		err = l.copyOutput(ctx, stdout, stderr)
	}
	exit, ok := errors.AsType[*ExitError](err)
	if !ok {
		return cmp.Or(l.end(ctx, err), l.noExitCode())
	}
	l.detach()
	if exit.Code != 0 {
		return exit
	}
	return nil
}

// feed sends stdin to the node up to its end, if the node's agent accepts it.
func (l *leg) feed(ctx context.Context, stdin io.Reader, on Callbacks) {
	if !l.hello.offers(offerStdin) {
		if n, _ := stdin.Read(make([]byte, 1)); n > 0 {
			on.notice("The node's agent cannot pass standard input to the command: your input is discarded.")
		}
		return
	}
	buf := make([]byte, l.payloadSize())
	if _, err := io.CopyBuffer(&outputWriter{ctx: ctx, l: l}, onlyReader{stdin}, buf); err == nil {
		_ = l.send(ctx, mgs.PayloadFlag, mgs.FlagDisconnectToPort.Bytes()) // end of input
	}
}

package client

import (
	"context"
	"errors"
	"io"

	"sekisho/internal/shellquote"
	"sekisho/internal/wire/mgs"
)

// The documents of commands without a terminal.
const (
	documentExec    = "Sekisho-Exec"
	documentExecAWS = "AWS-StartNonInteractiveCommand"
)

// ExecInput says what to run on a node.
type ExecInput struct {
	Target, Reason string
	Args           []string // the program and its arguments, taken as they are
}

// Exec runs a program on a node without a terminal, with stdin, stdout and
// stderr each apart. Its exit code, where it is not 0, is an *ExitError.
//
// A node with AWS's agent runs it, too, but passes nothing to its stdin.
func (c *Client) Exec(ctx context.Context, in ExecInput, stdin io.Reader, stdout, stderr io.Writer, voice Voice) error {
	start := StartInput{
		Target: in.Target, Reason: in.Reason, DocumentName: documentExec,
		Parameters: map[string][]string{"command": {shellquote.Join(in.Args)}},
	}
	l, err := c.start(ctx, start, voice.notice)
	if refused, ok := errors.AsType[*APIError](err); ok && refused.Code == "InvalidDocument" {
		// A server that is not Sekisho.
		start.DocumentName = documentExecAWS
		start.Parameters["separateOutputStream"] = []string{"true"}
		l, err = c.start(ctx, start, voice.notice)
	}
	if err != nil {
		return err
	}
	l.attach(ctx)
	if err = l.greet(ctx); err == nil {
		voice.started(l.stream.SessionID, false)
		go l.feed(ctx, stdin, voice) // may be stuck in a Read: not waited for
		err = l.copyOutput(ctx, stdout, stderr)
	}
	exit, ok := errors.AsType[*ExitError](err)
	if !ok {
		return l.end(ctx, err)
	}
	l.detach()
	if exit.Code != 0 {
		return exit
	}
	return nil
}

// feed passes on stdin to its end, where the node takes it.
func (l *leg) feed(ctx context.Context, stdin io.Reader, voice Voice) {
	if !l.hello.offers("stdin") {
		if n, _ := stdin.Read(make([]byte, 1)); n > 0 {
			voice.notice("The node's agent passes nothing to the command's standard input: what you send there is lost.")
		}
		return
	}
	buf := make([]byte, 32<<10)
	if _, err := io.CopyBuffer(&outputWriter{ctx: ctx, l: l}, onlyReader{stdin}, buf); err == nil {
		_ = l.send(ctx, mgs.PayloadFlag, mgs.FlagDisconnectToPort.Bytes()) // nothing more comes
	}
}

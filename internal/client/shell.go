package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/mgs"
)

// notice prints text on its own line, in raw mode too.
func (t *Terminal) notice(text string) {
	fmt.Fprintf(t.Err, "\r\n%s\r\n", text)
}

// shell connects the terminal to the program on the node until it ends. If the
// node reports an exit code, even 0, the error is an *ExitError.
func (l *leg) shell(ctx context.Context, t *Terminal) error {
	if l.hello.kind != typeNonInteractive {
		restore, err := t.Raw()
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		defer restore()
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if err := l.sendSize(ctx, t.Size()); err != nil {
		return err
	}
	wg.Go(func() { l.followSize(ctx, t) })
	go l.sendInput(ctx, t) // cannot be waited for: a Read of t.In may never return
	return l.copyOutput(ctx, t.Out, t.Err)
}

// copyOutput writes the output from the node until the session ends.
func (l *leg) copyOutput(ctx context.Context, out, errOut io.Writer) error {
	var exit *ExitError
	for {
		pt, b, err := l.receive(ctx)
		if err != nil {
			// The exit code arrives last, after all output.
			closed, ok := errors.AsType[*datachannel.ClosedError](err)
			if ok && exit != nil && (l.ended.Load() || closed.Remote && closed.Reason == "") {
				return exit
			}
			return err
		}
		switch pt {
		case mgs.PayloadOutput:
			_, err = out.Write(b)
		case mgs.PayloadStdErr:
			_, err = errOut.Write(b)
		case mgs.PayloadExitCode:
			var code int
			if code, err = mgs.ParseExitCode(b); err == nil {
				exit = &ExitError{code}
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
	}
}

func (l *leg) sendSize(ctx context.Context, size mgs.Size) error {
	body, err := mgs.MarshalBody(size)
	if err != nil {
		return err
	}
	return l.send(ctx, mgs.PayloadSize, body)
}

func (l *leg) followSize(ctx context.Context, t *Terminal) {
	last := t.Size()
	for {
		select {
		case <-t.Resized:
			if size := t.Size(); size != last {
				if l.sendSize(ctx, size) != nil {
					return
				}
				last = size
			}
		case <-ctx.Done():
			return
		case <-l.ch.Done():
			return
		}
	}
}

// sendInput sends the user's input.
func (l *leg) sendInput(ctx context.Context, t *Terminal) {
	var esc escape
	in, out := make([]byte, 16<<10), make([]byte, 0, 16<<10+1)
	line := true // the input so far ends with a line end
	for {
		n, err := t.In.Read(in)
		p := in[:n]
		if n > 0 {
			line = p[n-1] == '\n' || p[n-1] == '\r'
		}
		if t.Interactive {
			var leave bool
			if p, leave = esc.filter(out, p); leave {
				l.ch.Close(reasonLeft)
				return
			}
		}
		if l.send(ctx, mgs.PayloadOutput, p) != nil {
			return
		}
		switch {
		case errors.Is(err, io.EOF) && !t.Interactive:
			if l.hello.kind != typeNonInteractive {
				l.sendEnd(ctx, line)
			}
			return
		case err != nil:
			l.ch.Close("The terminal was closed.")
			return
		}
	}
}

// Pauses between the end-of-file characters that end a session without a
// terminal.
const (
	firstEndPause = 100 * time.Millisecond
	maxEndPause   = 2 * time.Second
)

// endOfFile is the character (Ctrl-D) that a terminal takes as end of file.
var endOfFile = []byte{0x04}

// sendEnd sends end-of-file characters to a program at a terminal until it exits. One is not enough: a shell that is
// just starting, or running a command, discards it when it sets up its terminal.
func (l *leg) sendEnd(ctx context.Context, line bool) {
	if !line && l.hello.kind == typeStandardStream {
		// A shell without a terminal also runs an unfinished last line.
		if l.send(ctx, mgs.PayloadOutput, []byte{'\n'}) != nil {
			return
		}
	}
	for pause := firstEndPause; ; pause = min(2*pause, maxEndPause) {
		if l.send(ctx, mgs.PayloadOutput, endOfFile) != nil || wait(ctx, pause) != nil {
			return
		}
	}
}

package client

import (
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/term"

	"sekisho/internal/wire/mgs"
)

// Terminal is the person's side of a session.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer

	// Interactive is whether keys are typed at In: then the escape "~." is
	// heeded. Otherwise In is data and passes as it is.
	Interactive bool
	// Raw makes keys arrive one by one, Ctrl-C and its kind included, and
	// returns what undoes it.
	Raw func() (restore func(), err error)
	// Size is the present size.
	Size func() mgs.Size
	// Resized has a value whenever the size may have changed.
	Resized <-chan os.Signal
}

// What a session is told of a size that nobody knows: wide, so that lines
// stay whole.
var unknownSize = mgs.Size{Cols: 300, Rows: 100}

// OpenTerminal returns the terminal of this process. close ends what
// OpenTerminal began.
func OpenTerminal(stdin, stdout, stderr *os.File) (t *Terminal, close func()) {
	in, out := int(stdin.Fd()), int(stdout.Fd())
	interactive := term.IsTerminal(in)
	resized := make(chan os.Signal, 1)
	notifyResize(resized)
	t = &Terminal{
		In: stdin, Out: stdout, Err: stderr,
		Interactive: interactive,
		Resized:     resized,
		Size: func() mgs.Size {
			cols, rows, err := term.GetSize(out)
			if err != nil || cols <= 0 || rows <= 0 || cols > 65535 || rows > 65535 {
				return unknownSize
			}
			return mgs.Size{Cols: uint16(cols), Rows: uint16(rows)}
		},
		Raw: func() (func(), error) {
			if !interactive {
				return func() {}, nil
			}
			before, err := term.MakeRaw(in)
			if err != nil {
				return nil, err
			}
			return sync.OnceFunc(func() { _ = term.Restore(in, before) }), nil // nothing better can be done
		},
	}
	return t, func() { signal.Stop(resized) }
}

// Pipe is what stands where a session's bytes are another program's: no
// terminal, and nothing is typed.
func Pipe(in io.Reader, out, errOut io.Writer) *Terminal {
	return &Terminal{
		In: in, Out: out, Err: errOut,
		Raw:  func() (func(), error) { return func() {}, nil },
		Size: func() mgs.Size { return unknownSize },
	}
}

// escape finds "~." typed at the beginning of a line, which leaves a session
// that no longer answers. "~~" is one tilde.
type escape struct {
	midLine bool
	tilde   bool // a tilde at the beginning of a line is held back
}

// filter appends to dst what of p is to be sent, and reports whether the
// person wants to leave.
func (e *escape) filter(dst, p []byte) (out []byte, leave bool) {
	for _, c := range p {
		if e.tilde {
			e.tilde = false
			switch c {
			case '.':
				return dst, true
			case '~':
			default:
				dst = append(dst, '~')
			}
		} else if c == '~' && !e.midLine {
			e.tilde = true
			continue
		}
		e.midLine = c != '\r' && c != '\n'
		dst = append(dst, c)
	}
	return dst, false
}

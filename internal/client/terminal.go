package client

import (
	"io"
	"math"
	"os"
	"sync"

	"golang.org/x/term"

	"sekisho/internal/wire/mgs"
)

// Terminal is the user's side of a session.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer

	// Interactive means that a user types at In, so that the escape "~." works.
	// Otherwise In is data and is sent unchanged.
	Interactive bool
	// Raw puts the terminal in raw mode, in which keys such as Ctrl-C arrive as
	// input. restore undoes it.
	Raw func() (restore func(), err error)
	// Size returns the current size.
	Size func() mgs.Size
	// Resized receives a value whenever the size may have changed.
	Resized <-chan os.Signal
}

// unknownSize is sent if the size is unknown. It is wide, so that lines do not
// wrap.
var unknownSize = mgs.Size{Cols: 300, Rows: 100}

// defaultSize is for a terminal that reports 0 columns or rows, as some serial
// consoles, containers and expect scripts do. Programs that draw would break
// with 0, and wrap with unknownSize.
var defaultSize = mgs.Size{Cols: 80, Rows: 24}

// terminalSize returns the size to send.
func terminalSize(cols, rows int, isTerminal bool) mgs.Size {
	switch {
	case !isTerminal || cols > math.MaxUint16 || rows > math.MaxUint16:
		return unknownSize
	case cols <= 0 || rows <= 0:
		return defaultSize
	}
	return mgs.Size{Cols: uint16(cols), Rows: uint16(rows)}
}

// OpenTerminal returns the terminal of this process. close releases it.
func OpenTerminal(stdin, stdout, stderr *os.File) (t *Terminal, close func()) {
	in, out := int(stdin.Fd()), int(stdout.Fd())
	interactive := term.IsTerminal(in)
	resized := make(chan os.Signal, 1)
	stop := watchSize(stdout, resized)
	restore := prepareOutput(stdout)
	t = &Terminal{
		In: stdin, Out: stdout, Err: stderr,
		Interactive: interactive,
		Resized:     resized,
		Size: func() mgs.Size {
			cols, rows, err := term.GetSize(out)
			return terminalSize(cols, rows, err == nil && term.IsTerminal(out))
		},
		Raw: func() (func(), error) {
			if !interactive {
				return func() {}, nil
			}
			before, err := term.MakeRaw(in)
			if err != nil {
				return nil, err
			}
			return sync.OnceFunc(func() { _ = term.Restore(in, before) }), nil // best effort
		},
	}
	return t, func() { stop(); restore() }
}

// Pipe returns a Terminal for a session whose data belongs to another program.
func Pipe(in io.Reader, out, errOut io.Writer) *Terminal {
	return &Terminal{
		In: in, Out: out, Err: errOut,
		Raw:  func() (func(), error) { return func() {}, nil },
		Size: func() mgs.Size { return unknownSize },
	}
}

// escape detects "~." at the beginning of a line, which leaves a session that no
// longer responds. "~~" is one tilde.
type escape struct {
	midLine bool
	tilde   bool // a tilde at the beginning of a line is held back
}

// filter appends the part of p to send to dst, and reports whether the user wants
// to leave.
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

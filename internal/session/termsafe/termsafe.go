// Package termsafe makes recorded terminal output safe to show: it passes sequences that only draw
// and removes all others.
package termsafe

import (
	"io"
	"unicode/utf8"
)

// Writer removes sequences from terminal output that affect more than the
// screen: the clipboard, the window title, replies that appear as typed input,
// the mouse, printers, device control strings, graphics. It passes only
// sequences that it knows to draw, and no characters that reorder text.
//
// It drops bytes that are not UTF-8, because a terminal could take one for an
// 8-bit control.
type Writer struct {
	W io.Writer

	state   state
	seq     []byte // the current sequence, including ESC
	partial []byte // start of a rune that the last Write split
	out     []byte
}

type state int

const (
	ground    state = iota
	escaped         // after ESC
	charset         // after ESC and an intermediate: one more byte
	dropOne         // after ESC and an unsupported intermediate: one more byte
	control         // in a control sequence, ESC [
	overlong        // in a control sequence that is too long to be valid
	text            // in a string that ends with ST or BEL: dropped
	textAfter       // in it, after ESC
)

const maxSequence = 128

// Write implements io.Writer. It reports all of p as written.
func (s *Writer) Write(p []byte) (int, error) {
	n := len(p)
	if len(s.partial) > 0 {
		p = append(s.partial, p...)
		s.partial = nil
	}
	s.out = s.out[:0]
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			s.partial = append([]byte(nil), p...)
			break
		}
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 {
			s.state = ground
			p = p[1:]
			continue
		}
		s.step(r, p[:size])
		p = p[size:]
	}
	if len(s.out) > 0 {
		if _, err := s.W.Write(s.out); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (s *Writer) step(r rune, b []byte) {
	switch {
	case s.state == text:
		switch r {
		case 0x07, 0x9c, 0x18, 0x1a:
			s.state = ground
		case 0x1b:
			s.state = textAfter
		}
		return
	case s.state == textAfter:
		s.state = text
		if r == '\\' {
			s.state = ground
		}
		return
	case r == 0x1b:
		s.state, s.seq = escaped, append(s.seq[:0], 0x1b)
		return
	case r == 0x18 || r == 0x1a:
		s.state = ground
		return
	case r < 0x20 || r == 0x7f:
		// Terminals execute controls even within sequences.
		switch r {
		case '\b', '\t', '\n', '\v', '\f', '\r', 0x07, 0x0e, 0x0f:
			s.out = append(s.out, b...)
		}
		return
	case r >= 0x80 && r < 0xa0:
		s.state = ground
		switch r {
		case 0x90, 0x98, 0x9d, 0x9e, 0x9f:
			s.state = text
		case 0x9b:
			s.state, s.seq = control, append(s.seq[:0], 0x1b, '[')
		}
		return
	}
	switch s.state {
	case ground:
		if !reorders(r) {
			s.out = append(s.out, b...)
		}
	case escaped:
		s.afterEscape(r)
	case charset:
		if s.seq[1] != '#' && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z') ||
			s.seq[1] == '#' && r >= '3' && r <= '8' {
			s.out = append(append(s.out, s.seq...), byte(r))
		}
		s.state = ground
	case dropOne:
		s.state = ground
	case control:
		if r >= 0x80 {
			s.state = ground
			return
		}
		s.seq = append(s.seq, byte(r))
		if r >= 0x40 {
			if drawing(s.seq[2:]) {
				s.out = append(s.out, s.seq...)
			}
			s.state = ground
		} else if len(s.seq) > maxSequence {
			s.state = overlong
		}
	case overlong:
		if r >= 0x40 {
			s.state = ground
		}
	}
}

func (s *Writer) afterEscape(r rune) {
	s.state = ground
	switch r {
	case '[':
		s.seq = append(s.seq, '[')
		s.state = control
	case ']', 'P', 'X', '^', '_', 'k': // k: the title of screen
		s.state = text
	case '(', ')', '*', '+', '#':
		s.seq = append(s.seq, byte(r))
		s.state = charset
	case '7', '8', 'D', 'E', 'H', 'M', 'c':
		s.out = append(s.out, 0x1b, byte(r))
	case ' ', '!', '"', '$', '%', '&', '\'', ',', '-', '.', '/':
		s.state = dropOne
	}
}

// drawing reports whether a control sequence, given without its introducer, only
// draws.
func drawing(seq []byte) bool {
	final := seq[len(seq)-1]
	params := seq[:len(seq)-1]
	private := len(params) > 0 && params[0] >= '<' && params[0] <= '?'
	if private {
		switch {
		case params[0] != '?':
			return false
		case final == 'J' || final == 'K':
			return plain(params[1:])
		case final == 'h' || final == 'l':
			return modes(params[1:])
		}
		return false
	}
	if string(seq) == "!p" ||
		len(params) > 0 && final == 'q' && params[len(params)-1] == ' ' && plain(params[:len(params)-1]) {
		return true // soft reset, cursor shape
	}
	if !plain(params) {
		return false
	}
	switch final {
	case '@', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'P', 'S', 'T', 'X', 'Z',
		'`', 'a', 'b', 'd', 'e', 'f', 'g', 'm', 'r', 's', 'u':
		return true
	case 'h', 'l':
		return string(params) == "4" || string(params) == "20"
	}
	return false
}

// plain reports whether params are only numbers and separators.
func plain(params []byte) bool {
	for _, c := range params {
		if (c < '0' || c > '9') && c != ';' && c != ':' {
			return false
		}
	}
	return true
}

// modes reports whether all private modes in a list concern only the screen, not
// the keyboard, the mouse or pasting.
func modes(params []byte) bool {
	for len(params) > 0 {
		n := 0
		for n < len(params) && params[n] != ';' {
			n++
		}
		switch string(params[:n]) {
		case "3", "5", "6", "7", "12", "25", "40", "45", "47", "69", "1047", "1048", "1049", "2026":
		default:
			return false
		}
		params = params[min(n+1, len(params)):]
	}
	return true
}

// reorders reports whether r makes a terminal or a page show text in another
// order than it was written in, or break a line unseen.
func reorders(r rune) bool {
	switch {
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

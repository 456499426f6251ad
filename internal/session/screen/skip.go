package screen

import "bytes"

// minSkip is how much output must be there before a part of it is skipped.
const minSkip = 4 << 10

// skipScrolled leaves out the part of p that scrolls off the screen within p, where
// nobody wants the lines that are gone. A flood of text is rendered many times
// faster so. It returns the rest, which leaves the screen as all of p would.
func (s *Screen) skipScrolled(p []byte) []byte {
	if len(p) < minSkip || s.Gone != nil || s.state != ground || s.npart > 0 || s.insert ||
		s.top != 0 || s.bottom != s.rows-1 || s.charset[s.shift] == '0' {
		return p
	}
	// The last sequence may be cut.
	end := len(p)
	if i := bytes.LastIndexByte(p, 0x1b); i >= 0 && end-i < maxColour && colour(p[i:]) == 0 {
		end = i
	}
	// So many lines push everything off the screen, wherever the cursor is.
	at := end
	for range 2*s.rows + 1 {
		if at = bytes.LastIndexByte(p[:at], '\n'); at < minSkip/2 {
			return p
		}
	}
	// The rest begins in the first column.
	for p[at-1] != '\r' {
		if at = bytes.LastIndexByte(p[:at], '\n'); at < minSkip/2 {
			return p
		}
	}
	head, rest := p[:at+1], p[at+1:]
	reset, plain := plainText(head)
	if !plain || !hasText(rest) {
		return p
	}
	if _, plain = plainText(p[at+1 : end]); !plain {
		return p
	}
	for b := head[reset:]; ; {
		i := bytes.IndexByte(b, 0x1b)
		if i < 0 {
			break
		}
		end := i + bytes.IndexByte(b[i:], 'm') + 1
		for _, c := range b[i:end] {
			s.step(c)
		}
		b = b[end:]
	}
	s.x, s.wrap = 0, false
	return rest
}

// plainText reports whether p has nothing but text, line ends and changes of
// colours. reset is where the last sequence begins that resets all colours; 0 if
// there is none.
func plainText(p []byte) (reset int, ok bool) {
	const shiftOut, shiftIn = 0x0e, 0x0f
	if bytes.IndexByte(p, shiftOut) >= 0 || bytes.IndexByte(p, shiftIn) >= 0 {
		return 0, false
	}
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], 0x1b)
		if i < 0 {
			return reset, true
		}
		at += i
		n := colour(p[at:])
		if n == 0 {
			return 0, false
		}
		if seq := p[at : at+n]; n == len("\x1b[m") || string(seq) == "\x1b[0m" {
			reset = at
		}
		at += n
	}
}

// maxColour bounds a sequence that is taken for a change of colours.
const maxColour = 64

// colour returns the length of the change of colours that p begins with; 0 if it
// begins with anything else.
func colour(p []byte) int {
	if len(p) < 3 || p[1] != '[' {
		return 0
	}
	for i := 2; i < min(len(p), maxColour); i++ {
		switch c := p[i]; {
		case c == 'm':
			return i + 1
		case c >= '0' && c <= '9', c == ';', c == ':':
		default:
			return 0
		}
	}
	return 0
}

// hasText reports whether p shows a character, before anything else happens than
// line ends and changes of colours.
func hasText(p []byte) bool {
	for len(p) > 0 {
		switch {
		case p[0] == 0x1b:
			n := colour(p)
			if n == 0 {
				return false
			}
			p = p[n:]
		case p[0] >= 0x20 && p[0] < 0x7f:
			return true
		case p[0] == '\r' || p[0] == '\n':
			p = p[1:]
		default:
			return false
		}
	}
	return false
}

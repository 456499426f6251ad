// Package screen is a model of a terminal's screen. It processes the bytes that a program writes to
// its terminal and maintains what a person would see: text, styles, the cursor and the alternate
// screen. It never answers queries and ignores everything that has an effect beyond the screen,
// such as clipboard access, titles and graphics.
//
// [Screen.Dump] returns the screen as a sequence that reproduces it on any
// terminal; keyframes of recordings hold it. [Screen.Lines] returns the text.
package screen

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Larger screens are reduced to this size, because sizes come from the peer.
const (
	MaxCols = 1000
	MaxRows = 500
)

// Attr is a set of character attributes.
type Attr uint16

// Values of Attr.
const (
	Bold Attr = 1 << iota
	Faint
	Italic
	Underline
	Blink
	Reverse
	Hidden
	Strike
)

// Color is a color: 0 is the default, 1 to 256 are the palette's, others have
// bit 24 set and hold red, green and blue.
type Color uint32

// RGB is set in colors that are not from the palette.
const RGB Color = 1 << 24

// Style is the appearance of a cell.
type Style struct {
	FG, BG Color
	Attr   Attr
}

// Cell is one position of the screen. Rune is 0 for a blank one, and -1 for
// the right half of a wide character.
type Cell struct {
	Rune rune
	Style
}

type line struct {
	cells []Cell
	used  int // cells from here on are zero
}

func (l *line) clear() {
	clear(l.cells[:l.used])
	l.used = 0
}

func (l *line) fill(from, to int, c Cell) {
	for i := from; i < to; i++ {
		l.cells[i] = c
	}
	switch {
	case c != Cell{}:
		l.used = max(l.used, to)
	case to >= l.used && from < l.used:
		l.used = from
	}
}

type cursor struct {
	x, y    int
	wrap    bool // the next character goes to the next line
	style   Style
	charset [2]byte
	shift   int
	origin  bool
}

type buffer struct {
	lines []*line
	saved cursor
}

// Screen is a terminal's screen. The zero Screen is not usable: call [New].
type Screen struct {
	cols, rows int
	main, alt  buffer
	buf        *buffer
	cursor
	top, bottom int // scrolling region, inclusive
	noWrap      bool
	hideCursor  bool
	insert      bool
	last        rune // for REP

	// Gone is called with each line of text that leaves the main screen at the top, or that is
	// about to be erased completely. It can be nil.
	Gone func(text string)

	state   state
	params  [16]int
	nparams int
	private byte
	inter   byte
	digits  bool
	stringN int
	partial [utf8.UTFMax]byte
	npart   int
}

type state uint8

const (
	ground state = iota
	escape
	escapeInter
	csi
	csiIgnore
	stringSeq // OSC, DCS, APC, PM, SOS: ignored up to their end
	stringEsc
)

// maxString limits an ignored sequence that has no end: after that many bytes, output is shown
// again.
const maxString = 1 << 20

// New returns an empty screen. Columns and rows are clamped to the valid range.
func New(cols, rows int) *Screen {
	s := &Screen{}
	s.cols, s.rows = clamp(cols, 1, MaxCols), clamp(rows, 1, MaxRows)
	s.reset()
	return s
}

func clamp(v, lo, hi int) int { return min(max(v, lo), hi) }

func (s *Screen) newBuffer() buffer {
	b := buffer{lines: make([]*line, s.rows)}
	for i := range b.lines {
		b.lines[i] = &line{cells: make([]Cell, s.cols)}
	}
	b.saved.charset = [2]byte{'B', 'B'}
	return b
}

func (s *Screen) reset() {
	s.main, s.alt = s.newBuffer(), buffer{}
	s.buf = &s.main
	s.cursor = cursor{charset: [2]byte{'B', 'B'}}
	s.top, s.bottom = 0, s.rows-1
	s.noWrap, s.hideCursor, s.insert, s.last = false, false, false, 0
}

// Size returns the number of columns and rows.
func (s *Screen) Size() (cols, rows int) { return s.cols, s.rows }

// Cursor returns the position of the cursor, counted from 0, and whether it is visible.
func (s *Screen) Cursor() (x, y int, visible bool) {
	return min(s.x, s.cols-1), s.y, !s.hideCursor
}

// Alternate reports whether the alternate screen is active.
func (s *Screen) Alternate() bool { return s.buf == &s.alt }

// Row returns the cells of a row. They are valid until the next Write.
func (s *Screen) Row(y int) []Cell { return s.buf.lines[y].cells }

// Resize changes the size. Like most terminals, it keeps the bottom lines when the number of rows
// decreases, and does not rewrap lines.
func (s *Screen) Resize(cols, rows int) {
	cols, rows = clamp(cols, 1, MaxCols), clamp(rows, 1, MaxRows)
	if cols == s.cols && rows == s.rows {
		return
	}
	drop := max(0, s.y-(rows-1))
	if s.buf == &s.main {
		for i := range drop {
			s.gone(s.main.lines[i])
		}
	}
	for _, b := range []*buffer{&s.main, &s.alt} {
		if b.lines == nil {
			continue
		}
		old := b.lines
		if b == s.buf {
			old = old[drop:]
		}
		b.lines = make([]*line, rows)
		for i := range b.lines {
			l := &line{cells: make([]Cell, cols)}
			if i < len(old) {
				l.used = min(old[i].used, cols)
				copy(l.cells, old[i].cells[:old[i].used])
				mendWide(l)
			}
			b.lines[i] = l
		}
		b.saved.x, b.saved.y = min(b.saved.x, cols-1), min(b.saved.y, rows-1)
	}
	s.cols, s.rows = cols, rows
	s.x, s.y, s.wrap = min(s.x, cols-1), min(s.y-drop, rows-1), false
	s.top, s.bottom = 0, rows-1
}

// Write processes output of the program. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	n := len(p)
	p = s.skipScrolled(p)
	for len(p) > 0 {
		if s.state == ground {
			p = s.text(p)
			continue
		}
		s.step(p[0])
		p = p[1:]
	}
	return n, nil
}

// text processes text up to and including the first control character, and returns the rest.
func (s *Screen) text(p []byte) []byte {
	if s.npart > 0 {
		return s.continueRune(p)
	}
	i := 0
	for i < len(p) && p[i] >= 0x20 && p[i] < 0x7f {
		i++
	}
	if i > 0 {
		s.ascii(p[:i])
		return p[i:]
	}
	c := p[0]
	switch {
	case c < 0x20:
		s.control(c)
		return p[1:]
	case c == 0x7f:
		return p[1:]
	}
	if !utf8.FullRune(p) {
		s.npart = copy(s.partial[:], p)
		return nil
	}
	r, size := utf8.DecodeRune(p)
	s.put(r)
	return p[size:]
}

func (s *Screen) continueRune(p []byte) []byte {
	s.partial[s.npart] = p[0]
	s.npart++
	b := s.partial[:s.npart]
	if !utf8.FullRune(b) {
		return p[1:]
	}
	r, size := utf8.DecodeRune(b)
	n := s.npart
	s.npart = 0
	if size == n {
		s.put(r)
		return p[1:]
	}
	// The byte does not continue the character that was begun.
	for range n - 1 {
		s.put(utf8.RuneError)
	}
	return p
}

// ascii puts printable ASCII.
func (s *Screen) ascii(p []byte) {
	if s.insert || s.charset[s.shift] == '0' {
		for _, c := range p {
			s.put(rune(c))
		}
		return
	}
	s.last = rune(p[len(p)-1])
	for len(p) > 0 {
		if s.wrap {
			s.newline()
			s.x, s.wrap = 0, false
		}
		l := s.buf.lines[s.y]
		n := min(len(p), s.cols-s.x)
		s.splitWide(l, s.x, s.x+n)
		cells := l.cells[s.x : s.x+n]
		for i := range cells {
			cells[i] = Cell{Rune: rune(p[i]), Style: s.style}
		}
		l.used = max(l.used, s.x+n)
		s.x += n
		p = p[n:]
		if s.x < s.cols {
			return
		}
		s.x = s.cols - 1
		if s.noWrap {
			if len(p) > 0 {
				l.cells[s.x].Rune = rune(p[len(p)-1])
			}
			return
		}
		s.wrap = true
	}
}

// splitWide blanks the halves of wide characters that writing from..to splits.
func (s *Screen) splitWide(l *line, from, to int) {
	if from > 0 && from < s.cols && l.cells[from].Rune == -1 {
		l.cells[from-1].Rune = ' '
	}
	if to < s.cols && l.cells[to].Rune == -1 {
		l.cells[to].Rune = ' '
	}
}

const drawing = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·"

var drawn = []rune(drawing)

// put puts one character.
func (s *Screen) put(r rune) {
	if s.charset[s.shift] == '0' && r >= 0x60 && r < 0x7f {
		r = drawn[r-0x60]
	}
	width := Width(r)
	if width == 0 {
		return // combining and format characters are not kept
	}
	s.last = r
	if width > s.cols {
		r, width = '?', 1
	}
	if s.wrap || s.x+width > s.cols {
		if s.noWrap {
			s.x, s.wrap = s.cols-width, false
		} else {
			s.newline()
			s.x, s.wrap = 0, false
		}
	}
	l := s.buf.lines[s.y]
	if s.insert {
		s.insertBlanks(width)
	}
	s.splitWide(l, s.x, s.x+width)
	l.cells[s.x] = Cell{Rune: r, Style: s.style}
	if width == 2 {
		l.cells[s.x+1] = Cell{Rune: -1, Style: s.style}
	}
	l.used = max(l.used, s.x+width)
	s.x += width
	if s.x >= s.cols {
		s.x = s.cols - 1
		s.wrap = !s.noWrap
	}
}

// Width returns the columns that r takes: 0, 1 or 2.
func Width(r rune) int {
	switch {
	case r < 0x300:
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xad {
			return 0
		}
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Zl, unicode.Zp):
		return 0
	case r < 0x1100:
		return 1
	case r <= 0x115f, r >= 0x2e80 && r <= 0x303e, r >= 0x3041 && r <= 0xa4cf, r >= 0xa960 && r <= 0xa97c,
		r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1f64f, r >= 0x1f680 && r <= 0x1f6ff,
		r >= 0x1f900 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

func (s *Screen) gone(l *line) {
	if s.Gone != nil {
		s.Gone(lineText(l))
	}
}

func lineText(l *line) string {
	var b strings.Builder
	b.Grow(l.used)
	for _, c := range l.cells[:l.used] {
		switch c.Rune {
		case 0:
			b.WriteByte(' ')
		case -1:
		default:
			if c.Rune < utf8.RuneSelf {
				b.WriteByte(byte(c.Rune))
			} else {
				b.WriteRune(c.Rune)
			}
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// Lines returns the text of the screen, without the empty lines at its end.
func (s *Screen) Lines() []string { return textOf(s.buf) }

func textOf(b *buffer) []string {
	n := len(b.lines)
	for n > 0 && b.lines[n-1].used == 0 {
		n--
	}
	out := make([]string, n)
	for i := range out {
		out[i] = lineText(b.lines[i])
	}
	return out
}

// Flush passes the lines that the screen still shows to Gone, for the end of a recording.
func (s *Screen) Flush() {
	if s.Gone == nil {
		return
	}
	for _, t := range textOf(s.buf) {
		s.Gone(t)
	}
	if s.buf == &s.alt {
		for _, t := range textOf(&s.main) {
			s.Gone(t)
		}
	}
}

func (s *Screen) newline() {
	if s.y == s.bottom {
		s.scrollUp(1)
	} else if s.y < s.rows-1 {
		s.y++
	}
}

func (s *Screen) scrollUp(n int) {
	n = min(n, s.bottom-s.top+1)
	region := s.buf.lines[s.top : s.bottom+1]
	for range n {
		l := region[0]
		if s.top == 0 && s.buf == &s.main {
			s.gone(l)
		}
		copy(region, region[1:])
		region[len(region)-1] = l
		s.blank(l, 0, s.cols)
	}
}

func (s *Screen) scrollDown(n int) {
	n = min(n, s.bottom-s.top+1)
	region := s.buf.lines[s.top : s.bottom+1]
	for range n {
		l := region[len(region)-1]
		copy(region[1:], region)
		region[0] = l
		s.blank(l, 0, s.cols)
	}
}

// blank erases cells; like xterm, with the current background.
func (s *Screen) blank(l *line, from, to int) {
	s.splitWide(l, from, to)
	if s.style.BG == 0 {
		if from == 0 && to == s.cols {
			l.clear()
			return
		}
		l.fill(from, to, Cell{})
		return
	}
	l.fill(from, to, Cell{Style: Style{BG: s.style.BG}})
}

func (s *Screen) control(c byte) {
	switch c {
	case '\b':
		s.x, s.wrap = max(0, s.x-1), false
	case '\t':
		s.x, s.wrap = min((s.x/8+1)*8, s.cols-1), false
	case '\n', '\v', '\f':
		s.newline()
		s.wrap = false
	case '\r':
		s.x, s.wrap = 0, false
	case 0x0e:
		s.shift = 1
	case 0x0f:
		s.shift = 0
	case 0x1b:
		s.state = escape
	}
}

// step processes one byte of a control sequence.
func (s *Screen) step(c byte) {
	switch {
	case c == 0x18 || c == 0x1a:
		s.state = ground
		return
	case s.state == stringSeq:
		switch c {
		case 0x07:
			s.state = ground
		case 0x1b:
			s.state = stringEsc
		}
		if s.stringN++; s.stringN > maxString {
			s.state = ground
		}
		return
	case s.state == stringEsc:
		if c == '\\' {
			s.state = ground
			return
		}
		s.state = escape // an ESC ends the string, whatever follows it
	case c == 0x1b:
		s.state = escape
		return
	case c < 0x20:
		s.control(c)
		return
	}
	switch s.state {
	case escape:
		s.escape(c)
	case escapeInter:
		if c >= 0x20 && c < 0x30 {
			return
		}
		switch s.inter {
		case '(':
			s.charset[0] = c
		case ')':
			s.charset[1] = c
		}
		s.state = ground
	case csi:
		s.csiByte(c)
	case csiIgnore:
		if c >= 0x40 && c < 0x7f {
			s.state = ground
		}
	case ground, stringSeq, stringEsc:
	}
}

func (s *Screen) escape(c byte) {
	s.state = ground
	switch c {
	case '[':
		s.state, s.nparams, s.private, s.inter, s.digits = csi, 0, 0, 0, false
		s.params = [16]int{}
	case ']', 'P', '_', '^', 'X', 'k':
		s.state, s.stringN = stringSeq, 0
	case '7':
		s.save()
	case '8':
		s.restore()
	case 'D':
		s.newline()
	case 'E':
		s.newline()
		s.x, s.wrap = 0, false
	case 'M':
		if s.y == s.top {
			s.scrollDown(1)
		} else {
			s.y = max(0, s.y-1)
		}
	case 'c':
		if s.Gone != nil {
			s.Flush()
		}
		s.reset()
	default:
		if c >= 0x20 && c < 0x30 {
			s.state, s.inter = escapeInter, c
		}
	}
}

func (s *Screen) save() {
	s.buf.saved = s.cursor
	s.buf.saved.wrap = false
}

func (s *Screen) restore() {
	s.cursor = s.buf.saved
	s.x, s.y = min(s.x, s.cols-1), min(s.y, s.rows-1)
}

func (s *Screen) csiByte(c byte) {
	switch {
	case c >= '0' && c <= '9':
		if s.nparams < len(s.params) {
			v := &s.params[s.nparams]
			*v = min(*v*10+int(c-'0'), 1<<16)
			s.digits = true
		}
	case c == ';' || c == ':':
		if s.nparams < len(s.params) {
			s.nparams++
		}
		s.digits = false
	case c >= 0x3c && c <= 0x3f:
		s.private = c
	case c >= 0x20 && c < 0x30:
		s.inter = c
	case c >= 0x40 && c < 0x7f:
		s.state = ground
		if s.nparams < len(s.params) {
			s.nparams++
		}
		s.dispatch(c)
	default:
		s.state = csiIgnore
	}
}

// arg returns a parameter, or a default in place of 0.
func (s *Screen) arg(i, otherwise int) int {
	if i < s.nparams && s.params[i] != 0 {
		return s.params[i]
	}
	return otherwise
}

func (s *Screen) dispatch(c byte) {
	if s.inter != 0 {
		if s.inter == '!' && c == 'p' { // DECSTR
			s.noWrap, s.hideCursor, s.insert, s.style, s.origin = false, false, false, Style{}, false
			s.top, s.bottom = 0, s.rows-1
		}
		return
	}
	if s.private != 0 {
		if s.private == '?' && (c == 'h' || c == 'l') {
			for _, mode := range s.params[:s.nparams] {
				s.mode(mode, c == 'h')
			}
		}
		return
	}
	n := s.arg(0, 1)
	l := s.buf.lines[s.y]
	switch c {
	case 'A':
		s.move(s.x, max(s.y-n, s.upper()))
	case 'B', 'e':
		s.move(s.x, min(s.y+n, s.lower()))
	case 'C', 'a':
		s.move(s.x+n, s.y)
	case 'D':
		s.move(s.x-n, s.y)
	case 'E':
		s.move(0, min(s.y+n, s.lower()))
	case 'F':
		s.move(0, max(s.y-n, s.upper()))
	case 'G', '`':
		s.move(n-1, s.y)
	case 'd':
		s.move(s.x, s.originY(n-1))
	case 'H', 'f':
		s.move(s.arg(1, 1)-1, s.originY(n-1))
	case 'J':
		s.eraseDisplay(s.arg(0, 0))
	case 'K':
		switch s.arg(0, 0) {
		case 0:
			s.blank(l, s.x, s.cols)
		case 1:
			s.blank(l, 0, s.x+1)
		case 2:
			s.blank(l, 0, s.cols)
		}
		s.wrap = false
	case 'L', 'M':
		s.shiftLines(n, c == 'L')
	case '@':
		s.insertBlanks(n)
	case 'P':
		n = min(n, s.cols-s.x)
		copy(l.cells[s.x:], l.cells[s.x+n:])
		s.blank(l, s.cols-n, s.cols)
		mendWide(l)
		s.wrap = false
	case 'X':
		s.blank(l, s.x, min(s.x+n, s.cols))
	case 'S':
		s.scrollUp(n)
		s.wrap = false
	case 'T':
		s.scrollDown(n)
		s.wrap = false
	case 'b':
		for range min(n, s.cols*s.rows) {
			if s.last == 0 {
				break
			}
			s.put(s.last)
		}
	case 'm':
		s.sgr()
	case 'r':
		top, bottom := n-1, s.arg(1, s.rows)-1
		if bottom = min(bottom, s.rows-1); top < bottom {
			s.top, s.bottom = top, bottom
			s.move(0, s.originY(0))
		}
	case 'h', 'l':
		if s.arg(0, 0) == 4 {
			s.insert = c == 'h'
		}
	case 's':
		s.save()
	case 'u':
		s.restore()
	}
}

func (s *Screen) upper() int {
	if s.y >= s.top {
		return s.top
	}
	return 0
}

func (s *Screen) lower() int {
	if s.y <= s.bottom {
		return s.bottom
	}
	return s.rows - 1
}

func (s *Screen) originY(y int) int {
	if s.origin {
		return min(s.top+y, s.bottom)
	}
	return y
}

func (s *Screen) move(x, y int) {
	s.x, s.y, s.wrap = clamp(x, 0, s.cols-1), clamp(y, 0, s.rows-1), false
}

func (s *Screen) insertBlanks(n int) {
	l := s.buf.lines[s.y]
	n = min(n, s.cols-s.x)
	copy(l.cells[s.x+n:], l.cells[s.x:s.cols-n])
	l.used = min(s.cols, l.used+n)
	s.blank(l, s.x, s.x+n)
	if l.used < s.cols && l.used <= s.x+n { // blank may have shortened it
		l.used = s.cols
	}
	mendWide(l)
}

// mendWide blanks the halves of wide characters that were separated.
func mendWide(l *line) {
	for i := range l.cells {
		c := &l.cells[i]
		switch {
		case c.Rune == -1 && (i == 0 || Width(l.cells[i-1].Rune) != 2):
			c.Rune = ' '
			l.used = max(l.used, i+1)
		case c.Rune >= 0x1100 && Width(c.Rune) == 2 && (i+1 == len(l.cells) || l.cells[i+1].Rune != -1):
			c.Rune = ' '
		}
	}
}

func (s *Screen) shiftLines(n int, insert bool) {
	if s.y < s.top || s.y > s.bottom {
		return
	}
	top := s.top
	s.top = s.y
	if s.top == 0 && !insert && s.buf == &s.main {
		// Deleted lines do not scroll off the screen, but they are gone too.
		s.scrollUp(n)
	} else if insert {
		s.scrollDown(n)
	} else {
		s.scrollUp(n)
	}
	s.top = top
	s.x, s.wrap = 0, false
}

func (s *Screen) eraseDisplay(how int) {
	from, to := 0, s.rows
	switch how {
	case 0:
		s.blank(s.buf.lines[s.y], s.x, s.cols)
		from = s.y + 1
		if s.x == 0 {
			s.goneRange(s.y, s.rows)
			from = s.y
		}
	case 1:
		s.blank(s.buf.lines[s.y], 0, s.x+1)
		to = s.y
	case 2:
		s.goneRange(0, s.rows)
	default:
		return
	}
	for _, l := range s.buf.lines[from:to] {
		s.blank(l, 0, s.cols)
	}
	s.wrap = false
}

// goneRange reports the lines that are about to be erased.
func (s *Screen) goneRange(from, to int) {
	if s.Gone == nil {
		return
	}
	for to > from && s.buf.lines[to-1].used == 0 {
		to--
	}
	for _, l := range s.buf.lines[from:to] {
		s.gone(l)
	}
}

func (s *Screen) mode(mode int, on bool) {
	switch mode {
	case 6:
		s.origin = on
		s.move(0, s.originY(0))
	case 7:
		s.noWrap, s.wrap = !on, false
	case 25:
		s.hideCursor = !on
	case 47, 1047, 1049:
		s.switchTo(on, mode == 1049)
	case 1048:
		if on {
			s.save()
		} else {
			s.restore()
		}
	}
}

func (s *Screen) switchTo(alternate, cursorToo bool) {
	if alternate == (s.buf == &s.alt) {
		return
	}
	if alternate {
		if cursorToo {
			s.save()
		}
		s.alt = s.newBuffer()
		s.buf = &s.alt
	} else {
		s.goneRange(0, s.rows)
		s.buf = &s.main
		s.alt = buffer{}
		if cursorToo {
			s.restore()
		}
	}
	s.top, s.bottom = 0, s.rows-1
}

func (s *Screen) sgr() {
	p := s.params[:s.nparams]
	for i := 0; i < len(p); i++ {
		switch v := p[i]; {
		case v == 0:
			s.style = Style{}
		case v >= 1 && v <= 9:
			if v > 6 {
				v--
			}
			s.style.Attr |= 1 << (v - 1)
		case v == 21 || v == 22:
			s.style.Attr &^= Bold | Faint
		case v >= 23 && v <= 29:
			s.style.Attr &^= []Attr{Italic, Underline, Blink, 0, Reverse, Hidden, Strike}[v-23]
		case v >= 30 && v <= 37:
			s.style.FG = Color(v - 30 + 1)
		case v == 39:
			s.style.FG = 0
		case v >= 40 && v <= 47:
			s.style.BG = Color(v - 40 + 1)
		case v == 49:
			s.style.BG = 0
		case v >= 90 && v <= 97:
			s.style.FG = Color(v - 90 + 9)
		case v >= 100 && v <= 107:
			s.style.BG = Color(v - 100 + 9)
		case v == 38 || v == 48:
			var c Color
			switch {
			case i+2 < len(p) && p[i+1] == 5:
				c = Color(p[i+2]&0xff) + 1
				i += 2
			case i+4 < len(p) && p[i+1] == 2:
				c = RGB | Color(p[i+2]&0xff)<<16 | Color(p[i+3]&0xff)<<8 | Color(p[i+4]&0xff)
				i += 4
			default:
				return
			}
			if v == 38 {
				s.style.FG = c
			} else {
				s.style.BG = c
			}
		}
	}
}

func appendStyle(dst []byte, st Style) []byte {
	dst = append(dst, "\x1b[0"...)
	for i := range 8 {
		if st.Attr&(1<<i) != 0 {
			dst = append(dst, ';', "12345789"[i])
		}
	}
	dst = appendColor(dst, st.FG, 30)
	dst = appendColor(dst, st.BG, 40)
	return append(dst, 'm')
}

func appendColor(dst []byte, c Color, base int64) []byte {
	switch {
	case c == 0:
	case c&RGB != 0:
		dst = append(dst, ';')
		dst = strconv.AppendInt(dst, base+8, 10)
		dst = append(dst, ";2"...)
		for shift := 16; shift >= 0; shift -= 8 {
			dst = append(dst, ';')
			dst = strconv.AppendInt(dst, int64(c>>shift&0xff), 10)
		}
	case c <= 8:
		dst = append(dst, ';')
		dst = strconv.AppendInt(dst, base+int64(c)-1, 10)
	default:
		dst = append(dst, ';')
		dst = strconv.AppendInt(dst, base+8, 10)
		dst = append(dst, ";5;"...)
		dst = strconv.AppendInt(dst, int64(c)-1, 10)
	}
	return dst
}

// Dump appends a sequence that makes a terminal of the same size show this
// screen and behave as it does from here on.
func (s *Screen) Dump(dst []byte) []byte {
	dst = append(dst, "\x1bc"...)
	if s.buf == &s.alt {
		dst = s.dumpBuffer(dst, &s.main)
		dst = appendCursor(dst, s.main.saved)
		dst = append(dst, "\x1b[?1049h"...)
	}
	dst = s.dumpBuffer(dst, s.buf)
	if s.buf.saved != (cursor{charset: [2]byte{'B', 'B'}}) {
		dst = appendCursor(dst, s.buf.saved)
		dst = append(dst, "\x1b7"...)
	}
	if s.top != 0 || s.bottom != s.rows-1 {
		dst = append(dst, "\x1b["...)
		dst = strconv.AppendInt(dst, int64(s.top+1), 10)
		dst = append(dst, ';')
		dst = strconv.AppendInt(dst, int64(s.bottom+1), 10)
		dst = append(dst, 'r')
	}
	if s.noWrap {
		dst = append(dst, "\x1b[?7l"...)
	}
	if s.hideCursor {
		dst = append(dst, "\x1b[?25l"...)
	}
	if s.insert {
		dst = append(dst, "\x1b[4h"...)
	}
	if s.origin {
		dst = append(dst, "\x1b[?6h"...)
	}
	c := s.cursor
	if c.origin {
		c.y -= s.top
	}
	dst = appendCursor(dst, c)
	if s.wrap { // rewriting the last column leaves the cursor behind it
		cells := s.buf.lines[s.y].cells
		cell := cells[s.cols-1]
		if cell.Rune == -1 && s.cols > 1 {
			cell = cells[s.cols-2]
			dst = append(dst, '\b')
		}
		dst = append(dst, "\x1b(B\x0f"...)
		dst = appendStyle(dst, cell.Style)
		dst = utf8.AppendRune(dst, max(cell.Rune, ' '))
		dst = appendStyle(dst, s.style)
		dst = appendCharsets(dst, s.cursor)
	}
	return dst
}

func appendCursor(dst []byte, c cursor) []byte {
	dst = append(dst, "\x1b["...)
	dst = strconv.AppendInt(dst, int64(c.y+1), 10)
	dst = append(dst, ';')
	dst = strconv.AppendInt(dst, int64(c.x+1), 10)
	dst = append(dst, 'H')
	dst = appendStyle(dst, c.style)
	return appendCharsets(dst, c)
}

func appendCharsets(dst []byte, c cursor) []byte {
	for i, set := range c.charset {
		if set >= 0x30 && set < 0x7f {
			dst = append(dst, 0x1b, "()"[i], set)
		}
	}
	return append(dst, 0x0f-byte(c.shift)) // SI or SO
}

func (s *Screen) dumpBuffer(dst []byte, b *buffer) []byte {
	var st Style
	dst = append(dst, "\x1b[0m\x1b(B\x1b)B\x0f"...)
	for y, l := range b.lines {
		if l.used == 0 {
			continue
		}
		dst = append(dst, "\x1b["...)
		dst = strconv.AppendInt(dst, int64(y+1), 10)
		dst = append(dst, 'H')
		for _, c := range l.cells[:l.used] {
			if c.Rune == -1 {
				continue
			}
			if c.Style != st {
				st = c.Style
				dst = appendStyle(dst, st)
			}
			if c.Rune == 0 {
				dst = append(dst, ' ')
			} else {
				dst = utf8.AppendRune(dst, c.Rune)
			}
		}
	}
	return append(dst, "\x1b[0m"...)
}

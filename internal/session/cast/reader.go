package cast

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// DefaultMaxLine limits a line of a cast, in bytes.
const DefaultMaxLine = 1 << 20

// maxTime limits the length of a cast: beyond it, time.Duration would overflow.
const maxTime = 100 * 365 * 24 * time.Hour

// Reader reads a cast event by event in constant memory.
type Reader struct {
	br      *bufio.Reader
	max     int
	header  Header
	line    int
	read    int64 // bytes of the lines that were read
	offset  int64 // the part of them that was used up
	long    []byte
	text    []byte
	raw     []byte
	now     time.Duration
	pending bool // a companion "B" waits in raw for its event
	err     error
}

// NewReader reads the header of the cast in r. A line longer than
// DefaultMaxLine is an error.
func NewReader(r io.Reader) (*Reader, error) {
	d := &Reader{br: bufio.NewReaderSize(r, 64<<10), max: DefaultMaxLine}
	line, err := d.readLine()
	if errors.Is(err, io.EOF) {
		err = &SyntaxError{1, errors.New("no header")}
	}
	if err != nil {
		return nil, err
	}
	if err := d.parseHeader(line); err != nil {
		return nil, &SyntaxError{1, err}
	}
	d.offset = d.read
	return d, nil
}

// Header returns the header.
func (d *Reader) Header() Header { return d.header }

// Offset returns how many bytes of the cast have been used up: the header and
// whole events with their companions.
func (d *Reader) Offset() int64 { return d.offset }

// Next returns the next event, io.EOF at the end, or a *SyntaxError. If the last line has no line
// feed because the cast was cut short, the error wraps io.ErrUnexpectedEOF. An error is final. Next
// skips comments, but returns events with unknown codes, which the caller must ignore.
func (d *Reader) Next() (Event, error) {
	if d.err != nil {
		return Event{}, d.err
	}
	ev, err := d.next()
	d.err = err
	return ev, err
}

func (d *Reader) next() (Event, error) {
	for {
		line, err := d.readLine()
		if errors.Is(err, io.EOF) && d.pending {
			return Event{}, &SyntaxError{d.line, fmt.Errorf("companion without its event: %w", io.ErrUnexpectedEOF)}
		}
		if err != nil {
			return Event{}, err
		}
		torn := line[len(line)-1] != '\n'
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 || line[0] == '#' && d.header.Version >= 3 {
			if !d.pending {
				d.offset = d.read
			}
			continue
		}
		ev, err := d.parseEvent(line)
		if err != nil && torn {
			err = fmt.Errorf("%w (%w)", err, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return Event{}, &SyntaxError{d.line, err}
		}
		if ev.Code == Bytes {
			d.pending = true
			continue
		}
		d.offset = d.read
		return ev, nil
	}
}

// readLine returns the next line with its line feed, if it has one.
func (d *Reader) readLine() ([]byte, error) {
	d.long = d.long[:0]
	for {
		part, err := d.br.ReadSlice('\n')
		if len(d.long)+len(part) > d.max {
			return nil, &SyntaxError{d.line + 1, fmt.Errorf("longer than %d bytes", d.max)}
		}
		if err == nil && len(d.long) == 0 {
			d.line++
			d.read += int64(len(part))
			return part, nil
		}
		d.long = append(d.long, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(d.long) == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("cast: line %d: %w", d.line+1, err)
		}
		d.line++
		d.read += int64(len(d.long))
		return d.long, nil
	}
}

func (d *Reader) parseHeader(line []byte) error {
	if !utf8.Valid(line) {
		return errors.New("not UTF-8")
	}
	var j headerJSON
	if err := json.Unmarshal(line, &j); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	cols, rows := j.Width, j.Height
	switch j.Version {
	case 2:
	case 3:
		if j.Term == nil {
			return errors.New("header has no term")
		}
		cols, rows = j.Term.Cols, j.Term.Rows
	default:
		return fmt.Errorf("version %d is not supported", j.Version)
	}
	if err := checkSize(cols, rows); err != nil {
		return err
	}
	if !(math.Abs(j.Timestamp) < 1<<53) {
		return errors.New("timestamp out of range")
	}
	d.header = Header{
		Version: j.Version, Cols: cols, Rows: rows, Timestamp: int64(j.Timestamp), Title: j.Title,
		Command: j.Command, IdleTimeLimit: j.IdleTimeLimit, Env: j.Env, Tags: j.Tags,
	}
	if j.Version == 3 {
		d.header.TermType = j.Term.Type
	} else {
		d.header.TermType = j.Env["TERM"]
	}
	return nil
}

func (d *Reader) parseEvent(line []byte) (Event, error) {
	p := parser{rest: line}
	p.expect('[')
	at := p.seconds()
	p.expect(',')
	d.text = p.str(d.text[:0])
	code := codeOf(d.text)
	p.expect(',')
	d.text = p.str(d.text[:0])
	p.expect(']')
	p.space()
	if p.err == nil && len(p.rest) > 0 {
		p.err = errors.New("unexpected data after the event")
	}
	if p.err != nil {
		return Event{}, p.err
	}
	if code == "" {
		return Event{}, errors.New("no event code")
	}
	if d.header.Version == 2 {
		// Some writers of version 2 let time go back a little.
		d.now = max(d.now, at)
	} else {
		d.now += at
	}
	if d.now > maxTime {
		return Event{}, errors.New("time out of range")
	}
	ev := Event{Time: d.now, Code: code, Data: d.text, Line: d.line}
	switch code {
	case Bytes:
		if d.pending {
			return Event{}, errors.New("two companions in a row")
		}
		raw, err := base64.StdEncoding.Strict().AppendDecode(d.raw[:0], d.text)
		if err != nil {
			return Event{}, fmt.Errorf("companion: %w", err)
		}
		d.raw = raw
		return ev, nil
	case Resize:
		if _, _, err := parseSize(d.text); err != nil {
			return Event{}, err
		}
	case Exit:
		if _, err := strconv.ParseInt(string(d.text), 10, 32); err != nil {
			return Event{}, errors.New("exit status is not a number")
		}
	}
	if d.pending {
		d.pending = false
		if code != Output && code != Input || !sameText(d.text, d.raw) {
			return Event{}, errors.New("event does not belong to the companion before it")
		}
		ev.Raw = d.raw
	}
	return ev, nil
}

// sameText reports whether text is raw with each invalid byte replaced.
func sameText(text, raw []byte) bool {
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		t, n := utf8.DecodeRune(text)
		if n == 0 || r != t {
			return false
		}
		raw, text = raw[size:], text[n:]
	}
	return len(text) == 0
}

// codeOf avoids an allocation for the codes that occur.
func codeOf(b []byte) string {
	switch string(b) {
	case Output:
		return Output
	case Input:
		return Input
	case Resize:
		return Resize
	case Marker:
		return Marker
	case Exit:
		return Exit
	case Bytes:
		return Bytes
	}
	return string(b)
}

func parseSize(b []byte) (cols, rows int, err error) {
	c, r, ok := bytes.Cut(b, []byte("x"))
	cols, err1 := strconv.Atoi(string(c))
	rows, err2 := strconv.Atoi(string(r))
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, errors.New(`size is not "COLSxROWS"`)
	}
	return cols, rows, checkSize(cols, rows)
}

// parser consumes JSON values from the front of a line. It keeps the first error.
type parser struct {
	rest []byte
	err  error
}

func (p *parser) space() {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\t' || p.rest[0] == '\r') {
		p.rest = p.rest[1:]
	}
}

func (p *parser) expect(c byte) {
	p.space()
	if p.err != nil {
		return
	}
	if len(p.rest) == 0 || p.rest[0] != c {
		p.err = fmt.Errorf("expected %q", c)
		return
	}
	p.rest = p.rest[1:]
}

// seconds consumes a JSON number that is not negative.
func (p *parser) seconds() time.Duration {
	p.space()
	if p.err != nil {
		return 0
	}
	n := 0
	for n < len(p.rest) && (p.rest[n] >= '0' && p.rest[n] <= '9' || bytes.IndexByte([]byte("+-.eE"), p.rest[n]) >= 0) {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	if d, ok := plainSeconds(word); ok {
		return d
	}
	if !json.Valid(word) {
		p.err = errors.New("time is not a number")
		return 0
	}
	f, err := strconv.ParseFloat(string(word), 64)
	if err != nil || !(f >= 0 && f <= maxTime.Seconds()) {
		p.err = errors.New("time out of range")
		return 0
	}
	return time.Duration(math.Round(f*1e6)).Abs() * time.Microsecond
}

// plainSeconds reads the common form, digits with or without a fraction,
// without the rounding of floating point.
func plainSeconds(word []byte) (time.Duration, bool) {
	whole, frac, dot := bytes.Cut(word, []byte("."))
	if len(whole) == 0 || len(whole) > 9 || len(whole) > 1 && whole[0] == '0' || len(frac) > 9 ||
		dot && len(frac) == 0 {
		return 0, false
	}
	var s, ns int64
	for _, c := range whole {
		if c < '0' || c > '9' {
			return 0, false
		}
		s = s*10 + int64(c-'0')
	}
	for i := range 9 {
		ns *= 10
		if i >= len(frac) {
			continue
		}
		if frac[i] < '0' || frac[i] > '9' {
			return 0, false
		}
		ns += int64(frac[i] - '0')
	}
	return time.Duration(s)*time.Second + time.Duration(ns), true
}

// str consumes a JSON string and appends its text to dst.
func (p *parser) str(dst []byte) []byte {
	p.expect('"')
	if p.err != nil {
		return dst
	}
	b := p.rest
	start, i := 0, 0
	for i < len(b) {
		c := b[i]
		switch {
		case c == '"':
			p.rest = b[i+1:]
			dst = append(dst, b[start:i]...)
			if !utf8.Valid(dst) {
				p.err = errors.New("not UTF-8")
			}
			return dst
		case c < ' ':
			p.err = errors.New("control character in a string")
			return dst
		case c != '\\':
			i++
			continue
		}
		dst = append(dst, b[start:i]...)
		if i+1 >= len(b) {
			break
		}
		i += 2
		switch b[i-1] {
		case '"', '\\', '/':
			dst = append(dst, b[i-1])
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(b[i:])
			if !ok {
				p.err = errors.New("bad \\u escape")
				return dst
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+1 < len(b) && b[i] == '\\' && b[i+1] == 'u' {
					low, _ = hex4(b[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			p.err = fmt.Errorf("bad escape \\%q", b[i-1])
			return dst
		}
		start = i
	}
	p.err = errors.New("unterminated string")
	return dst
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return -1, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

package cast

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// maxChunk limits the bytes of one event. Escaping turns one byte into at most six, so no line
	// that the Encoder writes comes near DefaultMaxLine.
	maxChunk = 32 << 10
	maxSide  = 65535
	maxLabel = 4 << 10
	hexDigit = "0123456789abcdef"
)

type termJSON struct {
	Cols int    `json:"cols"`
	Rows int    `json:"rows"`
	Type string `json:"type,omitempty"`
}

type headerJSON struct {
	Version       int               `json:"version"`
	Term          *termJSON         `json:"term,omitempty"`
	Width         int               `json:"width,omitempty"`
	Height        int               `json:"height,omitempty"`
	Timestamp     float64           `json:"timestamp,omitempty"`
	IdleTimeLimit float64           `json:"idle_time_limit,omitempty"`
	Command       string            `json:"command,omitempty"`
	Title         string            `json:"title,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	Tags          map[string]string `json:"sekisho,omitempty"`
}

// AppendHeader appends the header line of an asciicast v3, line feed included.
func AppendHeader(dst []byte, h *Header) ([]byte, error) {
	if err := checkSize(h.Cols, h.Rows); err != nil {
		return dst, fmt.Errorf("cast: header: %w", err)
	}
	line, err := json.Marshal(headerJSON{
		Version: 3, Term: &termJSON{h.Cols, h.Rows, h.TermType}, Timestamp: float64(h.Timestamp),
		IdleTimeLimit: h.IdleTimeLimit, Command: h.Command, Title: h.Title, Env: h.Env, Tags: h.Tags,
	})
	if err != nil {
		return dst, fmt.Errorf("cast: header: %w", err)
	}
	return append(append(dst, line...), '\n'), nil
}

// Encoder turns what passes through a terminal into event lines of an asciicast v3. It appends to a buffer of the
// caller and does no I/O. Times are relative to the beginning of the cast. A time before that of the previous event is
// replaced by the latter. The zero Encoder is ready for use. An Encoder is not safe for concurrent use.
type Encoder struct {
	micros  int64 // of the last event
	events  int64
	out, in tail
	joined  []byte
}

// tail is the beginning of a rune whose rest has not arrived yet.
type tail struct {
	b [utf8.UTFMax - 1]byte
	n int
}

// Resume makes e continue a cast whose last event was at last and that holds
// events event lines.
func (e *Encoder) Resume(last time.Duration, events int64) {
	*e = Encoder{micros: last.Microseconds(), events: events, joined: e.joined}
}

// Events returns how many event lines there are.
func (e *Encoder) Events() int64 { return e.events }

// Last returns the time of the last event.
func (e *Encoder) Last() time.Duration { return time.Duration(e.micros) * time.Microsecond }

// AppendOutput appends the events of output p. Up to 3 bytes that could be the beginning of a rune
// stay in e until the next call of AppendOutput or AppendTails.
func (e *Encoder) AppendOutput(dst []byte, at time.Duration, p []byte) []byte {
	return e.appendBytes(dst, at, 'o', &e.out, p)
}

// AppendInput is AppendOutput for typed input.
func (e *Encoder) AppendInput(dst []byte, at time.Duration, p []byte) []byte {
	return e.appendBytes(dst, at, 'i', &e.in, p)
}

// AppendTails appends the bytes that AppendOutput and AppendInput have held back.
func (e *Encoder) AppendTails(dst []byte, at time.Duration) []byte {
	if n := e.out.n; n > 0 {
		e.out.n = 0
		dst = e.appendChunk(dst, at, 'o', e.out.b[:n])
	}
	if n := e.in.n; n > 0 {
		e.in.n = 0
		dst = e.appendChunk(dst, at, 'i', e.in.b[:n])
	}
	return dst
}

// AppendResize appends a resize event. Columns and rows are clamped to 1..65535.
func (e *Encoder) AppendResize(dst []byte, at time.Duration, cols, rows int) []byte {
	dst = e.begin(dst, at, 'r')
	dst = strconv.AppendInt(dst, int64(min(max(cols, 1), maxSide)), 10)
	dst = append(dst, 'x')
	dst = strconv.AppendInt(dst, int64(min(max(rows, 1), maxSide)), 10)
	return append(dst, "\"]\n"...)
}

// AppendMarker appends a marker. A label longer than 4 KiB is cut.
func (e *Encoder) AppendMarker(dst []byte, at time.Duration, label string) []byte {
	if len(label) > maxLabel {
		label = label[:maxLabel]
		label = label[:maxLabel-incomplete([]byte(label))]
	}
	dst = e.begin(dst, at, 'm')
	dst = appendText(dst, []byte(label))
	return append(dst, "\"]\n"...)
}

// AppendExit appends the exit status, the last event of a cast.
func (e *Encoder) AppendExit(dst []byte, at time.Duration, status int) []byte {
	dst = e.begin(dst, at, 'x')
	dst = strconv.AppendInt(dst, int64(status), 10)
	return append(dst, "\"]\n"...)
}

func (e *Encoder) appendBytes(dst []byte, at time.Duration, code byte, t *tail, p []byte) []byte {
	if len(p) == 0 {
		return dst
	}
	if t.n > 0 {
		e.joined = append(append(e.joined[:0], t.b[:t.n]...), p...)
		p, t.n = e.joined, 0
	}
	for len(p) > maxChunk {
		n := maxChunk - incomplete(p[:maxChunk])
		dst = e.appendChunk(dst, at, code, p[:n])
		p = p[n:]
	}
	rest := incomplete(p)
	t.n = copy(t.b[:], p[len(p)-rest:])
	if p = p[:len(p)-rest]; len(p) > 0 {
		dst = e.appendChunk(dst, at, code, p)
	}
	return dst
}

func (e *Encoder) appendChunk(dst []byte, at time.Duration, code byte, p []byte) []byte {
	if !utf8.Valid(p) {
		dst = e.begin(dst, at, Bytes[0])
		dst = base64.StdEncoding.AppendEncode(dst, p)
		dst = append(dst, "\"]\n"...)
	}
	dst = e.begin(dst, at, code)
	dst = appendText(dst, p)
	return append(dst, "\"]\n"...)
}

// begin appends an event up to the opening quote of its data.
func (e *Encoder) begin(dst []byte, at time.Duration, code byte) []byte {
	now := max(at.Microseconds(), e.micros)
	d := now - e.micros
	e.micros = now
	e.events++
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, d/1e6, 10)
	frac := d % 1e6
	dst = append(dst, '.', byte('0'+frac/100000), byte('0'+frac/10000%10), byte('0'+frac/1000%10),
		byte('0'+frac/100%10), byte('0'+frac/10%10), byte('0'+frac%10))
	return append(dst, ',', '"', code, '"', ',', '"')
}

// incomplete returns how many bytes at the end of p are the beginning of a rune that more bytes
// could complete.
func incomplete(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// appendText appends p as the inside of a JSON string. Each byte that is not
// UTF-8 becomes U+FFFD.
func appendText(dst, p []byte) []byte {
	start := 0
	for i := 0; i < len(p); {
		c := p[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, p[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigit[c>>4], hexDigit[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, p[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
			continue
		}
		i += size
	}
	return append(dst, p[start:]...)
}

func checkSize(cols, rows int) error {
	if cols < 1 || cols > maxSide || rows < 1 || rows > maxSide {
		return fmt.Errorf("size %dx%d is not within 1x1 and %dx%d", cols, rows, maxSide, maxSide)
	}
	return nil
}

// Package cast reads and writes asciicast, the line format of terminal
// recordings that asciinema plays: it writes version 3 and reads versions 2
// and 3 (https://docs.asciinema.org/manual/asciicast/v3/).
//
// A cast is one JSON header line and then one JSON array a line:
//
//	[interval, code, data]
//
// interval is the seconds since the event before it, code one of
//
//	"o" output   "i" input   "r" resize ("80x24")   "m" marker   "x" exit status
//
// # Bytes that are not text
//
// JSON carries text, terminals carry bytes. Two rules make this lossless:
//
//   - A rune that the framing below splits is held back (at most 3 bytes)
//     until the rest of it arrives, so every event is complete text.
//   - Bytes that are not UTF-8 at all are written as U+FFFD, one each, in the
//     "o" or "i" event, for players. Such an event follows a companion event
//     of code "B" (which players skip) whose data is the Base64 of the exact
//     bytes of that event. The companion carries the interval, the event after
//     it has interval 0. [Reader] puts the two together again: see
//     [Event.Bytes].
//
// The companion comes first so that a file that is cut off between the two contains no event whose
// exact bytes are unknown.
package cast

import (
	"errors"
	"fmt"
	"time"
)

// Codes of events in an asciicast file.
const (
	Output = "o" // bytes the terminal showed
	Input  = "i" // typed bytes
	Resize = "r" // "COLSxROWS"
	Marker = "m" // a label in the timeline
	Exit   = "x" // exit status, a decimal integer
	Bytes  = "B" // the exact bytes of the event that follows; an extension of Sekisho
)

// EncryptedMarker is the label of the marker in place of content that agent and client encrypted
// end to end.
const EncryptedMarker = "encrypted end to end: the server cannot see or record content from here on"

// Header is the first line of a cast.
type Header struct {
	Version       int // 2 or 3 when read; written as 3
	Cols, Rows    int // 1 to 65535
	TermType      string
	Timestamp     int64 // Unix seconds of the beginning; 0 = unknown
	Title         string
	Command       string
	IdleTimeLimit float64 // seconds; 0 = none
	Env           map[string]string
	// Tags is our own namespace in the header, the object "sekisho". Players ignore it.
	Tags map[string]string
}

// Event is one event of a cast.
type Event struct {
	Time time.Duration // since the beginning of the cast
	Code string
	Data []byte // text, valid UTF-8; valid until the next call of Next
	Raw  []byte // the exact bytes if they differ from Data; valid as long as Data
	Line int    // of the cast, counted from 1
}

// Bytes returns the exact bytes of the event, invalid UTF-8 included.
func (e *Event) Bytes() []byte {
	if e.Raw != nil {
		return e.Raw
	}
	return e.Data
}

// Size returns the columns and rows of a resize event.
func (e *Event) Size() (cols, rows int, err error) {
	if e.Code != Resize {
		return 0, 0, errors.New("cast: not a resize event")
	}
	return parseSize(e.Data)
}

// SyntaxError reports which line of a cast cannot be parsed, and why.
type SyntaxError struct {
	Line int
	Err  error
}

// Error names the line first.
func (e *SyntaxError) Error() string { return fmt.Sprintf("cast: line %d: %v", e.Line, e.Err) }

// Unwrap returns the cause.
func (e *SyntaxError) Unwrap() error { return e.Err }

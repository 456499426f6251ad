// Package export converts the recording of a session, an asciicast, to files for people: an asciicast that is safe to
// play, plain text, and an HTML page that plays it offline. Recorded content can never act on the viewer's terminal or
// page: everything passes through [termsafe.Writer], and pages receive text, never markup.
package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"sekisho/internal/safetext"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/screen"
	"sekisho/internal/session/termsafe"
)

// Format names a kind of file.
type Format string

// Values of Format.
const (
	Cast Format = "asciicast"
	Text Format = "text"
	HTML Format = "html"
)

// Formats lists all formats.
var Formats = []Format{Cast, Text, HTML}

// maxLabel limits a text from the recording that is not terminal output, in bytes.
const maxLabel = 4 << 10

// Write converts the recording that r reads.
func Write(w io.Writer, r io.Reader, f Format) error {
	in, err := cast.NewReader(r)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	out := bufio.NewWriter(w)
	switch f {
	case Cast:
		err = writeCast(out, in)
	case Text:
		err = writeText(out, in)
	case HTML:
		err = writeHTML(out, in)
	default:
		return fmt.Errorf("unknown export format %q", f)
	}
	return errors.Join(err, out.Flush())
}

// each passes the events of a recording.
func each(in *cast.Reader, visit func(cast.Event) error) error {
	for {
		ev, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("recording: %w", err)
		}
		if err := visit(ev); err != nil {
			return err
		}
	}
}

// buffer keeps what was written to it.
type buffer struct{ b []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

// filter is a termsafe.Writer for one stream.
type filter struct {
	safe termsafe.Writer
	buf  buffer
}

// clean returns the safe part of p. The result is valid until the next call.
func (f *filter) clean(p []byte) []byte {
	f.safe.W = &f.buf
	f.buf.b = f.buf.b[:0]
	_, _ = f.safe.Write(p) // buf never fails
	return f.buf.b
}

func writeCast(w io.Writer, in *cast.Reader) error {
	h := in.Header()
	clean := cast.Header{
		Cols: h.Cols, Rows: h.Rows, TermType: safetext.Line(h.TermType, maxLabel), Timestamp: h.Timestamp,
		Title: safetext.Line(h.Title, maxLabel), IdleTimeLimit: h.IdleTimeLimit, Tags: make(map[string]string),
	}
	for k, v := range h.Tags {
		clean.Tags[safetext.Line(k, maxLabel)] = safetext.Line(v, maxLabel)
	}
	buf, err := cast.AppendHeader(nil, &clean)
	if err != nil {
		return err
	}
	var enc cast.Encoder
	var shown, typed filter
	err = each(in, func(ev cast.Event) error {
		switch ev.Code {
		case cast.Output:
			buf = enc.AppendOutput(buf, ev.Time, shown.clean(ev.Data))
		case cast.Input:
			buf = enc.AppendInput(buf, ev.Time, typed.clean(ev.Data))
		case cast.Resize:
			if cols, rows, err := ev.Size(); err == nil {
				buf = enc.AppendResize(buf, ev.Time, cols, rows)
			}
		case cast.Marker:
			buf = enc.AppendMarker(buf, ev.Time, safetext.Line(string(ev.Data), maxLabel))
		case cast.Exit:
			var status int
			if _, err := fmt.Sscan(string(ev.Data), &status); err == nil {
				buf = enc.AppendExit(buf, ev.Time, status)
			}
		}
		_, err := w.Write(buf)
		buf = buf[:0]
		return err
	})
	if len(buf) > 0 { // a recording without events
		_, headErr := w.Write(buf)
		err = errors.Join(err, headErr)
	}
	return err
}

// fact is a property of a session, with its label.
type fact struct{ Name, Value string }

// factsOf lists the properties in the header.
func factsOf(h cast.Header) []fact {
	names := map[string]string{
		"session_id": "Session", "node_id": "Node", "node_name": "Node name", "owner": "User", "document": "Document",
		"reason": "Reason", "source_ip": "Source IP", "start": "Start", "input": "Input",
	}
	var out []fact
	for _, k := range slices.Sorted(maps.Keys(names)) {
		if v := safetext.Line(h.Tags[k], maxLabel); v != "" {
			out = append(out, fact{names[k], v})
		}
	}
	return out
}

// EncryptedNotice says why an encrypted session has no content.
const EncryptedNotice = "This session was encrypted end to end: its content was not visible to the server and is " +
	"not in the recording."

func writeText(w io.Writer, in *cast.Reader) error {
	h := in.Header()
	for _, f := range factsOf(h) {
		if _, err := fmt.Fprintf(w, "# %s: %s\n", f.Name, f.Value); err != nil {
			return err
		}
	}
	var failed error
	var now time.Duration
	s := screen.New(h.Cols, h.Rows)
	line := func(text string) {
		if failed == nil {
			_, failed = fmt.Fprintf(w, "%s  %s\n", clock(now), text)
		}
	}
	s.Gone = func(text string) {
		if text != "" {
			line(safetext.Line(text, len(text)))
		}
	}
	var shown filter
	err := each(in, func(ev cast.Event) error {
		now = ev.Time
		switch ev.Code {
		case cast.Output:
			_, _ = s.Write(shown.clean(ev.Data)) // never fails
		case cast.Resize:
			if cols, rows, err := ev.Size(); err == nil {
				s.Resize(cols, rows)
			}
		case cast.Marker:
			if string(ev.Data) == cast.EncryptedMarker {
				line("# " + EncryptedNotice)
			} else {
				line("# " + safetext.Line(string(ev.Data), maxLabel))
			}
		case cast.Exit:
			s.Flush()
			s.Gone = nil
			line("# exit status " + safetext.Line(string(ev.Data), maxLabel))
		}
		return failed
	})
	s.Flush()
	return errors.Join(err, failed)
}

// clock formats a time since the start.
func clock(d time.Duration) string {
	return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

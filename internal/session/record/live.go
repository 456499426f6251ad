package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/screen"
)

// Now is the position at the present end of a recording.
const Now = "now"

// MaxWait is how long [Archive.PageFrom] waits at most.
const MaxWait = 20 * time.Second

// Live returns a recording that is being written; nil if it is not.
func (a *Archive) Live(id sekisho.SessionID) *Recording { return a.recording(id) }

// Kind returns the kind of the session; nil until it is known.
func (rec *Recording) Kind() *SessionKind {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.kind
}

// Encrypted reports whether only ciphertext passes.
func (rec *Recording) Encrypted() bool {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.encrypted
}

// JoinedInput records input of a person who joined the session. Like the owner's input, it is not
// kept if input is omitted or not echoed.
func (rec *Recording) JoinedInput(by string, p []byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.forward != nil || rec.encrypted {
		return sekisho.Errorf(sekisho.CodeConflict,
			"Session %s accepts no input from people who join it.", rec.header.SessionID)
	}
	hidden := rec.header.OmitInput || rec.filter.hides(p)
	return rec.appendLocked(recfile.JoinedInput, [][]byte{recfile.AppendJoined(nil, text(by), p, hidden)})
}

// grown returns a channel that is closed when anything is recorded or the recording ends.
func (rec *Recording) grown() <-chan struct{} {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.growing == nil {
		rec.growing = make(chan struct{})
		if rec.closed || rec.sealed != nil {
			close(rec.growing)
		}
	}
	return rec.growing
}

// grew wakes the goroutines that wait for more. The mutex is held.
func (rec *Recording) grew() {
	if rec.growing != nil {
		close(rec.growing)
		rec.growing = nil
	}
}

// PageFrom returns up to limit bytes of a recording as an asciicast, beginning at a position, and
// the position of the next page. For [Now], the end, the page contains a header with the present
// size of the terminal, and the present screen at the time of the last record. If a live recording
// has nothing new yet, PageFrom waits.
func (a *Archive) PageFrom(
	ctx context.Context, id sekisho.SessionID, position string, limit int, wait time.Duration,
) (Page, string, error) {
	ctx, cancel := context.WithTimeout(ctx, min(wait, MaxWait))
	defer cancel()
	for {
		var grown <-chan struct{}
		rec := a.recording(id)
		if rec != nil {
			grown = rec.grown() // before the recording is read
		}
		page, next, err := a.pageFrom(id, position, limit)
		if err != nil || len(page.Data) > 0 || !page.Live || grown == nil {
			return page, next, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return page, next, nil
		}
	}
}

func (a *Archive) pageFrom(id sekisho.SessionID, position string, limit int) (Page, string, error) {
	s, err := a.Open(id)
	if err != nil {
		return Page{}, "", err
	}
	defer s.Close()
	if s.Reader == nil {
		return Page{}, "", sekisho.Errorf(sekisho.CodeInvalid, "The recording of session %s has format 1.", id).
			WithHint("Read it by offset.")
	}
	page := Page{Live: s.Live, Seal: s.Seal}
	if position == Now {
		e := &exporter{id: id, begun: true}
		if err := e.now(s); err != nil {
			return Page{}, "", err
		}
		page.Data, e.buf = e.buf, nil
		return page, a.exports.keepAt(e), nil
	}
	e := a.exports.takeAt(id, position)
	if e == nil {
		if e, err = exporterAt(id, position); err != nil {
			return Page{}, "", err
		}
	}
	if page.End, err = e.convert(s, 0, limit); err != nil {
		return Page{}, "", err
	}
	page.Data, e.buf = slices.Clone(e.buf), e.buf[:0]
	return page, a.exports.keepAt(e), nil
}

// position returns the position of e, from which an exporter that is no longer kept can be
// recreated.
func (e *exporter) position() string {
	return fmt.Sprintf("%d.%d.%d", e.block, e.passed, e.enc.Last().Microseconds())
}

func exporterAt(id sekisho.SessionID, position string) (*exporter, error) {
	e := &exporter{id: id, begun: true}
	var micros int64
	var rest string
	n, _ := fmt.Sscanf(position+" end", "%d.%d.%d %s", &e.block, &e.passed, &micros, &rest)
	if n != 4 || rest != "end" || e.block < 0 || e.passed < 0 || micros < 0 || len(position) > maxPosition {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%.40q is not a position in a recording.", position)
	}
	e.enc.Resume(time.Duration(micros)*time.Microsecond, 0)
	return e, nil
}

// maxPosition limits the text of a position, in bytes.
const maxPosition = 64

// keepAt keeps an exporter under its position and returns the position.
func (x *exports) keepAt(e *exporter) string {
	at := e.position()
	e.at, e.offset = at, -1
	x.keep(e)
	return at
}

func (x *exports) takeAt(id sekisho.SessionID, position string) *exporter {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, e := range x.kept {
		if e.id == id && e.at == position {
			x.kept = slices.Delete(x.kept, i, i+1)
			e.offset = 0
			return e
		}
	}
	return nil
}

// maxRendered is the number of blocks from which the present screen is rendered at most.
const maxRendered = 64

// now moves to the end of s, and writes a header and the screen at that point.
func (e *exporter) now(s *Stored) error {
	last, err := s.Duration()
	if err != nil {
		return flawOf(err)
	}
	c, err := s.Seek(last)
	if err != nil {
		return flawOf(err)
	}
	if blocks, err := s.Blocks(); err != nil {
		return flawOf(err)
	} else if first := c.Block() + 1; len(blocks)-first > maxRendered {
		// There are no keyframes: without a terminal, the latest output is sufficient.
		if c, err = s.RecordsFrom(len(blocks) - maxRendered); err != nil {
			return flawOf(err)
		}
	}
	shown := screen.New(s.Header.Cols, s.Header.Rows)
	e.block = max(c.Block()+1, 0)
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return flawOf(err)
		}
		if e.block != c.Block() {
			e.block, e.passed = c.Block(), 0
		}
		if rec.Kind != recfile.Keyframe {
			e.passed++
		}
		shown = recfile.Render(shown, rec)
	}
	h := s.Header.cast()
	h.Cols, h.Rows = shown.Size()
	if e.buf, err = cast.AppendHeader(e.buf, h); err != nil {
		return err
	}
	e.buf = e.enc.AppendOutput(e.buf, last, shown.Dump(nil))
	return nil
}

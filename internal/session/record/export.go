package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/recfile"
)

// Stored is a recording opened for reading. If the recording is still being written, Stored shows
// its state at the time of opening.
type Stored struct {
	*recfile.Reader // nil for format 1
	Header          Header
	// Live reports that this server was writing the recording.
	Live bool
	// Seal is the content of seal.json; nil if there is none yet.
	Seal []byte

	f    storedFile
	cast *io.SectionReader // of format 1
}

// storedFile is a file of a recording that is read.
type storedFile interface {
	io.ReaderAt
	io.Closer
}

// Close closes the file.
func (s *Stored) Close() error { return s.f.Close() }

// Open opens a recording.
func (a *Archive) Open(id sekisho.SessionID) (*Stored, error) {
	dir, err := a.find(id)
	if err != nil {
		return nil, err
	}
	if a.isFormat1(dir) {
		return a.openCast(dir)
	}
	f, err := a.openContent(dir, MainFile)
	if err != nil {
		return nil, missing(err, MainFile)
	}
	s := &Stored{f: f}
	if err := a.openStored(s, f, id, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (a *Archive) openStored(s *Stored, f content, id sekisho.SessionID, dir string) error {
	var size int64
	var blocks []recfile.BlockInfo
	var records [][]byte
	if rec := a.recording(id); rec != nil {
		var sum Summary
		sum, size, blocks, records = rec.snapshot()
		s.Live = sum.Live
	}
	if !s.Live {
		size = f.Size()
		var err error
		// The recording might have been sealed just now, so this comes second.
		if s.Seal, err = a.readSmall(path.Join(dir, SealFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var err error
	if s.Reader, s.Header, err = openReader(s.f, size, id); err != nil {
		return err
	}
	if _, err := a.unlock(s.Reader, s.Header); err != nil {
		return err
	}
	if s.Live {
		s.UseTail(blocks, records)
	} else if seal, err := parseSeal(s.Seal, a.keys); err == nil && seal.Index > 0 {
		// Without the index, the blocks are found one by one.
		_ = s.UseIndex(seal.Index)
	}
	return nil
}

// openCast opens a recording of format 1.
func (a *Archive) openCast(dir string) (*Stored, error) {
	s := &Stored{}
	var err error
	if s.Seal, err = a.readSmall(path.Join(dir, SealFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := a.openContent(dir, CastFile)
	if err != nil {
		return nil, missing(err, CastFile)
	}
	s.f, s.cast = f, io.NewSectionReader(f, 0, f.Size())
	return s, nil
}

// Page is part of a recording, as an asciicast.
type Page struct {
	Data []byte
	Next int64 // offset of the next page
	// Total is the length of the whole cast, in bytes. While End is false it is an estimate,
	// greater than Next.
	Total int64
	End   bool // nothing follows at present
	Live  bool
	Seal  []byte
}

// maxExports limits the conversions that are kept for the next page.
const maxExports = 32

// exports keeps unfinished conversions, so the next page continues where the last one ended.
type exports struct {
	mu   sync.Mutex
	kept []*exporter // oldest first
}

func (x *exports) take(id sekisho.SessionID, offset int64) *exporter {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, e := range x.kept {
		if e.id == id && e.offset == offset {
			x.kept = slices.Delete(x.kept, i, i+1)
			return e
		}
	}
	return &exporter{id: id}
}

func (x *exports) keep(e *exporter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.kept) == maxExports {
		x.kept = slices.Delete(x.kept, 0, 1)
	}
	x.kept = append(x.kept, e)
}

// exporter converts a recording to an asciicast. It remembers a position rather than an open file,
// because the recording might have grown when it continues.
type exporter struct {
	id     sekisho.SessionID
	enc    cast.Encoder
	begun  bool
	block  int   // the next record is in this block
	passed int   // converted records of the block, without keyframes
	offset int64 // of buf in the cast
	buf    []byte
	at     string // position, of an exporter of [Archive.PageFrom]
	typist string // who typed last, if it was a person who joined the session
}

// CastPage returns up to limit bytes of a recording as an asciicast, beginning at offset.
// Reading pages in order is cheap.
func (a *Archive) CastPage(id sekisho.SessionID, offset int64, limit int) (Page, error) {
	s, err := a.Open(id)
	if err != nil {
		return Page{}, err
	}
	defer s.Close()
	page := Page{Live: s.Live, Seal: s.Seal}
	if s.cast != nil {
		return page, s.castPage(&page, offset, limit)
	}
	e := a.exports.take(id, offset)
	end, err := e.convert(s, offset, limit)
	if err != nil {
		return Page{}, err
	}
	if e.offset+int64(len(e.buf)) < offset {
		return Page{}, beyondEnd(offset, e.offset+int64(len(e.buf)))
	}
	e.buf = e.buf[offset-e.offset:]
	n := min(limit, len(e.buf))
	page.Data = slices.Clone(e.buf[:n])
	e.buf = e.buf[n:]
	e.offset = offset + int64(n)
	page.Next, page.End = e.offset, end && len(e.buf) == 0
	page.Total = page.Next
	if !page.End {
		blocks, err := s.Blocks()
		if err != nil {
			return Page{}, flawOf(err)
		}
		done := max(1, min(e.block, len(blocks)))
		page.Total = max(page.Next+int64(len(e.buf))+1, page.Next*int64(len(blocks))/int64(done))
	}
	a.exports.keep(e)
	return page, nil
}

func beyondEnd(offset, end int64) error {
	return sekisho.Errorf(
		sekisho.CodeInvalid,
		"Offset %d is beyond the end of the recording, which has %d bytes.",
		offset,
		end,
	)
}

func (s *Stored) castPage(page *Page, offset int64, limit int) error {
	page.Total = s.cast.Size()
	if offset > page.Total {
		return beyondEnd(offset, page.Total)
	}
	page.Data = make([]byte, min(int64(limit), page.Total-offset))
	if _, err := s.cast.ReadAt(page.Data, offset); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	page.Next = offset + int64(len(page.Data))
	page.End = page.Next == page.Total
	return nil
}

// convert fills buf up to limit bytes beyond offset. It reports whether the
// recording ends there.
func (e *exporter) convert(s *Stored, offset int64, limit int) (end bool, err error) {
	if !e.begun {
		if e.buf, err = cast.AppendHeader(e.buf, s.Header.cast()); err != nil {
			return false, err
		}
		e.begun = true
	}
	c, err := s.RecordsFrom(e.block)
	if err != nil {
		return false, flawOf(err)
	}
	for skip := e.passed; skip > 0; {
		rec, err := c.Next()
		if err != nil {
			return false, flawOf(err)
		}
		if rec.Kind != recfile.Keyframe {
			skip--
		}
	}
	for e.offset+int64(len(e.buf)) < offset+int64(limit) {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, flawOf(err)
		}
		if e.block != c.Block() {
			e.block, e.passed = c.Block(), 0
		}
		if rec.Kind == recfile.Keyframe {
			continue
		}
		e.passed++
		e.append(s, rec)
		if drop := offset - e.offset; drop > 1<<20 && int64(len(e.buf)) >= drop {
			e.buf, e.offset = append(e.buf[:0], e.buf[drop:]...), offset
		} else if len(e.buf) > 1<<20 && e.offset+int64(len(e.buf)) < offset {
			e.offset += int64(len(e.buf))
			e.buf = e.buf[:0]
		}
	}
	return false, nil
}

func (e *exporter) append(s *Stored, rec recfile.Record) {
	switch rec.Kind {
	case recfile.Output:
		e.buf = e.enc.AppendOutput(e.buf, rec.Time, rec.Data)
	case recfile.Input:
		e.typedBy("", rec.Time)
		e.buf = e.enc.AppendInput(e.buf, rec.Time, rec.Data)
	case recfile.HiddenInput:
		if n, ok := recfile.HiddenBytes(rec.Data); ok && !s.Header.OmitInput {
			e.buf = e.enc.AppendMarker(e.buf, rec.Time, "hidden input, "+recfile.Plural(n, "byte"))
		}
	case recfile.Resize:
		if cols, rows, _, ok := recfile.Size(rec.Data); ok {
			e.buf = e.enc.AppendResize(e.buf, rec.Time, cols, rows)
		}
	case recfile.Marker:
		e.buf = e.enc.AppendMarker(e.buf, rec.Time, string(rec.Data))
	case recfile.Connection, recfile.File:
		if text, ok := recfile.Describe(rec); ok {
			e.buf = e.enc.AppendMarker(e.buf, rec.Time, text)
		}
	case recfile.JoinedInput:
		by, p, hidden, ok := recfile.ParseJoined(rec.Data)
		if !ok || s.Header.OmitInput {
			return
		}
		e.typedBy(by, rec.Time)
		if hidden > 0 {
			e.buf = e.enc.AppendMarker(e.buf, rec.Time, "hidden input, "+recfile.Plural(hidden, "byte"))
		} else {
			e.buf = e.enc.AppendInput(e.buf, rec.Time, p)
		}
	case recfile.Payload:
		if _, fromClient, p, ok := recfile.ParsePayload(rec.Data); ok && fromClient {
			e.buf = e.enc.AppendInput(e.buf, rec.Time, p)
		} else if ok {
			e.buf = e.enc.AppendOutput(e.buf, rec.Time, p)
		}
	case recfile.Exit:
		if status, reason, ok := recfile.ExitStatus(rec.Data); ok {
			e.buf = e.enc.AppendTails(e.buf, rec.Time)
			if reason != "" {
				e.buf = e.enc.AppendMarker(e.buf, rec.Time, "ended: "+reason)
			}
			e.buf = e.enc.AppendExit(e.buf, rec.Time, status)
		}
	case recfile.Keyframe, recfile.Type:
	}
}

// typedBy writes a marker when a different person begins to type; "" is the owner.
func (e *exporter) typedBy(who string, at time.Duration) {
	if who == e.typist {
		return
	}
	e.typist = who
	if who == "" {
		who = "the owner"
	}
	e.buf = e.enc.AppendMarker(e.buf, at, "typed by "+who)
}

// WriteCast writes a recording as an asciicast. Of a recording in progress, it writes what has been
// recorded so far.
func (a *Archive) WriteCast(w io.Writer, id sekisho.SessionID) error {
	for offset := int64(0); ; {
		page, err := a.CastPage(id, offset, 1<<20)
		if err != nil {
			return err
		}
		if _, err := w.Write(page.Data); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if page.End {
			return nil
		}
		offset = page.Next
	}
}

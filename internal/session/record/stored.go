package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
)

// Cast is the cast of a recording, opened for reading. It covers the bytes
// that were there when it was opened.
type Cast struct {
	*io.SectionReader
	// Live says that this server was writing the recording.
	Live bool
	// Seal is the content of seal.json; nil when there is none yet.
	Seal []byte

	f *os.File
}

// Close closes the file.
func (c *Cast) Close() error { return c.f.Close() }

// Open opens the cast of a recording.
func (r *Recorder) Open(id sekisho.SessionID) (*Cast, error) {
	dir, err := r.find(id)
	if err != nil {
		return nil, err
	}
	c := new(Cast)
	size := int64(-1)
	if rec := r.recording(id); rec != nil {
		// The file may hold the first part of a write that is going to fail.
		s := rec.Summary()
		c.Live, size = s.Live, s.CastBytes
	}
	if !c.Live {
		// It may have been sealed just now, so this comes second.
		if c.Seal, err = r.readSmall(path.Join(dir, SealFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if c.f, err = r.openRegular(path.Join(dir, CastFile), os.O_RDONLY); err != nil {
		return nil, missing(err, CastFile)
	}
	if size < 0 {
		st, err := c.f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("record: %w", err), c.f.Close())
		}
		size = st.Size()
	}
	c.SectionReader = io.NewSectionReader(c.f, 0, size)
	return c, nil
}

// Stat describes one recording. Of one that is neither sealed nor live it
// tells what the last checkpoint said.
func (r *Recorder) Stat(id sekisho.SessionID) (Summary, error) {
	if rec := r.recording(id); rec != nil {
		return rec.Summary(), nil
	}
	dir, err := r.find(id)
	if err != nil {
		return Summary{}, err
	}
	return r.stat(id, dir)
}

// List yields all recordings, the latest month first. A recording that cannot
// be read yields its ID with an error.
func (r *Recorder) List() iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		for id, dir := range r.all() {
			var s Summary
			var err error
			if rec := r.recording(id); rec != nil {
				s = rec.Summary()
			} else if s, err = r.stat(id, dir); err != nil {
				s = Summary{Header: Header{SessionID: id}}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func (r *Recorder) stat(id sekisho.SessionID, dir string) (Summary, error) {
	text, err := r.readSmall(path.Join(dir, SealFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r.statUnsealed(id, dir)
	}
	if err != nil {
		return Summary{}, err
	}
	seal, err := parseSeal(text, r.keys)
	if err != nil {
		return Summary{}, err
	}
	s := seal.summary(hexDigest(text))
	h, err := r.readHeader(dir)
	if err != nil && seal.Damage == "" {
		return Summary{}, err
	}
	h.SessionID = seal.Session
	s.Header = h
	return s, nil
}

func (s *Seal) summary(digest string) Summary {
	return Summary{
		Header:   Header{SessionID: s.Session, Start: s.Start},
		Duration: time.Duration(s.Micros) * time.Microsecond, BytesOut: s.BytesOut, BytesIn: s.BytesIn,
		Events: s.Events, CastBytes: s.CastBytes, Sealed: true, SealedAt: s.SealedAt,
		Exit: Exit{Status: s.Status, Reason: s.Reason}, Damage: s.Damage,
		ChainHead: s.ChainHead, SealDigest: digest,
	}
}

func (r *Recorder) statUnsealed(id sekisho.SessionID, dir string) (Summary, error) {
	h, err := r.readHeader(dir)
	if err != nil {
		return Summary{}, err
	}
	h.SessionID = id
	s := Summary{Header: h}
	f, err := r.openRegular(path.Join(dir, CastFile), os.O_RDONLY)
	if err != nil {
		return Summary{}, missing(err, CastFile)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Summary{}, fmt.Errorf("record: %w", err)
	}
	s.CastBytes = st.Size()
	chain, err := r.openRegular(path.Join(dir, ChainFile), os.O_RDONLY)
	if err != nil {
		return Summary{}, missing(err, ChainFile)
	}
	defer chain.Close()
	w := newWalker(chain, f, r.keys, id)
	for err == nil {
		err = w.next()
	}
	if !errors.Is(err, io.EOF) {
		return s, err
	}
	s.Duration = time.Duration(w.last.Micros) * time.Microsecond
	s.BytesOut, s.BytesIn, s.Events, s.ChainHead = w.last.Out, w.last.In, w.last.Events, w.head
	return s, nil
}

func (r *Recorder) readHeader(dir string) (Header, error) {
	f, err := r.openRegular(path.Join(dir, CastFile), os.O_RDONLY)
	if err != nil {
		return Header{}, missing(err, CastFile)
	}
	defer f.Close()
	d, err := cast.NewReader(f)
	if err != nil {
		return Header{}, &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	h, err := headerOf(d.Header())
	if err != nil {
		return Header{}, &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	return h, nil
}

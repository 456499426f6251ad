package record

import (
	"cmp"
	"encoding/binary"
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
	"sekisho/internal/session/recfile"
)

// Stat describes one recording. One that is neither sealed nor live is
// described by its last signed block.
func (a *Archive) Stat(id sekisho.SessionID) (Summary, error) {
	if rec := a.recording(id); rec != nil {
		return rec.Summary(), nil
	}
	dir, err := a.find(id)
	if err != nil {
		return Summary{}, err
	}
	return a.stat(id, dir)
}

// Sealed reports whether the recording has a seal. It does not verify the seal.
func (a *Archive) Sealed(id sekisho.SessionID) bool {
	dir, err := a.find(id)
	if err != nil {
		return false
	}
	return a.inFolder(dir, SealFile) || a.absent[dir].seal != nil
}

// All yields the IDs of all recordings that can be listed, the latest month
// first.
func (a *Archive) All() iter.Seq[sekisho.SessionID] {
	return func(yield func(sekisho.SessionID) bool) {
		for id := range a.all() {
			if !yield(id) {
				return
			}
		}
	}
}

// Check verifies a recording, sealed or not. A recording that this server is writing passes. So
// does one that only the store has, unless the archive was opened for a full check, because reading
// all of them takes a long time.
func (a *Archive) Check(id sekisho.SessionID) error {
	if a.recording(id) != nil {
		return nil
	}
	if a.Sealed(id) {
		if a.keptElsewhere(id) {
			return nil // CheckStore compares the store with the seals
		}
		_, err := a.Verify(id)
		return err
	}
	if dir, err := a.find(id); err == nil {
		if x, ok := a.absent[dir]; ok && x.seal == nil {
			return nil // the server fetches its parts, and then continues or seals it
		}
	}
	_, err := a.Stat(id)
	return err
}

// List yields all recordings, the latest month first. A recording that cannot
// be read yields its ID with an error.
func (a *Archive) List() iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		for id, dir := range a.all() {
			var s Summary
			var err error
			if rec := a.recording(id); rec != nil {
				s = rec.Summary()
			} else if s, err = a.stat(id, dir); err != nil {
				s = Summary{Header: Header{SessionID: id}}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func (a *Archive) stat(id sekisho.SessionID, dir string) (Summary, error) {
	text, err := a.readSeal(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return a.statUnsealed(id, dir)
	}
	if err != nil {
		return Summary{}, err
	}
	seal, err := parseSeal(text, a.keys)
	if err != nil {
		return Summary{}, err
	}
	s := seal.summary(hexDigest(text))
	h, err := a.readHeader(id, dir)
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
		Events: s.Events, Size: s.FileBytes + s.CastBytes, Format: s.format(), Sealed: true, SealedAt: s.SealedAt,
		Exit: Exit{Status: s.Status, Reason: s.Reason}, Damage: s.Damage, Encrypted: s.Encrypted,
		ChainHead: cmp.Or(s.Head, s.ChainHead), SealDigest: digest,
	}
}

func (s *Seal) format() int {
	if s.Format == sealFormat1 {
		return 1
	}
	return 2
}

func (a *Archive) statUnsealed(id sekisho.SessionID, dir string) (Summary, error) {
	h, err := a.readHeader(id, dir)
	if err != nil {
		if _, isFlaw := errors.AsType[*Flaw](err); isFlaw && !a.isFormat1(dir) {
			// A header that was altered can name another session.
			if _, altered := a.statFile(Header{}, dir); altered != nil {
				return Summary{}, altered
			}
		}
		return Summary{}, err
	}
	h.SessionID = id
	if !a.isFormat1(dir) {
		return a.statFile(h, dir)
	}
	s := Summary{Header: h, Format: 1}
	f, err := a.openRegular(path.Join(dir, CastFile), os.O_RDONLY)
	if err != nil {
		return Summary{}, missing(err, CastFile)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Summary{}, fmt.Errorf("record: %w", err)
	}
	s.Size = st.Size()
	chain, err := a.openRegular(path.Join(dir, ChainFile), os.O_RDONLY)
	if err != nil {
		return Summary{}, missing(err, ChainFile)
	}
	defer chain.Close()
	w := newWalker(chain, f, a.keys, id)
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

func (a *Archive) statFile(h Header, dir string) (Summary, error) {
	s := Summary{Header: h, Format: 2}
	f, err := a.openRegular(path.Join(dir, MainFile), os.O_RDONLY)
	if err != nil {
		return s, missing(err, MainFile)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return s, fmt.Errorf("record: %w", err)
	}
	s.Size = st.Size()
	rep, err := recfile.Verify(f, st.Size(), a.keys.byID)
	if err != nil {
		return s, flawOf(err)
	}
	for i, name := range tailFiles {
		if n, ok := a.tailNumber(path.Join(dir, name)); ok && n%2 == int64(i) && n > rep.Blocks {
			return s, &Flaw{
				File: MainFile, From: rep.Size, To: st.Size() + 1, Kind: Truncated,
				Problem: fmt.Sprintf("the file ends before block %d, although block %d was begun", rep.Blocks, n),
			}
		}
	}
	t := rep.Totals
	s.Duration, s.BytesOut, s.BytesIn, s.Events, s.ChainHead = t.Last, t.Out, t.In, t.Records, rep.Digest.String()
	return s, nil
}

// tailNumber returns the number of the block whose records a tail has. Without the key of the
// recording, the number cannot be verified: a false one can only cause a false alarm.
func (a *Archive) tailNumber(name string) (int64, bool) {
	f, err := a.openRegular(name, os.O_RDONLY)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return 0, false
	}
	n := binary.BigEndian.Uint64(b[:])
	return int64(n), n < 1<<62
}

func (a *Archive) readHeader(id sekisho.SessionID, dir string) (Header, error) {
	if !a.isFormat1(dir) {
		f, err := a.openHead(dir, MainFile)
		if err != nil {
			return Header{}, missing(err, MainFile)
		}
		defer f.Close()
		_, h, err := openReader(f, f.Size(), id)
		return h, err
	}
	f, err := a.openHead(dir, CastFile)
	if err != nil {
		return Header{}, missing(err, CastFile)
	}
	defer f.Close()
	d, err := cast.NewReader(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return Header{}, &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	h, err := headerOf(d.Header())
	if err != nil {
		return Header{}, &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	return h, nil
}

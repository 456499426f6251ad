package record

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
)

// Format 1 was written by earlier versions: an asciicast and a chain of signed checkpoints. This
// file reads, verifies and seals such recordings.

// checkpoint is one line of session.chain.
type checkpoint struct {
	N       int64             `json:"n"`                 // counted from 0
	Session sekisho.SessionID `json:"session,omitempty"` // in line 0
	Key     string            `json:"key,omitempty"`     // in line 0, and when the key changes
	Offset  int64             `json:"offset"`            // bytes of the cast covered
	Events  int64             `json:"events"`            // event lines up to there
	Micros  int64             `json:"time"`              // of the last event, since the start
	Out     int64             `json:"out"`               // bytes shown and
	In      int64             `json:"in"`                // typed up to there
	Exit    *exitJSON         `json:"exit,omitempty"`    // in the last line, once the cast has ended
	SHA256  string            `json:"sha256"`            // of the cast up to Offset
	Prev    string            `json:"prev"`              // SHA-256 of the line before, without its line feed
}

type exitJSON struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

// walker reads chain and cast in parallel.
type walker struct {
	keys  Keys
	want  sekisho.SessionID
	chain *bufio.Reader
	cast  io.Reader

	last  checkpoint
	count int64     // checkpoints read
	head  string    // digest of the last one
	size  int64     // bytes of chain they take
	key   string    // fingerprint in force
	hash  hash.Hash // of the cast up to last.Offset
	lines lineCount // of the cast up to last.Offset
	torn  bool      // the chain ends within a line
}

type lineCount int64

func (c *lineCount) Write(p []byte) (int, error) {
	*c += lineCount(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

func newWalker(chain, cast io.Reader, keys Keys, want sekisho.SessionID) *walker {
	return &walker{
		keys: keys, want: want, cast: cast, hash: sha256.New(),
		chain: bufio.NewReaderSize(chain, maxSignedLine+1),
	}
}

// next verifies one checkpoint and the part of the cast that it covers. At the end of the chain it
// returns io.EOF; a *Flaw describes an error.
func (w *walker) next() error {
	line, err := w.chain.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		w.torn = len(line) > 0
		return io.EOF
	case errors.Is(err, bufio.ErrBufferFull):
		return w.flaw("it is too long")
	case err != nil:
		return fmt.Errorf("record: %s: %w", ChainFile, err)
	}
	size := int64(len(line))
	line = line[:len(line)-1]
	var c checkpoint
	key := w.key
	err = unsign(line, purposeCheckpoint, &c, func() (ed25519.PublicKey, bool) {
		if c.Key != "" {
			key = c.Key
		}
		pub, ok := w.keys[key]
		return pub, ok
	})
	switch {
	case err != nil:
		return w.flaw(err.Error())
	case w.count == 0 && c.Session != w.want:
		return w.flaw(fmt.Sprintf("it belongs to another session, %q", c.Session))
	case c.N != w.count:
		return w.flaw(fmt.Sprintf("found checkpoint %d instead of checkpoint %d", c.N, w.count))
	case c.Prev != w.head:
		return w.flaw("it does not follow the line before it")
	case c.Offset < w.last.Offset || c.Events < w.last.Events || w.count > 0 && c.Session != "":
		return w.flaw("it contradicts the line before it")
	}

	first, from := int64(w.lines)+1, w.last.Offset
	n, err := io.CopyN(io.MultiWriter(w.hash, &w.lines), w.cast, c.Offset-from)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	if err != nil {
		return &Flaw{File: CastFile, From: from, To: c.Offset, Line: first, Problem: fmt.Sprintf(
			"the file ends at byte %d, but checkpoint %d covers it up to byte %d", from+n, c.N, c.Offset)}
	}
	if hex.EncodeToString(w.hash.Sum(nil)) != c.SHA256 {
		return &Flaw{
			File:     CastFile,
			From:     from,
			To:       c.Offset,
			Line:     first,
			LastLine: int64(w.lines),
			Problem: fmt.Sprintf(
				"this is not what was recorded (checkpoint %d)", c.N),
		}
	}
	w.last, w.key, w.head = c, key, hexDigest(line)
	w.count++
	w.size += size
	return nil
}

func (w *walker) flaw(problem string) *Flaw {
	return &Flaw{File: ChainFile, Line: w.count + 1, Problem: problem}
}

// isFormat1 reports whether the recording in dir is one of format 1.
func (a *Archive) isFormat1(dir string) bool {
	if _, err := a.root.Lstat(path.Join(dir, MainFile)); err == nil {
		return false
	}
	for _, name := range []string{CastFile, ChainFile} {
		if _, err := a.root.Lstat(path.Join(dir, name)); err == nil {
			return true
		}
	}
	_, ok := a.markerOf(dir).Objects[CastFile]
	return ok
}

// format1 is an unsealed recording of format 1.
type format1 struct {
	cast, chain *os.File
	walker      *walker
	header      Header
	first       string // digest of the cast's first line
	enc         cast.Encoder
	out, in     int64
	size        int64
	exit        *Exit
}

// finishFormat1 seals a recording that an earlier version left open. A damaged recording is sealed
// in its present state.
func (r *Recorder) finishFormat1(id sekisho.SessionID, dir string, exit Exit) error {
	f, err := r.openFormat1(id, dir)
	if err == nil {
		err = f.finish(r, dir, exit)
		err = errors.Join(err, f.cast.Close(), f.chain.Close())
	}
	if flaw, ok := errors.AsType[*Flaw](err); ok {
		return r.sealDamaged(id, dir, exit, flaw)
	}
	return err
}

// openFormat1 verifies the part covered by checkpoints, truncates an incomplete last line, and
// reads the rest.
func (r *Recorder) openFormat1(id sekisho.SessionID, dir string) (_ *format1, err error) {
	f := &format1{}
	if f.cast, err = r.openRegular(path.Join(dir, CastFile), os.O_RDWR|os.O_APPEND); err != nil {
		return nil, missing(err, CastFile)
	}
	if f.chain, err = r.openRegular(path.Join(dir, ChainFile), os.O_RDWR|os.O_APPEND); err != nil {
		return nil, errors.Join(missing(err, ChainFile), f.cast.Close())
	}
	if err := f.read(r.keys, id); err != nil {
		return nil, errors.Join(err, f.cast.Close(), f.chain.Close())
	}
	return f, nil
}

func (f *format1) read(keys Keys, id sekisho.SessionID) error {
	w := newWalker(f.chain, f.cast, keys, id)
	f.walker = w
	var first checkpoint
	for {
		err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if w.count == 1 {
			first = w.last
		}
	}
	if w.count == 0 {
		return &Flaw{File: ChainFile, Line: 1, Problem: "it is missing"}
	}
	if w.torn {
		if err := f.chain.Truncate(w.size); err != nil {
			return fmt.Errorf("record: %s: cut torn line: %w", ChainFile, err)
		}
	}
	f.out, f.in = w.last.Out, w.last.In
	if e := w.last.Exit; e != nil {
		f.exit = &Exit{Status: e.Status, Reason: e.Reason}
	}
	line := make([]byte, min(first.Offset, cast.DefaultMaxLine))
	if _, err := f.cast.ReadAt(line, 0); err != nil {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	f.first = hexDigest(line)
	return f.readTail(line)
}

// readTail reads the events after the last checkpoint.
func (f *format1) readTail(header []byte) error {
	w := f.walker
	from := w.last.Offset
	st, err := f.cast.Stat()
	if err != nil {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	end, err := lastLineEnd(f.cast, from, st.Size())
	if err != nil {
		return err
	}
	d, err := cast.NewReader(io.MultiReader(bytes.NewReader(header), io.NewSectionReader(f.cast, from, end-from)))
	if err != nil {
		return &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	if f.header, err = headerOf(d.Header()); err != nil {
		return &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	last := time.Duration(w.last.Micros) * time.Microsecond
	var passed time.Duration
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			se, _ := errors.AsType[*cast.SyntaxError](err)
			if se == nil {
				return fmt.Errorf("record: %w", err)
			}
			// The reader has seen only the header and the tail.
			line := int64(w.lines) + int64(se.Line) - 1
			return &Flaw{File: CastFile, Line: line, From: from, To: end, Problem: se.Err.Error()}
		}
		passed = ev.Time
		switch ev.Code {
		case cast.Output:
			f.out += int64(len(ev.Bytes()))
		case cast.Input:
			f.in += int64(len(ev.Bytes()))
		case cast.Exit:
			f.exit = &Exit{Status: -1, Reason: "server stopped"}
		}
	}
	// Offset stops before a companion whose event was torn off.
	end = from + d.Offset() - int64(len(header))
	if end < st.Size() {
		if err := f.cast.Truncate(end); err != nil {
			return fmt.Errorf("record: %s: cut torn line: %w", CastFile, err)
		}
	}
	var lines lineCount
	if _, err := io.Copy(io.MultiWriter(w.hash, &lines), io.NewSectionReader(f.cast, from, end-from)); err != nil {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	f.size = end
	f.enc.Resume(last+passed, w.last.Events+int64(lines))
	return nil
}

// lastLineEnd returns the end of the last complete line of f between the offsets from, which is the
// end of a line, and size.
func lastLineEnd(f *os.File, from, size int64) (int64, error) {
	n := min(size-from, cast.DefaultMaxLine)
	b := make([]byte, n)
	if _, err := f.ReadAt(b, size-n); err != nil {
		return 0, fmt.Errorf("record: %s: %w", CastFile, err)
	}
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		return size - n + int64(i) + 1, nil
	}
	if n < size-from {
		return 0, &Flaw{File: CastFile, From: size - n, To: size, Problem: "it contains no complete line"}
	}
	return from, nil
}

// finish ends the cast, signs a last checkpoint and seals.
func (f *format1) finish(r *Recorder, dir string, exit Exit) error {
	w := f.walker
	at := f.enc.Last()
	if f.exit == nil {
		exit.Reason = text(exit.Reason)
		events := f.enc.AppendMarker(nil, at, "ended: "+exit.Reason)
		events = f.enc.AppendExit(events, at, exit.Status)
		if _, err := f.cast.Write(events); err != nil {
			return fmt.Errorf("record: %s: %w", CastFile, err)
		}
		w.hash.Write(events)
		f.size += int64(len(events))
		f.exit = &exit
	}
	sum := hex.EncodeToString(w.hash.Sum(nil))
	if f.size != w.last.Offset {
		c := checkpoint{
			N: w.count, Offset: f.size, Events: f.enc.Events(), Micros: at.Microseconds(), Out: f.out, In: f.in,
			Exit: &exitJSON{f.exit.Status, f.exit.Reason}, SHA256: sum, Prev: w.head,
		}
		if w.key != r.key {
			c.Key = r.key
		}
		line, err := sign(r.signer, purposeCheckpoint, c)
		if err != nil {
			return err
		}
		w.count++
		w.head = hexDigest(line)
		if _, err := f.chain.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("record: %s: %w", ChainFile, err)
		}
	}
	if err := errors.Join(f.cast.Sync(), f.chain.Sync()); err != nil {
		return fmt.Errorf("record: sync: %w", err)
	}
	start := f.header.Start.UTC()
	_, err := r.seal(dir, &Seal{
		Format: sealFormat1, Session: f.header.SessionID, HeaderSHA256: f.first, CastBytes: f.size, CastSHA256: sum,
		Checkpoints: w.count, ChainHead: w.head, Events: f.enc.Events(), BytesOut: f.out, BytesIn: f.in,
		Start: start, End: start.Add(at), Micros: at.Microseconds(), Status: f.exit.Status, Reason: f.exit.Reason,
	})
	return err
}

// verifyFormat1 checks a sealed recording of format 1.
func verifyFormat1(fsys fs.FS, keys Keys, seal *Seal) (Header, error) {
	chain, err := fsys.Open(ChainFile)
	if err != nil {
		return Header{}, missing(err, ChainFile)
	}
	defer chain.Close()
	f, err := fsys.Open(CastFile)
	if err != nil {
		return Header{}, missing(err, CastFile)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Header{}, fmt.Errorf("record: %w", err)
	}

	var first headWriter
	w := newWalker(chain, io.TeeReader(f, &first), keys, seal.Session)
	for err == nil {
		err = w.next()
	}
	if flaw, ok := errors.AsType[*Flaw](err); ok && flaw.File == CastFile {
		// Every checkpoint after this one differs too, so report the difference in length.
		if d := st.Size() - seal.CastBytes; d != 0 {
			flaw.Problem += fmt.Sprintf("; the file has %d bytes, which is %+d compared with the seal", st.Size(), d)
		}
		return Header{}, flaw
	}
	if !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	switch {
	case w.torn:
		return Header{}, w.flaw("it is cut off within the line")
	case w.count < seal.Checkpoints:
		return Header{}, w.flaw(
			fmt.Sprintf("it ends after %d checkpoints, but the seal covers %d", w.count, seal.Checkpoints),
		)
	case w.count > seal.Checkpoints:
		return Header{}, &Flaw{File: ChainFile, Line: seal.Checkpoints + 1, Problem: "it was added after the seal"}
	case w.head != seal.ChainHead:
		return Header{}, &Flaw{File: ChainFile, Line: w.count, Problem: "this is not the checkpoint that was sealed"}
	}
	if st.Size() > seal.CastBytes {
		return Header{}, &Flaw{File: CastFile, From: seal.CastBytes, To: st.Size(), Line: int64(w.lines) + 1,
			Problem: "this was added after the seal"}
	}
	// The checkpoints were signed line by line and the seal as a whole. They must agree.
	last := w.last
	if last.Offset != seal.CastBytes || last.SHA256 != seal.CastSHA256 || last.Events != seal.Events ||
		last.Out != seal.BytesOut || last.In != seal.BytesIn || last.Micros != seal.Micros ||
		int64(w.lines) != seal.Events+1 || first.digest() != seal.HeaderSHA256 {
		return Header{}, &Flaw{File: SealFile, Problem: "it contradicts the last checkpoint"}
	}
	d, err := cast.NewReader(bytes.NewReader(first.b))
	if err != nil {
		return Header{}, &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	h, err := headerOf(d.Header())
	if err == nil && h.SessionID != seal.Session {
		err = fmt.Errorf("it belongs to another session, %q", h.SessionID)
	}
	if err != nil {
		return Header{}, &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	return h, nil
}

// headWriter keeps the first line that is written to it.
type headWriter struct {
	b    []byte
	done bool
}

func (h *headWriter) Write(p []byte) (int, error) {
	if !h.done {
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, h.done = p[:i+1], true
		}
		h.b = append(h.b, line...)
		h.done = h.done || len(h.b) > cast.DefaultMaxLine
	}
	return len(p), nil
}

func (h *headWriter) digest() string { return hexDigest(h.b) }

package record

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"sekisho"
	"sekisho/internal/session/cast"
)

// Verify checks a sealed recording whole, from nothing but its files and
// public keys: fsys is its directory ([os.DirFS]) or a bundle made by
// [Recorder.Export] ([zip.Reader]). If want is not empty, the recording must
// be that of this session. A *Flaw names the first place that is wrong; a
// recording without seal is one.
func Verify(fsys fs.FS, keys Keys, want sekisho.SessionID) (Summary, error) {
	text, err := readLimited(fsys, SealFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Summary{}, &Flaw{File: SealFile, Problem: "it is missing: the recording is not sealed, or its seal was taken away"}
	}
	if err != nil {
		return Summary{}, err
	}
	seal, err := parseSeal(text, keys)
	if err != nil {
		return Summary{}, err
	}
	s := seal.summary(hexDigest(text))
	if want != "" && seal.Session != want {
		return s, &Flaw{File: SealFile, Problem: fmt.Sprintf("it belongs to another session, %q", seal.Session)}
	}
	if seal.Damage != "" {
		return s, verifyDamaged(fsys, seal)
	}
	h, err := verifySealed(fsys, keys, seal)
	if err != nil {
		return s, err
	}
	s.Header = h
	return s, nil
}

func verifySealed(fsys fs.FS, keys Keys, seal *Seal) (Header, error) {
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
		// Every checkpoint after this one differs too; the length tells more.
		if d := st.Size() - seal.CastBytes; d != 0 {
			flaw.Problem += fmt.Sprintf("; the file has %d bytes, %+d against the seal", st.Size(), d)
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
		return Header{}, w.flaw(fmt.Sprintf("it ends after %d checkpoints, the seal covers %d", w.count, seal.Checkpoints))
	case w.count > seal.Checkpoints:
		return Header{}, &Flaw{File: ChainFile, Line: seal.Checkpoints + 1, Problem: "it was added after the seal"}
	case w.head != seal.ChainHead:
		return Header{}, &Flaw{File: ChainFile, Line: w.count, Problem: "this is not the checkpoint that was sealed"}
	}
	if st.Size() > seal.CastBytes {
		return Header{}, &Flaw{File: CastFile, From: seal.CastBytes, To: st.Size(), Line: int64(w.lines) + 1,
			Problem: "this was added after the seal"}
	}
	// The checkpoints were signed line by line, the seal as a whole; they must
	// tell the same.
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

// headWriter keeps the first line of what passes.
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

// verifyDamaged always returns an error: the damage, or that the files are
// not even what they were when it was found.
func verifyDamaged(fsys fs.FS, seal *Seal) error {
	for name, want := range map[string]string{CastFile: seal.CastSHA256, ChainFile: seal.ChainSHA256} {
		f, err := fsys.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			if want != "" {
				return &Flaw{File: name, Problem: "it is missing"}
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("record: %w", err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != want {
			return &Flaw{File: name, Problem: "it was damaged when it was sealed, and changed since"}
		}
	}
	return &Flaw{File: SealFile, Problem: "the recording was damaged already when it was sealed: " + seal.Damage}
}

// Verify checks a recording of the store.
func (r *Recorder) Verify(id sekisho.SessionID) (Summary, error) {
	dir, err := r.find(id)
	if err != nil {
		return Summary{}, err
	}
	if rec := r.recording(id); rec != nil {
		return rec.Summary(), &Flaw{File: SealFile, Problem: "the recording is in progress and not sealed yet"}
	}
	fsys, err := fs.Sub(r.root.FS(), dir)
	if err != nil {
		return Summary{}, fmt.Errorf("record: %w", err)
	}
	return Verify(fsys, r.keys, id)
}

// LedgerReport is what VerifyLedger found, right or wrong.
type LedgerReport struct {
	Lines    int64
	Head     string // SHA-256 of the last line
	Sealed   int64  // recordings with a seal
	Unsealed []sekisho.SessionID
}

// VerifyLedger checks the ledger of a whole store, fsys being the directory of
// recordings: every recording that was ever started is there, every seal is
// the one that was made, and nothing is there that the ledger does not know.
// It does not look into the recordings: that is Verify's part. If head is not
// empty, it must be the digest of one of the lines. The error joins a *Flaw
// for every place that is wrong.
func VerifyLedger(fsys fs.FS, keys Keys, head string) (LedgerReport, error) {
	var rep LedgerReport
	f, err := fsys.Open(LedgerFile)
	if err != nil {
		return rep, missing(err, LedgerFile)
	}
	defer f.Close()
	type known struct{ path, seal string }
	sessions := make(map[sekisho.SessionID]known)
	var order []sekisho.SessionID
	seen := head == ""
	var flaws []error
	w := newLedgerWalker(f, keys)
	var lastSeal string
	for {
		e, err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return rep, err
		}
		if e.Kind != ledgerStarted && e.Kind != ledgerSealed || checkID(e.Session) != nil || !validPath(e.Path, e.Session) {
			return rep, &Flaw{File: LedgerFile, Line: w.count, Problem: "it is not understood"}
		}
		if _, ok := sessions[e.Session]; !ok {
			order = append(order, e.Session)
		}
		sessions[e.Session] = known{e.Path, e.Seal}
		seen = seen || w.head == head
		if e.Kind == ledgerSealed {
			if flaw := checkSeal(fsys, keys, e, lastSeal); flaw != nil {
				flaws = append(flaws, flaw)
			}
			lastSeal = e.Seal
			rep.Sealed++
		}
	}
	if w.torn {
		flaws = append(flaws, w.flaw("it is cut off within the line"))
	}
	rep.Lines, rep.Head = w.count, w.head
	if !seen {
		flaws = append(flaws, w.flaw("the line with the digest that was asked for is missing: the ledger was cut back or replaced"))
	}
	for _, id := range order {
		k := sessions[id]
		if k.seal != "" {
			continue
		}
		rep.Unsealed = append(rep.Unsealed, id)
		if _, err := fs.Stat(fsys, k.path); err != nil {
			flaws = append(flaws, &Flaw{File: k.path, Problem: "the recording is missing: it was started and never sealed"})
		} else if _, err := fs.Stat(fsys, path.Join(k.path, SealFile)); err == nil {
			flaws = append(flaws, &Flaw{File: path.Join(k.path, SealFile), Problem: "the ledger knows of no such seal"})
		}
	}
	err = eachRecording(fsys, func(id sekisho.SessionID, dir string) {
		if k, ok := sessions[id]; !ok || k.path != dir {
			flaws = append(flaws, &Flaw{File: dir, Problem: "the ledger knows of no such recording"})
		}
	})
	return rep, errors.Join(append(flaws, err)...)
}

// checkSeal compares a ledger entry with the seal it names.
func checkSeal(fsys fs.FS, keys Keys, e entry, previous string) error {
	name := path.Join(e.Path, SealFile)
	text, err := readLimited(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := fs.Stat(fsys, e.Path); err != nil {
			return &Flaw{File: e.Path, Problem: "the recording is missing: it was sealed at " + e.Time.Format("2006-01-02 15:04:05Z")}
		}
		return &Flaw{File: name, Problem: "it is missing"}
	}
	if err != nil {
		return err
	}
	if hexDigest(text) != e.Seal {
		return &Flaw{File: name, Problem: fmt.Sprintf("it is not the seal of ledger line %d", e.N+1)}
	}
	seal, err := parseSeal(text, keys)
	if err != nil {
		return &Flaw{File: name, Problem: err.Error()}
	}
	if seal.Session != e.Session || seal.Path != e.Path || seal.Previous != previous {
		return &Flaw{File: name, Problem: fmt.Sprintf("it contradicts ledger line %d", e.N+1)}
	}
	return nil
}

// validPath reports whether p is yyyy/mm/id.
func validPath(p string, id sekisho.SessionID) bool {
	return len(p) > 8 && isDigits(p[:4], 4) && p[4] == '/' && isDigits(p[5:7], 2) && p[7] == '/' && p[8:] == string(id)
}

// eachRecording calls fn for what looks like a recording below fsys.
func eachRecording(fsys fs.FS, fn func(id sekisho.SessionID, dir string)) error {
	years, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	for _, y := range years {
		if !y.IsDir() || !isDigits(y.Name(), 4) {
			continue
		}
		months, err := fs.ReadDir(fsys, y.Name())
		if err != nil {
			return fmt.Errorf("record: %w", err)
		}
		for _, m := range months {
			dirs, err := fs.ReadDir(fsys, path.Join(y.Name(), m.Name()))
			if err != nil {
				return fmt.Errorf("record: %w", err)
			}
			for _, d := range dirs {
				fn(sekisho.SessionID(d.Name()), path.Join(y.Name(), m.Name(), d.Name()))
			}
		}
	}
	return nil
}

func readLimited(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSignedLine+2))
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return b, nil
}

// Export writes a recording as a bundle, a ZIP archive of its files and the
// public keys, for [Verify] or for people with unzip and sha256sum. The keys
// are there for convenience: whoever verifies must have them from elsewhere.
func (r *Recorder) Export(w io.Writer, id sekisho.SessionID) error {
	dir, err := r.find(id)
	if err != nil {
		return err
	}
	if done, err := r.isSealed(id, dir); err != nil {
		return err
	} else if !done {
		return sekisho.Errorf(sekisho.CodeConflict, "The recording of session %s is not sealed yet.", id)
	}
	z := zip.NewWriter(w)
	for _, name := range []string{CastFile, ChainFile, SealFile} {
		f, err := r.openRegular(path.Join(dir, name), 0)
		if err != nil {
			return missing(err, name)
		}
		part, err := z.Create(name)
		if err == nil {
			_, err = io.Copy(part, f)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("record: export: %w", err)
		}
	}
	for fp, pub := range r.keys {
		part, err := z.Create(KeyDir + "/" + fp + ".pem")
		if err == nil {
			_, err = part.Write(pemOf(pub))
		}
		if err != nil {
			return fmt.Errorf("record: export: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("record: export: %w", err)
	}
	return nil
}

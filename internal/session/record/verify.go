package record

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"sekisho"
	"sekisho/internal/session/recfile"
)

// Verify checks a complete sealed recording with only its files and the public keys: fsys is its directory ([os.DirFS])
// or a bundle made by [Recorder.Export] ([zip.Reader]). If want is not empty, the recording must be that of this
// session. A *Flaw names the first place that is wrong. A missing seal is a flaw too.
func Verify(fsys fs.FS, keys Keys, want sekisho.SessionID) (Summary, error) {
	text, err := readLimited(fsys, SealFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Summary{}, &Flaw{
			File:    SealFile,
			Kind:    Missing,
			Problem: "it is missing: the recording is not sealed, or its seal was removed",
		}
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
		return s, &Flaw{
			File:    SealFile,
			Kind:    Swapped,
			Problem: fmt.Sprintf("it belongs to another session, %q", seal.Session),
		}
	}
	if seal.Damage != "" {
		return s, verifyDamaged(fsys, seal)
	}
	check := verifyFile
	if seal.Format == sealFormat1 {
		check = verifyFormat1
	}
	h, err := check(fsys, keys, seal)
	if err != nil {
		return s, err
	}
	s.Header = h
	return s, nil
}

// verifyFile checks a sealed recording of format 2.
func verifyFile(fsys fs.FS, keys Keys, seal *Seal) (Header, error) {
	f, err := fsys.Open(MainFile)
	if err != nil {
		return Header{}, missing(err, MainFile)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Header{}, fmt.Errorf("record: %w", err)
	}
	r, ok := f.(io.ReaderAt)
	if !ok { // a member of an archive
		again := &reopened{fsys: fsys, name: MainFile}
		defer again.Close()
		r = again
	}
	rep, err := recfile.Verify(r, st.Size(), keys.byID)
	more := st.Size() - seal.FileBytes
	_, h, headerErr := openReader(r, st.Size(), seal.Session)
	switch {
	case err != nil:
		err = flawOf(err)
		flaw, ok := errors.AsType[*Flaw](err)
		if ok && more > 0 && flaw.From >= seal.FileBytes {
			return Header{}, &Flaw{
				File:    MainFile,
				From:    seal.FileBytes,
				To:      st.Size(),
				Kind:    Inserted,
				Problem: "this was added after the seal",
			}
		}
		if ok && more < 0 && rep.Blocks == 0 && rep.Torn {
			flaw.Kind = Truncated // within block 0
		}
		if ok && more != 0 {
			flaw.Problem += fmt.Sprintf("; the file has %d bytes, which is %+d compared with the seal", st.Size(), more)
		}
		return Header{}, err
	case headerErr != nil:
		return Header{}, headerErr
	case rep.Torn && more > 0:
		return Header{}, &Flaw{
			File:    MainFile,
			From:    rep.Size,
			To:      st.Size(),
			Kind:    Inserted,
			Problem: "this was added after the seal",
		}
	case rep.Torn && more == 0: // the size in the last header is wrong
		return Header{}, &Flaw{
			File: MainFile, From: rep.Size, To: st.Size(), Problem: "the size of the block is not the one that was written",
		}
	case rep.Torn || rep.Blocks < seal.Blocks:
		return Header{}, &Flaw{
			Kind: Truncated,
			File: MainFile,
			From: rep.Size,
			To:   seal.FileBytes,
			Problem: fmt.Sprintf(
				"the file ends at byte %d, after %d complete blocks, but the seal covers %d bytes and %d blocks",
				st.Size(),
				rep.Blocks,
				seal.FileBytes,
				seal.Blocks,
			),
		}
	case more > 0 || rep.Blocks > seal.Blocks:
		return Header{}, &Flaw{
			File:    MainFile,
			From:    seal.FileBytes,
			To:      st.Size(),
			Kind:    Inserted,
			Problem: "this was added after the seal",
		}
	case rep.Digest.String() != seal.Head:
		return Header{}, &Flaw{
			File:    MainFile,
			From:    0,
			To:      st.Size(),
			Problem: "this is not the recording that was sealed",
		}
	}
	t := rep.Totals
	if rep.Size != seal.FileBytes || rep.Index != seal.Index || t.Records != seal.Events || t.Out != seal.BytesOut ||
		t.In != seal.BytesIn ||
		t.Last.Microseconds() != seal.Micros {
		return Header{}, &Flaw{File: SealFile, Problem: "it contradicts the last block"}
	}
	return h, nil
}

// reopened reads at offsets from a file that can only be read sequentially. It reopens the file to
// go back.
type reopened struct {
	fsys fs.FS
	name string
	f    fs.File
	at   int64
}

// ReadAt implements io.ReaderAt.
func (r *reopened) ReadAt(p []byte, off int64) (int, error) {
	if r.f == nil || off < r.at {
		if err := r.Close(); err != nil {
			return 0, err
		}
		f, err := r.fsys.Open(r.name)
		if err != nil {
			return 0, err
		}
		r.f, r.at = f, 0
	}
	n, err := io.CopyN(io.Discard, r.f, off-r.at)
	r.at += n
	if err != nil {
		return 0, err
	}
	m, err := io.ReadFull(r.f, p)
	r.at += int64(m)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return m, err
}

// Close closes the file.
func (r *reopened) Close() error {
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f = nil
	return f.Close()
}

// verifyDamaged always returns an error: the damage, or that the files have changed since the
// damage was found.
func verifyDamaged(fsys fs.FS, seal *Seal) error {
	for name, want := range map[string]string{MainFile: seal.FileSHA256, CastFile: seal.CastSHA256,
		ChainFile: seal.ChainSHA256} {
		f, err := fsys.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			if want != "" {
				return &Flaw{File: name, Kind: Missing, Problem: "it is missing"}
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
			return &Flaw{File: name, Problem: "it was damaged when it was sealed, and has changed since"}
		}
	}
	return &Flaw{File: SealFile, Problem: "the recording was already damaged when it was sealed: " + seal.Damage}
}

// Verify checks a recording of the store.
func (a *Archive) Verify(id sekisho.SessionID) (Summary, error) {
	dir, err := a.find(id)
	if err != nil {
		return Summary{}, err
	}
	if rec := a.recording(id); rec != nil {
		return rec.Summary(), &Flaw{
			File:    SealFile,
			Kind:    Unsealed,
			Problem: "the recording is in progress and not sealed yet",
		}
	}
	s, err := Verify(recordingFS{a, dir}, a.keys, id)
	if err == nil {
		err = a.checkStoredSeal(dir)
	}
	return s, err
}

// LedgerHead is a state of the ledger that is known from another source: the number of lines, and
// the digest of the last one.
type LedgerHead struct {
	Lines  int64 // 0 = any
	Digest string
}

// LedgerReport is the result of VerifyLedger.
type LedgerReport struct {
	Lines      int64
	Head       string // SHA-256 of the last line
	Sealed     int64  // recordings with a seal
	Unsealed   []sekisho.SessionID
	Recordings map[sekisho.SessionID]string // every recording ever started, with its directory
	Removed    map[sekisho.SessionID]string // removed by the server, with the reason
	Flaws      []*Flaw
}

func knownKind(kind string) bool {
	switch kind {
	case ledgerStarted, ledgerSealed, ledgerRemoved, ledgerHeld, ledgerReleased:
		return true
	}
	return false
}

// Err joins the flaws; nil if there are none.
func (r *LedgerReport) Err() error {
	var errs []error
	for _, f := range r.Flaws {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// VerifyLedger checks the ledger of a whole store, fsys being the directory of recordings: every recording that was
// ever started must exist, every seal must be the original one, and there must be nothing that is not in the ledger. It
// does not read the recordings, which Verify does. The ledger must contain the lines of heads. The error joins the
// report's flaws.
func VerifyLedger(fsys fs.FS, keys Keys, heads ...LedgerHead) (LedgerReport, error) {
	rep, err := verifyLedger(fsys, keys, heads)
	return rep, errors.Join(err, rep.Err())
}

func verifyLedger(fsys fs.FS, keys Keys, heads []LedgerHead) (LedgerReport, error) {
	rep := LedgerReport{Recordings: make(map[sekisho.SessionID]string), Removed: make(map[sekisho.SessionID]string)}
	f, err := fsys.Open(LedgerFile)
	if errors.Is(err, fs.ErrNotExist) {
		rep.Flaws = append(rep.Flaws, &Flaw{Kind: Missing, File: LedgerFile, Problem: "it is missing"})
		return rep, nil
	}
	if err != nil {
		return rep, fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	type known struct{ path, seal string }
	type sealed struct {
		entry    entry
		previous string // seal
		follows  bool   // previous is known
	}
	var seals []sealed
	sessions := make(map[sekisho.SessionID]known)
	var order []sekisho.SessionID
	wanted := make(map[string]int64, len(heads))
	for _, h := range heads {
		if h.Digest != "" {
			wanted[h.Digest] = h.Lines
		}
	}
	add := func(f *Flaw) { rep.Flaws = append(rep.Flaws, f) }
	w := newLedgerWalker(f, keys)
	var lastSeal string
	unbroken := true // no line between the last seal and this one is missing or altered
	reported := make(map[int64]bool)
	for {
		e, flaw, err := w.scan()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return rep, err
		}
		if flaw != nil {
			add(flaw)
			unbroken = false
			for n := flaw.Line; n <= max(flaw.Line, flaw.LastLine); n++ {
				reported[n] = true
			}
		}
		if e.Kind == "" {
			continue
		}
		if !knownKind(e.Kind) || checkID(e.Session) != nil || !validPath(e.Path, e.Session) {
			add(&Flaw{File: LedgerFile, Line: w.lines, Problem: "it cannot be parsed"})
			continue
		}
		if _, ok := sessions[e.Session]; !ok {
			order = append(order, e.Session)
		}
		switch e.Kind {
		case ledgerStarted, ledgerSealed:
			sessions[e.Session] = known{e.Path, e.Seal}
		case ledgerRemoved:
			rep.Removed[e.Session] = e.Reason
		}
		rep.Recordings[e.Session] = e.Path
		if n, ok := wanted[w.head]; ok && (n == 0 || n == w.count) {
			delete(wanted, w.head)
		}
		if e.Kind == ledgerSealed {
			seals = append(seals, sealed{e, lastSeal, unbroken})
			lastSeal, unbroken = e.Seal, true
			rep.Sealed++
		}
	}
	for _, s := range seals {
		if _, gone := rep.Removed[s.entry.Session]; gone {
			continue
		}
		flaw, err := checkSeal(fsys, keys, s.entry, s.previous, s.follows)
		if err != nil {
			return rep, err
		}
		if flaw != nil {
			add(flaw)
		}
	}
	if w.torn {
		flaw := w.flaw("it is cut off within the line")
		flaw.Kind = Truncated
		add(flaw)
	}
	rep.Lines, rep.Head = w.count, w.head
	for digest, n := range wanted {
		if reported[n] {
			continue
		}
		flaw := w.flaw(
			fmt.Sprintf("the line with the digest %s is missing: the ledger was truncated or replaced", digest),
		)
		if n > 0 {
			flaw.Line = n
		}
		flaw.Kind = RolledBack
		add(flaw)
	}
	for _, id := range order {
		k := sessions[id]
		if k.seal != "" {
			continue
		}
		rep.Unsealed = append(rep.Unsealed, id)
		if _, err := fs.Stat(fsys, k.path); err != nil {
			add(
				&Flaw{
					File:    k.path,
					Kind:    Missing,
					Problem: "the recording is missing: it was started but never sealed",
				},
			)
		} else if _, err := fs.Stat(fsys, path.Join(k.path, SealFile)); err == nil {
			add(&Flaw{File: path.Join(k.path, SealFile), Kind: Inserted, Problem: "the seal is not in the ledger"})
		}
	}
	whole := len(rep.Flaws) == 0 || !slices.ContainsFunc(rep.Flaws, func(f *Flaw) bool { return f.File == LedgerFile })
	err = eachRecording(fsys, func(id sekisho.SessionID, dir string) {
		switch k, ok := sessions[id]; {
		case ok && k.path == dir:
		case !genuine(fsys, keys, id, dir):
			add(&Flaw{File: dir, Kind: Inserted, Problem: "the recording is not in the ledger"})
		case whole: // otherwise the flaw of the ledger explains it
			add(&Flaw{
				File: LedgerFile, Line: w.count + 1, Kind: Missing,
				Problem: fmt.Sprintf("it has no line about %s, which this server recorded", dir),
			})
		}
	})
	return rep, err
}

// genuine reports whether the server wrote a recording, to this directory.
func genuine(fsys fs.FS, keys Keys, id sekisho.SessionID, dir string) bool {
	if text, err := readLimited(fsys, path.Join(dir, SealFile)); err == nil {
		seal, err := parseSeal(text, keys)
		return err == nil && seal.Session == id && seal.Path == dir
	}
	f, err := fsys.Open(path.Join(dir, MainFile))
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	r, ok := f.(io.ReaderAt)
	if err != nil || !ok {
		return false
	}
	reader, h, err := openReader(r, st.Size(), id)
	if err != nil || path.Join(h.Start.UTC().Format("2006/01"), string(id)) != dir {
		return false
	}
	first := recfile.Overhead + int64(len(reader.Header()))
	_, err = recfile.Verify(io.NewSectionReader(r, 0, first), first, keys.byID)
	return err == nil
}

// checkSeal compares a ledger entry with the seal it names.
func checkSeal(fsys fs.FS, keys Keys, e entry, previous string, follows bool) (*Flaw, error) {
	name := path.Join(e.Path, SealFile)
	text, err := readLimited(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := fs.Stat(fsys, e.Path); err != nil {
			return &Flaw{
				File:    e.Path,
				Kind:    Missing,
				Problem: "the recording is missing: it was sealed at " + e.Time.Format("2006-01-02 15:04:05Z"),
			}, nil
		}
		return &Flaw{File: name, Kind: Missing, Problem: "it is missing"}, nil
	}
	if err != nil {
		return nil, err
	}
	if hexDigest(text) != e.Seal {
		flaw := &Flaw{File: name, Problem: fmt.Sprintf("it is not the seal of ledger line %d", e.N+1)}
		seal, err := parseSeal(text, keys)
		first, _, _ := bytes.Cut(text, []byte("\n"))
		switch {
		case err == nil && seal.Session != e.Session:
			flaw.Kind = Swapped
		case hexDigest(append(slices.Clone(first), '\n')) == e.Seal && len(text) > len(first)+1:
			flaw.Kind = Inserted
		case incomplete(text):
			flaw.Kind = Truncated
		}
		return flaw, nil
	}
	seal, err := parseSeal(text, keys)
	if err != nil {
		return &Flaw{File: name, Problem: err.Error()}, nil
	}
	if seal.Session != e.Session || seal.Path != e.Path || follows && seal.Previous != previous {
		return &Flaw{File: name, Problem: fmt.Sprintf("it contradicts ledger line %d", e.N+1)}, nil
	}
	return nil, nil
}

// incomplete reports whether the end of a line of JSON is missing.
func incomplete(text []byte) bool {
	if len(text) == 0 || text[len(text)-1] == '}' {
		return true
	}
	var v json.RawMessage
	err := json.NewDecoder(bytes.NewReader(text)).Decode(&v)
	return errors.Is(err, io.ErrUnexpectedEOF) && text[len(text)-1] != '\n'
}

// validPath reports whether p is yyyy/mm/id.
func validPath(p string, id sekisho.SessionID) bool {
	return len(p) > 8 && isDigits(p[:4], 4) && p[4] == '/' && isDigits(p[5:7], 2) && p[7] == '/' && p[8:] == string(id)
}

// eachRecording calls fn for every directory below fsys that has the path of a recording.
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

// Export writes a recording as a bundle, a ZIP archive of its files and the public keys, for [Verify] or for people
// with unzip and sha256sum. The keys are included for convenience: a verifier must obtain them from another source.
func (a *Archive) Export(w io.Writer, id sekisho.SessionID) error {
	z := zip.NewWriter(w)
	if err := a.EachFile(id, func(name string, content io.Reader) error {
		method := zip.Deflate
		if name == MainFile { // it is already compressed and encrypted
			method = zip.Store
		}
		part, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = io.Copy(part, content)
		}
		if err != nil {
			return fmt.Errorf("record: export: %w", err)
		}
		return nil
	}); err != nil {
		return err
	}
	for fp, pub := range a.keys {
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

// EachFile calls visit with each file of a sealed recording.
func (a *Archive) EachFile(id sekisho.SessionID, visit func(name string, content io.Reader) error) error {
	dir, err := a.find(id)
	if err != nil {
		return err
	}
	if !a.Sealed(id) {
		return sekisho.Errorf(sekisho.CodeConflict, "The recording of session %s is not sealed yet.", id)
	}
	names := []string{MainFile, SealFile}
	if a.isFormat1(dir) {
		names = []string{CastFile, ChainFile, SealFile}
	}
	for _, name := range names {
		f, err := a.openContent(dir, name)
		if err != nil {
			return missing(err, name)
		}
		if err := errors.Join(visit(name, io.NewSectionReader(f, 0, f.Size())), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

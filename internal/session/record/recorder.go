package record

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/wire/id"
)

// Options are the settings of a Recorder. The zero value is the default.
type Options struct {
	// OmitInput leaves out what is typed, and so passwords typed where the
	// terminal does not echo. What is echoed is output, and recorded.
	OmitInput bool
	// OldKeys are public keys that signed earlier parts of the store.
	OldKeys []ed25519.PublicKey
}

// Recorder keeps the recordings of one server below one directory. One
// process at a time may have it open.
type Recorder struct {
	root      *os.Root
	signer    ed25519.PrivateKey
	key       string // its fingerprint
	keys      Keys
	omitInput bool
	every     int64 // bytes of cast between checkpoints
	ledger    *ledger

	mu   sync.Mutex
	live map[sekisho.SessionID]*Recording // nil value: being opened
}

// Open opens the store below dir/recordings and makes it if it is not there.
// It reads the whole ledger, and refuses one that was tampered with.
func Open(dir string, signer ed25519.PrivateKey, o Options) (*Recorder, error) {
	if len(signer) != ed25519.PrivateKeySize {
		return nil, errors.New("record: no signing key")
	}
	dir = filepath.Join(dir, "recordings")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	pub, _ := signer.Public().(ed25519.PublicKey)
	r := &Recorder{
		root: root, signer: signer, key: Fingerprint(pub), omitInput: o.OmitInput, every: defaultEvery,
		keys: KeysOf(append([]ed25519.PublicKey{pub}, o.OldKeys...)...), live: make(map[sekisho.SessionID]*Recording),
	}
	if err := r.open(pub); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return r, nil
}

func (r *Recorder) open(pub ed25519.PublicKey) error {
	if err := r.root.MkdirAll(KeyDir, 0o700); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	name := path.Join(KeyDir, r.key+".pem")
	if _, err := r.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		if err := r.root.WriteFile(name, pemOf(pub), 0o600); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	f, err := r.root.OpenFile(LedgerFile, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if r.ledger, err = openLedger(f, r.signer, r.key, r.keys); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// Close closes the recordings in progress without sealing them, and the store.
func (r *Recorder) Close() error {
	var errs []error
	for _, rec := range r.inProgress() {
		errs = append(errs, rec.Close())
	}
	return errors.Join(append(errs, r.ledger.f.Close(), r.root.Close())...)
}

// Flush makes a checkpoint in every recording in progress. Called from time
// to time, it bounds how long the last words before a silence stay unsigned.
func (r *Recorder) Flush() error {
	var errs []error
	for _, rec := range r.inProgress() {
		errs = append(errs, rec.Flush())
	}
	return errors.Join(errs...)
}

func (r *Recorder) inProgress() []*Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	var recs []*Recording
	for _, rec := range r.live {
		if rec != nil {
			recs = append(recs, rec)
		}
	}
	return recs
}

// Keys returns the public keys the store is verified with.
func (r *Recorder) Keys() Keys { return r.keys }

// Key returns the fingerprint of the signing key.
func (r *Recorder) Key() string { return r.key }

// Head returns the SHA-256 of the ledger's last line, "" for an empty one,
// and the number of lines. Kept somewhere else, it proves that the ledger was
// not cut back to before it.
func (r *Recorder) Head() (digest string, lines int64) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.ledger.head, r.ledger.count
}

// Start begins the recording of a session. If an unsealed recording of it is
// there, from before a restart, Start verifies it and continues it: then the
// header that was recorded stays.
func (r *Recorder) Start(h Header) (*Recording, error) {
	if err := checkID(h.SessionID); err != nil {
		return nil, err
	}
	if !r.reserve(h.SessionID) {
		return nil, sekisho.Errorf(sekisho.CodeConflict, "Session %s is being recorded already.", h.SessionID)
	}
	rec, err := r.start(h)
	if err != nil {
		r.forget(h.SessionID)
		return nil, err
	}
	r.mu.Lock()
	r.live[h.SessionID] = rec
	r.mu.Unlock()
	return rec, nil
}

func (r *Recorder) start(h Header) (*Recording, error) {
	dir, err := r.find(h.SessionID)
	if err == nil {
		return r.resume(h, dir)
	}
	if !sekisho.IsNotFound(err) {
		return nil, err
	}
	return r.create(h)
}

func (r *Recorder) resume(h Header, dir string) (*Recording, error) {
	if done, err := r.isSealed(h.SessionID, dir); err != nil {
		return nil, err
	} else if done {
		return nil, sekisho.Errorf(sekisho.CodeConflict, "The recording of session %s is sealed.", h.SessionID)
	}
	if err := r.clearStillborn(h.SessionID, dir); err == nil {
		return r.create(h)
	} else if !errors.Is(err, errNotStillborn) {
		return nil, err
	}
	rec, err := r.reopen(h.SessionID, dir)
	if err != nil {
		return nil, err
	}
	if rec.exit != nil {
		return nil, errors.Join(errClosed, rec.Close())
	}
	err = r.ledger.begin(h.SessionID, dir)
	if err == nil {
		err = rec.Marker("resumed")
	}
	if err != nil {
		return nil, errors.Join(err, rec.Close())
	}
	return rec, nil
}

func (r *Recorder) create(h Header) (*Recording, error) {
	h.OmitInput = h.OmitInput || r.omitInput
	if h.Start.IsZero() {
		h.Start = time.Now()
	}
	if h.Cols <= 0 || h.Rows <= 0 {
		h.Cols, h.Rows = 80, 24
	}
	h.Cols, h.Rows = min(h.Cols, maxSide), min(h.Rows, maxSide)

	dir := path.Join(h.Start.UTC().Format("2006/01"), string(h.SessionID))
	if err := r.root.MkdirAll(path.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := r.root.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE | os.O_EXCL
	castFile, err := r.root.OpenFile(path.Join(dir, CastFile), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	chainFile, err := r.root.OpenFile(path.Join(dir, ChainFile), flags, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record: %w", err), castFile.Close())
	}
	rec := &Recording{r: r, dir: dir, header: h, cast: castFile, chain: chainFile, hash: sha256.New()}
	err = rec.writeHeader()
	if err == nil {
		err = r.ledger.begin(h.SessionID, dir)
	}
	if err != nil {
		// Nothing was recorded yet; a full disk must not leave shells behind.
		return nil, errors.Join(err, rec.close(), r.removeShell(dir))
	}
	return rec, nil
}

// reopen continues an unsealed recording: it verifies what the checkpoints
// cover, cuts off a torn last line and reads what lies between. A *Flaw says
// that the recording is not as it was written.
func (r *Recorder) reopen(id sekisho.SessionID, dir string) (_ *Recording, err error) {
	castFile, err := r.openRegular(path.Join(dir, CastFile), os.O_RDWR|os.O_APPEND)
	if err != nil {
		return nil, missing(err, CastFile)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, castFile.Close())
		}
	}()
	chainFile, err := r.openRegular(path.Join(dir, ChainFile), os.O_RDWR|os.O_APPEND)
	if err != nil {
		return nil, missing(err, ChainFile)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, chainFile.Close())
		}
	}()

	w := newWalker(chainFile, castFile, r.keys, id)
	var first checkpoint
	for {
		err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if w.count == 1 {
			first = w.last
		}
	}
	if w.count == 0 {
		return nil, &Flaw{File: ChainFile, Line: 1, Problem: "it is missing"}
	}
	if w.torn {
		if err := chainFile.Truncate(w.size); err != nil {
			return nil, fmt.Errorf("record: %s: cut torn line: %w", ChainFile, err)
		}
	}
	rec := &Recording{
		r: r, dir: dir, cast: castFile, chain: chainFile, hash: w.hash, chainSize: w.size,
		count: w.count, head: w.head, key: w.key, marked: w.last.Offset,
		out: w.last.Out, in: w.last.In,
	}
	if e := w.last.Exit; e != nil {
		rec.exit = &Exit{Status: e.Status, Reason: e.Reason}
	}
	line := make([]byte, min(first.Offset, cast.DefaultMaxLine))
	if _, err := castFile.ReadAt(line, 0); err != nil {
		return nil, fmt.Errorf("record: %s: %w", CastFile, err)
	}
	rec.first = hexDigest(line)
	if err := rec.readTail(castFile, line, w); err != nil {
		return nil, err
	}
	rec.markedAt = rec.enc.Last()
	return rec, nil
}

// readTail takes over the events after the last checkpoint.
func (rec *Recording) readTail(f *os.File, header []byte, w *walker) error {
	from := w.last.Offset
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	end, err := lastLineEnd(f, from, st.Size())
	if err != nil {
		return err
	}
	d, err := cast.NewReader(io.MultiReader(bytes.NewReader(header), io.NewSectionReader(f, from, end-from)))
	if err != nil {
		return &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	if rec.header, err = headerOf(d.Header()); err != nil {
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
			// The reader has seen the header and the tail only.
			line := int64(w.lines) + int64(se.Line) - 1
			return &Flaw{File: CastFile, Line: line, From: from, To: end, Problem: se.Err.Error()}
		}
		passed = ev.Time
		switch ev.Code {
		case cast.Output:
			rec.out += int64(len(ev.Bytes()))
		case cast.Input:
			rec.in += int64(len(ev.Bytes()))
		case cast.Exit:
			rec.exit = &Exit{Status: -1, Reason: "server stopped"}
		}
	}
	// Offset stops before a companion whose event was torn off.
	end = from + d.Offset() - int64(len(header))
	if end < st.Size() {
		if err := f.Truncate(end); err != nil {
			return fmt.Errorf("record: %s: cut torn line: %w", CastFile, err)
		}
	}
	var lines lineCount
	if _, err := io.Copy(io.MultiWriter(rec.hash, &lines), io.NewSectionReader(f, from, end-from)); err != nil {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	rec.size = end
	rec.enc.Resume(last+passed, w.last.Events+int64(lines))
	return nil
}

// lastLineEnd returns the end of the last whole line of f between from, which
// is the end of a line, and size.
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
		return 0, &Flaw{File: CastFile, From: size - n, To: size, Problem: "there is no line in it"}
	}
	return from, nil
}

var errNotStillborn = errors.New("record: something was recorded")

// clearStillborn removes a recording that a crash kept from ever beginning:
// no checkpoint, no event, not in the ledger.
func (r *Recorder) clearStillborn(id sekisho.SessionID, dir string) error {
	if _, ok := r.ledger.knows(id); ok {
		return errNotStillborn
	}
	for _, name := range []string{CastFile, ChainFile} {
		f, err := r.openRegular(path.Join(dir, name), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(f, cast.DefaultMaxLine))
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		i := bytes.IndexByte(b, '\n')
		if i >= 0 && (name == ChainFile || i < len(b)-1) || len(b) == cast.DefaultMaxLine {
			return errNotStillborn
		}
	}
	return r.removeShell(dir)
}

func (r *Recorder) removeShell(dir string) error {
	for _, name := range []string{path.Join(dir, CastFile), path.Join(dir, ChainFile), dir} {
		if err := r.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record: %w", err)
		}
	}
	return nil
}

// Recover seals every unsealed recording whose session is gone, with the
// reason "server stopped" at the time of its last event. One that is damaged
// is sealed as it lies there, and its seal says what is wrong. Recover goes on
// after an error and returns all of them.
func (r *Recorder) Recover(ctx context.Context, gone func(sekisho.SessionID) bool) ([]Summary, error) {
	var sealed []Summary
	var errs []error
	for id, dir := range r.all() {
		if err := ctx.Err(); err != nil {
			return sealed, errors.Join(append(errs, err)...)
		}
		if _, err := r.root.Lstat(path.Join(dir, SealFile)); err == nil {
			continue
		}
		if !r.reserve(id) {
			continue
		}
		ok, err := r.recover(id, dir, gone)
		r.forget(id)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dir, err))
			continue
		}
		if ok {
			s, err := r.Stat(id)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			sealed = append(sealed, s)
		}
	}
	return sealed, errors.Join(errs...)
}

func (r *Recorder) recover(id sekisho.SessionID, dir string, gone func(sekisho.SessionID) bool) (bool, error) {
	if done, err := r.finishSeal(id, dir); done || err != nil {
		return done, err
	}
	if !gone(id) {
		return false, nil
	}
	if err := r.clearStillborn(id, dir); !errors.Is(err, errNotStillborn) {
		return false, err
	}
	exit := Exit{Status: -1, Reason: "server stopped"}
	rec, err := r.reopen(id, dir)
	if flaw, ok := errors.AsType[*Flaw](err); ok {
		return true, r.sealDamaged(id, dir, exit, flaw)
	}
	if err != nil {
		return false, err
	}
	last := rec.enc.Last()
	if _, err := rec.sealAt(exit, func() time.Duration { return last }); err != nil {
		return false, errors.Join(err, rec.Close())
	}
	return true, nil
}

func (r *Recorder) reserve(id sekisho.SessionID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, busy := r.live[id]; busy {
		return false
	}
	r.live[id] = nil
	return true
}

func (r *Recorder) forget(id sekisho.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, id)
}

func (r *Recorder) recording(id sekisho.SessionID) *Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[id]
}

// checkID refuses everything that is not a session ID before it comes near a
// file name.
func checkID(name sekisho.SessionID) error {
	if !id.ValidSession(string(name)) {
		return sekisho.Errorf(sekisho.CodeInvalid, "%.100q is not a session ID.", string(name))
	}
	return nil
}

// find returns the directory of a recording.
func (r *Recorder) find(id sekisho.SessionID) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	for month, err := range r.months() {
		if err != nil {
			return "", err
		}
		dir := path.Join(month, string(id))
		st, err := r.root.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("record: %w", err)
		}
		if st.IsDir() {
			return dir, nil
		}
	}
	return "", sekisho.Errorf(sekisho.CodeNotFound, "There is no recording of session %s.", id)
}

// months yields "2026/11" and so on, the latest first.
func (r *Recorder) months() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		years, err := r.names(".", 4)
		if err != nil {
			yield("", err)
			return
		}
		for _, y := range slices.Backward(years) {
			months, err := r.names(y, 2)
			if err != nil {
				yield("", err)
				return
			}
			for _, m := range slices.Backward(months) {
				if !yield(path.Join(y, m), nil) {
					return
				}
			}
		}
	}
}

// names returns the names of n digits in dir, in order.
func (r *Recorder) names(dir string, n int) ([]string, error) {
	entries, err := fs.ReadDir(r.root.FS(), dir)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && isDigits(e.Name(), n) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func isDigits(s string, n int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == n
}

// all yields every recording with its directory, the latest month first. What
// cannot be read is passed over: VerifyLedger is what finds it missing.
func (r *Recorder) all() iter.Seq2[sekisho.SessionID, string] {
	return func(yield func(sekisho.SessionID, string) bool) {
		for month, err := range r.months() {
			if err != nil {
				return
			}
			entries, err := fs.ReadDir(r.root.FS(), month)
			if err != nil {
				continue
			}
			for _, e := range entries {
				id := sekisho.SessionID(e.Name())
				if e.IsDir() && checkID(id) == nil && !yield(id, path.Join(month, e.Name())) {
					return
				}
			}
		}
	}
}

func (r *Recorder) isSealed(id sekisho.SessionID, dir string) (bool, error) {
	_, err := r.root.Lstat(path.Join(dir, SealFile))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("record: %w", err)
	}
	return r.finishSeal(id, dir)
}

// openRegular opens a file that is not a link to somewhere else.
func (r *Recorder) openRegular(name string, flag int) (*os.File, error) {
	st, err := r.root.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, &Flaw{File: path.Base(name), Problem: "it is not a regular file"}
	}
	f, err := r.root.OpenFile(name, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return f, nil
}

func (r *Recorder) readSmall(name string) ([]byte, error) {
	f, err := r.openRegular(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSignedLine+2))
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return b, nil
}

// writeSync makes a file anew and puts it on the disk.
func (r *Recorder) writeSync(name string, b []byte) error {
	if err := r.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("record: %w", err)
	}
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("record: %s: %w", name, err)
	}
	return nil
}

// missing turns the absence of a file into a flaw.
func missing(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Flaw{File: name, Problem: "it is missing"}
	}
	return err
}

// Ready reports why a recording could not be begun now: the disk is full, or
// not to be written to.
func (r *Recorder) Ready() error {
	const name = ".ready"
	if err := r.root.WriteFile(name, bytes.Repeat([]byte{'.'}, readySize), 0o600); err != nil {
		return errors.Join(fmt.Errorf("record: %w", err), r.root.Remove(name))
	}
	if err := r.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // another one was quicker
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// readySize is room for the beginning of a recording.
const readySize = 64 << 10

package record

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/recfile"
)

// Options are the settings of a Recorder. The zero value is the default.
type Options struct {
	// OmitInput omits typed input, including passwords that the terminal does not echo. Echoed
	// input is output, and is recorded.
	OmitInput bool
	// OldKeys are public keys that signed earlier parts of the store.
	OldKeys []ed25519.PublicKey
	// Remote keeps recordings in addition to the folder; nil = the folder keeps all.
	Remote *Remote
	// Sealer protects the keys that recordings are encrypted with. Required.
	Sealer Sealer
}

// Sealer encrypts small secrets at rest.
type Sealer interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

// sealPurpose is the keyring's purpose for the keys of recordings.
const sealPurpose = "recording"

// Recorder keeps the recordings of one server below one directory. Only one process at a time can
// have it open.
type Recorder struct {
	*Archive
	signer    ed25519.PrivateKey
	key       string // its fingerprint
	omitInput bool
	ledger    *ledger
	uploads   *uploads                            // nil without a remote
	wrap      func(recordingFiles) recordingFiles // for tests: nil
	recorded  atomic.Int64                        // bytes of all recordings, since this process started

	mu   sync.Mutex
	live map[sekisho.SessionID]*Recording // nil value: the recording is being opened
}

// Open opens the store below dir/recordings and creates it if it is missing. It reads the whole
// ledger, and refuses one that was tampered with.
func Open(dir string, signer ed25519.PrivateKey, o Options) (*Recorder, error) {
	if len(signer) != ed25519.PrivateKeySize {
		return nil, errors.New("record: no signing key")
	}
	if o.Sealer == nil {
		return nil, errors.New("record: no sealer")
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
	a := &Archive{root: root, sealer: o.Sealer, keys: KeysOf(append([]ed25519.PublicKey{pub}, o.OldKeys...)...)}
	r := &Recorder{
		Archive: a, signer: signer, key: Fingerprint(pub), omitInput: o.OmitInput,
		live: make(map[sekisho.SessionID]*Recording),
	}
	a.recording = r.recording
	if err := r.open(pub); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if o.Remote != nil {
		r.remote = &remote{ctx: o.Remote.Context, store: o.Remote.Store}
		r.uploads = newUploads(r, *o.Remote)
		a.fetchLost = r.fetchOnDemand
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
	return errors.Join(r.CloseLive(), r.ledger.f.Close(), r.root.Close())
}

// CloseLive closes the recordings in progress without sealing them: another server with the same store continues them.
func (r *Recorder) CloseLive() error {
	var errs []error
	for _, rec := range r.inProgress() {
		errs = append(errs, rec.Close())
	}
	return errors.Join(errs...)
}

// Flush writes and signs everything pending in all recordings in progress. Calling it periodically
// limits how long the last output before a silence stays unsigned.
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

// Key returns the fingerprint of the signing key.
func (r *Recorder) Key() string { return r.key }

// Head returns the SHA-256 of the ledger's last line, "" for an empty one, and the number of lines. A copy of it
// kept elsewhere proves that the ledger was not truncated to an earlier state.
func (r *Recorder) Head() (digest string, lines int64) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.ledger.head, r.ledger.count
}

// Start begins the recording of a session. If there is an unsealed recording of the session from
// before a restart, Start verifies and continues it, and the recorded header stays.
func (r *Recorder) Start(h Header) (*Recording, error) {
	if err := checkID(h.SessionID); err != nil {
		return nil, err
	}
	if !r.reserve(h.SessionID) {
		return nil, sekisho.Errorf(sekisho.CodeConflict, "Session %s is already being recorded.", h.SessionID)
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
	if err := r.full(); err != nil {
		return nil, err
	}
	if h.TakenOver {
		if err := r.takeOver(h); err != nil {
			return nil, err
		}
	}
	dir, err := r.find(h.SessionID)
	if sekisho.IsNotFound(err) {
		dir, err = r.restoreUnsealed(h.SessionID)
	}
	if err == nil {
		return r.resume(h, dir)
	}
	if !sekisho.IsNotFound(err) {
		return nil, err
	}
	return r.create(h)
}

// reasonUpgraded is how a session ends whose recording has format 1.
const reasonUpgraded = "the server was upgraded to a version that cannot continue the recording"

func (r *Recorder) resume(h Header, dir string) (*Recording, error) {
	if done, err := r.isSealed(h.SessionID, dir); err != nil {
		return nil, err
	} else if done {
		return nil, sekisho.Errorf(sekisho.CodeConflict, "The recording of session %s is sealed.", h.SessionID)
	}
	if empty, err := r.removeEmpty(h.SessionID, dir); err != nil {
		return nil, err
	} else if empty {
		return r.create(h)
	}
	if r.isFormat1(dir) {
		if err := r.finishFormat1(h.SessionID, dir, Exit{Status: -1, Reason: reasonUpgraded}); err != nil {
			return nil, err
		}
		return nil, sekisho.Errorf(
			sekisho.CodeConflict,
			"The recording of session %s was begun by an earlier version of the server and cannot be continued: it was sealed.",
			h.SessionID,
		)
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
	for _, s := range []*string{&h.NodeName, &h.Owner, &h.Document, &h.Reason, &h.SourceIP} {
		*s = text(*s)
	}

	dir := dirOf(h)
	err := r.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) { // the first session of the month
		if err = r.root.MkdirAll(path.Dir(dir), 0o700); err == nil {
			err = r.root.Mkdir(dir, 0o700)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	rec, err := r.createFiles(h, dir)
	if err == nil {
		if err = r.ledger.begin(h.SessionID, dir); err != nil {
			err = errors.Join(err, rec.close())
		}
	}
	if err != nil {
		// Nothing has been recorded yet. A full disk must not leave empty recordings behind.
		return nil, errors.Join(err, r.removeFiles(dir))
	}
	return rec, nil
}

// dirOf is the directory of a recording.
func dirOf(h Header) string { return path.Join(h.Start.UTC().Format("2006/01"), string(h.SessionID)) }

func (r *Recorder) createFiles(h Header, dir string) (*Recording, error) {
	key := make([]byte, recfile.KeySize)
	rand.Read(key) // never fails: see crypto/rand
	sealed, err := r.sealer.Seal(sealPurpose, key, []byte(h.SessionID))
	if err != nil {
		return nil, fmt.Errorf("record: seal the key: %w", err)
	}
	head, err := h.encode(sealed)
	if err != nil {
		return nil, err
	}
	files, err := r.openFiles(dir, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	if r.wrap != nil {
		files = r.wrap(files)
	}
	cfg := r.config(h, key, files)
	cfg.Header = head
	w, err := recfile.Create(cfg)
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	return &Recording{r: r, dir: dir, header: h, w: w, files: files, parts: r.newParts(dir, true)}, nil
}

func (r *Recorder) openFiles(dir string, flag int) (files recordingFiles, err error) {
	main, err := r.openForWriting(path.Join(dir, MainFile), flag)
	if err != nil {
		return files, missing(err, MainFile)
	}
	files.main = main
	for i, name := range tailFiles {
		create := func() (*os.File, error) {
			return r.openForWriting(path.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL)
		}
		if flag&os.O_CREATE != 0 {
			files.tails[i] = &tailFile{create: create}
			continue
		}
		f, err := r.openForWriting(path.Join(dir, name), flag)
		switch {
		case err == nil:
			files.tails[i] = f
		case errors.Is(err, fs.ErrNotExist):
			files.tails[i] = &tailFile{create: create}
		default:
			return files, errors.Join(err, files.close())
		}
	}
	return files, nil
}

func (r *Recorder) openForWriting(name string, flag int) (*os.File, error) {
	if flag&os.O_CREATE == 0 {
		return r.openRegular(name, flag)
	}
	f, err := r.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return f, nil
}

func (r *Recorder) config(h Header, key []byte, f recordingFiles) recfile.Config {
	return recfile.Config{
		Main: f.main, Tails: f.tails, Key: key, Cols: h.Cols, Rows: h.Rows, KeyID: keyID(r.key),
		Sign: func(message []byte) []byte { return ed25519.Sign(r.signer, message) },
	}
}

// keyID returns the beginning of a fingerprint.
func keyID(fingerprint string) (id recfile.KeyID) {
	if b, err := hex.DecodeString(fingerprint); err == nil {
		copy(id[:], b)
	}
	return id
}

// byID looks up keys by the beginning of their fingerprints.
func (k Keys) byID(id recfile.KeyID) (ed25519.PublicKey, bool) {
	for fp, pub := range k {
		if keyID(fp) == id {
			return pub, true
		}
	}
	return nil, false
}

// reopen continues an unsealed recording. A *Flaw means that the recording differs from what was
// written.
func (r *Recorder) reopen(id sekisho.SessionID, dir string) (*Recording, error) {
	if err := r.fetchLonger(dir); err != nil {
		return nil, err
	}
	files, err := r.openFiles(dir, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	rec, err := r.reopenFiles(id, dir, files)
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	return rec, nil
}

func (r *Recorder) reopenFiles(id sekisho.SessionID, dir string, files recordingFiles) (*Recording, error) {
	st, err := files.main.Stat()
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	f, h, err := openReader(files.main, st.Size(), id)
	if err != nil {
		return nil, err
	}
	key, err := r.unlock(f, h)
	if err != nil {
		return nil, err
	}
	w, err := recfile.Resume(r.config(h, key, files), r.keys.byID)
	if err != nil {
		return nil, flawOf(err)
	}
	rec := &Recording{
		r: r, dir: dir, header: h, w: w, files: files, resumed: true, parts: r.newParts(dir, false),
	}
	if rec.kind, rec.encrypted, err = r.beginningOf(files.main, id); err != nil {
		return nil, err
	}
	if rec.kind != nil {
		rec.setKind(*rec.kind)
	}
	if status, reason, ok := w.Exit(); ok {
		rec.exit = &Exit{Status: status, Reason: reason}
	}
	return rec, nil
}

// beginningOf reads the session's kind, and whether it is encrypted end to end, from the main file.
func (r *Recorder) beginningOf(main recfile.Storage, id sekisho.SessionID) (*SessionKind, bool, error) {
	st, err := main.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("record: %w", err)
	}
	f, h, err := openReader(main, st.Size(), id)
	if err != nil {
		return nil, false, err
	}
	if _, err := r.unlock(f, h); err != nil {
		return nil, false, err
	}
	return beginning(f)
}

// maxHandshake is how many records can precede those of the handshake, which hold the kind of the
// session and whether it is encrypted.
const maxHandshake = 64

// beginning finds the kind of the session; nil if it is not known.
func beginning(f *recfile.Reader) (kind *SessionKind, encrypted bool, err error) {
	c, err := f.Records()
	if err != nil {
		return nil, false, flawOf(err)
	}
	for range maxHandshake {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, flawOf(err)
		}
		switch rec.Kind {
		case recfile.Type:
			if kind != nil {
				continue
			}
			kind = &SessionKind{}
			if err := json.Unmarshal(rec.Data, kind); err != nil {
				return nil, false, &Flaw{File: MainFile, Problem: "the kind of the session cannot be read: " + err.Error()}
			}
		case recfile.Marker:
			encrypted = encrypted || string(rec.Data) == cast.EncryptedMarker
		default:
		}
	}
	return kind, encrypted, nil
}

// flawOf converts a flaw of the main file to one of the recording.
func flawOf(err error) error {
	flaw, ok := errors.AsType[*recfile.Flaw](err)
	if !ok {
		return err
	}
	f := &Flaw{
		File:    MainFile,
		From:    flaw.From,
		To:      flaw.To,
		Problem: fmt.Sprintf("block %d: %s", flaw.Block, flaw.Problem),
	}
	if flaw.Start > 0 {
		f.Problem += fmt.Sprintf(" (from %v after the start)", flaw.Start.Round(time.Second))
	}
	return f
}

// removeEmpty removes a recording whose start was interrupted by a crash: it has at most a header,
// and is not in the ledger. It reports whether it removed the recording.
func (r *Recorder) removeEmpty(id sekisho.SessionID, dir string) (bool, error) {
	if _, ok := r.ledger.knows(id); ok {
		return false, nil
	}
	for _, name := range []string{MainFile, CastFile, ChainFile} {
		f, err := r.openRegular(path.Join(dir, name), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		begun, err := hasBegun(f, name)
		if err := errors.Join(err, f.Close()); err != nil {
			return false, fmt.Errorf("record: %w", err)
		}
		if begun {
			return false, nil
		}
	}
	return true, r.removeFiles(dir)
}

// maxUnbegun limits a header that was not written completely, in bytes.
const maxUnbegun = 64 << 10

// hasBegun reports whether the file contains more than a header.
func hasBegun(f *os.File, name string) (bool, error) {
	if name == MainFile {
		st, err := f.Stat()
		if err != nil {
			return false, err
		}
		reader, err := recfile.Open(f, st.Size())
		if err != nil {
			return st.Size() > maxUnbegun, nil //nolint:nilerr // too short to be a recording
		}
		blocks, err := reader.Blocks()
		return err != nil || len(blocks) > 1, nil //nolint:nilerr // damaged: it holds something
	}
	b, err := io.ReadAll(io.LimitReader(f, cast.DefaultMaxLine))
	if err != nil {
		return false, err
	}
	i := bytes.IndexByte(b, '\n')
	return i >= 0 && (name == ChainFile || i < len(b)-1) || len(b) == cast.DefaultMaxLine, nil
}

func (r *Recorder) removeFiles(dir string) error {
	for _, name := range []string{MainFile, tailFiles[0], tailFiles[1], CastFile, ChainFile, "."} {
		if err := r.root.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record: %w", err)
		}
	}
	return nil
}

// removeTails removes the tails of a recording that is sealed.
func (r *Recorder) removeTails(dir string) error {
	for _, name := range tailFiles {
		if err := r.root.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record: %w", err)
		}
	}
	return nil
}

// Recover seals every unsealed recording whose session is gone, with the reason "server stopped" at the time of its
// last event. A damaged recording is sealed in its present state, and its seal describes the damage. Recover continues
// after an error and returns all errors.
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
	if !gone(id) || r.markerOf(dir).Objects != nil { // a recording with a marker is being restored
		return false, nil
	}
	if empty, err := r.removeEmpty(id, dir); empty || err != nil {
		return false, err
	}
	exit := Exit{Status: -1, Reason: "server stopped"}
	if r.isFormat1(dir) {
		return true, r.finishFormat1(id, dir, exit)
	}
	rec, err := r.reopen(id, dir)
	if flaw, ok := errors.AsType[*Flaw](err); ok {
		return true, r.sealDamaged(id, dir, exit, flaw)
	}
	if err != nil {
		return false, err
	}
	last := rec.w.Totals().Last
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

// writeSync replaces a file and syncs it to the disk.
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

// Ready returns an error if a recording could not be started now, for example because the disk is
// full or read-only.
func (r *Recorder) Ready() error {
	if err := r.full(); err != nil {
		return err
	}
	const name = ".ready"
	if err := r.root.WriteFile(name, bytes.Repeat([]byte{'.'}, readySize), 0o600); err != nil {
		return errors.Join(fmt.Errorf("record: %w", err), r.root.Remove(name))
	}
	if err := r.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // a concurrent call removed it first
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// readySize is the space that the beginning of a recording needs, in bytes.
const readySize = 64 << 10

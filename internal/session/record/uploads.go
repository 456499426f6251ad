package record

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record/recstore"
)

// Remote is a store to which recordings are uploaded: in parts while a session runs, and as a whole
// once the recording is sealed. The folder is then a cache.
type Remote struct {
	// Context applies to reading from the store.
	Context context.Context
	Store   recstore.Store
	// CacheBytes is how many bytes of uploaded recordings can stay in the folder.
	CacheBytes int64
	// SpoolBytes is how many bytes can wait for the store. Beyond this limit, nothing is recorded.
	SpoolBytes int64
	// Every is the time between uploads; 0 = 5 s.
	Every time.Duration
	// Changed is called when the store begins to fail, and when it works again.
	Changed func(StoreState)
	// Restored is called when unsealed recordings have been fetched from the store.
	Restored func(context.Context)
}

// StoreState is the state of the store.
type StoreState struct {
	Store      string
	Problem    string    // "" while it works
	Since      time.Time // of the problem
	Waiting    int64     // bytes that only the folder has
	Recordings int       // sealed ones that only the folder has
	Missing    int       // recordings that the folder lost, and that are not fetched yet
	Full       bool      // nothing can be recorded until something is uploaded
}

const (
	uploadEvery = 5 * time.Second
	// maxUploadWait is the maximum wait after failed uploads.
	maxUploadWait = 2 * time.Minute
	// lastUpload limits the time of the upload when the server stops.
	lastUpload = 15 * time.Second
	// startTimeout bounds how long a start waits for a store that does not answer.
	startTimeout = 15 * time.Second
	// concurrentUploads is how many recordings are uploaded at once.
	concurrentUploads = 4
	// ledgerObject is the name of the ledger in the store, where it is kept in parts.
	ledgerObject = LedgerFile
)

// uploads moves recordings to the store.
type uploads struct {
	r     *Recorder
	cfg   Remote
	spool atomic.Int64 // bytes that wait, about
	wake  chan struct{}
	// silent says that the store did not answer when a recording was to be
	// continued: the next one does not wait for it.
	silent atomic.Bool
	ledger *recstore.Parts
	// fetches makes callers that need the same recording wait for one fetch.
	fetches singleflight.Group
	// unsealed says that an unsealed recording was fetched, which the server has to seal.
	unsealed atomic.Bool

	mu      sync.Mutex
	state   StoreState
	probed  time.Time
	pending map[sekisho.SessionID]string // sealed, and not in the store; with their directories
	missing map[sekisho.SessionID]string // that the ledger knows and the folder does not have
	cache   map[sekisho.SessionID]cached // in the store, and in the folder too
}

// cached is a recording in both the store and the folder.
type cached struct {
	dir    string
	stored time.Time
	bytes  int64
}

func newUploads(r *Recorder, cfg Remote) *uploads {
	cfg.Every = cmp.Or(cfg.Every, uploadEvery)
	u := &uploads{
		r: r, cfg: cfg, wake: make(chan struct{}, 1), ledger: recstore.NewParts(cfg.Store, ledgerObject, false),
		state: StoreState{Store: cfg.Store.String()}, pending: make(map[sekisho.SessionID]string),
		missing: r.ledger.present, cache: make(map[sekisho.SessionID]cached),
	}
	for id, dir := range r.all() {
		m := r.markerOf(dir)
		if !r.inFolder(dir, SealFile) && m.Objects != nil {
			continue // restoring it was interrupted by a crash
		}
		delete(u.missing, id)
		if !r.inFolder(dir, SealFile) {
			continue
		}
		if m.Objects == nil {
			u.pending[id] = dir
			u.spool.Add(r.localBytes(dir))
			continue
		}
		if n := r.localBytes(dir); r.inFolder(dir, MainFile) || r.inFolder(dir, CastFile) {
			u.cache[id] = cached{dir, m.Stored, n}
		}
	}
	r.ledger.present = nil
	return u
}

// localBytes returns how many bytes of a recording's content are in the folder.
func (a *Archive) localBytes(dir string) (total int64) {
	for _, name := range []string{MainFile, CastFile, ChainFile, transcriptFile} {
		if st, err := a.root.Lstat(path.Join(dir, name)); err == nil {
			total += st.Size()
		}
	}
	return total
}

// StoreState returns the state of the store; the zero value if there is none.
func (r *Recorder) StoreState() StoreState {
	if r.uploads == nil {
		return StoreState{}
	}
	r.uploads.mu.Lock()
	defer r.uploads.mu.Unlock()
	s := r.uploads.state
	s.Waiting, s.Recordings, s.Full = r.uploads.spool.Load(), len(r.uploads.pending), r.full() != nil
	s.Missing = len(r.uploads.missing)
	return s
}

// errSpoolFull ends sessions that cannot be recorded.
var errSpoolFull = sekisho.Errorf(sekisho.CodeLimit,
	"Nothing can be recorded: recordings cannot be uploaded to their store, and the local spool is full.").
	WithHint("The server recovers automatically once the store works again.")

// full returns an error while too much waits for the store.
func (r *Recorder) full() error {
	if u := r.uploads; u != nil && u.cfg.SpoolBytes > 0 && u.spool.Load() > u.cfg.SpoolBytes {
		return errSpoolFull
	}
	return nil
}

// waiting notes that n bytes wait for the store.
func (r *Recorder) waiting(n int) {
	if r.uploads != nil {
		r.uploads.spool.Add(int64(n))
	}
}

func (r *Recorder) newParts(dir string, fresh bool) *recstore.Parts {
	if r.uploads == nil {
		return nil
	}
	return recstore.NewParts(r.uploads.cfg.Store, path.Join(dir, MainFile), fresh)
}

// sealed queues a recording that has just been sealed for upload.
func (r *Recorder) sealed(id sekisho.SessionID, dir string) {
	u := r.uploads
	if u == nil {
		return
	}
	u.mu.Lock()
	u.pending[id] = dir
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// RunStore uploads recordings until ctx ends, and then once more. It returns at
// once if there is no store.
func (r *Recorder) RunStore(ctx context.Context) {
	u := r.uploads
	if u == nil {
		return
	}
	failures := 0
	for {
		err := r.Upload(ctx)
		if ctx.Err() != nil {
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastUpload)
			_ = r.Upload(limit) // the state describes the problem; the next start continues
			cancel()
			return
		}
		wait := u.cfg.Every
		failures++
		if err == nil {
			failures = 0
		} else {
			wait = min(wait<<min(failures-1, 16), maxUploadWait)
			wait = wait/2 + rand.N(wait/2+1) // the members of a cluster must not retry at the same time
		}
		wake := u.wake
		if err != nil {
			wake = nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-wake:
		}
		t.Stop()
	}
}

// Upload brings the store up to date once: the ledger, the recordings in progress, and sealed
// recordings. It then drops from the folder what need not stay there.
func (r *Recorder) Upload(ctx context.Context) error {
	u := r.uploads
	if u == nil {
		return nil
	}
	err := u.upload(ctx)
	if ctx.Err() == nil || err == nil {
		u.note(err)
	}
	if err == nil {
		u.silent.Store(false)
	}
	return err
}

func (u *uploads) upload(ctx context.Context) error {
	if err := u.probe(ctx); err != nil {
		return err
	}
	// The ledger comes first: what has parts in the store is in the ledger there.
	if err := u.uploadLedger(ctx); err != nil {
		return err
	}
	var rest errorList
	g, limit := errgroup.WithContext(ctx)
	g.SetLimit(concurrentUploads)
	// each stops all uploads if the store fails, but continues if only one recording fails.
	each := func(id sekisho.SessionID, do func(context.Context) error) {
		g.Go(func() error {
			err := do(limit)
			if err == nil {
				return nil
			}
			err = fmt.Errorf("%s: %w", id, err)
			if _, ok := errors.AsType[*recstore.Error](err); ok || limit.Err() != nil {
				return err
			}
			rest.add(err)
			return nil
		})
	}
	var spool atomic.Int64
	for _, rec := range u.r.inProgress() {
		each(rec.header.SessionID, func(ctx context.Context) error {
			left, err := rec.upload(ctx)
			spool.Add(left)
			return err
		})
	}
	pending := u.snapshot(&u.pending)
	for id, dir := range pending {
		each(id, func(ctx context.Context) error { return u.store(ctx, id, dir) })
	}
	for id := range u.snapshot(&u.missing) {
		each(id, func(ctx context.Context) error { return u.fetch(ctx, id) })
	}
	err := g.Wait()
	for _, dir := range u.snapshot(&u.pending) {
		spool.Add(u.r.localBytes(dir))
	}
	u.spool.Store(spool.Load())
	if u.unsealed.Swap(false) && u.cfg.Restored != nil {
		u.cfg.Restored(ctx)
	}
	if err == nil {
		err = u.trimCache(ctx)
	}
	return errors.Join(err, rest.err())
}

// fetch fetches a recording if the folder lost it, or waits until another call has fetched it.
func (u *uploads) fetch(ctx context.Context, id sekisho.SessionID) error {
	u.mu.Lock()
	dir, missing := u.missing[id]
	u.mu.Unlock()
	if !missing {
		return nil
	}
	_, err, _ := u.fetches.Do(string(id), func() (any, error) {
		if !u.r.reserve(id) {
			return nil, nil // Start fetches it
		}
		defer u.r.forget(id)
		sealed, err := u.r.restore(ctx, id, dir)
		if err == nil && !sealed && u.r.inFolder(dir, MainFile) {
			u.unsealed.Store(true)
		}
		return nil, err
	})
	return err
}

// fetchOnDemand fetches a recording that somebody wants to read before the background fetch has
// reached it.
func (r *Recorder) fetchOnDemand(id sekisho.SessionID) error {
	ctx, cancel := context.WithTimeout(r.remote.ctx, startTimeout)
	defer cancel()
	return r.uploads.fetch(ctx, id)
}

// FetchMissing fetches what the folder always has of all recordings that it lost.
func (r *Recorder) FetchMissing(ctx context.Context) error {
	u := r.uploads
	if u == nil {
		return nil
	}
	g, limit := errgroup.WithContext(ctx)
	g.SetLimit(concurrentUploads)
	for id := range u.snapshot(&u.missing) {
		g.Go(func() error { return u.fetch(limit, id) })
	}
	return g.Wait()
}

// probeEvery is how often an idle server finds out whether the store works.
const probeEvery = time.Minute

// probe asks the store something: while nothing is to be uploaded, a store that
// fails is not noticed, and neither is one that works again.
func (u *uploads) probe(ctx context.Context) error {
	u.mu.Lock()
	due := u.state.Problem != "" || time.Since(u.probed) >= probeEvery
	u.mu.Unlock()
	if !due {
		return nil
	}
	if _, err := u.cfg.Store.Stat(ctx, ledgerObject); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("probe: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.probed = time.Now()
	return nil
}

// errorList collects errors of several goroutines.
type errorList struct {
	mu   sync.Mutex
	errs []error
}

func (l *errorList) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *errorList) err() error { return errors.Join(l.errs...) }

func (u *uploads) snapshot(m *map[sekisho.SessionID]string) map[sekisho.SessionID]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make(map[sekisho.SessionID]string, len(*m))
	for id, dir := range *m {
		out[id] = dir
	}
	return out
}

// note updates the state and reports changes.
func (u *uploads) note(err error) {
	u.mu.Lock()
	was := u.state.Problem
	u.state.Problem = ""
	if err != nil {
		u.state.Problem = text(err.Error())
		if was == "" {
			u.state.Since = time.Now()
		}
	}
	changed := (was == "") != (err == nil)
	u.mu.Unlock()
	if changed && u.cfg.Changed != nil {
		u.cfg.Changed(u.r.StoreState())
	}
}

func (u *uploads) uploadLedger(ctx context.Context) error {
	l := u.r.ledger
	l.mu.Lock()
	size := l.size
	l.mu.Unlock()
	f, err := u.r.openLocal(".", LedgerFile)
	if err != nil {
		return err
	}
	return errors.Join(u.ledger.Sync(ctx, f, size), f.Close())
}

// upload uploads the part of a recording that has been written. It returns how many bytes the store
// still lacks.
func (rec *Recording) upload(ctx context.Context) (left int64, err error) {
	rec.mu.Lock()
	if rec.sealed != nil || rec.closed || rec.exit != nil {
		rec.mu.Unlock()
		return 0, nil // it is uploaded as a whole
	}
	if rec.w.Pending() {
		err = rec.w.Flush()
	}
	size, main := rec.w.Committed(), rec.files.main
	rec.mu.Unlock()
	if err != nil {
		return 0, err
	}
	err = rec.parts.Sync(ctx, main, size)
	if errors.Is(err, os.ErrClosed) {
		err = nil // it was sealed meanwhile
	}
	return size - rec.parts.Len(), err
}

// store uploads a sealed recording, reads it back, and marks it as stored. Files that an earlier
// attempt has uploaded are not uploaded again.
func (u *uploads) store(ctx context.Context, id sekisho.SessionID, dir string) error {
	r := u.r
	if !r.inFolder(dir, SealFile) {
		u.mu.Lock()
		delete(u.pending, id) // removed by policy
		u.mu.Unlock()
		return nil
	}
	m := marker{Objects: make(map[string]int64), Stored: time.Now().UTC()}
	// The seal comes last: a recording with a seal in the store is complete there.
	for _, name := range []string{MainFile, CastFile, ChainFile, tailFiles[0], tailFiles[1], transcriptFile, SealFile} {
		size, err := u.place(ctx, dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		m.Objects[name] = size
	}
	parts, err := recstore.FindParts(ctx, u.cfg.Store, path.Join(dir, MainFile))
	if err != nil {
		return err
	}
	if err := parts.Remove(ctx); err != nil {
		return err
	}
	for _, name := range []string{MainFile, CastFile} {
		if err := r.keepHead(dir, name); err != nil {
			return err
		}
	}
	if err := r.writeMarker(dir, m); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.pending, id)
	u.cache[id] = cached{dir, m.Stored, r.localBytes(dir)}
	return nil
}

// place uploads one file of the folder.
func (u *uploads) place(ctx context.Context, dir, name string) (int64, error) {
	f, err := u.r.openLocal(dir, name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	object := path.Join(dir, name)
	same, err := recstore.Same(ctx, u.cfg.Store, object, f, f.Size())
	if err == nil && !same {
		err = recstore.Place(ctx, u.cfg.Store, object, f, f.Size())
	}
	return f.Size(), err
}

func (r *Recorder) writeMarker(dir string, m marker) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return r.replaceFile(path.Join(dir, markerFile), bytes.NewReader(b))
}

// replaceFile replaces a file atomically.
func (r *Recorder) replaceFile(name string, content io.Reader) error {
	temp := name + ".tmp"
	f, err := r.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = r.root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("record: %w", err), r.root.Remove(temp))
	}
	return nil
}

// keepHead keeps the beginning of a file in the folder, if the file exists.
func (r *Recorder) keepHead(dir, name string) error {
	f, err := r.openContent(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size := int64(-1)
	if name == MainFile {
		if reader, err := recfile.Open(f, f.Size()); err == nil {
			size = recfile.Overhead + int64(len(reader.Header()))
		}
	} else {
		b := make([]byte, min(f.Size(), maxHead))
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("record: %w", err)
		}
		size = int64(bytes.IndexByte(b, '\n')) + 1
	}
	if size <= 0 || size > min(f.Size(), maxHead) {
		return nil // damaged: there is no header
	}
	return r.replaceFile(path.Join(dir, headFile), io.NewSectionReader(f, 0, size))
}

// trimCache drops content from the folder that is also in the store until the rest fits in
// CacheBytes: first recordings, in the order in which they were stored, then their transcripts.
func (u *uploads) trimCache(ctx context.Context) error {
	u.mu.Lock()
	type item struct {
		id sekisho.SessionID
		cached
	}
	var all []item
	var total int64
	for id, c := range u.cache {
		all = append(all, item{id, c})
		total += c.bytes
	}
	u.mu.Unlock()
	slices.SortFunc(all, func(a, b item) int { return cmp.Or(a.stored.Compare(b.stored), cmp.Compare(a.id, b.id)) })
	for _, c := range all {
		if total <= u.cfg.CacheBytes {
			return nil
		}
		left, err := u.drop(ctx, c.cached)
		if err != nil {
			return fmt.Errorf("%s: %w", c.id, err)
		}
		total -= c.bytes - left
		c.bytes = left
		u.mu.Lock()
		if left == 0 {
			delete(u.cache, c.id)
		} else {
			u.cache[c.id] = c.cached
		}
		u.mu.Unlock()
	}
	return nil
}

// transcriptWait is how long a recording stays in the folder after it was stored, so its transcript
// can be made.
const transcriptWait = 5 * time.Minute

// drop removes the content of a recording from the folder. It returns how many bytes remain.
func (u *uploads) drop(ctx context.Context, c cached) (left int64, err error) {
	r := u.r
	m := r.markerOf(c.dir)
	if _, stored := m.Objects[SealFile]; !stored || !r.inFolder(c.dir, SealFile) {
		return 0, nil // removed by policy
	}
	_, format1 := m.Objects[CastFile]
	if _, stored := m.Objects[transcriptFile]; !stored && !format1 {
		if !r.inFolder(c.dir, transcriptFile) {
			if time.Since(c.stored) < transcriptWait {
				return c.bytes, nil
			}
		} else {
			size, err := u.place(ctx, c.dir, transcriptFile)
			if err != nil {
				return c.bytes, err
			}
			m.Objects[transcriptFile] = size
			if err := r.writeMarker(c.dir, m); err != nil {
				return c.bytes, err
			}
		}
	}
	for name := range m.Objects {
		if name == SealFile {
			continue
		}
		if err := r.root.Remove(path.Join(c.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c.bytes, fmt.Errorf("record: %w", err)
		}
	}
	return 0, nil
}

// removeStored removes a recording from the store, the seal last.
func (r *Recorder) removeStored(dir string) error {
	if r.remote == nil {
		if len(r.markerOf(dir).Objects) > 0 {
			return errNoStore
		}
		return nil
	}
	ctx, s := r.remote.ctx, r.remote.store
	for info, err := range s.List(ctx, dir+"/") {
		if err != nil {
			return err
		}
		if path.Base(info.Name) == SealFile {
			continue
		}
		if err := s.Remove(ctx, info.Name); err != nil {
			return err
		}
	}
	return s.Remove(ctx, path.Join(dir, SealFile))
}

var errNoStore = sekisho.Errorf(sekisho.CodeConflict,
	"The recording is in a store that is no longer in the configuration.").
	WithHint("Set recordings.store as it was.")

// restore fetches a recording that is missing in the folder from the store. Of a sealed recording
// it fetches the files that always stay in the folder; of an unsealed one it fetches everything.
// The caller has reserved it.
func (r *Recorder) restore(ctx context.Context, id sekisho.SessionID, dir string) (sealed bool, err error) {
	u := r.uploads
	u.mu.Lock()
	_, missing := u.missing[id]
	u.mu.Unlock()
	if !missing {
		return r.inFolder(dir, SealFile), nil
	}
	if sealed, err = r.fetch(ctx, dir); err != nil {
		return sealed, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.missing, id)
	return sealed, nil
}

func (r *Recorder) fetch(ctx context.Context, dir string) (sealed bool, err error) {
	s := r.remote.store
	m := marker{Objects: make(map[string]int64), Stored: time.Now().UTC()}
	for info, err := range s.List(ctx, dir+"/") {
		if err != nil {
			return false, err
		}
		switch name := path.Base(info.Name); name {
		case MainFile, CastFile, ChainFile, tailFiles[0], tailFiles[1], transcriptFile, SealFile:
			m.Objects[name] = info.Size
		}
	}
	if _, sealed = m.Objects[SealFile]; !sealed {
		return false, r.restoreParts(ctx, dir)
	}
	seal, err := recstore.Small(ctx, s, path.Join(dir, SealFile), maxSignedLine+2)
	if err != nil {
		return true, err
	}
	if err := r.root.MkdirAll(dir, 0o700); err != nil {
		return true, fmt.Errorf("record: %w", err)
	}
	if err := r.writeMarker(dir, m); err != nil {
		return true, err
	}
	for _, name := range []string{MainFile, CastFile} {
		if err := r.keepHead(dir, name); err != nil {
			return true, err
		}
	}
	return true, r.replaceFile(path.Join(dir, SealFile), bytes.NewReader(seal))
}

// restoreParts fetches an unsealed recording.
func (r *Recorder) restoreParts(ctx context.Context, dir string) error {
	parts, err := recstore.FindParts(ctx, r.remote.store, path.Join(dir, MainFile))
	if err != nil || parts.Len() == 0 {
		return err
	}
	if err := r.root.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return r.fetchParts(ctx, dir, parts)
}

func (r *Recorder) fetchParts(ctx context.Context, dir string, parts *recstore.FoundParts) error {
	pr, pw := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := parts.WriteTo(ctx, pw, 0)
		return errors.Join(err, pw.CloseWithError(err))
	})
	err := r.replaceFile(path.Join(dir, MainFile), pr)
	return errors.Join(pr.CloseWithError(err), err, g.Wait())
}

// takeOver replaces what the folder has of a recording with what the store has, which another server has written. If
// the store has nothing, the recording begins again here.
func (r *Recorder) takeOver(h Header) error {
	if r.remote == nil {
		return nil
	}
	dir := dirOf(h)
	limit, cancel := context.WithTimeout(r.remote.ctx, startTimeout)
	defer cancel()
	parts, err := recstore.FindParts(limit, r.remote.store, path.Join(dir, MainFile))
	if err != nil || parts.Len() == 0 {
		return err
	}
	if err := r.root.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if err := r.removeTails(dir); err != nil { // they follow what only the folder has
		return err
	}
	return r.fetchParts(r.remote.ctx, dir, parts)
}

// restoreUnsealed fetches an unsealed recording that is listed in the ledger but missing in the
// folder.
func (r *Recorder) restoreUnsealed(id sekisho.SessionID) (string, error) {
	dir, ok := r.ledger.knows(id)
	if !ok || r.remote == nil {
		return "", sekisho.Errorf(sekisho.CodeNotFound, "There is no recording of session %s.", id)
	}
	if _, err := r.restore(r.remote.ctx, id, dir); err != nil {
		return "", err
	}
	return r.find(id)
}

// fetchLonger replaces an unsealed recording in the folder if the store has more of it, because the
// folder lost the last bytes in a power failure. If the store cannot be read, the folder's copy is
// used.
func (r *Recorder) fetchLonger(dir string) error {
	if r.remote == nil {
		return nil
	}
	st, err := r.root.Lstat(path.Join(dir, MainFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("record: %w", err)
	}
	here := err == nil
	if here && r.uploads.silent.Load() {
		return nil
	}
	limit, cancel := context.WithTimeout(r.remote.ctx, startTimeout)
	defer cancel()
	parts, findErr := recstore.FindParts(limit, r.remote.store, path.Join(dir, MainFile))
	switch {
	case findErr != nil && here:
		r.uploads.silent.Store(true)
		return nil // a killed process has lost nothing, and the state of the store says so
	case findErr != nil:
		return findErr
	case parts.Len() == 0 || here && st.Size() >= parts.Len():
		return nil
	}
	return r.fetchParts(r.remote.ctx, dir, parts)
}

// RestoreLedger brings the ledger below dir up to date with a store, which has more of it after the
// disk was lost or an old backup restored. It refuses a store whose ledger is neither a
// continuation nor the beginning of this one. Call it before [Open].
func RestoreLedger(ctx context.Context, dir string, s recstore.Store, keys Keys) error {
	dir = path.Join(dir, "recordings")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer root.Close()
	limit, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	parts, err := recstore.FindParts(limit, s, ledgerObject)
	if err != nil {
		st, statErr := root.Lstat(LedgerFile)
		if statErr == nil && st.Size() > 0 {
			return nil // the upload compares them later
		}
		return fmt.Errorf(
			"the ledger of recordings is missing or empty here, and the store does not say whether it has one: %w", err,
		)
	}
	if parts.Len() == 0 {
		return nil
	}
	f, err := root.OpenFile(LedgerFile, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return errors.Join(continueLedger(ctx, f, parts, keys), f.Close())
}

// continueLedger appends what only the store has.
func continueLedger(ctx context.Context, f *os.File, parts *recstore.FoundParts, keys Keys) error {
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	// A line that was cut off by a crash is complete in the store or in neither place.
	have := min(st.Size(), parts.Len())
	from := have
	if from > 0 {
		from = max(0, min(parts.Last(), have-maxSignedLine))
	}
	var theirs bytes.Buffer
	if err := parts.WriteTo(ctx, &theirs, from); err != nil {
		return err
	}
	ours := make([]byte, have-from)
	if _, err := f.ReadAt(ours, from); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	strange := !bytes.Equal(ours, theirs.Bytes()[:len(ours)])
	if have == 0 {
		// There is nothing to compare it with, so it must be signed by this server's key.
		_, err := newLedgerWalker(bytes.NewReader(theirs.Bytes()), keys).next()
		strange = err != nil && !errors.Is(err, io.EOF)
	}
	if strange {
		return sekisho.Errorf(
			sekisho.CodeConflict,
			"The store has the ledger of other recordings than those of this server.",
		).
			WithHint("Give each server a bucket or prefix of its own (recordings.store).")
	}
	if theirs.Len() == len(ours) {
		return nil
	}
	if _, err := f.Write(theirs.Bytes()[len(ours):]); err != nil {
		return fmt.Errorf("record: %w", errors.Join(err, f.Truncate(st.Size())))
	}
	return f.Sync()
}

// Bring fetches a recording from the store, verifies it, and keeps it only in the folder. It
// reverses an upload.
func (r *Recorder) Bring(ctx context.Context, id sekisho.SessionID) error {
	dir, err := r.find(id)
	if err != nil {
		return err
	}
	m := r.markerOf(dir)
	if m.Objects == nil || r.remote == nil {
		return nil
	}
	fetched, err := r.fetchContent(ctx, dir, m)
	if err == nil {
		// A recording that was damaged when it was sealed must be as it was then.
		_, err = Verify(os.DirFS(path.Join(r.root.Name(), dir)), r.keys, id)
		if err != nil && r.sealedAsDamaged(dir, err) {
			err = nil
		}
	}
	if err != nil {
		// What is not whole must not be taken for the recording.
		for _, name := range fetched {
			err = errors.Join(err, r.root.Remove(path.Join(dir, name)))
		}
		return err
	}
	if err := r.removeStored(dir); err != nil {
		return err
	}
	for _, name := range []string{markerFile, headFile} {
		if err := r.root.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record: %w", err)
		}
	}
	return nil
}

// fetchContent fetches what only the store has of a recording. It returns the
// names of the files that it made.
func (r *Recorder) fetchContent(ctx context.Context, dir string, m marker) (fetched []string, err error) {
	for name := range m.Objects {
		if name == SealFile || r.inFolder(dir, name) {
			continue
		}
		src, err := recstore.Open(ctx, r.remote.store, path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && name == transcriptFile {
			continue // it can be made again
		}
		if err != nil {
			return fetched, err
		}
		err = r.replaceFile(path.Join(dir, name), io.NewSectionReader(src, 0, src.Size()))
		if err := errors.Join(err, src.Close()); err != nil {
			return fetched, err
		}
		fetched = append(fetched, name)
	}
	return fetched, nil
}

// sealedAsDamaged reports whether err says no more than the seal does.
func (r *Recorder) sealedAsDamaged(dir string, err error) bool {
	flaw, ok := errors.AsType[*Flaw](err)
	if !ok || flaw.File != SealFile {
		return false
	}
	text, err := r.readSmall(path.Join(dir, SealFile))
	if err != nil {
		return false
	}
	seal, err := parseSeal(text, r.keys)
	return err == nil && seal.Damage != ""
}

// Move moves all sealed recordings to the store or, with toFolder, to the folder. When repeated
// after an interruption, it continues where it stopped. It calls progress after each recording.
func (r *Recorder) Move(ctx context.Context, toFolder bool, progress func(sekisho.SessionID)) error {
	u := r.uploads
	if u == nil {
		return errNoStore
	}
	if !toFolder {
		if err := u.uploadLedger(ctx); err != nil {
			return err
		}
		// What has no transcript yet stays in the cache for a while.
		transcripts := r.MakeTranscripts(ctx)
		if ctx.Err() != nil {
			return transcripts
		}
		for id, dir := range u.snapshot(&u.pending) {
			if err := u.store(ctx, id, dir); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			progress(id)
		}
		return u.trimCache(ctx)
	}
	for id, dir := range r.all() {
		if r.markerOf(dir).Objects == nil {
			continue
		}
		if err := r.Bring(ctx, id); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		progress(id)
	}
	return nil
}

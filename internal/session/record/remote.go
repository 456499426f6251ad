package record

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record/recstore"
)

// A recording in a store has the same files there, under the same names. The folder keeps the seal,
// the beginning of the recording and a marker. These are sufficient for listing, for retention and
// for comparing ledger and seals, so the store is needed only for reading the content.

const (
	// markerFile lists the objects of a recording in the store.
	markerFile = "stored.json"
	// headFile contains block 0 of the recording, or the first line of a cast.
	headFile = "session.head"
	// maxMarker limits a marker, in bytes.
	maxMarker = 16 << 10
	// maxHead limits a head, in bytes: the first line of a cast is the longest.
	maxHead = 128 << 10
)

// marker is the content of stored.json.
type marker struct {
	Objects map[string]int64 `json:"objects"` // sizes by name
	Stored  time.Time        `json:"stored"`
}

// remote is a store from which recordings are read.
type remote struct {
	ctx   context.Context
	store recstore.Store
	// full means that everything is read from the store, even files that are also in the folder.
	full bool
}

// UseStore makes a read recordings that are not in the folder from a store. ctx applies to all
// reading. full is for checks: the store's files are then preferred over those in the folder.
func (a *Archive) UseStore(ctx context.Context, s recstore.Store, full bool) {
	a.remote = &remote{ctx: ctx, store: s, full: full}
}

// content is a file of a recording, in the folder or in the store.
type content interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

type localContent struct {
	*os.File
	size int64
}

// Size returns the size that the file had when it was opened.
func (c localContent) Size() int64 { return c.size }

func (a *Archive) openLocal(dir, name string) (content, error) {
	f, err := a.openRegular(path.Join(dir, name), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record: %w", err), f.Close())
	}
	return localContent{f, st.Size()}, nil
}

// openContent opens a file of a recording in the folder or, if only the store has it, in the store.
func (a *Archive) openContent(dir, name string) (content, error) {
	var f content
	var err error
	if a.remote == nil || !a.remote.full {
		if f, err = a.openLocal(dir, name); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	if _, stored := a.markerOf(dir).Objects[name]; !stored {
		return a.openLocal(dir, name)
	}
	if a.remote == nil {
		return nil, sekisho.Errorf(sekisho.CodeConflict,
			"The recording %s is in a store that is no longer in the configuration.", path.Base(dir)).
			WithHint(
				"Restore the earlier recordings.store, then run sekishod recordings move if you want the " +
					"recordings back in the folder.")
	}
	r, err := recstore.Open(a.remote.ctx, a.remote.store, path.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return r, nil
}

// openHead opens a file for reading its header, which the folder always has.
func (a *Archive) openHead(dir, name string) (content, error) {
	if f, err := a.openLocal(dir, name); !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f, err := a.openLocal(dir, headFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return a.openContent(dir, name)
		}
		return nil, err
	}
	if name != MainFile {
		return f, nil
	}
	// Block 0 is signed.
	if _, err := recfile.Verify(f, f.Size(), a.keys.byID); err != nil {
		return nil, errors.Join(&Flaw{File: headFile, Problem: err.Error()}, f.Close())
	}
	return f, nil
}

// inFolder reports whether the folder has a file of a recording.
func (a *Archive) inFolder(dir, name string) bool {
	_, err := a.root.Lstat(path.Join(dir, name))
	return err == nil
}

// markerOf returns the marker of a recording, or an empty marker if there is none. The marker is
// not signed: it only tells where to look, and the files found there are verified.
func (a *Archive) markerOf(dir string) marker {
	if x, ok := a.absent[dir]; ok {
		return x.clone()
	}
	var m marker
	f, err := a.openLocal(dir, markerFile)
	if err != nil {
		return m
	}
	defer f.Close()
	if f.Size() > maxMarker || json.NewDecoder(io.NewSectionReader(f, 0, f.Size())).Decode(&m) != nil {
		return marker{}
	}
	return m
}

// keptElsewhere reports whether only the store has the content of a recording,
// and the archive is not open for a full check.
func (a *Archive) keptElsewhere(id sekisho.SessionID) bool {
	if a.remote == nil || a.remote.full {
		return false
	}
	dir, err := a.find(id)
	if err != nil {
		return false
	}
	for name := range a.markerOf(dir).Objects {
		if (name == MainFile || name == CastFile) && !a.inFolder(dir, name) {
			return true
		}
	}
	return false
}

// storedElsewhere returns the size of those files of a recording that only the store has.
func (a *Archive) storedElsewhere(dir string) (total int64) {
	for name, size := range a.markerOf(dir).Objects {
		if !a.inFolder(dir, name) {
			total += size
		}
	}
	return total
}

// recordingFS gives [Verify] access to the files of a recording in the folder or in the store.
type recordingFS struct {
	a   *Archive
	dir string
}

// Open implements fs.FS.
func (f recordingFS) Open(name string) (fs.File, error) {
	open := f.a.openContent
	if _, absent := f.a.absent[f.dir]; name == SealFile && !absent {
		open = f.a.openLocal // checkStoredSeal compares the store's seal
	}
	c, err := open(f.dir, name)
	if err != nil {
		return nil, err
	}
	return &contentFile{content: c, name: name}, nil
}

// contentFile is content as a file.
type contentFile struct {
	content
	name string
	at   int64
}

// Read implements fs.File.
func (f *contentFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Stat implements fs.File.
func (f *contentFile) Stat() (fs.FileInfo, error) { return contentInfo{f}, nil }

type contentInfo struct{ f *contentFile }

func (i contentInfo) Name() string     { return i.f.name }
func (i contentInfo) Size() int64      { return i.f.content.Size() }
func (contentInfo) Mode() fs.FileMode  { return 0o400 }
func (contentInfo) ModTime() time.Time { return time.Time{} }
func (contentInfo) IsDir() bool        { return false }
func (contentInfo) Sys() any           { return nil }

// checkStoredSeal compares the seal in the store with the one in the folder.
func (a *Archive) checkStoredSeal(dir string) error {
	if _, stored := a.markerOf(dir).Objects[SealFile]; !stored || a.remote == nil {
		return nil
	}
	ours, err := a.readSeal(dir)
	if err != nil {
		return err
	}
	same, err := recstore.Same(a.remote.ctx, a.remote.store, path.Join(dir, SealFile), bytes.NewReader(ours),
		int64(len(ours)))
	if err == nil && !same {
		err = &Flaw{File: SealFile, Problem: "the store has another seal, or none"}
	}
	return err
}

// CheckStore compares the content of the store with the seals in the folder: every stored recording
// must have the size in its seal, and nothing else may be in the store. It does not read the
// content.
func (a *Archive) CheckStore(ctx context.Context) ([]*Flaw, error) {
	expected := make(map[string]map[string]int64) // by directory
	for id, dir := range a.all() {
		if a.recording(id) != nil {
			continue
		}
		objects := a.markerOf(dir).Objects
		if objects == nil {
			continue
		}
		// The seal is signed, the marker is not.
		if text, err := a.readSeal(dir); err == nil {
			if seal, err := parseSeal(text, a.keys); err == nil {
				objects[SealFile] = int64(len(text))
				if seal.format() == 1 {
					objects[CastFile] = seal.CastBytes
				} else {
					objects[MainFile] = seal.FileBytes
				}
			}
		}
		expected[dir] = objects
	}
	if a.remote == nil {
		if len(expected) > 0 {
			return nil, sekisho.Errorf(sekisho.CodeConflict,
				"%d recordings are in a store that is no longer in the configuration.",
				len(expected)).
				WithHint("Restore the earlier recordings.store.")
		}
		return nil, nil
	}
	var flaws []*Flaw
	for info, err := range a.remote.store.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		dir, name := path.Dir(info.Name), path.Base(info.Name)
		if !validPath(dir, sekisho.SessionID(path.Base(dir))) {
			continue // of the ledger, or not written by Sekisho
		}
		objects, ok := expected[dir]
		if !ok {
			if !a.inFolder(dir, ".") {
				flaws = append(flaws, &Flaw{File: dir, Kind: Inserted,
					Problem: "the store has a recording that the folder does not know"})
				expected[dir] = nil
			}
			continue
		}
		size, ok := objects[name]
		if !ok {
			continue
		}
		if size != info.Size {
			flaws = append(flaws, &Flaw{
				File: path.Join(dir, SealFile), From: 0, To: max(size, 1),
				Problem: fmt.Sprintf("the store has %d bytes for %s instead of %d", info.Size, name, size),
			})
		}
		delete(objects, name)
	}
	for dir, objects := range expected {
		for name := range objects {
			if name == transcriptFile {
				continue // it can be recreated
			}
			flaws = append(flaws, &Flaw{
				File: path.Join(dir, SealFile), Kind: Missing, Problem: fmt.Sprintf("the store has no %s for this recording", name),
			})
		}
	}
	return flaws, nil
}

// CheckStored verifies what the store has of a recording, whether or not the folder has it too.
// Before it reads n bytes it calls wait, which limits the rate. It reports whether the store has the
// recording.
func (a *Archive) CheckStored(
	ctx context.Context, id sekisho.SessionID, wait func(ctx context.Context, n int) error,
) (stored bool, err error) {
	if a.remote == nil || a.recording(id) != nil {
		return false, nil
	}
	dir, err := a.find(id)
	if err != nil {
		return false, err
	}
	if _, stored := a.markerOf(dir).Objects[SealFile]; !stored {
		return false, nil
	}
	view := &Archive{
		root: a.root, keys: a.keys, sealer: a.sealer,
		remote:    &remote{ctx: ctx, store: slowStore{a.remote.store, wait}, full: true},
		recording: func(sekisho.SessionID) *Recording { return nil },
	}
	_, err = view.Verify(id)
	if errors.Is(err, fs.ErrNotExist) {
		err = &Flaw{File: path.Join(dir, MainFile), Kind: Missing, Problem: "it is missing in the store"}
	}
	return true, err
}

// slowStore waits before it reads.
type slowStore struct {
	recstore.Store
	wait func(ctx context.Context, n int) error
}

// ReadAt implements [recstore.Store].
func (s slowStore) ReadAt(ctx context.Context, info recstore.Info, p []byte, off int64) error {
	if err := s.wait(ctx, len(p)); err != nil {
		return err
	}
	return s.Store.ReadAt(ctx, info, p, off)
}

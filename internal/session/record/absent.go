package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/session/record/recstore"
)

// absent is a recording that only the store has: the folder lost even the files that always stay
// there, and the server has not fetched them yet.
type absent struct {
	marker
	seal []byte // nil for a recording in progress, which the store has in parts
}

// UseStored finds the recordings that only the store has, so that a check reads them there instead
// of reporting them as missing. It returns their number. Call it after [Archive.UseStore], and only
// for an archive that no server writes to: a [Recorder] fetches such recordings.
func (a *Archive) UseStored(ctx context.Context) (int, error) {
	a.absent = make(map[string]absent)
	if a.remote == nil {
		return 0, nil
	}
	for info, err := range a.remote.store.List(ctx, "") {
		if err != nil {
			return 0, err
		}
		dir, name := path.Dir(info.Name), path.Base(info.Name)
		if !validPath(dir, sekisho.SessionID(path.Base(dir))) || a.inFolder(dir, ".") && a.begun(dir) {
			continue
		}
		x, ok := a.absent[dir]
		if !ok {
			x = absent{marker: marker{Objects: make(map[string]int64)}}
		}
		if slices.Contains(contentNames, name) {
			x.Objects[name] = info.Size
		}
		if name == SealFile {
			if x.seal, err = recstore.Small(ctx, a.remote.store, info.Name, maxSignedLine+2); err != nil {
				return 0, err
			}
		}
		a.absent[dir] = x
	}
	return len(a.absent), nil
}

// contentNames are the files of a sealed recording that a store can have.
var contentNames = []string{
	MainFile, CastFile, ChainFile, tailFiles[0], tailFiles[1], transcriptFile, SealFile,
}

// begun reports whether the folder has more of a recording than a marker.
func (a *Archive) begun(dir string) bool {
	return slices.ContainsFunc([]string{SealFile, MainFile, CastFile}, func(name string) bool {
		return a.inFolder(dir, name)
	})
}

// readSeal reads a seal, which only the store has if the recording is absent.
func (a *Archive) readSeal(dir string) ([]byte, error) {
	text, err := a.readSmall(path.Join(dir, SealFile))
	if x := a.absent[dir]; errors.Is(err, fs.ErrNotExist) && x.seal != nil {
		return x.seal, nil
	}
	return text, err
}

// overlay is the folder of recordings together with the seals of absent recordings.
type overlay struct {
	fs.FS
	a *Archive
}

// Open implements fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	f, err := o.FS.Open(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if x := o.a.absent[path.Dir(name)]; path.Base(name) == SealFile && x.seal != nil {
		return &contentFile{content: memory{bytes.NewReader(x.seal)}, name: SealFile}, nil
	}
	if _, ok := o.a.absent[name]; ok {
		return absentDir(path.Base(name)), nil
	}
	return nil, err
}

// ReadDir implements fs.ReadDirFS.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(o.FS, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.Name()] = true
	}
	for dir := range o.a.absent {
		rest := dir
		if name != "." {
			var below bool
			if rest, below = strings.CutPrefix(dir, name+"/"); !below {
				continue
			}
		}
		child, _, _ := strings.Cut(rest, "/")
		if !names[child] {
			names[child] = true
			entries = append(entries, fs.FileInfoToDirEntry(absentDir(child)))
		}
	}
	if err != nil && len(entries) == 0 {
		return nil, err
	}
	return entries, nil
}

// memory is content in memory.
type memory struct{ *bytes.Reader }

// Size returns the number of bytes.
func (m memory) Size() int64 { return m.Reader.Size() }

// Close implements io.Closer.
func (memory) Close() error { return nil }

// absentDir is the directory of an absent recording. It implements fs.File and fs.FileInfo.
type absentDir string

// Stat implements fs.File.
func (d absentDir) Stat() (fs.FileInfo, error) { return d, nil }

// Read implements fs.File.
func (d absentDir) Read([]byte) (int, error) {
	return 0, fmt.Errorf("record: %s is a directory", string(d))
}

// Close implements fs.File.
func (absentDir) Close() error { return nil }

// Name implements fs.FileInfo.
func (d absentDir) Name() string { return string(d) }

// Size implements fs.FileInfo.
func (absentDir) Size() int64 { return 0 }

// Mode implements fs.FileInfo.
func (absentDir) Mode() fs.FileMode { return fs.ModeDir | 0o500 }

// ModTime implements fs.FileInfo.
func (absentDir) ModTime() time.Time { return time.Time{} }

// IsDir implements fs.FileInfo.
func (absentDir) IsDir() bool { return true }

// Sys implements fs.FileInfo.
func (absentDir) Sys() any { return nil }

// clone returns a copy of m that can be changed.
func (m marker) clone() marker {
	m.Objects = maps.Clone(m.Objects)
	return m
}

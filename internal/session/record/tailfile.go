package record

import (
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"sekisho/internal/session/recfile"
)

// tailFile is the file of a tail. The first write creates it, because creating files takes most of
// the time of starting a session. A tail that is missing counts as empty.
type tailFile struct {
	create func() (*os.File, error)

	mu   sync.Mutex
	file *os.File // nil = not created yet
}

var _ recfile.Storage = (*tailFile)(nil)

// made returns the file, or nil if it has not been created yet.
func (t *tailFile) made() *os.File {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.file
}

// ReadAt implements io.ReaderAt.
func (t *tailFile) ReadAt(p []byte, off int64) (int, error) {
	if f := t.made(); f != nil {
		return f.ReadAt(p, off)
	}
	return 0, io.EOF
}

// WriteAt implements io.WriterAt.
func (t *tailFile) WriteAt(p []byte, off int64) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		f, err := t.create()
		if err != nil {
			return 0, err
		}
		t.file = f
	}
	return t.file.WriteAt(p, off)
}

// Stat implements [recfile.Storage].
func (t *tailFile) Stat() (os.FileInfo, error) {
	if f := t.made(); f != nil {
		return f.Stat()
	}
	return noFile{}, nil
}

// Truncate implements [recfile.Storage].
func (t *tailFile) Truncate(size int64) error {
	f := t.made()
	if f != nil {
		return f.Truncate(size)
	}
	if size == 0 {
		return nil
	}
	if _, err := t.WriteAt(nil, 0); err != nil { // creates the file
		return err
	}
	return t.made().Truncate(size)
}

// Sync implements [recfile.Storage].
func (t *tailFile) Sync() error {
	if f := t.made(); f != nil {
		return f.Sync()
	}
	return nil
}

// Close implements [recfile.Storage].
func (t *tailFile) Close() error {
	if f := t.made(); f != nil {
		return f.Close()
	}
	return nil
}

// noFile describes a tail that has not been created yet.
type noFile struct{}

// Name implements [fs.FileInfo].
func (noFile) Name() string { return "" }

// Size implements [fs.FileInfo].
func (noFile) Size() int64 { return 0 }

// Mode implements [fs.FileInfo].
func (noFile) Mode() fs.FileMode { return 0o600 }

// ModTime implements [fs.FileInfo].
func (noFile) ModTime() time.Time { return time.Time{} }

// IsDir implements [fs.FileInfo].
func (noFile) IsDir() bool { return false }

// Sys implements [fs.FileInfo].
func (noFile) Sys() any { return nil }

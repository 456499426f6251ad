package recstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
)

// Folder is a store in a directory, for example on a network file system.
type Folder struct {
	root *os.Root
	dir  string
}

// OpenFolder opens a store in a directory and creates the directory if it is missing.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("recstore: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("recstore: %w", err)
	}
	return &Folder{root, dir}, nil
}

// Close closes the directory.
func (f *Folder) Close() error { return f.root.Close() }

// String returns the directory.
func (f *Folder) String() string { return f.dir }

func (f *Folder) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Store: f.dir, Op: op, Name: name, Err: err}
}

// Put implements [Store].
func (f *Folder) Put(ctx context.Context, name string, content io.ReaderAt, size int64) error {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return err
	}
	var err error
	for range maxPutAttempts {
		// A concurrent Remove can delete a directory that is still empty.
		if err = f.put(name, content, size); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return f.failed("put", name, err)
}

const maxPutAttempts = 8

func (f *Folder) put(name string, content io.ReaderAt, size int64) error {
	dir := path.Dir(name)
	if err := f.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Files whose names begin with a dot are not objects.
	temp := path.Join(dir, "."+rand.Text())
	out, err := f.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.NewSectionReader(content, 0, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = f.root.Rename(temp, name)
	}
	if err != nil {
		if left := f.root.Remove(temp); left != nil && !errors.Is(left, fs.ErrNotExist) {
			err = errors.Join(err, left)
		}
		return err
	}
	return f.syncDir(dir)
}

func (f *Folder) syncDir(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func infoOf(name string, st fs.FileInfo) Info {
	return Info{Name: name, Size: st.Size(), Version: fmt.Sprintf("%d-%d", st.Size(), st.ModTime().UnixNano())}
}

// Stat implements [Store].
func (f *Folder) Stat(ctx context.Context, name string) (Info, error) {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return Info{}, err
	}
	st, err := f.root.Lstat(name)
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, f.failed("stat", name, err)
	}
	return infoOf(name, st), nil
}

// ReadAt implements [Store].
func (f *Folder) ReadAt(ctx context.Context, info Info, p []byte, off int64) error {
	if err := errors.Join(CheckName(info.Name), ctx.Err()); err != nil {
		return err
	}
	return f.failed("read", info.Name, f.readAt(info, p, off))
}

func (f *Folder) readAt(info Info, p []byte, off int64) error {
	in, err := f.root.Open(info.Name)
	if err != nil {
		return err
	}
	st, err := in.Stat()
	if err == nil && infoOf(info.Name, st) != info {
		err = ErrChanged
	}
	if err == nil {
		err = readFull(in, p, off)
	}
	return errors.Join(err, in.Close())
}

// List implements [Store].
func (f *Folder) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		err := f.list(ctx, ".", prefix, yield)
		if err != nil && !errors.Is(err, fs.SkipAll) {
			yield(Info{}, f.failed("list", prefix, err))
		}
	}
}

// list yields the objects below dir in the order of their full names, which is not the order of a
// directory walk: "a-b/x" comes before "a/x".
func (f *Folder) list(ctx context.Context, dir, prefix string, yield func(Info, error) bool) error {
	entries, err := fs.ReadDir(f.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			names = append(names, e.Name()+"/")
		case e.Type().IsRegular():
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		full := path.Join(dir, name)
		if sub, ok := strings.CutSuffix(name, "/"); ok {
			below := path.Join(dir, sub) + "/"
			if !strings.HasPrefix(below, prefix) && !strings.HasPrefix(prefix, below) {
				continue
			}
			if err := f.list(ctx, path.Join(dir, sub), prefix, yield); err != nil {
				return err
			}
			continue
		}
		if !strings.HasPrefix(full, prefix) {
			continue
		}
		st, err := f.root.Lstat(full)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			return err
		}
		if !yield(infoOf(full, st), nil) {
			return fs.SkipAll
		}
	}
	return nil
}

// Remove implements [Store]. It also removes directories that become empty.
func (f *Folder) Remove(ctx context.Context, name string) error {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return err
	}
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.failed("remove", name, err)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if f.root.Remove(dir) != nil {
			break // not empty
		}
	}
	return nil //nolint:nilerr // a directory that stays does no harm
}

// Package recstore keeps the files of recordings by name, in a folder or in an S3-compatible store. A [Store] handles
// only whole objects. An object appears completely or not at all, and writing the same object again is harmless, so a
// caller that received no response simply repeats the call. Growing files, such as recordings in progress, are kept as
// [Parts]: objects named after the range of bytes that they hold.
package recstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
)

// Store keeps objects by name. Names are slash-separated paths as in [fs.ValidPath]. Its
// methods are safe for concurrent use.
//
// An error that wraps [fs.ErrNotExist] means that the store has no such object.
// Any other error leaves open whether a change took effect.
type Store interface {
	// Put creates or replaces an object. Readers see either the old or the new one.
	Put(ctx context.Context, name string, content io.ReaderAt, size int64) error
	// Stat describes an object.
	Stat(ctx context.Context, name string) (Info, error)
	// ReadAt fills p from an object at off. If the object is no longer the version that info
	// describes, the error is [ErrChanged].
	ReadAt(ctx context.Context, info Info, p []byte, off int64) error
	// List yields the objects whose names begin with prefix, in the order of
	// their names. It ends after an error.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Remove removes an object. It is not an error if there is none.
	Remove(ctx context.Context, name string) error
	// String names the store in logs and messages.
	String() string
}

// Info describes an object.
type Info struct {
	Name string
	Size int64
	// Version changes with the content: the ETag in S3.
	Version string
}

// ErrChanged reports that an object was replaced while it was being read.
var ErrChanged = errors.New("the object was replaced while it was being read")

// CheckName refuses names that would leave the store's folder or prefix.
func CheckName(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(path.Base(name), ".") {
		return fmt.Errorf("recstore: %q is not the name of an object", name)
	}
	return nil
}

// Error is a failed call.
type Error struct {
	Store string
	Op    string // put, stat, read, list or remove
	Name  string
	Err   error
	Hint  string // what to do about it; can be empty
}

// Error names the store, the call and the problem.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s %s: %v", e.Store, e.Op, e.Name, e.Err)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Small reads a whole object of at most limit bytes.
func Small(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	info, err := s.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if info.Size > limit {
		return nil, &Error{
			Store: s.String(), Op: "read", Name: name,
			Err: fmt.Errorf("the object has %d bytes; at most %d are expected", info.Size, limit),
		}
	}
	p := make([]byte, info.Size)
	return p, s.ReadAt(ctx, info, p, 0)
}

// Same reports whether an object has exactly this content. It reads the whole object.
func Same(ctx context.Context, s Store, name string, content io.ReaderAt, size int64) (bool, error) {
	r, err := Open(ctx, s, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.Size() != size {
		return false, nil
	}
	const piece = 1 << 20
	buf := make([]byte, 2*min(size, piece))
	for off := int64(0); off < size; off += piece {
		n := min(piece, size-off)
		ours, theirs := buf[:n], buf[len(buf)/2:][:n]
		if err := readFull(content, ours, off); err != nil {
			return false, err
		}
		if err := readFull(r, theirs, off); err != nil {
			return false, err
		}
		if string(ours) != string(theirs) {
			return false, nil
		}
	}
	return true, nil
}

// Place puts an object and reads it back. It fails if the store has acknowledged the object but
// does not return it.
func Place(ctx context.Context, s Store, name string, content io.ReaderAt, size int64) error {
	if err := s.Put(ctx, name, content, size); err != nil {
		return err
	}
	same, err := Same(ctx, s, name, content, size)
	if err == nil && !same {
		err = &Error{Store: s.String(), Op: "put", Name: name, Err: errNotKept}
	}
	return err
}

var errNotKept = errors.New("the store acknowledged the object but does not return the same bytes")

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

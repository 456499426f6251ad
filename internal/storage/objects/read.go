package objects

import (
	"context"
	"errors"
	"io"
	"strings"
)

// Object is a version whose content can be read. It must be closed.
type Object struct {
	*Version
	store *Store
}

// Head returns a version without its content; id "" is the current one. A delete marker is
// returned together with ErrNoKey if it is the current version, and with ErrDeleteMarker if
// it was requested by its ID.
func (s *Store) Head(ctx context.Context, bucket, key, id string) (*Version, error) {
	v, err := s.index.Version(ctx, bucket, key, id)
	switch {
	case err != nil:
		return nil, err
	case v.DeleteMarker && id == "":
		return v, ErrNoKey
	case v.DeleteMarker:
		return v, ErrDeleteMarker
	}
	return v, nil
}

// Get is Head with content.
func (s *Store) Get(ctx context.Context, bucket, key, id string) (*Object, error) {
	s.lookup.RLock()
	defer s.lookup.RUnlock()
	v, err := s.Head(ctx, bucket, key, id)
	if err != nil {
		return &Object{Version: v}, err
	}
	s.pin(v.Pieces)
	return &Object{v, s}, nil
}

// Close releases the content.
func (o *Object) Close() {
	if o.store != nil {
		o.store.unpin(o.Pieces)
		o.store = nil
	}
}

// WriteTo writes n bytes of the content, starting at off.
func (o *Object) WriteTo(w io.Writer, off, n int64) error {
	buf := make([]byte, chunkSize)
	for _, p := range o.Pieces {
		if off >= p.Size {
			off -= p.Size
			continue
		}
		if n == 0 {
			break
		}
		take := min(n, p.Size-off)
		if err := o.copyPiece(w, p, off, take, buf); err != nil {
			return err
		}
		off, n = 0, n-take
	}
	if n > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (o *Object) copyPiece(w io.Writer, p Piece, off, n int64, buf []byte) error {
	r, err := o.store.files.open(p.Blob, p.Size, off)
	if err != nil {
		return err
	}
	defer r.Close()
	copied, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, n), buf)
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Reader returns a reader of n bytes of the content, starting at off. It must be closed
// before the object.
func (o *Object) Reader(off, n int64) io.ReadCloser { return &contentReader{o: o, off: off, left: n} }

// contentReader reads the pieces of an object one after the other.
type contentReader struct {
	o     *Object
	piece int   // the next one
	off   int64 // from the start of the next piece
	left  int64 // bytes to read
	open  *blobReader
}

// Read implements [io.Reader].
func (r *contentReader) Read(p []byte) (int, error) {
	for {
		if r.left == 0 {
			return 0, io.EOF
		}
		if r.open == nil {
			if r.piece == len(r.o.Pieces) {
				return 0, io.ErrUnexpectedEOF
			}
			next := r.o.Pieces[r.piece]
			r.piece++
			if r.off >= next.Size {
				r.off -= next.Size
				continue
			}
			var err error
			if r.open, err = r.o.store.files.open(next.Blob, next.Size, r.off); err != nil {
				return 0, err
			}
			r.off = 0
		}
		n, err := r.open.Read(p[:min(int64(len(p)), r.left)])
		r.left -= int64(n)
		if errors.Is(err, io.EOF) {
			err = r.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close implements [io.Closer].
func (r *contentReader) Close() error {
	if r.open == nil {
		return nil
	}
	open := r.open
	r.open = nil
	return open.Close()
}

// Part returns the offset and size of part number n, and the part's own checksum, if any;
// ok is false if there is no such part. An object that was not uploaded in parts consists
// of part 1.
func (v *Version) Part(n int) (off, size int64, sum Checksum, ok bool) {
	if v.Facts.Parts == 0 {
		return 0, v.Size, v.Facts.Checksum, n == 1
	}
	for i, p := range v.Pieces {
		if i+1 == n {
			return off, p.Size, v.partChecksum(p), true
		}
		off += p.Size
	}
	return 0, 0, Checksum{}, false
}

// PartInfo describes a part of an object.
type PartInfo struct {
	Number   int
	Size     int64
	Checksum Checksum
}

// Parts describes the parts of an object with a composite checksum. Only these have
// checksums per part.
func (v *Version) Parts() []PartInfo {
	var all []PartInfo
	if v.Facts.Checksum.Type == Composite {
		for i, p := range v.Pieces {
			all = append(all, PartInfo{i + 1, p.Size, v.partChecksum(p)})
		}
	}
	return all
}

func (v *Version) partChecksum(p Piece) Checksum {
	if v.Facts.Checksum.Type != Composite {
		return Checksum{}
	}
	return Checksum{Algorithm: v.Facts.Checksum.Algorithm, Type: Composite, Value: p.Checksum}
}

// Listing asks for one page of names.
type Listing struct {
	Bucket    string
	Prefix    string
	Delimiter string
	After     string // start after this key
	Place     string // of After's entries, start after this one
	Limit     int
}

// Page is one page of a listing.
type Page[T any] struct {
	Entries   []T
	Prefixes  []string // common prefixes of the keys that the delimiter folds
	Truncated bool
	NextKey   string // with Truncated: After of the next page
	NextPlace string // and Place
}

// ListCurrent lists the objects of a bucket.
func (s *Store) ListCurrent(ctx context.Context, l Listing) (*Page[*Version], error) {
	l.Place = ""
	return list(ctx, l, s.index.Current, Range{}, func(v *Version) (string, string) { return v.Key, "" },
		func(r *Range, v *Version) { r.From = v.Key + "\x00" })
}

// ListVersions lists all versions and delete markers.
func (s *Store) ListVersions(ctx context.Context, l Listing) (*Page[*Version], error) {
	var first Range
	if l.Place != "" {
		v, err := s.index.Version(ctx, l.Bucket, l.After, l.Place)
		switch {
		case err == nil:
			first = Range{From: l.After, Before: v.Seq}
		case errors.Is(err, ErrNoVersion), errors.Is(err, ErrNoKey): // removed in the meantime
		default:
			return nil, err
		}
	}
	return list(ctx, l, s.index.Versions, first, func(v *Version) (string, string) { return v.Key, v.ID },
		func(r *Range, v *Version) { r.From, r.Before = v.Key, v.Seq })
}

// ListUploads lists unfinished uploads.
func (s *Store) ListUploads(ctx context.Context, l Listing) (*Page[*Upload], error) {
	var first Range
	if l.Place != "" {
		first = Range{From: l.After, After: l.Place}
	}
	return list(ctx, l, s.index.Uploads, first, func(u *Upload) (string, string) { return u.Key, u.ID },
		func(r *Range, u *Upload) { r.From, r.After = u.Key, u.ID })
}

// foldedRead is how many entries of the index are read at first if keys can be folded: most
// of them are skipped.
const foldedRead = 32

// list reads pages of the index until one page for the caller is full. Keys that the
// delimiter folds are skipped, not read. past moves the start of a range past an entry.
func list[T any](ctx context.Context, l Listing, read func(context.Context, Range) ([]T, error), first Range,
	place func(T) (key, id string), past func(r *Range, entry T)) (*Page[T], error) {
	page := &Page[T]{}
	if l.Limit <= 0 {
		return page, nil
	}
	r := first
	if r.From == "" {
		r.From = l.Prefix
		if l.After >= l.Prefix && l.After != "" {
			r.From = l.After + "\x00"
			// A marker that is a common prefix covers all keys under it.
			if common, ok := fold(l.After, l.Prefix, l.Delimiter); ok && common == l.After {
				if r.From, ok = successor(common); !ok {
					return page, nil
				}
			}
		}
	}
	r.Bucket = l.Bucket
	r.To, _ = successor(l.Prefix)
	most := l.Limit + 1
	if l.Delimiter != "" {
		most = foldedRead
	}
	for {
		// Read one more entry than fits, to find out whether there are more.
		r.Limit = min(most, l.Limit-len(page.Entries)-len(page.Prefixes)+1)
		entries, err := read(ctx, r)
		if err != nil {
			return nil, err
		}
		folded := "" // the common prefix of the entry before
		for _, e := range entries {
			key, id := place(e)
			if folded != "" && strings.HasPrefix(key, folded) {
				continue
			}
			if len(page.Entries)+len(page.Prefixes) == l.Limit {
				page.Truncated = true
				return page, nil
			}
			if common, ok := fold(key, l.Prefix, l.Delimiter); ok {
				page.Prefixes = append(page.Prefixes, common)
				page.NextKey, page.NextPlace, folded = common, "", common
				continue
			}
			folded = ""
			page.Entries = append(page.Entries, e)
			page.NextKey, page.NextPlace = key, id
		}
		if len(entries) < r.Limit {
			return page, nil
		}
		if folded == "" {
			past(&r, entries[len(entries)-1])
			most *= 4 // few keys are folded here
			continue
		}
		next, more := successor(folded)
		if !more {
			return page, nil
		}
		r.From, r.Before, r.After = next, 0, ""
	}
}

// fold returns the common prefix under which a key is listed.
func fold(key, prefix, delimiter string) (string, bool) {
	if delimiter == "" || !strings.HasPrefix(key, prefix) {
		return "", false
	}
	i := strings.Index(key[len(prefix):], delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(prefix)+i+len(delimiter)], true
}

// successor returns the smallest string greater than all strings that begin with prefix.
func successor(prefix string) (string, bool) {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1}), true
		}
	}
	return "", false
}

package recstore

import (
	"context"
	"io"
	"sync"
)

// Pieces are read ahead and grow, so reading in order takes few round trips, and reading a single
// place transfers few bytes.
const (
	minPiece  = 256 << 10
	maxPiece  = 4 << 20
	maxPieces = 4 // that a Reader keeps
)

// Reader reads an object at any offset. It reads one version of the object: if the object is
// replaced meanwhile, reading fails with [ErrChanged].
type Reader struct {
	ctx  context.Context
	s    Store
	info Info

	mu     sync.Mutex
	pieces []piece // the most recently used one is last
	next   int64   // end of the most recently fetched piece
	size   int64   // size of that piece
}

type piece struct {
	off int64
	p   []byte
}

// Open opens an object. ctx applies to all reading.
func Open(ctx context.Context, s Store, name string) (*Reader, error) {
	info, err := s.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	return &Reader{ctx: ctx, s: s, info: info}, nil
}

// Size returns the size of the object.
func (r *Reader) Size() int64 { return r.info.Size }

// Close implements io.Closer. There is nothing to close.
func (r *Reader) Close() error { return nil }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at < 0 || at >= r.info.Size {
			return n, io.EOF
		}
		have, err := r.piece(at)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], have.p[at-have.off:])
	}
	return n, nil
}

// piece returns the piece that contains the byte at off.
func (r *Reader) piece(off int64) (piece, error) {
	for i, c := range r.pieces {
		if c.off <= off && off < c.off+int64(len(c.p)) {
			r.pieces = append(append(r.pieces[:i:i], r.pieces[i+1:]...), c)
			return c, nil
		}
	}
	size := int64(minPiece)
	if off == r.next && r.size > 0 {
		size = min(2*r.size, maxPiece)
	}
	c := piece{off, make([]byte, min(size, r.info.Size-off))}
	if err := r.s.ReadAt(r.ctx, r.info, c.p, off); err != nil {
		return c, err
	}
	r.next, r.size = off+int64(len(c.p)), size
	if len(r.pieces) == maxPieces {
		r.pieces = r.pieces[1:]
	}
	r.pieces = append(r.pieces, c)
	return c, nil
}

package recstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Parts stores a file that only grows as objects named NAME.part-FROM-TO. The name of an object
// identifies its bytes, which never change, so a request that is repeated or arrives late does no
// harm. Objects can overlap.
type Parts struct {
	store Store
	name  string

	known  bool  // the fields below describe the content of the store
	from   int64 // where the last part begins, if it is still small
	to     int64 // where the last part ends
	latest string
}

const (
	partInfix = ".part-"
	// smallPart is the size up to which the last part is replaced by a longer one. A session with
	// little output thus has few parts and repeats few bytes.
	smallPart = 64 << 10
	// largePart limits a part, in bytes.
	largePart = 16 << 20
)

// NewParts returns the parts of a file. fresh means that the store has none.
func NewParts(s Store, name string, fresh bool) *Parts {
	return &Parts{store: s, name: name, known: fresh}
}

// Len returns how many bytes of the file are known to be in the store.
func (p *Parts) Len() int64 { return p.to }

// Sync uploads the first size bytes of a file except those that the store already has.
func (p *Parts) Sync(ctx context.Context, content io.ReaderAt, size int64) error {
	if !p.known {
		have, err := FindParts(ctx, p.store, p.name)
		if err != nil {
			return err
		}
		p.from, p.to, p.latest, p.known = have.Len(), have.Len(), "", true
	}
	for p.to < size {
		to := min(size, p.from+largePart)
		name := fmt.Sprintf("%s%s%016d-%016d", p.name, partInfix, p.from, to)
		b := make([]byte, to-p.from)
		if err := readFull(content, b, p.from); err != nil {
			return err
		}
		if err := p.store.Put(ctx, name, bytes.NewReader(b), int64(len(b))); err != nil {
			return err
		}
		covered := p.latest
		p.to, p.latest = to, name
		if to-p.from >= smallPart {
			p.from, p.latest = to, ""
		}
		if covered != "" {
			if err := p.store.Remove(ctx, covered); err != nil {
				return err
			}
		}
	}
	return nil
}

// FoundParts are the parts of a file in a store.
type FoundParts struct {
	store Store
	all   []part // in order, without those covered by others
	names []string
}

type part struct {
	info     Info
	from, to int64
}

// FindParts finds the parts of a file. Parts after a gap are ignored.
func FindParts(ctx context.Context, s Store, name string) (*FoundParts, error) {
	f := &FoundParts{store: s}
	var found []part
	for info, err := range s.List(ctx, name+partInfix) {
		if err != nil {
			return nil, err
		}
		f.names = append(f.names, info.Name)
		var p part
		n, err := fmt.Sscanf(strings.TrimPrefix(info.Name, name+partInfix), "%d-%d", &p.from, &p.to)
		if err != nil || n != 2 || p.from < 0 || p.to-p.from != info.Size {
			continue // not ours
		}
		p.info = info
		found = append(found, p)
	}
	slices.SortFunc(found, func(a, b part) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	for at := int64(0); ; {
		best := part{to: at}
		for _, p := range found {
			if p.from <= at && p.to > best.to {
				best = p
			}
		}
		if best.to == at {
			return f, nil
		}
		f.all = append(f.all, best)
		at = best.to
	}
}

// Len returns how many bytes of the file are in the store.
func (f *FoundParts) Len() int64 {
	if len(f.all) == 0 {
		return 0
	}
	return f.all[len(f.all)-1].to
}

// WriteTo writes the bytes from offset off to the end.
func (f *FoundParts) WriteTo(ctx context.Context, w io.Writer, off int64) error {
	for _, p := range f.all {
		for off < p.to {
			b := make([]byte, min(maxPiece, p.to-off))
			if err := f.store.ReadAt(ctx, p.info, b, off-p.from); err != nil {
				return err
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
			off += int64(len(b))
		}
	}
	return nil
}

// Last returns where the last part begins, for comparing it with a local file.
func (f *FoundParts) Last() int64 {
	if len(f.all) == 0 {
		return 0
	}
	return f.all[len(f.all)-1].from
}

// Remove removes all parts.
func (f *FoundParts) Remove(ctx context.Context) error {
	var errs []error
	for _, name := range f.names {
		if err := f.store.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

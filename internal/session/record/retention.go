package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"sekisho"
)

// Retention determines which sealed recordings are removed. Zero fields keep everything.
type Retention struct {
	// MaxAge is the time since the recording was sealed. A recording whose session document sets a
	// number of days is kept for that time instead.
	MaxAge   time.Duration
	MaxBytes int64 // of all recordings together; the oldest are removed first
}

// Removed is a recording that was removed.
type Removed struct {
	Session sekisho.SessionID
	Bytes   int64
	Reason  string
}

// Expire removes the recordings that p no longer retains, each with a signed entry in the ledger,
// and returns them. Recordings in progress, unsealed ones and those under a hold stay. It continues
// after an error and returns all errors.
func (r *Recorder) Expire(ctx context.Context, p Retention, now time.Time) ([]Removed, error) {
	if err := r.finishRemovals(); err != nil {
		return nil, err
	}
	type stored struct {
		id     sekisho.SessionID
		sealed time.Time
		bytes  int64
		days   int // of the recording itself; 0 = as configured on the server
	}
	var all []stored
	var total int64
	for id, dir := range r.all() {
		n, err := r.bytesOf(dir)
		if err != nil {
			return nil, err
		}
		total += n
		if r.recording(id) != nil || r.Held(id) {
			continue
		}
		text, err := r.readSmall(path.Join(dir, SealFile))
		if err != nil {
			continue // not sealed
		}
		// A seal that this server did not sign proves no age: altered recordings stay for
		// investigation.
		if seal, err := parseSeal(text, r.keys); err == nil && seal.Damage == "" {
			all = append(all, stored{id, seal.SealedAt, n, seal.RecordingDays})
		}
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Or(a.sealed.Compare(b.sealed), cmp.Compare(a.id, b.id)) })
	var removed []Removed
	var errs []error
	for _, s := range all {
		if err := ctx.Err(); err != nil {
			return removed, errors.Join(append(errs, err)...)
		}
		reason := ""
		maxAge := p.MaxAge
		if s.days > 0 {
			maxAge = time.Duration(s.days) * 24 * time.Hour
		}
		switch {
		case maxAge > 0 && now.Sub(s.sealed) > maxAge:
			reason = "age"
		case p.MaxBytes > 0 && total > p.MaxBytes:
			reason = "size"
		default:
			continue
		}
		if err := r.Remove(s.id, reason); err != nil {
			errs = append(errs, err)
			continue
		}
		total -= s.bytes
		removed = append(removed, Removed{s.id, s.bytes, reason})
	}
	return removed, errors.Join(errs...)
}

// Remove removes a sealed recording. It first adds an entry to the ledger: a recording that is
// missing without such an entry was not removed by the server.
func (r *Recorder) Remove(id sekisho.SessionID, reason string) error {
	dir, err := r.find(id)
	if err != nil {
		return err
	}
	if !r.Sealed(id) || r.recording(id) != nil {
		return sekisho.Errorf(sekisho.CodeConflict, "The recording of session %s is not sealed yet.", id)
	}
	if r.Held(id) {
		return sekisho.Errorf(sekisho.CodeConflict, "The recording of session %s is under a hold.", id).
			WithHint("Release it first.")
	}
	if err := r.ledger.note(entry{Kind: ledgerRemoved, Session: id, Path: dir, Reason: text(reason)}); err != nil {
		return err
	}
	if err := r.deleteFiles(dir); err != nil {
		r.removeLater(dir)
		return err
	}
	return nil
}

// Hold prevents a recording from being removed until Release. It adds an entry to the ledger.
func (r *Recorder) Hold(id sekisho.SessionID, reason string) error {
	dir, err := r.find(id)
	if err != nil {
		return err
	}
	if r.Held(id) {
		return nil
	}
	return r.ledger.note(entry{Kind: ledgerHeld, Session: id, Path: dir, Reason: text(reason)})
}

// Release ends a hold.
func (r *Recorder) Release(id sekisho.SessionID) error {
	dir, err := r.find(id)
	if err != nil {
		return err
	}
	if !r.Held(id) {
		return nil
	}
	return r.ledger.note(entry{Kind: ledgerReleased, Session: id, Path: dir})
}

// Held reports whether a recording is under a hold.
func (r *Recorder) Held(id sekisho.SessionID) bool {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.ledger.held[id]
}

// note appends an entry and syncs it.
func (l *ledger) note(e entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(e); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("record: %s: %w", LedgerFile, err)
	}
	return nil
}

// finishRemovals deletes files that a crash left of recordings listed as removed in the ledger.
func (r *Recorder) finishRemovals() error {
	r.ledger.mu.Lock()
	left := r.ledger.removing
	r.ledger.removing = nil
	r.ledger.mu.Unlock()
	for i, dir := range left {
		if _, err := r.root.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := r.deleteFiles(dir); err != nil {
			r.removeLater(left[i:]...)
			return err
		}
	}
	return nil
}

// removeLater notes recordings that are listed as removed in the ledger but could not be deleted
// yet.
func (r *Recorder) removeLater(dirs ...string) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	r.ledger.removing = append(r.ledger.removing, dirs...)
}

// deleteFiles deletes a recording. It deletes the seal last; otherwise the rest would be considered
// an unsealed recording after a crash.
func (r *Recorder) deleteFiles(dir string) error {
	if err := r.removeStored(dir); err != nil {
		return err
	}
	if err := r.removeFilesBut(dir, SealFile); err != nil {
		return err
	}
	for _, name := range []string{path.Join(dir, SealFile), dir} {
		if err := r.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record: %w", err)
		}
	}
	return nil
}

func (r *Recorder) removeFilesBut(dir, keep string) error {
	entries, err := fs.ReadDir(r.root.FS(), dir)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	for _, e := range entries {
		if e.Name() == keep {
			continue
		}
		if err := r.root.Remove(path.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record: %w", err)
		}
	}
	return nil
}

// Bytes returns the size of all recordings on the disk.
func (a *Archive) Bytes() (int64, error) {
	var total int64
	for _, dir := range a.all() {
		n, err := a.bytesOf(dir)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func (a *Archive) bytesOf(dir string) (int64, error) {
	entries, err := fs.ReadDir(a.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // removed just now
	}
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	total := a.storedElsewhere(dir)
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("record: %w", err)
		}
		total += info.Size()
	}
	return total, nil
}

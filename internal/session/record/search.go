package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/screen"
)

const (
	transcriptFile = "session.text"
	transcriptTemp = transcriptFile + ".tmp"
)

const (
	// busyRate is how many bytes per second are recorded when sessions need the processor.
	busyRate = 8 << 20
	// busyShare is the part of one processor that transcripts get then: a tenth.
	busyShare = 10
)

// pacer returns a function that waits while sessions need the processor: so long that its caller
// works for a part of the time only.
func (r *Recorder) pacer(ctx context.Context) func() error {
	looked, seen := time.Now(), r.recorded.Load()
	resumed := looked
	return func() error {
		now, recorded := time.Now(), r.recorded.Load()
		busy := float64(recorded-seen) >= busyRate*now.Sub(looked).Seconds()
		wait := (busyShare - 1) * now.Sub(resumed)
		looked, seen = now, recorded
		if busy && wait > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-ctx.Done():
			case <-t.C:
			}
		}
		resumed = time.Now()
		return ctx.Err()
	}
}

// MakeTranscripts makes the transcript of every sealed recording that has none, which makes
// searching it fast. While sessions produce much output, it leaves most of the processor to them. It
// continues after an error and returns all errors.
func (r *Recorder) MakeTranscripts(ctx context.Context) error {
	var errs []error
	for id, dir := range r.all() {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if r.isFormat1(dir) || !r.Sealed(id) || !r.inFolder(dir, MainFile) {
			continue
		}
		if _, err := r.root.Lstat(path.Join(dir, transcriptFile)); err == nil {
			continue
		}
		if err := r.makeTranscript(ctx, id, dir); err != nil {
			errs = append(errs, fmt.Errorf("transcript of %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Recorder) makeTranscript(ctx context.Context, id sekisho.SessionID, dir string) error {
	s, err := r.Open(id)
	if err != nil {
		return err
	}
	defer s.Close()
	key, err := r.unlock(s.Reader, s.Header)
	if err != nil {
		return err
	}
	temp := path.Join(dir, transcriptTemp)
	f, err := r.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	err = errors.Join(recfile.WriteTranscript(f, s.Reader, key, r.pacer(ctx)), f.Close())
	if err == nil {
		err = r.root.Rename(temp, path.Join(dir, transcriptFile))
	}
	if err != nil {
		return errors.Join(err, r.root.Remove(temp))
	}
	return nil
}

// Search calls visit with the lines of a recording that contain the query, ignoring the case of
// ASCII letters, until visit returns false. It uses the transcript if there is a valid one, and
// otherwise renders the recording.
func (a *Archive) Search(id sekisho.SessionID, query string, visit func(recfile.Line) bool) error {
	s, err := a.Open(id)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Reader == nil {
		return s.searchCast(query, visit)
	}
	found, err := a.searchTranscript(s, query)
	if err != nil {
		return err
	}
	if found != nil {
		for _, l := range found {
			if !visit(l) {
				break
			}
		}
		return nil
	}
	want := strings.ToLower(query)
	return flawOf(s.Lines(func(l recfile.Line) bool {
		return !strings.Contains(strings.ToLower(l.Text), want) || visit(l)
	}))
}

// searchCast renders a recording of format 1.
func (s *Stored) searchCast(query string, visit func(recfile.Line) bool) error {
	in, err := cast.NewReader(s.CastReader())
	if err != nil {
		return &Flaw{File: CastFile, Line: 1, Problem: err.Error()}
	}
	want := strings.ToLower(query)
	var now time.Duration
	more := true
	shown := screen.New(in.Header().Cols, in.Header().Rows)
	shown.Gone = func(text string) {
		if more && strings.Contains(strings.ToLower(text), want) {
			more = visit(recfile.Line{Time: now, Text: text})
		}
	}
	for more {
		ev, err := in.Next()
		if errors.Is(err, io.EOF) {
			shown.Flush()
			return nil
		}
		if err != nil {
			return &Flaw{File: CastFile, Problem: err.Error()}
		}
		now = ev.Time
		switch ev.Code {
		case cast.Output:
			_, _ = shown.Write(ev.Bytes()) // never fails
		case cast.Resize:
			if cols, rows, err := ev.Size(); err == nil {
				shown.Resize(cols, rows)
			}
		}
	}
	return nil
}

// maxMatches bounds the matches that are taken from one recording.
const maxMatches = 1000

// searchTranscript returns nil if there is no valid transcript.
func (a *Archive) searchTranscript(s *Stored, query string) ([]recfile.Line, error) {
	dir, err := a.find(s.Header.SessionID)
	if err != nil {
		return nil, err
	}
	f, err := a.openContent(dir, transcriptFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	key, err := a.unlock(s.Reader, s.Header)
	if err != nil {
		return nil, err
	}
	found := []recfile.Line{}
	err = recfile.SearchTranscript(io.NewSectionReader(f, 0, f.Size()), key, query, func(l recfile.Line) bool {
		found = append(found, l)
		return len(found) < maxMatches
	})
	if err != nil {
		return nil, nil // an altered transcript is treated as missing
	}
	return found, nil
}

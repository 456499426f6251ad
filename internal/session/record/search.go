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

	"sekisho"
	"sekisho/internal/session/recfile"
)

const (
	transcriptFile = "session.text"
	transcriptTemp = transcriptFile + ".tmp"
)

// MakeTranscripts makes the transcript of every sealed recording that has
// none, so that searching it is fast. It continues after an error and returns
// all of them.
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
		if err := r.makeTranscript(id, dir); err != nil {
			errs = append(errs, fmt.Errorf("transcript of %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Recorder) makeTranscript(id sekisho.SessionID, dir string) error {
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
	err = errors.Join(recfile.WriteTranscript(f, s.Reader, key), f.Close())
	if err == nil {
		err = r.root.Rename(temp, path.Join(dir, transcriptFile))
	}
	if err != nil {
		return errors.Join(err, r.root.Remove(temp))
	}
	return nil
}

// Search passes the lines of a recording that contain the query, whatever the
// case of ASCII letters, until visit returns false. It uses the transcript
// where there is a good one, and renders the recording where there is not.
func (a *Archive) Search(id sekisho.SessionID, query string, visit func(recfile.Line) bool) error {
	s, err := a.Open(id)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Reader == nil {
		return nil // format 1 is not searched
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

// maxMatches bounds the matches that are taken from one recording.
const maxMatches = 1000

// searchTranscript returns nil if there is no good transcript.
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

package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/config"
)

// TestMoveAndVerifyRecordings: recordings of a stopped server move to a store
// and back. A check with the store reads them there and reports what is wrong.
func TestMoveAndVerifyRecordings(t *testing.T) {
	t.Parallel()
	const n = 4
	d := newDataDir(t, n+1) // one stays open
	c := &config.Server{Data: d.dir}
	c.Recordings.Store.Folder = t.TempDir()
	move := func(toFolder bool) {
		t.Helper()
		moved := 0
		must(t, MoveRecordings(t.Context(), c, toFolder, func(sekisho.SessionID) { moved++ }))
		if moved != n {
			t.Errorf("%d recordings moved", moved)
		}
	}
	contents := func(dir string) (all []string) {
		t.Helper()
		must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Name() == "session.rec" {
				all = append(all, path)
			}
			return err
		}))
		return all
	}
	store, err := OpenRecordingStore(&c.Recordings.Store)
	must(t, err)
	defer func() { must(t, store.Close()) }()

	move(false)
	if here, there := len(contents(d.dir)), contents(c.Recordings.Store.Folder); here != 1 || len(there) != n {
		t.Errorf("%d recordings in the data directory, %d in the store", here, len(there))
	}
	if _, err := VerifyData(t.Context(), State{Dir: d.dir}, nil, nil); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("without the store: %v", err)
	}
	found, err := VerifyData(t.Context(), State{Dir: d.dir}, []string{d.witness}, store)
	must(t, err)
	if len(found.Findings) != 0 || found.Recordings != n+1 {
		t.Errorf("%+v", found)
	}

	altered := contents(c.Recordings.Store.Folder)[1]
	b, err := os.ReadFile(altered)
	must(t, err)
	flipped := append([]byte(nil), b...)
	flipped[len(b)/2] ^= 1
	must(t, os.WriteFile(altered, flipped, 0o600))
	lost := contents(c.Recordings.Store.Folder)[2]
	kept, err := os.ReadFile(lost)
	must(t, err)
	must(t, os.Remove(lost))
	found, err = VerifyData(t.Context(), State{Dir: d.dir}, nil, store)
	must(t, err)
	want := map[string]string{
		filepath.Base(filepath.Dir(altered)): "altered", filepath.Base(filepath.Dir(lost)): "missing",
	}
	for _, f := range found.Findings {
		if want[f.Subject] != f.Kind {
			t.Errorf("finding %+v", f)
		}
		delete(want, f.Subject)
	}
	if len(want) != 0 {
		t.Errorf("not found: %v", want)
	}
	// Damaged or missing recordings of the store are not moved back as intact.
	if err := MoveRecordings(t.Context(), c, true, func(sekisho.SessionID) {}); err == nil {
		t.Error("an altered recording was moved")
	}
	must(t, os.WriteFile(altered, b, 0o600))
	must(t, os.WriteFile(lost, kept, 0o600))
	must(t, MoveRecordings(t.Context(), c, true, func(sekisho.SessionID) {}))
	if here := len(contents(d.dir)); here != n+1 {
		t.Errorf("%d recordings are back", here)
	}
	found, err = VerifyData(t.Context(), State{Dir: d.dir}, []string{d.witness}, nil)
	must(t, err)
	if len(found.Findings) != 0 {
		t.Errorf("%+v", found.Findings)
	}
}

// TestMoveNeedsStore: without a configured store, recordings cannot be moved.
func TestMoveNeedsStore(t *testing.T) {
	t.Parallel()
	err := MoveRecordings(t.Context(), &config.Server{Data: t.TempDir()}, false, func(sekisho.SessionID) {})
	if sekisho.CodeOf(err) != sekisho.CodeInvalid || !strings.Contains(err.Error(), "recordings.store") {
		t.Errorf("got %v", err)
	}
}

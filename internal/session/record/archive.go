package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/wire/id"
)

// Archive reads the recordings below one directory. It changes nothing, so it can be used while a
// server is writing to them.
type Archive struct {
	root    *os.Root
	keys    Keys
	sealer  Sealer
	exports exports
	// remote keeps recordings that are not in the folder; nil without one.
	remote *remote
	// absent are the recordings that only the store has, by their directories: see UseStored.
	absent map[string]absent
	// fetchLost fetches a recording from the store if the folder lost it; nil without a store.
	fetchLost func(sekisho.SessionID) error
	// recording returns a recording that is being written; nil without one.
	recording func(sekisho.SessionID) *Recording
}

// OpenArchive opens the store below dir/recordings for reading. sealer can be nil if no content
// will be read.
func OpenArchive(dir string, keys Keys, sealer Sealer) (*Archive, error) {
	root, err := os.OpenRoot(filepath.Join(dir, "recordings"))
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Archive{
		root: root, keys: keys, sealer: sealer,
		recording: func(sekisho.SessionID) *Recording { return nil },
	}, nil
}

// Close closes the directory.
func (a *Archive) Close() error { return a.root.Close() }

// Keys returns the public keys with which the store is verified.
func (a *Archive) Keys() Keys { return a.keys }

// FS returns the files of the store, for [VerifyLedger].
func (a *Archive) FS() fs.FS {
	if len(a.absent) > 0 {
		return overlay{a.root.FS(), a}
	}
	return a.root.FS()
}

// unlock makes the content of f readable, and returns its key.
func (a *Archive) unlock(f *recfile.Reader, h Header) ([]byte, error) {
	if a.sealer == nil {
		return nil, errors.New("record: the content cannot be read without the keyring")
	}
	_, sealed, err := decodeHeader(f.Header())
	if err != nil {
		return nil, &Flaw{File: MainFile, Problem: err.Error()}
	}
	key, err := a.sealer.Open(sealPurpose, sealed, []byte(h.SessionID))
	if err != nil {
		return nil, &Flaw{
			File:    MainFile,
			Problem: "its key cannot be decrypted: it was altered, or sealed by another keyring",
		}
	}
	return key, f.Unlock(key)
}

// find returns the directory of a recording. After the loss of the folder, it fetches what the
// folder always has from the store.
func (a *Archive) find(sessionID sekisho.SessionID) (string, error) {
	dir, err := a.findLocal(sessionID)
	if a.fetchLost == nil || !sekisho.IsNotFound(err) {
		return dir, err
	}
	if err := a.fetchLost(sessionID); err != nil {
		return "", err
	}
	return a.findLocal(sessionID)
}

func (a *Archive) findLocal(sessionID sekisho.SessionID) (string, error) {
	if err := checkID(sessionID); err != nil {
		return "", err
	}
	for month, err := range a.months() {
		if err != nil {
			return "", err
		}
		dir := path.Join(month, string(sessionID))
		st, err := a.root.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("record: %w", err)
		}
		if st.IsDir() {
			return dir, nil
		}
	}
	for dir := range a.absent {
		if path.Base(dir) == string(sessionID) {
			return dir, nil
		}
	}
	return "", sekisho.Errorf(sekisho.CodeNotFound, "There is no recording of session %s.", sessionID)
}

// months yields "2026/11" and so on, the latest first.
func (a *Archive) months() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		years, err := a.names(".", 4)
		if err != nil {
			yield("", err)
			return
		}
		for _, y := range slices.Backward(years) {
			months, err := a.names(y, 2)
			if err != nil {
				yield("", err)
				return
			}
			for _, m := range slices.Backward(months) {
				if !yield(path.Join(y, m), nil) {
					return
				}
			}
		}
	}
}

// names returns the names in dir that consist of n digits, in order.
func (a *Archive) names(dir string, n int) ([]string, error) {
	entries, err := fs.ReadDir(a.root.FS(), dir)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && isDigits(e.Name(), n) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// all yields every recording with its directory, the latest month first. It skips what cannot be
// read, because VerifyLedger reports it as missing.
func (a *Archive) all() iter.Seq2[sekisho.SessionID, string] {
	return func(yield func(sekisho.SessionID, string) bool) {
		for month, err := range a.months() {
			if err != nil {
				return
			}
			entries, err := fs.ReadDir(a.root.FS(), month)
			if err != nil {
				continue
			}
			for _, e := range entries {
				id := sekisho.SessionID(e.Name())
				if e.IsDir() && checkID(id) == nil && !yield(id, path.Join(month, e.Name())) {
					return
				}
			}
		}
		for dir := range a.absent {
			id := sekisho.SessionID(path.Base(dir))
			if checkID(id) == nil && !a.inFolder(dir, ".") && !yield(id, dir) {
				return
			}
		}
	}
}

// openRegular opens a file and refuses links.
func (a *Archive) openRegular(name string, flag int) (*os.File, error) {
	st, err := a.root.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, &Flaw{File: path.Base(name), Problem: "it is not a regular file"}
	}
	f, err := a.root.OpenFile(name, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return f, nil
}

func (a *Archive) readSmall(name string) ([]byte, error) {
	f, err := a.openRegular(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSignedLine+2))
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return b, nil
}

// openReader opens a main file and its header.
func openReader(f io.ReaderAt, size int64, sessionID sekisho.SessionID) (*recfile.Reader, Header, error) {
	reader, err := recfile.Open(f, size)
	if err != nil {
		return nil, Header{}, flawOf(err)
	}
	h, _, err := decodeHeader(reader.Header())
	if err == nil && h.SessionID != sessionID {
		return nil, Header{}, &Flaw{
			Kind:    Swapped,
			File:    MainFile,
			Problem: fmt.Sprintf("it belongs to another session, %q", h.SessionID),
		}
	}
	if err != nil {
		return nil, Header{}, &Flaw{File: MainFile, Problem: err.Error()}
	}
	return reader, h, nil
}

// checkID refuses everything that is not a session ID before it is used in a file name.
func checkID(name sekisho.SessionID) error {
	if !id.ValidSession(string(name)) {
		return sekisho.Errorf(sekisho.CodeInvalid, "%.100q is not a session ID.", string(name))
	}
	return nil
}

func isDigits(s string, n int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == n
}

// missing turns the absence of a file into a flaw.
func missing(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Flaw{Kind: Missing, File: name, Problem: "it is missing"}
	}
	return err
}

package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Send sends the file or folder at path to a [Receive] at the other end of
// conn.
func Send(conn io.ReadWriter, path string, o Options) error {
	s := &sender{wire: newWire(conn), path: path, o: o}
	if err := s.all(); err != nil {
		return s.fail(s.peerError(err))
	}
	return nil
}

type sender struct {
	*wire
	path string
	o    Options
	buf  [maxBody]byte

	takes   int // the most files of a batch that the receiver takes
	waiting []waiting
	bodies  []byte // the waiting entries as a JSON list without its brackets
}

// waiting is a file that will go in the next batch.
type waiting struct {
	name, shown string
	size        int64
}

func (s *sender) all() error {
	st, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	absolute, err := filepath.Abs(s.path)
	if err != nil {
		return err
	}
	if !st.IsDir() && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a regular file nor a folder", s.path)
	}
	if err := s.send(kindHello, hello{version, filepath.Base(absolute), st.IsDir(), s.o.Sync}); err != nil {
		return err
	}
	if st.IsDir() {
		err = s.folder()
	} else {
		err = s.single()
	}
	if err != nil {
		return err
	}
	if err := s.raw(kindDone, nil); err != nil {
		return err
	}
	_, err = s.want(kindDone)
	return err
}

func (s *sender) single() error {
	f, err := os.OpenFile(s.path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return s.file("", s.path, f)
}

func (s *sender) folder() error {
	root, err := os.OpenRoot(s.path)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		shown := filepath.Join(s.path, filepath.FromSlash(name))
		switch {
		case d.IsDir():
			st, err := d.Info()
			if err != nil {
				return err
			}
			if name == "." {
				name = ""
			}
			return s.send(
				kindEntry,
				entry{Path: name, Dir: true, Mode: uint32(st.Mode().Perm()), MTime: nanos(st.ModTime())},
			)
		case !d.Type().IsRegular():
			text := fmt.Sprintf("skipping %s: not a regular file", shown)
			s.o.note(text)
			return s.send(kindNote, message{clip(text)})
		}
		if s.takes > 0 {
			st, err := d.Info()
			if err != nil {
				return err
			}
			if st.Mode().IsRegular() && st.Size() <= maxSmall {
				return s.enqueue(root, entryOf(name, st), shown)
			}
		}
		f, err := root.OpenFile(name, os.O_RDONLY|careful, 0)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return s.file(name, shown, f)
	})
	if err != nil {
		return err
	}
	return s.batch(root)
}

func entryOf(name string, st fs.FileInfo) entry {
	return entry{Path: name, Mode: uint32(st.Mode().Perm()), MTime: nanos(st.ModTime()), Size: st.Size()}
}

// enqueue adds a file to the next batch.
func (s *sender) enqueue(root *os.Root, e entry, shown string) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	const brackets, comma = 2, 1
	if len(s.waiting) == s.takes || len(s.bodies)+comma+len(body)+brackets > maxBody {
		if err := s.batch(root); err != nil {
			return err
		}
	}
	if len(s.waiting) > 0 {
		s.bodies = append(s.bodies, ',')
	}
	s.bodies = append(s.bodies, body...)
	s.waiting = append(s.waiting, waiting{e.Path, shown, e.Size})
	return nil
}

// batch sends the waiting files.
func (s *sender) batch(root *os.Root) error {
	if len(s.waiting) == 0 {
		return nil
	}
	if len(s.bodies)+2 > maxBody {
		return fmt.Errorf("cannot copy: a path is too long (%d bytes)", len(s.bodies))
	}
	if err := s.raw(kindFiles, slices.Concat([]byte{'['}, s.bodies, []byte{']'})); err != nil {
		return err
	}
	body, err := s.want(kindOffers)
	if err != nil {
		return err
	}
	var have []offer
	if err := decode(body, &have); err != nil {
		return err
	}
	if len(have) != len(s.waiting) {
		return fmt.Errorf("the other side broke the protocol: %d offers for %d files", len(have), len(s.waiting))
	}
	items := make([]Item, len(s.waiting))
	for i, w := range s.waiting {
		if items[i], err = s.small(root, w, have[i]); err != nil {
			return err
		}
	}
	if _, err := s.want(kindAccepted); err != nil {
		return err
	}
	for _, i := range items {
		s.o.copied(i)
	}
	s.waiting, s.bodies = s.waiting[:0], s.bodies[:0]
	return nil
}

// small sends the content of a file of a batch.
func (s *sender) small(root *os.Root, w waiting, have offer) (Item, error) {
	f, err := root.OpenFile(w.name, os.O_RDONLY|careful, 0)
	if err != nil {
		return Item{}, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return Item{}, err
	}
	if !st.Mode().IsRegular() {
		return Item{}, fmt.Errorf("%s is no longer a regular file", w.shown)
	}
	return s.content(f, w.shown, w.size, have)
}

// file sends a file alone.
func (s *sender) file(name, shown string, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no longer a regular file", shown)
	}
	if err := s.send(kindEntry, entryOf(name, st)); err != nil {
		return err
	}
	body, err := s.want(kindOffer)
	if err != nil {
		return err
	}
	var have offer
	if err := decode(body, &have); err != nil {
		return err
	}
	s.takes = min(max(have.Batch, 0), maxBatch)
	i, err := s.content(f, shown, st.Size(), have)
	if err != nil {
		return err
	}
	if _, err := s.want(kindAccepted); err != nil {
		return err
	}
	s.o.copied(i)
	return nil
}

// content sends the part of a file that the receiver lacks, and the digest of the
// whole.
func (s *sender) content(f *os.File, shown string, size int64, have offer) (Item, error) {
	sum, at, err := s.resume(f, size, have)
	if err != nil {
		return Item{}, fmt.Errorf("%s: %w", shown, err)
	}
	if err := s.send(kindBegin, begin{at}); err != nil {
		return Item{}, err
	}
	resumed := at
	s.o.progress(shown, at, size)
	for at < size {
		n, err := f.Read(s.buf[:min(int64(len(s.buf)), size-at)])
		if n > 0 {
			sum.Write(s.buf[:n])
			if err := s.raw(kindData, s.buf[:n]); err != nil {
				return Item{}, err
			}
			at += int64(n)
			s.o.progress(shown, at, size)
		}
		if errors.Is(err, io.EOF) && at < size {
			return Item{}, fmt.Errorf("%s became shorter during the copy", shown)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return Item{}, err
		}
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	return Item{shown, size, digest, resumed}, s.send(kindEnd, end{digest})
}

// resume compares what the receiver has with the beginning of the file. It
// returns the digest so far and the offset to start at.
func (s *sender) resume(f *os.File, size int64, have offer) (hash.Hash, int64, error) {
	sum := sha256.New()
	if have.Offset <= 0 || have.Offset > size {
		return sum, 0, nil
	}
	if _, err := io.CopyN(sum, f, have.Offset); err != nil {
		return nil, 0, err
	}
	want, err := hex.DecodeString(have.SHA256)
	if err == nil && bytes.Equal(sum.Sum(nil), want) {
		return sum, have.Offset, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	return sha256.New(), 0, nil
}

// peerError returns the receiver's error, if sending failed and the receiver sent
// one before it closed the connection, and otherwise err.
func (s *sender) peerError(err error) error {
	if _, ok := errors.AsType[*writeError](err); !ok {
		return err
	}
	for {
		_, _, sent := s.frame()
		if _, ok := errors.AsType[*PeerError](sent); ok {
			return sent
		}
		if sent != nil {
			return err
		}
	}
}

package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Send sends the file or folder at path to a [Receive] at the other end of
// conn.
func Send(conn io.ReadWriter, path string, o Options) error {
	s := &sender{wire: newWire(conn), path: path, o: o}
	if err := s.all(); err != nil {
		return s.fail(err)
	}
	return nil
}

type sender struct {
	*wire
	path string
	o    Options
	buf  [maxBody]byte
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
	if err := s.send(kindHello, hello{version, filepath.Base(absolute), st.IsDir()}); err != nil {
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
	k, _, err := s.next()
	if err == nil && k != kindDone {
		err = unexpected(k)
	}
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
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
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
			return s.send(kindEntry, entry{Path: name, Dir: true, Mode: uint32(st.Mode().Perm()), MTime: nanos(st.ModTime())})
		case !d.Type().IsRegular():
			text := fmt.Sprintf("skipping %s: not a regular file", shown)
			s.o.note(text)
			return s.send(kindNote, message{clip(text)})
		}
		f, err := root.OpenFile(name, os.O_RDONLY|careful, 0)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return s.file(name, shown, f)
	})
}

func (s *sender) file(name, shown string, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no longer a regular file", shown)
	}
	size := st.Size()
	if err := s.send(kindEntry, entry{Path: name, Mode: uint32(st.Mode().Perm()), MTime: nanos(st.ModTime()), Size: size}); err != nil {
		return err
	}
	k, body, err := s.next()
	if err != nil {
		return err
	}
	if k != kindOffer {
		return unexpected(k)
	}
	var have offer
	if err := decode(body, &have); err != nil {
		return err
	}
	sum, at, err := s.resume(f, size, have)
	if err != nil {
		return fmt.Errorf("%s: %w", shown, err)
	}
	if err := s.send(kindBegin, begin{at}); err != nil {
		return err
	}
	resumed := at
	s.o.progress(shown, at, size)
	for at < size {
		n, err := f.Read(s.buf[:min(int64(len(s.buf)), size-at)])
		if n > 0 {
			sum.Write(s.buf[:n])
			if err := s.raw(kindData, s.buf[:n]); err != nil {
				return s.peerError(err)
			}
			at += int64(n)
			s.o.progress(shown, at, size)
		}
		if errors.Is(err, io.EOF) && at < size {
			return fmt.Errorf("%s became shorter during the copy", shown)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if err := s.send(kindEnd, end{digest}); err != nil {
		return s.peerError(err)
	}
	if k, _, err = s.next(); err != nil {
		return err
	}
	if k != kindAccepted {
		return unexpected(k)
	}
	s.o.copied(Item{shown, size, digest, resumed})
	return nil
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

// peerError returns the receiver's error, if it sent one before it closed the
// connection, and otherwise err.
func (s *sender) peerError(err error) error {
	if _, _, sent := s.next(); sent != nil {
		if _, ok := errors.AsType[*PeerError](sent); ok {
			return sent
		}
	}
	return err
}

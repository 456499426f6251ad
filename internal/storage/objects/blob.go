package objects

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	magic      = "SKB1"
	chunkSize  = 64 << 10
	tagSize    = 16
	keySize    = 32
	keyPurpose = "objects"
	maxSealed  = 1 << 10
)

// Keys seals the keys of blobs.
type Keys interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

// folder keeps blobs.
type folder struct {
	dir  string
	keys Keys
}

func (f folder) tmp() string { return filepath.Join(f.dir, "tmp") }

func (f folder) path(id string) string { return filepath.Join(f.dir, "blobs", id[:2], id) }

// blobWriter encrypts what is written to it.
type blobWriter struct {
	id   string
	f    *os.File
	aead cipher.AEAD
	buf  []byte // content of the next chunk
	out  []byte
	n    uint64 // chunks written
	size int64
}

func (f folder) create() (*blobWriter, error) {
	id := hex.EncodeToString(random(16))
	key := random(keySize)
	sealed, err := f.keys.Seal(keyPurpose, key, []byte(id))
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(f.tmp(), id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w := &blobWriter{
		id:   id,
		f:    file,
		aead: aead,
		buf:  make([]byte, 0, chunkSize),
		out:  make([]byte, 0, chunkSize+tagSize),
	}
	header := binary.BigEndian.AppendUint16([]byte(magic), uint16(len(sealed)))
	if _, err := file.Write(append(header, sealed...)); err != nil {
		return nil, errors.Join(err, w.discard())
	}
	return w, nil
}

// Write implements [io.Writer]. It keeps the last chunk for commit: only commit
// knows that it is the last.
func (w *blobWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if len(w.buf) == chunkSize {
			if err := w.flush(false); err != nil {
				return 0, err
			}
		}
		n := min(len(p), chunkSize-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
	}
	w.size += int64(total)
	return total, nil
}

func (w *blobWriter) flush(last bool) error {
	w.out = w.aead.Seal(w.out[:0], nonce(w.n, last), w.buf, nil)
	w.n++
	w.buf = w.buf[:0]
	_, err := w.f.Write(w.out)
	return err
}

// commit makes the blob durable.
func (f folder) commit(w *blobWriter) error {
	err := w.flush(true)
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		return errors.Join(err, w.discard())
	}
	if err := w.f.Close(); err != nil {
		return errors.Join(err, os.Remove(w.f.Name()))
	}
	dir := filepath.Dir(f.path(w.id))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errors.Join(err, os.Remove(w.f.Name()))
	}
	if err := os.Rename(w.f.Name(), f.path(w.id)); err != nil {
		return errors.Join(err, os.Remove(w.f.Name()))
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// discard removes what was written.
func (w *blobWriter) discard() error {
	return errors.Join(w.f.Close(), os.Remove(w.f.Name()))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// blobReader reads a blob from an offset.
type blobReader struct {
	f     *os.File
	aead  cipher.AEAD
	n     uint64 // the next chunk
	last  uint64
	skip  int // of the next chunk
	plain []byte
	box   []byte
	size  int64
}

// open opens a blob of size bytes at off.
func (f folder) open(id string, size, off int64) (*blobReader, error) {
	file, err := os.Open(f.path(id))
	if err != nil {
		return nil, err
	}
	r, err := f.reader(file, id, size, off)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("blob %s: %w", id, err), file.Close())
	}
	return r, nil
}

func (f folder) reader(file *os.File, id string, size, off int64) (*blobReader, error) {
	header := make([]byte, len(magic)+2)
	if _, err := io.ReadFull(file, header); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(header[len(magic):]))
	if string(header[:len(magic)]) != magic || n > maxSealed {
		return nil, errors.New("not a blob")
	}
	sealed := make([]byte, n)
	if _, err := io.ReadFull(file, sealed); err != nil {
		return nil, err
	}
	key, err := f.keys.Open(keyPurpose, sealed, []byte(id))
	if err != nil {
		return nil, err
	}
	r := &blobReader{f: file, size: size, n: uint64(off / chunkSize), skip: int(off % chunkSize)}
	if size > 0 {
		r.last = uint64((size - 1) / chunkSize)
	}
	if r.aead, err = newAEAD(key); err != nil {
		return nil, err
	}
	_, err = file.Seek(int64(len(header)+n)+int64(r.n)*(chunkSize+tagSize), io.SeekStart)
	return r, err
}

// Read implements [io.Reader]. It returns only authenticated content.
func (r *blobReader) Read(p []byte) (int, error) {
	for len(r.plain) == 0 {
		if r.n > r.last {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

func (r *blobReader) next() error {
	length := int64(chunkSize)
	if r.n == r.last {
		length = r.size - int64(r.n)*chunkSize
	}
	if r.box == nil {
		r.box = make([]byte, chunkSize+tagSize)
	}
	box := r.box[:length+tagSize]
	if _, err := io.ReadFull(r.f, box); err != nil {
		return fmt.Errorf("blob cut off: %w", err)
	}
	plain, err := r.aead.Open(box[:0], nonce(r.n, r.n == r.last), box, nil)
	if err != nil {
		return fmt.Errorf("blob altered in chunk %d: %w", r.n, err)
	}
	r.plain = plain[min(r.skip, len(plain)):]
	r.skip = 0
	r.n++
	return nil
}

func (r *blobReader) Close() error { return r.f.Close() }

func (f folder) remove(id string) error {
	err := os.Remove(f.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweep creates the folder and removes unknown blobs, which a crash can leave behind.
func (f folder) sweep(ctx context.Context, known func(ctx context.Context, prefix string) (map[string]bool,
	error)) error {
	if err := os.RemoveAll(f.tmp()); err != nil {
		return err
	}
	if err := os.MkdirAll(f.tmp(), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.dir, "blobs"), 0o700); err != nil {
		return err
	}
	dirs, err := os.ReadDir(filepath.Join(f.dir, "blobs"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if !d.IsDir() || len(d.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(filepath.Join(f.dir, "blobs", d.Name()))
		if err != nil {
			return err
		}
		named, err := known(ctx, d.Name())
		if err != nil {
			return err
		}
		for _, file := range files {
			if isBlobID(file.Name()) && !named[file.Name()] {
				if err := f.remove(file.Name()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// isBlobID keeps sweep from removing files that an operator put there.
func isBlobID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func nonce(n uint64, last bool) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 3, 12), n)
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: see crypto/rand
	return b
}

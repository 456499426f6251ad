package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Receive writes to where what a [Send] at the other end of conn sends: into
// the folder at where, if there is one, or else as where.
func Receive(conn io.ReadWriter, where string, o Options) error {
	r := &receiver{wire: newWire(conn), where: where, o: o}
	defer r.close()
	if err := r.all(); err != nil {
		return r.fail(err)
	}
	return nil
}

type receiver struct {
	*wire
	where string
	o     Options
	root  *os.Root
	base  string // path of root, to show
	top   string // below root: what is received
	mark  string // below root: says that the folder top is not whole; or empty
	dirs  []entry
}

func (r *receiver) close() {
	if r.root != nil {
		_ = r.root.Close() // nothing is lost by it
	}
}

func (r *receiver) all() error {
	k, body, err := r.next()
	if err != nil {
		return err
	}
	if k != kindHello {
		return unexpected(k)
	}
	var h hello
	if err := decode(body, &h); err != nil {
		return err
	}
	if h.Version != version {
		return fmt.Errorf("the other side speaks version %d of the protocol, and this one %d", h.Version, version)
	}
	if err := r.settle(h); err != nil {
		return err
	}
	for {
		k, body, err := r.next()
		if err != nil {
			return err
		}
		switch k {
		case kindEntry:
			var e entry
			if err := decode(body, &e); err != nil {
				return err
			}
			if err := r.entry(h, e); err != nil {
				return err
			}
		case kindNote:
			var m message
			if err := decode(body, &m); err != nil {
				return err
			}
			r.o.note(m.Text)
		case kindDone:
			// Last, as every file written into a folder changes its time,
			// and its mode may forbid writing.
			for _, d := range slices.Backward(r.dirs) {
				if err := r.attributes(d.Path, d); err != nil {
					return err
				}
			}
			if err := r.unmark(); err != nil {
				return err
			}
			return r.raw(kindDone, nil)
		default:
			return unexpected(k)
		}
	}
}

// settle decides where what is coming goes.
func (r *receiver) settle(h hello) error {
	where := filepath.Clean(r.where)
	st, err := os.Stat(where)
	named := false // where is what the folder itself is to be called
	switch {
	case err == nil && st.IsDir() && h.Dir && unfinished(where, h.Name):
		r.base, r.top, named = filepath.Dir(where), filepath.Base(where), true
	case err == nil && st.IsDir():
		r.base, r.top = where, h.Name
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case strings.HasSuffix(r.where, string(filepath.Separator)):
		return fmt.Errorf("there is no folder %s", r.where)
	case err == nil && h.Dir:
		return fmt.Errorf("%s is a file, and a folder is to be copied there", where)
	default:
		r.base, r.top, named = filepath.Dir(where), filepath.Base(where), h.Dir
	}
	if r.top == "." || r.top == ".." || !filepath.IsLocal(r.top) || strings.ContainsAny(r.top, "/\x00"+string(filepath.Separator)) {
		return fmt.Errorf("%q is no name of a file", r.top)
	}
	if r.root, err = os.OpenRoot(r.base); err != nil || !named {
		return err
	}
	return r.markUnfinished(h.Name)
}

// markName is the file that says of a folder that it was copied under a name
// of its own and is not whole. Without it the same command, run again after an
// interruption, would find a folder and copy into it. It holds the name at the
// sender: another folder is not mixed with this one.
func markName(name string) string { return partName(name) + "-folder" }

// unfinished tells whether the folder at where is to be gone on with by what
// is called name at the sender.
func unfinished(where, name string) bool {
	base := filepath.Base(where)
	if base == "." || base == ".." || !filepath.IsLocal(base) {
		return false
	}
	f, err := os.OpenFile(filepath.Join(filepath.Dir(where), markName(base)), os.O_RDONLY|careful, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || !ownAlone(st) {
		return false
	}
	of, err := io.ReadAll(io.LimitReader(f, int64(len(name))+1))
	return err == nil && string(of) == name
}

func (r *receiver) markUnfinished(name string) error {
	r.mark = markName(r.top)
	if err := r.unmark(); err != nil { // of a folder that has gone since
		return err
	}
	f, err := r.root.OpenFile(r.mark, os.O_WRONLY|os.O_CREATE|os.O_EXCL|careful, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(name)
	return errors.Join(err, f.Close())
}

func (r *receiver) unmark() error {
	if r.mark == "" {
		return nil
	}
	if err := r.root.Remove(r.mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// entry receives one folder or file.
func (r *receiver) entry(h hello, e entry) error {
	if e.Size < 0 || e.Path == "" && e.Dir != h.Dir || e.Path != "" && (!h.Dir || !fs.ValidPath(e.Path) || e.Path == "." || strings.ContainsRune(e.Path, 0)) {
		return fmt.Errorf("the other side broke the protocol: entry %q", clip(e.Path))
	}
	e.Path = path.Join(r.top, e.Path)
	if !filepath.IsLocal(filepath.FromSlash(e.Path)) {
		return fmt.Errorf("the other side broke the protocol: entry %q", clip(e.Path))
	}
	if err := r.noLinkAbove(e.Path); err != nil {
		return err
	}
	st, err := r.root.Lstat(e.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !e.Dir {
		if err == nil && st.IsDir() {
			return fmt.Errorf("%s is a folder, and a file is to be copied there", r.shown(e.Path))
		}
		return r.file(e)
	}
	switch {
	case err != nil:
		if err := r.root.Mkdir(e.Path, 0o700); err != nil {
			return err
		}
	case !st.IsDir():
		return fmt.Errorf("%s is no folder, and a folder is to be copied there", r.shown(e.Path))
	}
	r.dirs = append(r.dirs, e)
	return nil
}

// noLinkAbove refuses to go through symbolic links below the folder that was
// chosen, even those that stay in it.
func (r *receiver) noLinkAbove(name string) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		st, err := r.root.Lstat(dir)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return fmt.Errorf("%s is no folder", r.shown(dir))
		}
	}
	return nil
}

func (r *receiver) shown(name string) string { return filepath.Join(r.base, filepath.FromSlash(name)) }

// partName is where a file is while it is not whole.
func partName(name string) string {
	dir, base := path.Split(name)
	if len(base) > 200 {
		sum := sha256.Sum256([]byte(base))
		base = hex.EncodeToString(sum[:])
	}
	return dir + "." + base + ".sekisho-part"
}

func (r *receiver) file(e entry) error {
	part, sum, have, err := r.begun(e)
	if err != nil {
		return err
	}
	defer func() { _ = part.Close() }() // again, after a success: it changes nothing
	partPath := partName(e.Path)
	complete := false // the file that is there already is offered
	if have == 0 {
		var there hash.Hash
		if there, err = r.present(e); err != nil {
			return err
		}
		if there != nil {
			sum, have, complete = there, e.Size, true
		}
	}
	if err := r.send(kindOffer, offer{have, hex.EncodeToString(sum.Sum(nil))}); err != nil {
		return err
	}
	k, body, err := r.next()
	if err != nil {
		return err
	}
	var b begin
	if k != kindBegin {
		return unexpected(k)
	}
	if err := decode(body, &b); err != nil {
		return err
	}
	switch b.Offset {
	case have:
	case 0:
		sum, complete = sha256.New(), false
		if err := part.Truncate(0); err != nil {
			return err
		}
	default:
		return fmt.Errorf("the other side broke the protocol: it begins at %d", b.Offset)
	}
	at := b.Offset
	if _, err := part.Seek(at, io.SeekStart); err != nil {
		return err
	}
	shown := r.shown(e.Path)
	r.o.progress(shown, at, e.Size)
	digest, err := r.data(part, sum, shown, at, e.Size)
	if err != nil {
		if errors.Is(err, errDigest) {
			err = errors.Join(err, r.root.Remove(partPath)) // resuming would not mend it
		}
		return err
	}
	if complete && e.Size > 0 {
		if err := r.root.Remove(partPath); err != nil {
			return err
		}
	} else {
		if err := part.Sync(); err != nil {
			return err
		}
		if err := r.root.Rename(partPath, e.Path); err != nil {
			return err
		}
	}
	if err := part.Close(); err != nil {
		return err
	}
	if err := r.attributes(e.Path, e); err != nil {
		return err
	}
	r.o.copied(Item{shown, e.Size, digest, b.Offset})
	return r.raw(kindAccepted, nil)
}

var errDigest = errors.New("what arrived is not what was sent: the digests differ")

// data receives a file's bytes up to its digest.
func (r *receiver) data(to *os.File, sum hash.Hash, shown string, at, size int64) (string, error) {
	for {
		k, body, err := r.next()
		if err != nil {
			return "", err
		}
		switch k {
		case kindData:
			if int64(len(body)) > size-at {
				return "", fmt.Errorf("the other side broke the protocol: %s is longer than it said", shown)
			}
			sum.Write(body)
			if _, err := to.Write(body); err != nil {
				return "", err
			}
			at += int64(len(body))
			r.o.progress(shown, at, size)
		case kindEnd:
			var e end
			if err := decode(body, &e); err != nil {
				return "", err
			}
			digest := hex.EncodeToString(sum.Sum(nil))
			if at != size || digest != e.SHA256 {
				return "", fmt.Errorf("%s: %w", shown, errDigest)
			}
			return digest, nil
		default:
			return "", unexpected(k)
		}
	}
}

// begun opens what there is of a file that was interrupted, or a new one, and
// returns its digest and length.
func (r *receiver) begun(e entry) (*os.File, hash.Hash, int64, error) {
	name := partName(e.Path)
	f, err := r.root.OpenFile(name, os.O_RDWR|careful, 0)
	if err == nil {
		sum := sha256.New()
		n, err := int64(0), r.ours(f, e.Size)
		if err == nil {
			n, err = io.Copy(sum, f)
		}
		if err == nil {
			return f, sum, n, nil
		}
		if err := f.Close(); err != nil {
			return nil, nil, 0, err
		}
	}
	if !errors.Is(err, fs.ErrNotExist) { // nothing to build upon
		if err := r.root.Remove(name); err != nil {
			return nil, nil, 0, err
		}
	}
	f, err = r.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|careful, 0o600)
	return f, sha256.New(), 0, err
}

// ours refuses what somebody else may have laid there, or still holds.
func (r *receiver) ours(f *os.File, most int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() > most || !ownAlone(st) {
		return errors.New("not to be continued")
	}
	return nil
}

// present is the digest of the file that is there already, if it is as long
// as the one that is coming, and nil otherwise.
func (r *receiver) present(e entry) (hash.Hash, error) {
	if e.Size == 0 {
		return nil, nil
	}
	f, err := r.root.OpenFile(e.Path, os.O_RDONLY|careful, 0)
	if err != nil {
		return nil, nil // it will be replaced, or that will fail
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() != e.Size {
		return nil, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, err
	}
	return sum, nil
}

// attributes gives what was written its mode and time. Bits that would make a
// program run as its owner are not taken over.
func (r *receiver) attributes(name string, e entry) error {
	if err := r.root.Chmod(name, fs.FileMode(e.Mode)&fs.ModePerm); err != nil {
		return err
	}
	t := time.Unix(0, e.MTime)
	return r.root.Chtimes(name, t, t)
}

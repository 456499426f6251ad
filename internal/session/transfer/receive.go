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

// Receive receives a file or folder from a [Send] at the other end of conn. If
// where is an existing folder, the copy goes into it, under o.Name; otherwise
// the copy is where.
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
	base  string // path of root, for messages
	top   string // below root: name of the copy
	mark  string // below root: marks the folder top as incomplete; may be empty
	fresh bool   // everything below top was made by this copy, which may be a resumed one
	dirs  []entry
}

func (r *receiver) close() {
	if r.root != nil {
		_ = r.root.Close() // nothing was written through it
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
		return fmt.Errorf("the other side uses protocol version %d, this side version %d: update the older one", h.Version, version)
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
			// Last: each file written to a folder changes the folder's time, and
			// its mode may forbid writing.
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

// settle decides where the copy goes.
func (r *receiver) settle(h hello) error {
	where := filepath.Clean(r.where)
	st, err := os.Stat(where)
	named := false // where is the name of the folder itself
	if r.o.Name == "" {
		r.o.Name = h.Name
	}
	switch {
	case err == nil && st.IsDir() && h.Dir && unfinished(where, r.o.Name):
		r.base, r.top, named = filepath.Dir(where), filepath.Base(where), true
	case err == nil && st.IsDir():
		r.base, r.top = where, r.o.Name
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case strings.HasSuffix(r.where, string(filepath.Separator)):
		return fmt.Errorf("folder %s does not exist", r.where)
	case err == nil && h.Dir:
		return fmt.Errorf("cannot copy a folder to %s: it is a file", where)
	default:
		r.base, r.top, named = filepath.Dir(where), filepath.Base(where), h.Dir
	}
	if !ValidName(r.top) {
		return fmt.Errorf("%q is not a valid file name", clip(r.top))
	}
	if r.root, err = os.OpenRoot(r.base); err != nil || !h.Dir {
		return err
	}
	// A folder that is already there, and complete, keeps its modes.
	_, err = r.root.Lstat(r.top)
	if r.fresh = errors.Is(err, fs.ErrNotExist) || unfinished(filepath.Join(r.base, r.top), r.o.Name); !r.fresh && !named {
		return nil
	}
	return r.markUnfinished(r.o.Name)
}

// ValidName reports whether name can be the name of a file or folder: one path
// component on this system, other than "." and "..".
func ValidName(name string) bool {
	return name != "." && name != ".." && filepath.IsLocal(name) && !strings.ContainsAny(name, "/\x00") && validHere(name)
}

// validHere rejects separators of this system other than the slash, and colons
// on Windows, where they name a drive or a stream of another file.
func validHere(path string) bool {
	return filepath.Separator == '/' || !strings.ContainsAny(path, `\:`)
}

// markName returns the name of the file that marks a folder as an incomplete
// copy. Without it, the same command run again could take the folder for an
// existing one: copy into it, and leave its temporary modes as they are. It contains the name of the source, so that
// another folder is not mixed with this one.
func markName(name string) string { return partName(name) + "-folder" }

// unfinished reports whether where is an interrupted copy of name that can be
// resumed.
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
	if err := r.unmark(); err != nil { // left by a folder that no longer exists
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
	if e.Size < 0 || e.Path == "" && e.Dir != h.Dir || e.Path != "" && (!h.Dir || !fs.ValidPath(e.Path) || e.Path == "." || strings.ContainsRune(e.Path, 0) || !validHere(e.Path)) {
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
			return fmt.Errorf("cannot copy a file to %s: it is a folder", r.shown(e.Path))
		}
		e.Mode = r.mode(e, st)
		return r.file(e)
	}
	e.Mode = r.mode(e, st)
	switch {
	case err != nil:
		if err := r.root.Mkdir(e.Path, 0o700); err != nil {
			return err
		}
	case !st.IsDir():
		return fmt.Errorf("cannot copy a folder to %s: it is not a folder", r.shown(e.Path))
	}
	r.dirs = append(r.dirs, e)
	return nil
}

// mode returns the permissions of a file or folder. What existed before the copy
// keeps its own. Otherwise the sender chooses, but cannot grant more than the
// umask allows, nor the set-user-ID, set-group-ID or sticky bits.
func (r *receiver) mode(e entry, existing fs.FileInfo) uint32 {
	if existing != nil && !r.fresh && (existing.Mode().IsRegular() || existing.IsDir()) {
		return uint32(existing.Mode().Perm())
	}
	return e.Mode & uint32(fs.ModePerm&^umask())
}

// noLinkAbove refuses to follow symbolic links below the destination, even links
// that stay within it.
func (r *receiver) noLinkAbove(name string) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		st, err := r.root.Lstat(dir)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return fmt.Errorf("%s is not a folder", r.shown(dir))
		}
	}
	return nil
}

func (r *receiver) shown(name string) string { return filepath.Join(r.base, filepath.FromSlash(name)) }

// partName returns the name of an incomplete file.
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
	defer func() { _ = part.Close() }() // closed twice on success, which is harmless
	partPath := partName(e.Path)
	complete := false // an existing complete file is offered
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
		return fmt.Errorf("the other side broke the protocol: it starts at offset %d", b.Offset)
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
			err = errors.Join(err, r.root.Remove(partPath)) // resuming cannot help
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
				return "", fmt.Errorf("the other side broke the protocol: %s is longer than announced", shown)
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

// begun opens the partial copy of an interrupted file, or a new file, and returns
// its digest and length.
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
	if !errors.Is(err, fs.ErrNotExist) { // not usable
		if err := r.root.Remove(name); err != nil {
			return nil, nil, 0, err
		}
	}
	f, err = r.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|careful, 0o600)
	return f, sha256.New(), 0, err
}

// ours refuses a partial file that another user may have created or can change.
func (r *receiver) ours(f *os.File, maxSize int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() > maxSize || !ownAlone(st) {
		return errors.New("cannot resume")
	}
	return nil
}

// present returns the digest of the existing file, or nil if there is none of the
// same length.
func (r *receiver) present(e entry) (hash.Hash, error) {
	if e.Size == 0 {
		return nil, nil
	}
	f, err := r.root.OpenFile(e.Path, os.O_RDONLY|careful, 0)
	if err != nil {
		return nil, nil // replacing the file reports the error, if there is one
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

// attributes sets the mode and time of a file or folder.
func (r *receiver) attributes(name string, e entry) error {
	if err := r.root.Chmod(name, fs.FileMode(e.Mode)); err != nil {
		return err
	}
	t := time.Unix(0, e.MTime)
	return r.root.Chtimes(name, t, t)
}

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
	r := &receiver{wire: newWire(conn), where: where, o: o, seen: map[string]bool{}}
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
	seen  map[string]bool // paths of dirs

	above    *os.Root          // the folder of the last file, once it was checked
	aboveDir string            // its name below root
	unsynced map[uint64]string // a folder with unsynced files on each file system
}

func (r *receiver) close() {
	if r.above != nil {
		_ = r.above.Close()
	}
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
		return fmt.Errorf(
			"the other side uses protocol version %d, this side version %d: update the older one",
			h.Version,
			version,
		)
	}
	r.o.Sync = r.o.Sync || h.Sync
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
		case kindFiles:
			var all []entry
			if err := decode(body, &all); err != nil {
				return err
			}
			if err := r.batch(h, all); err != nil {
				return err
			}
		case kindNote:
			var m message
			if err := decode(body, &m); err != nil {
				return err
			}
			r.o.note(m.Text)
		case kindDone:
			if err := r.sync(); err != nil {
				return err
			}
			// Last: each file written to a folder changes the folder's time, and
			// its mode may forbid writing.
			for _, d := range slices.Backward(r.dirs) {
				if err := attributes(r.root, d.Path, d); err != nil {
					return err
				}
			}
			if err := r.unmark(); err != nil {
				return err
			}
			if err := r.raw(kindDone, nil); err != nil {
				return err
			}
			return r.flush()
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
	if r.fresh = errors.Is(err, fs.ErrNotExist) || unfinished(filepath.Join(r.base, r.top), r.o.Name); !r.fresh &&
		!named {
		return nil
	}
	return r.markUnfinished(r.o.Name)
}

// ValidName reports whether name can be the name of a file or folder: one path
// component on this system, other than "." and "..".
func ValidName(name string) bool {
	return name != "." && name != ".." && filepath.IsLocal(name) && !strings.ContainsAny(name, "/\x00") &&
		validHere(name)
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

// entry receives one folder, or a file that is not in a batch.
func (r *receiver) entry(h hello, e entry) error {
	if err := r.check(h, &e); err != nil {
		return err
	}
	if !e.Dir {
		return r.alone(e)
	}
	if err := r.noLinkAbove(e.Path); err != nil {
		return err
	}
	st, err := r.root.Lstat(e.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
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
	// Folders are remembered up to the end: there must not be more of them than were created on
	// this disk.
	if r.seen[e.Path] {
		return fmt.Errorf("the other side broke the protocol: folder %q came twice", clip(e.Path))
	}
	r.seen[e.Path] = true
	r.dirs = append(r.dirs, e)
	return nil
}

// check refuses an entry that would be written outside the copy, and makes its
// path relative to root.
func (r *receiver) check(h hello, e *entry) error {
	if e.Size < 0 || e.Path == "" && e.Dir != h.Dir ||
		e.Path != "" &&
			(!h.Dir || !fs.ValidPath(e.Path) || e.Path == "." || strings.ContainsRune(e.Path, 0) || !validHere(e.Path)) {
		return fmt.Errorf("the other side broke the protocol: entry %q", clip(e.Path))
	}
	name := path.Join(r.top, e.Path)
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("the other side broke the protocol: entry %q", clip(e.Path))
	}
	e.Path = name
	return nil
}

// folder opens the folder of a file.
func (r *receiver) folder(name string) (*os.Root, error) {
	dir := path.Dir(name)
	if r.above != nil && dir == r.aboveDir {
		return r.above, nil
	}
	if err := r.noLinkAbove(name); err != nil {
		return nil, err
	}
	root, err := r.root.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if r.above != nil {
		_ = r.above.Close()
	}
	r.above, r.aboveDir = root, dir
	return root, nil
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

// incoming is a file about to be received. The names are those in its folder.
type incoming struct {
	e          entry
	name, part string
	replaces   bool      // a file of this name exists
	begun      bool      // an incomplete file exists
	complete   bool      // the existing file is what is offered
	have       int64     // bytes offered
	sum        hash.Hash // of these bytes; nil for none
}

func (f *incoming) offer() offer {
	if f.have == 0 {
		return offer{}
	}
	return offer{Offset: f.have, SHA256: hex.EncodeToString(f.sum.Sum(nil))}
}

// alone receives a file that is not in a batch.
func (r *receiver) alone(e entry) error {
	f, err := r.look(e)
	if err != nil {
		return err
	}
	o := f.offer()
	o.Batch = maxBatch
	if err := r.send(kindOffer, o); err != nil {
		return err
	}
	i, err := r.file(f, true)
	if err != nil {
		return err
	}
	r.o.copied(i)
	return r.raw(kindAccepted, nil)
}

// batch receives small files.
func (r *receiver) batch(h hello, all []entry) error {
	if len(all) == 0 || len(all) > maxBatch {
		return fmt.Errorf("the other side broke the protocol: batch of %d files", len(all))
	}
	files, offers := make([]*incoming, len(all)), make([]offer, len(all))
	for i, e := range all {
		err := r.check(h, &e)
		if err == nil && (e.Dir || e.Size > maxSmall) {
			err = fmt.Errorf("the other side broke the protocol: %q does not belong in a batch", clip(e.Path))
		}
		if err != nil {
			return err
		}
		if files[i], err = r.look(e); err != nil {
			return err
		}
		offers[i] = files[i].offer()
	}
	if err := r.send(kindOffers, offers); err != nil {
		return err
	}
	for _, f := range files {
		i, err := r.file(f, false)
		if err != nil {
			return err
		}
		r.o.copied(i)
	}
	return r.raw(kindAccepted, nil)
}

// look determines which part of a file already exists.
func (r *receiver) look(e entry) (*incoming, error) {
	folder, err := r.folder(e.Path)
	if err != nil {
		return nil, err
	}
	f := &incoming{name: path.Base(e.Path)}
	f.part = partName(f.name)
	st, err := folder.Lstat(f.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if f.replaces = err == nil; f.replaces && st.IsDir() {
		return nil, fmt.Errorf("cannot copy a file to %s: it is a folder", r.shown(e.Path))
	}
	e.Mode = r.mode(e, st)
	f.e = e
	part, err := r.resumable(folder, f)
	if err != nil {
		return nil, err
	}
	if f.begun = part != nil; f.begun {
		f.sum = sha256.New()
		f.have, err = io.Copy(f.sum, part)
		if err := errors.Join(err, part.Close()); err != nil {
			return nil, err
		}
	}
	if f.have == 0 && f.replaces {
		there, err := present(folder, f)
		if err != nil {
			return nil, err
		}
		if there != nil {
			f.sum, f.have, f.complete = there, e.Size, true
		}
	}
	return f, nil
}

// file receives the content of a file that was offered, and moves it into place.
// If files are to be synced, one that came alone is synced here, and the others by
// [receiver.sync].
func (r *receiver) file(f *incoming, alone bool) (Item, error) {
	body, err := r.want(kindBegin)
	if err != nil {
		return Item{}, err
	}
	var b begin
	if err := decode(body, &b); err != nil {
		return Item{}, err
	}
	switch {
	case b.Offset == 0:
		f.sum, f.have, f.complete = sha256.New(), 0, false
	case b.Offset != f.have:
		return Item{}, fmt.Errorf("the other side broke the protocol: it starts at offset %d", b.Offset)
	}
	folder, err := r.folder(f.e.Path)
	if err != nil {
		return Item{}, err
	}
	shown := r.shown(f.e.Path)
	if f.complete {
		r.o.progress(shown, f.have, f.e.Size)
		digest, err := r.data(io.Discard, f.sum, shown, f.have, f.e.Size)
		if err == nil && f.begun {
			err = folder.Remove(f.part)
		}
		if err == nil {
			err = attributes(folder, f.name, f.e)
		}
		return Item{shown, f.e.Size, digest, f.have}, err
	}
	part, err := r.open(folder, f)
	if err != nil {
		return Item{}, err
	}
	defer func() { _ = part.Close() }() // closed twice on success, which is harmless
	r.o.progress(shown, f.have, f.e.Size)
	digest, err := r.data(part, f.sum, shown, f.have, f.e.Size)
	if err != nil {
		if errors.Is(err, errDigest) {
			err = errors.Join(err, folder.Remove(f.part)) // resuming cannot help
		}
		return Item{}, err
	}
	switch {
	case f.replaces, r.o.Sync && (alone || !canSyncLater):
		err = part.Sync()
	case r.o.Sync:
		err = r.syncLater(part, path.Dir(f.e.Path))
	}
	if err == nil {
		err = part.Chmod(fs.FileMode(f.e.Mode))
	}
	t := time.Unix(0, f.e.MTime)
	timed := setTimes(part, t) == nil
	if err := errors.Join(err, part.Close()); err != nil {
		return Item{}, err
	}
	if err := folder.Rename(f.part, f.name); err != nil {
		return Item{}, err
	}
	if !timed {
		err = folder.Chtimes(f.name, t, t)
	}
	return Item{shown, f.e.Size, digest, f.have}, err
}

// open opens the incomplete file to continue at the offset that was agreed on.
func (r *receiver) open(folder *os.Root, f *incoming) (*os.File, error) {
	if f.begun {
		part, err := r.resumable(folder, f)
		if err != nil {
			return nil, err
		}
		if part != nil {
			st, err := part.Stat()
			if err == nil && st.Size() < f.have {
				err = fmt.Errorf("%s became shorter during the copy", r.shown(f.e.Path))
			}
			if err == nil {
				err = part.Truncate(f.have)
			}
			if err == nil {
				_, err = part.Seek(f.have, io.SeekStart)
			}
			if err != nil {
				return nil, errors.Join(err, part.Close())
			}
			return part, nil
		}
		if f.have > 0 {
			return nil, fmt.Errorf("%s changed during the copy", r.shown(f.e.Path))
		}
	}
	return folder.OpenFile(f.part, os.O_RDWR|os.O_CREATE|os.O_EXCL|careful, 0o600)
}

// syncLater notes the file system of a file for [receiver.sync].
func (r *receiver) syncLater(f *os.File, dir string) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if r.unsynced == nil {
		r.unsynced = map[uint64]string{}
	}
	r.unsynced[device(st)] = dir
	return nil
}

// sync writes the files of batches to the disk.
func (r *receiver) sync() error {
	for _, name := range r.unsynced {
		dir, err := r.root.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(syncFileSystem(dir), dir.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", r.shown(name), err)
		}
	}
	return nil
}

var errDigest = errors.New("the received content differs from the sent content: the digests do not match")

// data receives a file's bytes up to its digest.
func (r *receiver) data(to io.Writer, sum hash.Hash, shown string, at, size int64) (string, error) {
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

// resumable opens the incomplete file left by an interrupted copy. It returns nil
// if there is none, and removes one that cannot be used.
func (r *receiver) resumable(folder *os.Root, f *incoming) (*os.File, error) {
	part, err := folder.OpenFile(f.part, os.O_RDWR|careful, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		if ours(part, f.e.Size) == nil {
			return part, nil
		}
		if err := part.Close(); err != nil {
			return nil, err
		}
	}
	return nil, folder.Remove(f.part)
}

// ours refuses a partial file that another user may have created or can change.
func ours(f *os.File, maxSize int64) error {
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
func present(folder *os.Root, in *incoming) (hash.Hash, error) {
	if in.e.Size == 0 {
		return nil, nil
	}
	f, err := folder.OpenFile(in.name, os.O_RDONLY|careful, 0)
	if err != nil {
		return nil, nil // replacing the file reports the error, if there is one
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() != in.e.Size {
		return nil, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, err
	}
	return sum, nil
}

// attributes sets the mode and time of a file or folder.
func attributes(in *os.Root, name string, e entry) error {
	if err := in.Chmod(name, fs.FileMode(e.Mode)); err != nil {
		return err
	}
	t := time.Unix(0, e.MTime)
	return in.Chtimes(name, t, t)
}

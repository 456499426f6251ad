package server

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/server/datalock"
	"sekisho/internal/session/record"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/store/sqlstore"
)

const (
	backupManifest = "backup.json"
	backupFormat   = 1
	backupAttempts = 3
)

// manifest is the first file of a backup.
type manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
}

// BackupSummary describes a backup's content.
type BackupSummary struct {
	Files, AuditRecords int64
	Bytes               int64
}

// backupDirs are the parts of the state outside the database, in the order of copying. The ledger
// of recordings precedes the recordings: a recording sealed in between is completed at the next
// start, whereas one that only the ledger knows would count as lost.
var backupDirs = []string{"keys", path.Join("recordings", record.LedgerFile), "recordings", "objects", auditDir}

// masterKey is the key that decrypts every secret in a backup.
const masterKey = "keys/master.key"

// BackupOptions say what a backup contains.
type BackupOptions struct {
	// WithoutMasterKey leaves the master key out, for operators who store it separately.
	WithoutMasterKey bool
	// Database has the state that is not in files; nil = SQLite in the data directory. A backup of either has
	// the same form.
	Database *sqlstore.Postgres
}

// Backup writes the state in dir to w, encrypted for the recipients. The server can be running: the
// copy of the database is consistent, and every file that it refers to is in the backup.
func Backup(
	ctx context.Context,
	dir string,
	w io.Writer,
	o BackupOptions,
	recipients ...age.Recipient,
) (sum BackupSummary, err error) {
	at := State{Dir: dir, Database: o.Database}
	if err := at.exists(ctx); err != nil {
		return sum, err
	}
	// Beside the data, so that files can be linked instead of copied.
	stage, err := os.MkdirTemp(dir, ".backup-")
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	for attempt := 1; ; attempt++ {
		missing, err := snapshot(ctx, at, stage)
		if err != nil {
			return sum, err
		}
		if missing == "" {
			break
		}
		if attempt == backupAttempts {
			return sum, fmt.Errorf(
				"the object %s is in the database but not in %s: the state is damaged",
				missing,
				filepath.Join(dir, "objects"),
			)
		}
	}
	enc, err := age.Encrypt(w, recipients...)
	if err != nil {
		return sum, err
	}
	tw := tar.NewWriter(enc)
	head, err := json.Marshal(manifest{backupFormat, time.Now().UTC()})
	if err != nil {
		return sum, err
	}
	if err := tw.WriteHeader(&tar.Header{Name: backupManifest, Mode: 0o600, Size: int64(len(head)),
		Format: tar.FormatPAX}); err != nil {
		return sum, err
	}
	if _, err := tw.Write(head); err != nil {
		return sum, err
	}
	err = fs.WalkDir(os.DirFS(stage), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		// A rotation writes the next key beside it.
		if o.WithoutMasterKey && strings.HasPrefix(filepath.ToSlash(name), masterKey) {
			return nil
		}
		n, err := archive(tw, filepath.Join(stage, name), name)
		sum.Files++
		sum.Bytes += n
		return err
	})
	return sum, errors.Join(err, tw.Close(), enc.Close())
}

// snapshot fills stage with the database and links to all other files. It returns the ID of an
// object that the database refers to but that is missing, because it was replaced meanwhile.
func snapshot(ctx context.Context, at State, stage string) (missing string, err error) {
	dir := at.Dir
	// Objects are linked before and after the database is copied, because an object that it refers
	// to can be missing at either time: not created yet, or already deleted.
	if err := link(dir, stage, "objects"); err != nil {
		return "", err
	}
	database := filepath.Join(stage, databaseFile)
	if err := os.Remove(database); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	blobs, err := sqlstore.Snapshot(ctx, at.place(), database)
	if err != nil {
		return "", err
	}
	for _, name := range backupDirs {
		if err := link(dir, stage, name); err != nil {
			return "", err
		}
	}
	there := map[string]bool{}
	err = filepath.WalkDir(filepath.Join(stage, "objects"), func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			there[e.Name()] = true
		}
		return err
	})
	if i := slices.IndexFunc(blobs, func(id string) bool { return !there[id] }); err == nil && i >= 0 {
		return blobs[i], nil
	}
	return "", err
}

// link links the files in dir/name into stage. The ledger, which grows, is
// copied.
func link(dir, stage, name string) error {
	err := filepath.WalkDir(filepath.Join(dir, name), func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		to := filepath.Join(stage, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(to, 0o700)
		case !e.Type().IsRegular():
			return nil
		case e.Name() == record.LedgerFile:
			if _, err := os.Lstat(to); err == nil {
				return nil // the earlier copy counts
			}
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return err
			}
			b, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			return os.WriteFile(to, b, 0o600)
		}
		err = os.Link(at, to)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return nil // linked before, or deleted meanwhile
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// archive adds a file at its present length: recordings in progress grow.
func archive(tw *tar.Writer, file, name string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	h := &tar.Header{
		Name:    filepath.ToSlash(name),
		Mode:    int64(info.Mode().Perm()),
		Size:    info.Size(),
		ModTime: info.ModTime(),
		Format:  tar.FormatPAX,
	}
	if err := tw.WriteHeader(h); err != nil {
		return 0, err
	}
	return io.Copy(tw, io.LimitReader(f, info.Size()))
}

// RestoreOptions supply parts of the state that are not in the backup.
type RestoreOptions struct {
	// MasterKey is the content of the master key's file, for a backup without
	// it: the key that the server had when the backup was made.
	MasterKey []byte
	// MaxBytes bounds the files together; 0 means what fits on the disk.
	MaxBytes int64
	// Database receives the state that is not in files, and must be empty; nil = SQLite in the data
	// directory.
	Database *sqlstore.Postgres
}

// Restore reads a backup from r into dir, which must be empty or missing, and
// verifies the audit trail.
func Restore(
	ctx context.Context,
	dir string,
	r io.Reader,
	o RestoreOptions,
	identities ...age.Identity,
) (sum BackupSummary, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sum, err
	}
	if len(entries) > 0 {
		return sum, sekisho.Errorf(sekisho.CodeConflict, "%s is not empty.", dir).
			WithHint("Restore into a new directory, or move the old one away.")
	}
	at := State{Dir: dir, Database: o.Database}
	if empty, err := at.place().IsEmpty(ctx); err != nil {
		return sum, err
	} else if !empty {
		return sum, sekisho.Errorf(sekisho.CodeConflict, "%s is not empty.", at.place()).
			WithHint("Restore into a new database.")
	}
	plain, err := age.Decrypt(r, identities...)
	if err != nil {
		return sum, fmt.Errorf("decrypt the backup: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return sum, err
	}
	defer func() {
		if err != nil { // an incomplete restore must not look like a server's state
			err = errors.Join(err, empty(dir))
		}
	}()
	unlock, err := datalock.Lock(dir, "sekishod.lock")
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return sum, err
	}
	defer root.Close()
	left := o.MaxBytes
	if left == 0 {
		if left, err = room(dir); err != nil {
			return sum, err
		}
	}
	tr := tar.NewReader(plain)
	for first := true; ; first = false {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) && !first {
			break
		}
		if err != nil {
			return sum, fmt.Errorf("read the backup: %w", err)
		}
		if first {
			var m manifest
			if err := json.NewDecoder(io.LimitReader(tr, 4096)).Decode(&m); err != nil || h.Name != backupManifest ||
				m.Format != backupFormat {
				return sum, fmt.Errorf(
					"this is not a backup that this version can read (%q, format %d)",
					h.Name,
					m.Format,
				)
			}
			continue
		}
		if sum.Files >= maxBackupFiles {
			return sum, fmt.Errorf("the backup has more than %d files", maxBackupFiles)
		}
		// Before anything of it is written: the file may be sparse.
		if h.Size > left-sum.Bytes {
			return sum, fmt.Errorf("%s: the backup does not fit: after %d bytes, this file has %d; the limit is %d",
				h.Name, sum.Bytes, h.Size, left)
		}
		n, err := extract(root, h, tr)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", h.Name, err)
		}
		sum.Files++
		sum.Bytes += n
	}
	if _, err := io.Copy(io.Discard, plain); err != nil { // reading to the end authenticates the whole backup
		return sum, fmt.Errorf("read the backup: %w", err)
	}
	if err := o.placeMasterKey(root); err != nil {
		return sum, err
	}
	if err := placeDatabase(ctx, at); err != nil {
		return sum, err
	}
	sum.AuditRecords, err = verifyTrail(ctx, at)
	return sum, err
}

// placeDatabase moves the restored database to PostgreSQL, if the state belongs there.
func placeDatabase(ctx context.Context, at State) error {
	if at.Database == nil {
		return nil
	}
	file := filepath.Join(at.Dir, databaseFile)
	if _, err := sqlstore.Copy(ctx, sqlstore.Place{File: file}, at.place(), func(sqlstore.TableCopy) {}); err != nil {
		return err
	}
	return sqlstore.RemoveFile(file)
}

func (o RestoreOptions) placeMasterKey(root *os.Root) error {
	_, err := root.Stat(masterKey)
	switch {
	case err == nil && o.MasterKey != nil:
		return sekisho.Errorf(sekisho.CodeConflict, "The backup has a master key of its own.").
			WithHint("Repeat without --master-key.")
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case o.MasterKey == nil:
		return sekisho.Errorf(sekisho.CodeInvalid, "The backup was made without the master key.").
			WithHint("Give the master.key that the server had at the time: --master-key FILE")
	}
	return root.WriteFile(masterKey, o.MasterKey, 0o600)
}

// empty removes the content of dir.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// maxBackupFiles bounds the files of a backup.
const maxBackupFiles = 20_000_000

// room returns how many bytes the disk has for the files in dir. Some stay free for the database,
// which grows when it is opened.
func room(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	return free - free/20, nil
}

func extract(root *os.Root, h *tar.Header, r io.Reader) (n int64, err error) {
	name := path.Clean(h.Name)
	known := name == databaseFile ||
		slices.ContainsFunc(backupDirs, func(d string) bool { return strings.HasPrefix(name, d+"/") || name == d })
	if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || !known {
		return 0, errors.New("it does not belong in a backup")
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return 0, err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(h.Mode)&0o700|0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if n, err = io.Copy(f, r); err != nil {
		return n, err
	}
	return n, errors.Join(f.Sync(), root.Chtimes(name, h.ModTime, h.ModTime))
}

// verifyTrail opens a state and verifies its audit trail.
func verifyTrail(ctx context.Context, at State) (records int64, err error) {
	ring, err := keyring.Load(filepath.Join(at.Dir, "keys"))
	if err != nil {
		return 0, err
	}
	db, err := at.place().Open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	last, err := db.Audit.LastAudit(ctx)
	if err != nil {
		return 0, err
	}
	return last.Seq, audit.New(db.Audit, audit.Config{Signer: ring.Signer()}).Verify(ctx)
}

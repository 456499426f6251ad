package server

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/session/record"
)

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := used(t)
	s, err := New(t.Context(), killConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	// Some of every kind of data, and a recording in progress.
	if _, err := s.Directory.Users.Create(t.Context(), "/", "ann", "", nil); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := s.trail.Record(t.Context(), audit.Event{EventName: "Something", EventSource: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	open, err := s.recorder.Start(
		record.Header{SessionID: "ann-aaaaaaaaaaaaaaaaaaaaaaaaaa", Node: "mi-0123456789abcdef0"},
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.objects.CreateBucket(t.Context(), "bucket", nil); err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	made, err := Backup(t.Context(), dir, &backup, BackupOptions{}, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".backup-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Later changes are not in the backup.
	if _, err := s.Directory.Users.Create(t.Context(), "/", "later", "", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(backup.Bytes(), []byte("SQLite format 3")) || bytes.Contains(backup.Bytes(), []byte("ann-aaaa")) {
		t.Error("the backup is not encrypted")
	}

	to := filepath.Join(t.TempDir(), "restored")
	restored, err := Restore(t.Context(), to, bytes.NewReader(backup.Bytes()), RestoreOptions{}, key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, BackupSummary{Files: restored.Files, Bytes: restored.Bytes}); diff != "" ||
		restored.AuditRecords != 10 {
		t.Errorf("%s, %d audit records", diff, restored.AuditRecords)
	}
	again, err := New(t.Context(), killConfig(to))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Directory.Users.Get(t.Context(), "ann"); err != nil {
		t.Error(err)
	}
	if _, err := again.Directory.Users.Get(t.Context(), "later"); !sekisho.IsNotFound(err) {
		t.Errorf("a user made after the backup: %v", err)
	}
	if _, err := again.objects.Bucket(t.Context(), "bucket"); err != nil {
		t.Error(err)
	}
	again.resume(t.Context())
	if sum, err := again.recorder.Stat("ann-aaaaaaaaaaaaaaaaaaaaaaaaaa"); err != nil || !sum.Sealed ||
		sum.Damage != "" {
		t.Errorf("the recording in progress: %+v, %v", sum, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestBadBackupsAreRefused(t *testing.T) {
	t.Parallel()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if _, err := Backup(t.Context(), used(t), &backup, BackupOptions{}, key.Recipient()); err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(backup.Bytes())
	altered[len(altered)/2] ^= 1
	for name, tc := range map[string]struct {
		data []byte
		key  age.Identity
	}{
		"another key":  {backup.Bytes(), other},
		"altered":      {altered, key},
		"cut off":      {backup.Bytes()[:backup.Len()-100], key},
		"not a backup": {[]byte("hello"), key},
		"empty":        {nil, key},
	} {
		to := filepath.Join(t.TempDir(), "restored")
		if _, err := Restore(t.Context(), to, bytes.NewReader(tc.data), RestoreOptions{}, tc.key); err == nil {
			t.Errorf("%s: no error", name)
		}
		if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
			t.Errorf("%s: files are left: %v", name, entries)
		}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), full, bytes.NewReader(backup.Bytes()), RestoreOptions{}, key); sekisho.CodeOf(
		err,
	) != sekisho.CodeConflict {
		t.Errorf("into a directory that is not empty: %v", err)
	}
	if _, err := Backup(t.Context(), full, &bytes.Buffer{}, BackupOptions{}, key.Recipient()); err == nil ||
		!strings.Contains(err.Error(), full) {
		t.Errorf("backup of something else: %v", err)
	}
}

// TestBackupsAcrossKeyRotation: a backup is restored with the master key of
// its time, stored in the backup or apart from it, whatever was rotated since.
func TestBackupsAcrossKeyRotation(t *testing.T) {
	t.Parallel()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := used(t)
	master := func() []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(masterKey)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	backup := func(o BackupOptions) []byte {
		t.Helper()
		var b bytes.Buffer
		if _, err := Backup(t.Context(), dir, &b, o, key.Recipient()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	restore := func(b, master []byte) error {
		to := filepath.Join(t.TempDir(), "restored")
		_, err := Restore(t.Context(), to, bytes.NewReader(b), RestoreOptions{MasterKey: master}, key)
		if err != nil {
			if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
				t.Errorf("files are left: %v", entries)
			}
			return err
		}
		s, err := New(t.Context(), killConfig(to))
		if err != nil {
			return err
		}
		return s.Close()
	}
	apart := BackupOptions{WithoutMasterKey: true}
	firstMaster, first, firstApart := master(), backup(BackupOptions{}), backup(apart)
	if _, err := RotateKeys(t.Context(), State{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	secondMaster, second, secondApart := master(), backup(BackupOptions{}), backup(apart)
	if bytes.Equal(firstMaster, secondMaster) {
		t.Fatal("the rotation kept the master key")
	}
	for name, tc := range map[string]struct {
		backup, master []byte
		refused        bool
	}{
		"together, before the rotation":           {first, nil, false},
		"together, after it":                      {second, nil, false},
		"apart, before the rotation":              {firstApart, firstMaster, false},
		"apart, after it":                         {secondApart, secondMaster, false},
		"apart, before it, with the newer key":    {firstApart, secondMaster, true},
		"apart, after it, with the older key":     {secondApart, firstMaster, true},
		"apart, without a key":                    {secondApart, nil, true},
		"apart, with another file":                {secondApart, []byte("hello"), true},
		"together, with a key that is not needed": {second, secondMaster, true},
	} {
		if err := restore(tc.backup, tc.master); (err != nil) != tc.refused {
			t.Errorf("%s: %v, want a refusal: %v", name, err, tc.refused)
		}
	}
}

// TestHostileBackupsAreRefused: everyone who has the public key can create a
// backup. Restoring one writes only regular files, only inside the directory,
// and no more than fits.
func TestHostileBackupsAreRefused(t *testing.T) {
	t.Parallel()
	key, err := age.GenerateX25519Identity()
	must(t, err)
	const limit = 1 << 20
	file := func(name string, size int64) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: size}
	}
	for name, entries := range map[string][]*tar.Header{
		"a path outside the directory": {file("recordings/../../escaped", 1)},
		"an absolute path":             {file("/tmp/escaped", 1)},
		"an unknown name":              {file("sekishod.lock", 1)},
		"a hidden file":                {file(".bashrc", 1)},
		"a symbolic link": {{Name: "recordings/link", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
			file("recordings/link/escaped", 1)},
		"a hard link":                       {{Name: "recordings/link", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"a device":                          {{Name: "recordings/dev", Typeflag: tar.TypeBlock, Devmajor: 8}},
		"a pipe":                            {{Name: "recordings/pipe", Typeflag: tar.TypeFifo}},
		"a folder":                          {{Name: "recordings/", Typeflag: tar.TypeDir, Mode: 0o777}},
		"the same file twice":               {file("recordings/a", 1), file("recordings/a", 1)},
		"a file below a file":               {file("recordings/a", 1), file("recordings/a/b", 1)},
		"a file that is too large":          {file("objects/a", limit+1)},
		"files that are too large together": {file("objects/a", limit/2), file("objects/b", limit/2+1)},
		"a name that is too long":           {file("objects/"+strings.Repeat("x", 300), 1)},
		"a name with a null character":      {file("objects/a\x00b", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			enc, err := age.Encrypt(&b, key.Recipient())
			must(t, err)
			tw := tar.NewWriter(enc)
			head := []byte(`{"format":1}`)
			must(t, tw.WriteHeader(&tar.Header{Name: backupManifest, Mode: 0o600, Size: int64(len(head)),
				Format: tar.FormatPAX}))
			_, err = tw.Write(head)
			must(t, err)
			for _, h := range entries {
				h.Format = tar.FormatPAX
				if err := tw.WriteHeader(h); err != nil {
					t.Skipf("such an archive cannot be written: %v", err)
				}
				_, err = tw.Write(make([]byte, h.Size))
				must(t, err)
			}
			must(t, errors.Join(tw.Close(), enc.Close()))
			parent := t.TempDir()
			to := filepath.Join(parent, "restored")
			if _, err := Restore(t.Context(), to, &b, RestoreOptions{MaxBytes: limit}, key); err == nil {
				t.Error("a backup beyond the limits was restored")
			}
			left, err := os.ReadDir(to)
			must(t, err)
			beside, err := os.ReadDir(parent)
			must(t, err)
			if len(left) > 0 || len(beside) != 1 {
				t.Errorf("left behind: %v, %v", left, beside)
			}
		})
	}
	// A sparse file: few bytes in the archive, many on the disk.
	var b bytes.Buffer
	enc, err := age.Encrypt(&b, key.Recipient())
	must(t, err)
	raw, err := os.ReadFile(filepath.Join("testdata", "sparse.tar"))
	must(t, err)
	_, err = enc.Write(raw)
	must(t, errors.Join(err, enc.Close()))
	if _, err := Restore(t.Context(), filepath.Join(t.TempDir(), "restored"), &b, RestoreOptions{}, key); err == nil ||
		!strings.Contains(err.Error(), "does not fit") {
		t.Errorf("a sparse file larger than the limit: %v", err)
	}
}

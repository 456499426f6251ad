package server

import (
	"bytes"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// used creates the state of a server with a user.
func used(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s, err := New(t.Context(), killConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.bootstrap(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// foreign creates a database file by other statements.
func foreign(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStateThatIsIncompleteIsRefused(t *testing.T) {
	t.Parallel()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	database := func(dir string) string { return filepath.Join(dir, databaseFile) }
	for name, tc := range map[string]struct {
		lose func(t *testing.T, dir string)
		want string // of the error; empty for none
	}{
		"nothing is lost": {func(*testing.T, string) {}, ""},
		"the database is lost": {func(t *testing.T, dir string) { must(t, os.Remove(database(dir))) },
			"not a new installation"},
		"the database is empty": {func(t *testing.T, dir string) {
			must(t, os.Truncate(database(dir), 0))
		}, "not a new installation"},
		"the database has no tables": {func(t *testing.T, dir string) {
			must(t, os.Remove(database(dir)))
			foreign(t, database(dir), "CREATE TABLE t (a)", "DROP TABLE t")
		}, "not a new installation"},
		"the database belongs to another program": {func(t *testing.T, dir string) {
			must(t, os.Remove(database(dir)))
			foreign(t, database(dir), "CREATE TABLE t (a)")
		}, "not a database of Sekisho"},
		"the database is not a database": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(database(dir), bytes.Repeat([]byte("x"), 8192), 0o600))
		}, "not a database"},
		"the database is new, the recordings are old": {func(t *testing.T, dir string) {
			must(t, os.Remove(database(dir)))
			must(t, os.WriteFile(filepath.Join(dir, "recordings", "ledger.ndjson"), []byte("{}\n"), 0o600))
			keep := filepath.Join(t.TempDir(), "keep")
			for _, part := range []string{"keys", "recordings", "objects"} {
				must(t, os.MkdirAll(keep, 0o700))
				if err := os.Rename(filepath.Join(dir, part), filepath.Join(keep, part)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			s, err := New(t.Context(), killConfig(dir))
			must(t, err)
			must(t, s.Close())
			must(t, os.RemoveAll(filepath.Join(dir, "recordings")))
			must(t, os.Rename(filepath.Join(keep, "recordings"), filepath.Join(dir, "recordings")))
		}, "not a new installation"},
		"the keys are lost": {func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "keys"))) },
			"can be decrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := used(t)
			tc.lose(t, dir)
			before := listing(t, dir)
			s, err := New(t.Context(), killConfig(dir))
			if err == nil {
				must(t, s.Close())
			}
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && listing(t, dir) != before {
				t.Errorf("a refused start changed the files:\n%s\nbefore:\n%s", listing(t, dir), before)
			}
		})
	}
}

// listing lists the non-empty files of a folder.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !strings.HasSuffix(path, ".lock") && !strings.HasPrefix(path, databaseFile+"-") {
			names = append(names, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

func TestStateIsPrivate(t *testing.T) {
	t.Parallel()
	dir := used(t)
	if err := os.Chmod(filepath.Join(dir, databaseFile), 0o644); err != nil { // as earlier versions left it
		t.Fatal(err)
	}
	s, err := New(t.Context(), killConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.db.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range []string{databaseFile, databaseFile + "-wal", databaseFile + "-shm", firstAdministratorFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if seen++; info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode().Perm())
		}
	}
	if seen != 4 {
		t.Errorf("%d files", seen)
	}
}

func TestFirstAdministratorsCredentialsAreWrittenToAFile(t *testing.T) {
	t.Parallel()
	s, err := New(t.Context(), killConfig(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	if err := s.bootstrap(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.cfg.DataDir, firstAdministratorFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(string(b), "AWS_ACCESS_KEY_ID=")
	key, _, _ = strings.Cut(key, "\n")
	if _, err := s.Directory.Keys.Owner(t.Context(), key); err != nil {
		t.Errorf("the key in %q: %v", b, err)
	}
	if !strings.Contains(out.String(), path) || strings.Contains(out.String(), key) {
		t.Errorf("printed %q", out.String())
	}
	out.Reset()
	if err := s.bootstrap(t.Context(), &out); err != nil || out.Len() != 0 {
		t.Errorf("the second time: %v, %q", err, out.String())
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, b) {
		t.Errorf("the file has changed: %v", err)
	}
}

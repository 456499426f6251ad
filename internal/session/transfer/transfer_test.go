package transfer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/session/transfer"
)

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func write(t *testing.T, name string, text []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, mode); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1700000000, 123456789)
	if err := os.Chtimes(name, when, when); err != nil {
		t.Fatal(err)
	}
}

// transcript collects the reports of a copy.
type transcript struct {
	copied []transfer.Item
	notes  []string
}

func (x *transcript) options() transfer.Options {
	return transfer.Options{
		Copied: func(i transfer.Item) { x.copied = append(x.copied, i) },
		Note:   func(s string) { x.notes = append(x.notes, s) },
	}
}

// cp copies over a connection whose sender side may be wrapped.
func cp(
	t *testing.T,
	from, to string,
	wrap func(io.ReadWriter) io.ReadWriter,
) (sent, received transcript, sendErr, receiveErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		err := transfer.Receive(b, to, received.options())
		_ = b.Close()
		done <- err
	}()
	var conn io.ReadWriter = a
	if wrap != nil {
		conn = wrap(a)
	}
	sendErr = transfer.Send(conn, from, sent.options())
	_ = a.Close()
	return sent, received, sendErr, <-done
}

// tree describes the content of a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		all[rel] = fmt.Sprint(st.Mode(), st.ModTime().UnixNano())
		if st.Mode().IsRegular() {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(text)
			all[rel] += hex.EncodeToString(sum[:])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFolder(t *testing.T) {
	t.Parallel()
	src, dst := filepath.Join(t.TempDir(), "photos"), t.TempDir()
	write(t, filepath.Join(src, "a"), noise(300000), 0o640)
	write(t, filepath.Join(src, "empty"), nil, 0o600)
	write(t, filepath.Join(src, "deep", "er", "ünï cödé \n.txt"), []byte("x"), 0o755)
	write(t, filepath.Join(src, "closed", "b"), []byte("y"), 0o400)
	if err := os.Symlink("/etc/passwd", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(src, "closed"), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Chmod(filepath.Join(src, "closed"), 0o755)
		_ = os.Chmod(filepath.Join(dst, "photos", "closed"), 0o755)
	})
	sent, received, err, rerr := cp(t, src, dst, nil)
	if err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	want := tree(t, src)
	delete(want, "link")
	if d := cmp.Diff(want, tree(t, filepath.Join(dst, "photos"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(sent.copied) != 4 || len(received.copied) != 4 || len(sent.notes) != 1 || len(received.notes) != 1 {
		t.Errorf("sent %+v, received %+v", sent, received)
	}
	sum := sha256.Sum256(noise(300000))
	if got := received.copied[0]; got.Path != filepath.Join(dst, "photos", "a") || got.Size != 300000 ||
		got.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v", got)
	}
	// Existing files are not sent again.
	_, received, err, rerr = cp(t, src, dst, nil)
	if err != nil || rerr != nil || received.copied[0].Resumed != 300000 {
		t.Errorf("again: %+v, %v, %v", received.copied, err, rerr)
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, []byte("text"), 0o644)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old"), []byte("older and longer"), 0o600)
	for where, want := range map[string]string{
		dir:                        "src",
		dir + "/":                  "src",
		filepath.Join(dir, "new"):  "new",
		filepath.Join(dir, "old"):  "old",
		dir + "/none/":             "",
		filepath.Join(dir, "a/b"):  "",
		filepath.Join(dir, "old/"): "old",
	} {
		_, _, err, rerr := cp(t, src, where, nil)
		if (rerr == nil) != (want != "") || (err == nil) != (want != "") {
			t.Errorf("%s: %v, %v", where, err, rerr)
			continue
		}
		if want == "" {
			continue
		}
		if got, err := os.ReadFile(filepath.Join(dir, want)); err != nil || string(got) != "text" {
			t.Errorf("%s: %q, %v", where, got, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*part")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// breaks fails after some bytes were written.
type breaks struct {
	io.ReadWriter
	left int
}

func (b *breaks) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		_ = b.ReadWriter.(io.Closer).Close()
		return 0, io.ErrClosedPipe
	}
	return b.ReadWriter.Write(p)
}

func TestResume(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil  func(part string) error
		resume bool
	}{
		"as it was": {func(string) error { return nil }, true},
		"changed":   {func(part string) error { return os.WriteFile(part, bytes.Repeat([]byte("x"), 100000), 0o600) }, false},
		"too long":  {func(part string) error { return os.Truncate(part, 2000000) }, false},
		"linked":    {func(part string) error { return os.Link(part, part+"2") }, false},
		"a link": {func(part string) error {
			if err := os.Remove(part); err != nil {
				return err
			}
			victim := filepath.Join(filepath.Dir(part), "victim")
			if err := os.WriteFile(victim, noise(100000), 0o600); err != nil {
				return err
			}
			return os.Symlink(victim, part)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, dir := filepath.Join(t.TempDir(), "src"), t.TempDir()
			write(t, src, noise(1<<20), 0o644)
			if _, _, err, rerr := cp(t, src, dir,
				func(rw io.ReadWriter) io.ReadWriter { return &breaks{rw, 500000} }); err == nil ||
				rerr == nil {
				t.Fatalf("%v, %v", err, rerr)
			}
			if _, err := os.Stat(filepath.Join(dir, "src")); err == nil {
				t.Error("half a file is there under its name")
			}
			part := filepath.Join(dir, ".src.sekisho-part")
			if err := tc.spoil(part); err != nil {
				t.Fatal(err)
			}
			_, received, err, rerr := cp(t, src, dir, nil)
			if err != nil || rerr != nil {
				t.Fatalf("%v, %v", err, rerr)
			}
			if got := received.copied[0].Resumed; (got > 0) != tc.resume {
				t.Errorf("resumed at %d", got)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "src")); err != nil || !bytes.Equal(got, noise(1<<20)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if victim, err := os.ReadFile(filepath.Join(dir, "victim")); err == nil &&
				!bytes.Equal(victim, noise(100000)) {
				t.Error("a link was followed")
			}
		})
	}
}

// A folder copied to a new name can be resumed: the same command does not copy
// into the incomplete folder.
func TestResumeFolder(t *testing.T) {
	t.Parallel()
	src, dir := filepath.Join(t.TempDir(), "src"), t.TempDir()
	write(t, filepath.Join(src, "a"), noise(300000), 0o644)
	write(t, filepath.Join(src, "deep", "b"), noise(1<<20), 0o644)
	dst := filepath.Join(dir, "named")
	cut := func(left int) {
		t.Helper()
		if _, _, err, rerr := cp(t, src, dst,
			func(rw io.ReadWriter) io.ReadWriter { return &breaks{rw, left} }); err == nil ||
			rerr == nil {
			t.Fatalf("%v, %v", err, rerr)
		}
	}
	// The mark of a folder that was removed is ignored.
	if err := os.WriteFile(filepath.Join(dir, ".named.sekisho-part-folder"), []byte("else"), 0o600); err != nil {
		t.Fatal(err)
	}
	cut(400000)
	// Another folder is copied into it, not mixed with it.
	another := filepath.Join(t.TempDir(), "another")
	write(t, filepath.Join(another, "c"), []byte("c"), 0o644)
	if _, _, err, rerr := cp(t, another, dst, nil); err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	if _, err := os.Stat(filepath.Join(dst, "another", "c")); err != nil {
		t.Errorf("it was not copied into the folder: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dst, "another")); err != nil {
		t.Fatal(err)
	}
	cut(500000)
	_, received, err, rerr := cp(t, src, dst, nil)
	if err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	if d := cmp.Diff(tree(t, src), tree(t, dst)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, i := range received.copied {
		if i.Resumed == 0 {
			t.Errorf("sent from the start: %+v", i)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Once complete, it is an ordinary folder.
	if _, _, err, rerr := cp(t, src, dst, nil); err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	if d := cmp.Diff(tree(t, src), tree(t, filepath.Join(dst, "src"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// A mark that another user may have created is ignored.
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(src, "a"), filepath.Join(dir, ".other.sekisho-part-folder")); err != nil {
		t.Fatal(err)
	}
	if _, _, err, rerr := cp(t, src, other, nil); err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	if _, err := os.Stat(filepath.Join(other, "src", "a")); err != nil {
		t.Error(err)
	}
}

// manyFiles creates a folder of small files and one large file.
func manyFiles(t *testing.T, n int) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "many")
	for i := range n {
		name := filepath.Join(src, fmt.Sprintf("folder-%d", i%3), fmt.Sprintf("file-%04d", i))
		write(t, name, noise(i*7), []fs.FileMode{0o644, 0o600, 0o755}[i%3])
	}
	write(t, filepath.Join(src, "folder-1", "file-0001-large"), noise(3<<20), 0o640)
	return src
}

// reads counts the reads that returned data.
type reads struct {
	io.ReadWriter
	n *int
}

func (r reads) Read(b []byte) (int, error) {
	*r.n++
	return r.ReadWriter.Read(b)
}

// Small files do not wait for replies one by one.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	src, dst := manyFiles(t, 1200), t.TempDir()
	n := 0
	sent, received, err, rerr := cp(t, src, dst, func(rw io.ReadWriter) io.ReadWriter { return reads{rw, &n} })
	if err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	if d := cmp.Diff(tree(t, src), tree(t, filepath.Join(dst, "many"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(sent.copied) != 1201 || len(received.copied) != 1201 {
		t.Errorf("reported %d and %d files, want 1201", len(sent.copied), len(received.copied))
	}
	if n > 100 {
		t.Errorf("the sender read %d times for 1201 files", n)
	}
	// Only changed files are sent again.
	changed, gone := filepath.Join(
		dst,
		"many",
		"folder-1",
		"file-0601",
	), filepath.Join(
		dst,
		"many",
		"folder-2",
		"file-0602",
	)
	write(t, changed, noise(10), 0o600)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	_, received, err, rerr = cp(t, src, dst, nil)
	if err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	var again []string
	for _, i := range received.copied {
		if i.Resumed != i.Size {
			again = append(again, i.Path)
		}
	}
	if d := cmp.Diff([]string{changed, gone}, again); d != "" {
		t.Errorf("sent again (-want +got):\n%s", d)
	}
	if d := cmp.Diff(tree(t, src), tree(t, filepath.Join(dst, "many"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestResumeManyFiles(t *testing.T) {
	t.Parallel()
	src, dst := manyFiles(t, 1200), filepath.Join(t.TempDir(), "copy")
	for _, left := range []int{100_000, 2_000_000, 3_000_000} {
		if _, _, err, rerr := cp(t, src, dst,
			func(rw io.ReadWriter) io.ReadWriter { return &breaks{rw, left} }); err == nil ||
			rerr == nil {
			t.Fatalf("%v, %v", err, rerr)
		}
	}
	_, received, err, rerr := cp(t, src, dst, nil)
	if err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	if d := cmp.Diff(tree(t, src), tree(t, dst)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	resumed := 0
	for _, i := range received.copied {
		if i.Resumed > 0 {
			resumed++
		}
	}
	if resumed < 300 {
		t.Errorf("%d of %d files were resumed", resumed, len(received.copied))
	}
	if left, err := os.ReadDir(filepath.Dir(dst)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// withoutBatches hides from the sender that the receiver supports batches.
type withoutBatches struct{ io.ReadWriter }

func (w withoutBatches) Read(b []byte) (int, error) {
	n, err := w.ReadWriter.Read(b)
	copy(b, bytes.ReplaceAll(b[:n], []byte(`,"batch":512`), []byte("            ")))
	return n, err
}

// A receiver without support for batches gets the files one by one.
func TestReceiverWithoutBatches(t *testing.T) {
	t.Parallel()
	src, dst := manyFiles(t, 50), t.TempDir()
	var out bytes.Buffer
	_, _, err, rerr := cp(t, src, dst, func(rw io.ReadWriter) io.ReadWriter {
		return struct {
			io.Reader
			io.Writer
			io.Closer
		}{withoutBatches{rw}, io.MultiWriter(rw, &out), rw.(io.Closer)}
	})
	if err != nil || rerr != nil {
		t.Fatalf("%v, %v", err, rerr)
	}
	if d := cmp.Diff(tree(t, src), tree(t, filepath.Join(dst, "many"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for b := out.Bytes(); len(b) > 5; b = b[5+binary.BigEndian.Uint32(b[1:]):] {
		if b[0] == 'f' {
			t.Fatal("a batch was sent")
		}
	}
}

// The sender must not choose the name of a requested copy (the class of
// CVE-2019-6111), nor change the modes of existing files, nor grant more than the
// receiver's umask allows.
func TestReceiverInsistsOnNameAndMode(t *testing.T) {
	t.Parallel()
	empty := sha256.Sum256(nil)
	file := func(path string, mode fs.FileMode) []any {
		return []any{
			"e",
			object{"path": path, "mode": mode},
			"b",
			object{"offset": 0},
			"z",
			object{"sha256": hex.EncodeToString(empty[:])},
		}
	}
	receive := func(t *testing.T, where, name string, parts ...any) {
		t.Helper()
		conn := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(frames(append(parts, "q", "")...)), io.Discard}
		if err := transfer.Receive(conn, where, transfer.Options{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	modes := func(t *testing.T, dir string) map[string]fs.FileMode {
		t.Helper()
		all := map[string]fs.FileMode{}
		for name := range tree(t, dir) {
			st, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all[name] = st.Mode().Perm()
		}
		delete(all, ".")
		return all
	}
	probe := filepath.Join(t.TempDir(), "probe") // reveals the umask
	if err := os.WriteFile(probe, nil, 0o777); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(probe)
	if err != nil {
		t.Fatal(err)
	}
	mask := st.Mode().Perm()
	t.Run("new file", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		receive(t, dir, "notes", append([]any{"h", object{"version": 1, "name": ".bashrc"}}, file("", 0o4777)...)...)
		if d := cmp.Diff(map[string]fs.FileMode{"notes": 0o777 & mask}, modes(t, dir)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
	t.Run("existing file", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "notes"), []byte("mine"), 0o600)
		receive(t, dir, "notes", append([]any{"h", object{"version": 1, "name": "notes"}}, file("", 0o777)...)...)
		if d := cmp.Diff(map[string]fs.FileMode{"notes": 0o600}, modes(t, dir)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
	t.Run("existing folder", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "site", "key"), []byte("mine"), 0o600)
		if err := os.Chmod(filepath.Join(dir, "site"), 0o700); err != nil {
			t.Fatal(err)
		}
		parts := []any{"h", object{"version": 1, "name": ".ssh", "dir": true}, "e", object{"dir": true, "mode": 0o777}}
		parts = append(parts, file("key", 0o666)...)
		parts = append(parts, "e", object{"path": "new", "dir": true, "mode": 0o777})
		receive(t, dir, "site", append(parts, file("new/key", 0o666)...)...)
		want := map[string]fs.FileMode{
			"site":         0o700,
			"site/key":     0o600,
			"site/new":     0o777 & mask,
			"site/new/key": 0o666 & mask,
		}
		if d := cmp.Diff(want, modes(t, dir)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// frames encodes frames: its arguments are types and bodies in turn.
func frames(parts ...any) []byte {
	var b []byte
	for i := 0; i < len(parts); i += 2 {
		body, ok := parts[i+1].(string)
		if !ok {
			text, _ := json.Marshal(parts[i+1])
			body = string(text)
		}
		b = append(b, parts[i].(string)[0])
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
	}
	return b
}

type object = map[string]any

func TestHostileSender(t *testing.T) {
	t.Parallel()
	empty := sha256.Sum256(nil)
	end := object{"sha256": hex.EncodeToString(empty[:])}
	dirHello := object{"version": 1, "name": "d", "dir": true}
	top := object{"dir": true, "mode": 0o755}
	file := func(path string) []any {
		return []any{"e", object{"path": path, "mode": 0o644}, "b", object{"offset": 0}, "z", end}
	}
	batch := func(files ...object) []byte {
		if files == nil {
			files = []object{}
		}
		return frames("h", dirHello, "e", top, "f", files)
	}
	for name, b := range map[string][]byte{
		"name with folder": frames(append([]any{"h", object{"version": 1, "name": "../x"}}, file("")...)...),
		"name dots":        frames(append([]any{"h", object{"version": 1, "name": ".."}}, file("")...)...),
		"path above":       frames(append([]any{"h", dirHello, "e", top}, file("../../x")...)...),
		"absolute":         frames(append([]any{"h", dirHello, "e", top}, file("/x")...)...),
		"zero byte":        frames(append([]any{"h", dirHello, "e", top}, file("x\x00y")...)...),
		"through a link":   frames(append([]any{"h", dirHello, "e", top}, file("out/x")...)...),
		"over a link dir":  frames("h", dirHello, "e", top, "e", object{"path": "out", "dir": true, "mode": 0o777}),
		"other version":    frames("h", object{"version": 9, "name": "x"}),
		"longer than announced": frames("h", object{"version": 1, "name": "x"}, "e", object{"size": 1}, "b", object{}, "d",
			"abc"),
		"shorter than announced": frames("h", object{"version": 1, "name": "x"}, "e", object{"size": 1}, "b", object{}, "z",
			end),
		"wrong digest": frames("h", object{"version": 1, "name": "x"}, "e", object{"size": 1}, "b", object{}, "d",
			"a", "z", end),
		"negative size": frames("h", object{"version": 1, "name": "x"}, "e", object{"size": -1}),
		"another offset": frames("h", object{"version": 1, "name": "x"}, "e", object{"size": 5}, "b",
			object{"offset": 3}, "d", "ab"),
		"giant frame":           []byte("h\xff\xff\xff\xff"),
		"unexpected frame":      frames("d", "abc"),
		"batch, path above":     batch(object{"path": "../../x"}),
		"batch, through a link": batch(object{"path": "out/x"}),
		"batch, folder":         batch(object{"path": "x", "dir": true}),
		"batch, large file":     batch(object{"path": "x", "size": 1<<20 + 1}),
		"batch, no files":       batch(),
		"batch, too many files": batch(make([]object, 513)...),
		"batch, wrong digest": append(batch(object{"path": "x", "size": 1}),
			frames("b", object{}, "d", "a", "z", end)...),
		"batch, another offset": append(batch(object{"path": "x", "size": 5}),
			frames("b", object{"offset": 3}, "d", "ab")...),
		"folder twice": frames("h", dirHello, "e", top, "e", top, "q", ""),
		"error":        frames("x", object{"text": "I will not"}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			outside, inside := filepath.Join(dir, "outside"), filepath.Join(dir, "in", "side")
			for _, d := range []string{outside, filepath.Join(inside, "d")} {
				if err := os.MkdirAll(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(outside, filepath.Join(inside, "d", "out")); err != nil {
				t.Fatal(err)
			}
			before := tree(t, outside)
			conn := struct {
				io.Reader
				io.Writer
			}{bytes.NewReader(b), io.Discard}
			if err := transfer.Receive(conn, inside, transfer.Options{}); err == nil {
				t.Error("accepted")
			}
			if d := cmp.Diff(before, tree(t, outside)); d != "" {
				t.Errorf("files outside changed:\n%s", d)
			}
			for _, forbidden := range []string{filepath.Join(dir, "x"), filepath.Join(dir, "in", "x"),
				filepath.Join(inside, "x")} {
				if _, err := os.Lstat(forbidden); err == nil {
					t.Errorf("%s was created", forbidden)
				}
			}
		})
	}
}

func TestBothSidesReportTheError(t *testing.T) {
	t.Parallel()
	_, _, err, rerr := cp(t, filepath.Join(t.TempDir(), "none"), t.TempDir(), nil)
	if err == nil || rerr == nil || !strings.Contains(rerr.Error(), "no such file") {
		t.Errorf("%v, %v", err, rerr)
	}
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, noise(1<<20), 0o644)
	dst := t.TempDir()
	if err := os.Mkdir(filepath.Join(dst, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, _, err, rerr = cp(t, src, dst, nil)
	if err == nil || rerr == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("%v, %v", err, rerr)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(
		frames(
			"h",
			object{"version": 1, "name": "x"},
			"e",
			object{"size": 1, "mode": 0o644},
			"b",
			object{},
			"d",
			"a",
			"z",
			object{"sha256": "00"},
		),
	)
	f.Add(
		frames(
			"h",
			object{"version": 1, "name": "d", "dir": true},
			"e",
			object{"dir": true},
			"e",
			object{"path": "../x"},
		),
	)
	f.Add(
		frames(
			"h",
			object{"version": 1, "name": "d", "dir": true},
			"e",
			object{"dir": true},
			"f",
			[]object{{"path": "a", "size": 1}, {"path": "a/b"}},
			"b",
			object{},
			"d",
			"a",
			"z",
			object{"sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},
		),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		inside := filepath.Join(dir, "inside")
		if err := os.Mkdir(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		conn := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), io.Discard}
		_ = transfer.Receive(conn, inside, transfer.Options{})
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Fatalf("outside: %v, %v", left, err)
		}
	})
}

// TestSyncReachesTheReceiver: the sender's option to wait for the disk is part
// of the protocol.
func TestSyncReachesTheReceiver(t *testing.T) {
	t.Parallel()
	for _, want := range []bool{true, false} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "from", "a"), noise(10), 0o644)
		write(t, filepath.Join(dir, "from", "b"), noise(1000), 0o644)
		near, far := net.Pipe()
		sent := &bytes.Buffer{}
		received := make(chan error, 1)
		go func() { received <- transfer.Receive(far, filepath.Join(dir, "to"), transfer.Options{}) }()
		conn := struct {
			io.Reader
			io.Writer
		}{near, io.MultiWriter(near, sent)}
		if err := transfer.Send(conn, filepath.Join(dir, "from"), transfer.Options{Sync: want}); err != nil {
			t.Fatal(err)
		}
		if err := <-received; err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(sent.Bytes(), []byte(`"sync":true`)); got != want {
			t.Errorf("sync is announced: %t, want %t", got, want)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "to", "b")); err != nil || !bytes.Equal(got, noise(1000)) {
			t.Errorf("sync %t: %d bytes arrived, %v", want, len(got), err)
		}
	}
}

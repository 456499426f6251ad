package objects_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/storage/keyring"
	"sekisho/internal/storage/objects"
	"sekisho/internal/store/sqlstore"
)

// rig is a store that can be closed and opened again.
type rig struct {
	*objects.Store
	t    testing.TB
	dir  string
	db   *sqlstore.DB
	ring *keyring.Ring
	now  func() time.Time
}

// clock is a clock that tests advance.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) Add(d time.Duration) { c.now = c.now.Add(d) }

// openAt is open with a clock, which begins at noon.
func openAt(t *testing.T) (*rig, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	r := open(t)
	r.now = c.Now
	r.reopen()
	return r, c
}

func open(t testing.TB) *rig {
	t.Helper()
	root := t.TempDir()
	ring, err := keyring.Load(filepath.Join(root, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(root, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, dir: filepath.Join(root, "objects"), db: db, ring: ring}
	r.reopen()
	if _, err := r.CreateBucket(t.Context(), "bucket", nil); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) reopen() {
	r.t.Helper()
	var err error
	r.Store, err = objects.Open(r.t.Context(), objects.Config{Dir: r.dir, Index: r.db.Objects, Keys: r.ring,
		Log: slog.New(slog.DiscardHandler), Now: r.now})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) version(v objects.Versioning) {
	r.t.Helper()
	if err := r.UpdateBucket(r.t.Context(), "bucket",
		func(b *objects.Bucket) error { b.Versioning = v; return nil }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) put(key, content string) *objects.Version {
	r.t.Helper()
	v, err := r.Put(r.t.Context(), "bucket", key, objects.Facts{}, objects.Content{Body: strings.NewReader(content),
		Size: int64(len(content))}, objects.Condition{})
	if err != nil {
		r.t.Fatalf("put %q: %v", key, err)
	}
	return v
}

func (r *rig) get(key, id string) string {
	r.t.Helper()
	o, err := r.Get(r.t.Context(), "bucket", key, id)
	if err != nil {
		r.t.Fatalf("get %q: %v", key, err)
	}
	defer o.Close()
	var b bytes.Buffer
	if err := o.WriteTo(&b, 0, o.Size); err != nil {
		r.t.Fatalf("read %q: %v", key, err)
	}
	return b.String()
}

// files lists all files of the store, without directories.
func (r *rig) files() []string {
	r.t.Helper()
	var all []string
	if err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return all
}

func noise(n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{1})
	if _, err := src.Read(b); err != nil {
		panic(err)
	}
	return b
}

func TestVersionsOfAnObject(t *testing.T) {
	t.Parallel()
	r := open(t)
	r.version(objects.VersioningEnabled)
	first, second := r.put("log", "what was done"), r.put("log", "")
	if got := r.get("log", ""); got != "" {
		t.Errorf("now %q", got)
	}
	if got := r.get("log", first.ID); got != "what was done" {
		t.Errorf("before %q", got)
	}
	gone, err := r.Delete(t.Context(), "bucket", "log", "")
	if err != nil || !gone.DeleteMarker {
		t.Fatalf("%+v %v", gone, err)
	}
	if _, err := r.Get(t.Context(), "bucket", "log", ""); !errors.Is(err, objects.ErrNoKey) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := r.Get(t.Context(), "bucket", "log", gone.VersionID); !errors.Is(err, objects.ErrDeleteMarker) {
		t.Errorf("the marker: %v", err)
	}
	page, err := r.ListVersions(t.Context(), objects.Listing{Bucket: "bucket", Limit: 9})
	if err != nil || len(page.Entries) != 3 || page.Entries[0].ID != gone.VersionID ||
		page.Entries[1].ID != second.ID ||
		page.Entries[2].ID != first.ID {
		t.Fatalf("%+v %v", page, err)
	}
	// Without the marker, the object exists again.
	if _, err := r.Delete(t.Context(), "bucket", "log", gone.VersionID); err != nil {
		t.Fatal(err)
	}
	if v, err := r.Head(t.Context(), "bucket", "log", ""); err != nil || v.ID != second.ID {
		t.Errorf("%+v %v", v, err)
	}
}

func TestNothingIsInTheClear(t *testing.T) {
	t.Parallel()
	r := open(t)
	const secret = "the password is swordfish"
	r.put("k", strings.Repeat(secret, 10_000))
	for _, f := range r.files() {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("swordfish")) {
			t.Errorf("%s holds the content in the clear", f)
		}
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
	}
}

// TestHostileKeys: a key is never part of a path.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	r := open(t)
	keys := []string{
		"../../../../etc/passwd", "/etc/passwd", "..", ".", "/", "//", "a/../../b", "nul\x00byte", "new\nline",
		"\\..\\..\\x", "CON", "blobs/tmp",
		strings.Repeat("x", objects.MaxKey), strings.Repeat("../", 341), "日本語", "e\u0301", "\u00e9", "%2e%2e%2f",
		"'; DROP TABLE buckets; --", " ",
	}
	for _, k := range keys {
		r.put(k, "content of "+k)
	}
	for _, k := range keys {
		if got := r.get(k, ""); got != "content of "+k {
			t.Errorf("%q: %q", k, got)
		}
	}
	if n := len(r.files()); n != len(keys) {
		t.Errorf("%d files for %d objects", n, len(keys))
	}
	for _, k := range []string{"", "\xff\xfe", strings.Repeat("x", objects.MaxKey+1)} {
		if _, err := r.Put(t.Context(), "bucket", k, objects.Facts{}, objects.Content{Body: strings.NewReader("x"),
			Size: 1}, objects.Condition{}); err == nil {
			t.Errorf("key %.20q was taken", k)
		}
	}
	for _, b := range []string{"", "..", "../keys", "a/b", "UPPER", "ab", "192.168.0.1", "a..b", "-ab",
		strings.Repeat("a", 64), "xn--abc", "a_b"} {
		if _, err := r.CreateBucket(t.Context(), b, nil); !errors.Is(err, objects.ErrBucketName) {
			t.Errorf("bucket %q: %v", b, err)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	r := open(t)
	const chunk = 64 << 10
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 17} {
		content := noise(size)
		key := fmt.Sprint(size)
		r.put(key, string(content))
		o, err := r.Get(t.Context(), "bucket", key, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, size - 1} {
			for _, n := range []int{1, 2, chunk, size} {
				if at < 0 || at+n > size {
					continue
				}
				var b bytes.Buffer
				if err := o.WriteTo(&b, int64(at), int64(n)); err != nil || !bytes.Equal(b.Bytes(), content[at:at+n]) {
					t.Errorf("%d bytes at %d of %d: %v", n, at, size, err)
				}
			}
		}
		if err := o.WriteTo(io.Discard, 1, int64(size)); size > 0 && err == nil {
			t.Errorf("read beyond the end of %d bytes", size)
		}
		o.Close()
	}
}

// TestAlteredFiles: an attacker who can write to the folder cannot forge an object's
// content.
func TestAlteredFiles(t *testing.T) {
	t.Parallel()
	for name, alter := range map[string]func(b []byte) []byte{
		"a bit":              func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"the last byte":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"the key":            func(b []byte) []byte { b[20] ^= 1; return b },
		"the end cut off":    func(b []byte) []byte { return b[:len(b)-100] },
		"the last chunk off": func(b []byte) []byte { return b[:len(b)-(10+16)] },
		"chunks swapped": func(b []byte) []byte {
			h := len(b) - 2*(64<<10+16) - (10 + 16)
			c := 64<<10 + 16
			return append(append(append(bytes.Clone(b[:h]), b[h+c:h+2*c]...), b[h:h+c]...), b[h+2*c:]...)
		},
		"emptied":               func([]byte) []byte { return nil },
		"another kind of file":  func([]byte) []byte { return []byte("#!/bin/sh\n") },
		"a length without keys": func(b []byte) []byte { b[4], b[5] = 255, 255; return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t)
			r.put("k", string(noise(2*(64<<10)+10)))
			file := r.files()[0]
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, alter(b), 0o600); err != nil {
				t.Fatal(err)
			}
			o, err := r.Get(t.Context(), "bucket", "k", "")
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			var got bytes.Buffer
			if err := o.WriteTo(&got, 0, o.Size); err == nil {
				t.Error("altered content was read")
			}
			if !bytes.HasPrefix(noise(2*(64<<10)+10), got.Bytes()) {
				t.Error("content came out that was never put in")
			}
		})
	}
	t.Run("another object's file", func(t *testing.T) {
		t.Parallel()
		r := open(t)
		r.put("a", "content a")
		a := r.files()[0]
		r.put("b", "content b")
		files := r.files()
		b := files[0]
		if b == a {
			b = files[1]
		}
		text, err := os.ReadFile(b)
		if err == nil {
			err = os.WriteFile(a, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		o, err := r.Get(t.Context(), "bucket", "a", "")
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if err := o.WriteTo(io.Discard, 0, o.Size); err == nil {
			t.Error("a file passed for another")
		}
	})
}

func TestRefusedUploads(t *testing.T) {
	t.Parallel()
	r := open(t)
	was := r.put("k", "as it was")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	wrong := func() (string, error) { return "AAAAAA==", nil }
	for name, c := range map[string]struct {
		ctx     context.Context
		content objects.Content
		cond    objects.Condition
		want    error
	}{
		"too short": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: 4}, objects.Condition{},
			objects.ErrIncomplete},
		"too long": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: 2}, objects.Condition{},
			objects.ErrIncomplete},
		"cut off": {t.Context(), objects.Content{Body: iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(
			"abc"))), Size: 3}, objects.Condition{}, iotest.ErrTimeout},
		"another MD5": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: 3, MD5: make([]byte, 16)},
			objects.Condition{}, objects.ErrDigest},
		"another CRC": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: 3, Algorithm: objects.CRC32,
			Want: wrong}, objects.Condition{}, objects.ErrChecksum},
		"no algorithm": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: 3, Algorithm: "CRC8"},
			objects.Condition{}, objects.ErrAlgorithm},
		"too large": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: objects.MaxObject + 1},
			objects.Condition{}, objects.ErrTooLarge},
		"a sender that disconnects": {gone, objects.Content{Body: strings.NewReader("abc"), Size: 3}, objects.Condition{},
			context.Canceled},
		"exists": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: 3},
			objects.Condition{Absent: true}, objects.ErrPrecondition},
		"another ETag": {t.Context(), objects.Content{Body: strings.NewReader("abc"), Size: 3},
			objects.Condition{ETag: "other"}, objects.ErrPrecondition},
	} {
		_, err := r.Put(c.ctx, "bucket", "k", objects.Facts{}, c.content, c.cond)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Put(t.Context(), "no-bucket", "k", objects.Facts{}, objects.Content{Body: strings.NewReader(""),
		Size: 0}, objects.Condition{}); !errors.Is(err, objects.ErrNoBucket) {
		t.Errorf("no bucket: %v", err)
	}
	if v, err := r.Head(t.Context(), "bucket", "k", ""); err != nil || v.ETag != was.ETag {
		t.Errorf("%+v %v", v, err)
	}
	if files := r.files(); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestCrashRecovery(t *testing.T) {
	t.Parallel()
	r := open(t)
	kept := r.put("k", "kept")
	id := strings.Repeat("ab", 16)
	for _, path := range []string{"tmp/" + id, "blobs/ab/" + id, "blobs/zz/notours", "blobs/README"} {
		full := filepath.Join(r.dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A blob that was marked dead, and whose file was not yet removed.
	_, dead, err := r.db.Objects.DeleteVersion(t.Context(), "bucket", r.put("doomed", "x").Key, "null")
	if err != nil || len(dead) != 1 {
		t.Fatal(dead, err)
	}
	r.reopen()
	files := r.files()
	if len(files) != 3 {
		t.Errorf("after the start: %v", files)
	}
	if got := r.get("k", kept.ID); got != "kept" {
		t.Errorf("%q", got)
	}
	if left, err := r.db.Objects.DeadBlobs(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
}

// TestReadersOutliveReplacedObjects: active readers can read a replaced or deleted object to its
// end.
func TestReadersOutliveReplacedObjects(t *testing.T) {
	t.Parallel()
	r := open(t)
	content := string(noise(200_000))
	r.put("k", content)
	o, err := r.Get(t.Context(), "bucket", "k", "")
	if err != nil {
		t.Fatal(err)
	}
	body := o.Reader(0, o.Size)
	head := make([]byte, 10)
	if _, err := io.ReadFull(body, head); err != nil {
		t.Fatal(err)
	}
	r.put("k", "new")
	if _, err := r.Delete(t.Context(), "bucket", "k", ""); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(body)
	if err != nil || string(head)+string(rest) != content {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	if n := len(r.files()); n != 1 {
		t.Errorf("%d files while it is read", n)
	}
	o.Close()
	if n := len(r.files()); n != 0 {
		t.Errorf("%d files afterwards", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	r := open(t)
	r.version(objects.VersioningEnabled)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 10 {
				key := fmt.Sprint("k", j%3)
				content := strings.Repeat(fmt.Sprint(i, j, " "), 1000)
				v, err := r.Put(
					t.Context(),
					"bucket",
					key,
					objects.Facts{},
					objects.Content{Body: strings.NewReader(content),
						Size: -1},
					objects.Condition{},
				)
				if err != nil {
					t.Error(err)
					return
				}
				o, err := r.Get(t.Context(), "bucket", key, v.ID)
				if err != nil {
					t.Error(err)
					return
				}
				var b bytes.Buffer
				if err := o.WriteTo(&b, 0, o.Size); err != nil || b.String() != content {
					t.Errorf("%v", err)
				}
				o.Close()
				if j%2 == 0 {
					if _, err := r.Delete(t.Context(), "bucket", key, v.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	page, err := r.ListVersions(t.Context(), objects.Listing{Bucket: "bucket", Limit: 1000})
	if err != nil || len(page.Entries) != 20 || len(r.files()) != 20 {
		t.Errorf("%d versions, %d files, %v", len(page.Entries), len(r.files()), err)
	}
}

// TestListings compares the listing for every page size with a loop over all keys.
func TestListings(t *testing.T) {
	t.Parallel()
	r := open(t)
	keys := []string{"a", "a/1", "a/2", "a/b/1", "a/b/2", "a\xf4\x8f\xbf\xbf", "b", "b/", "b//x", "c/1", "c/2",
		"d\u00ff", "z/z/z"}
	for _, k := range keys {
		r.put(k, "")
	}
	for _, prefix := range []string{"", "a", "a/", "a/b/", "b/", "nope", "z/z/z"} {
		for _, delimiter := range []string{"", "/", "b", "//"} {
			var want []string
			for _, k := range keys {
				rest, ok := strings.CutPrefix(k, prefix)
				if !ok {
					continue
				}
				entry := k
				if before, _, found := strings.Cut(rest, delimiter); delimiter != "" && found {
					entry = prefix + before + delimiter + "…"
				}
				if len(want) == 0 || want[len(want)-1] != entry {
					want = append(want, entry)
				}
			}
			for _, limit := range []int{1, 2, 3, 100} {
				var got []string
				l := objects.Listing{Bucket: "bucket", Prefix: prefix, Delimiter: delimiter, Limit: limit}
				for range len(keys) + 1 {
					page, err := r.ListCurrent(t.Context(), l)
					if err != nil {
						t.Fatal(err)
					}
					if n := len(page.Entries) + len(page.Prefixes); n > limit || n == 0 && page.Truncated {
						t.Fatalf("a page of %d for a limit of %d", n, limit)
					}
					i, j := 0, 0
					for i < len(page.Entries) || j < len(page.Prefixes) {
						if j == len(page.Prefixes) || i < len(page.Entries) && page.Entries[i].Key < page.Prefixes[j] {
							got = append(got, page.Entries[i].Key)
							i++
						} else {
							got = append(got, page.Prefixes[j]+"…")
							j++
						}
					}
					if !page.Truncated {
						break
					}
					l.After, l.Place = page.NextKey, page.NextPlace
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("prefix %q delimiter %q limit %d: %s", prefix, delimiter, limit, d)
				}
			}
		}
	}
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	r := open(t)
	content := noise(objects.MinPart*2 + 12_345)
	pieces := [][]byte{content[:objects.MinPart], content[objects.MinPart : 2*objects.MinPart],
		content[2*objects.MinPart:]}
	for _, c := range []struct{ algorithm, kind string }{
		{objects.CRC64NVME, objects.FullObject}, {objects.CRC32, objects.FullObject}, {objects.CRC32C, objects.FullObject},
		{objects.SHA256, objects.Composite},
	} {
		u, err := r.StartUpload(t.Context(), "bucket", "k", "arn:x",
			objects.Facts{Checksum: objects.Checksum{Algorithm: c.algorithm, Type: c.kind}})
		if err != nil {
			t.Fatal(err)
		}
		var chosen []objects.Chosen
		for i, p := range pieces {
			part, err := r.PutPart(
				t.Context(),
				u,
				i*10+1,
				objects.Content{Body: bytes.NewReader(p), Size: int64(len(p)),
					Algorithm: c.algorithm},
			)
			if err != nil {
				t.Fatal(err)
			}
			chosen = append(
				chosen,
				objects.Chosen{Number: part.Number, ETag: `"` + part.ETag + `"`, Checksum: part.Stated},
			)
		}
		other := chosen[0]
		other.Checksum.Value = chosen[1].Checksum.Value
		another := chosen[0]
		another.Checksum = objects.Checksum{Algorithm: objects.SHA512, Value: "AA=="}
		for name, x := range map[string]struct {
			chosen []objects.Chosen
			want   string
			size   int64
			err    error
		}{
			"wrong order":              {[]objects.Chosen{chosen[1], chosen[0]}, "", -1, objects.ErrPartOrder},
			"part twice":               {[]objects.Chosen{chosen[0], chosen[0]}, "", -1, objects.ErrPartOrder},
			"wrong ETag":               {[]objects.Chosen{{Number: 1, ETag: "00"}}, "", -1, objects.ErrPart},
			"missing part":             {[]objects.Chosen{{Number: 2, ETag: chosen[0].ETag}}, "", -1, objects.ErrPart},
			"wrong part checksum":      {[]objects.Chosen{other}, "", -1, objects.ErrPart},
			"part checksum of another": {[]objects.Chosen{another}, "", -1, objects.ErrChecksum},
			"no parts":                 {nil, "", -1, objects.ErrPart},
			"wrong object checksum":    {chosen, "AAAA", -1, objects.ErrChecksum},
			"wrong object size":        {chosen, "", 5, objects.ErrSize},
		} {
			if _, err := r.CompleteUpload(t.Context(), u, objects.Completion{Parts: x.chosen, Checksum: x.want,
				Size: x.size}); !errors.Is(err, x.err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		v, err := r.CompleteUpload(t.Context(), u, objects.Completion{Parts: chosen, Size: int64(len(content))})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.get("k", ""); got != string(content) || !strings.HasSuffix(v.ETag, "-3") {
			t.Errorf("%d bytes, ETag %s", len(got), v.ETag)
		}
		off, n, sum, ok := v.Part(3)
		if (sum.Value != "") != (c.kind == objects.Composite) ||
			len(v.Parts()) != map[string]int{objects.Composite: 3}[c.kind] {
			t.Errorf("%s: part 3 has the checksum %+v, %d parts are described", c.algorithm, sum, len(v.Parts()))
		}
		if !ok || off != 2*objects.MinPart || n != 12_345 {
			t.Errorf("part 3 is %d bytes at %d, %v", n, off, ok)
		}
		// The checksum of the object equals that of a single upload.
		want := ""
		if c.kind == objects.FullObject {
			h := objects.NewHash(c.algorithm)
			h.Write(content)
			want = base64.StdEncoding.EncodeToString(h.Sum(nil))
		} else {
			h := sha256.New()
			for _, p := range pieces {
				sum := sha256.Sum256(p)
				h.Write(sum[:])
			}
			want = base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-3"
		}
		if got := v.Facts.Checksum.Value; got != want {
			t.Errorf("%s: %s, want %s", c.algorithm, got, want)
		}
	}
	if n := len(r.files()); n != 3 {
		t.Errorf("%d files for one object of three parts", n)
	}
	u, err := r.StartUpload(t.Context(), "bucket", "k", "arn:x", objects.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	var chosen []objects.Chosen
	for i := range 2 {
		part, err := r.PutPart(t.Context(), u, i+1, objects.Content{Body: strings.NewReader("small"), Size: 5})
		if err != nil {
			t.Fatal(err)
		}
		chosen = append(chosen, objects.Chosen{Number: part.Number, ETag: part.ETag})
	}
	if _, err := r.CompleteUpload(t.Context(), u, objects.Completion{Parts: chosen, Size: -1}); !errors.Is(err,
		objects.ErrPartSize) {
		t.Errorf("small parts: %v", err)
	}
	if err := r.AbortUpload(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if n := len(r.files()); n != 3 {
		t.Errorf("%d files after the abort", n)
	}
	for _, c := range []objects.Checksum{{Algorithm: objects.SHA1, Type: objects.FullObject},
		{Algorithm: objects.CRC64NVME, Type: objects.Composite}} {
		if _, err := r.StartUpload(t.Context(), "bucket", "k", "arn:x", objects.Facts{Checksum: c}); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// TestMultipartWithoutAlgorithm uploads parts with arbitrary checksums, as SDKs do when the
// upload was created without one: the object gets a CRC64NVME.
func TestMultipartWithoutAlgorithm(t *testing.T) {
	t.Parallel()
	r := open(t)
	u, err := r.StartUpload(t.Context(), "bucket", "k", "arn:x", objects.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	content := noise(objects.MinPart + 5)
	var chosen []objects.Chosen
	for i, p := range [][]byte{content[:objects.MinPart], content[objects.MinPart:]} {
		algorithm := []string{objects.CRC32, objects.SHA256}[i]
		h := objects.NewHash(algorithm)
		h.Write(p)
		want := base64.StdEncoding.EncodeToString(h.Sum(nil))
		c := objects.Content{Body: bytes.NewReader(p), Size: int64(len(p)), Algorithm: algorithm, Want: func() (string,
			error) {
			return want, nil
		}}
		part, err := r.PutPart(t.Context(), u, i+1, c)
		if err != nil {
			t.Fatal(err)
		}
		if part.Stated != (objects.Checksum{Algorithm: algorithm, Value: want}) {
			t.Errorf("part %d has the checksum %+v", i+1, part.Stated)
		}
		c.Body, c.Want = bytes.NewReader(p), func() (string, error) { return "AAAAAA==", nil }
		if _, err := r.PutPart(t.Context(), u, 3, c); !errors.Is(err, objects.ErrChecksum) {
			t.Errorf("a part with a wrong %s: %v", algorithm, err)
		}
		chosen = append(chosen, objects.Chosen{Number: i + 1, ETag: part.ETag, Checksum: part.Stated})
	}
	listed, err := r.Parts(t.Context(), u, 0, 10)
	if err != nil || len(listed) != 2 || listed[0].Stated != chosen[0].Checksum {
		t.Errorf("listed: %+v, %v", listed, err)
	}
	v, err := r.CompleteUpload(t.Context(), u, objects.Completion{Parts: chosen, Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	h := objects.NewHash(objects.CRC64NVME)
	h.Write(content)
	want := objects.Checksum{Algorithm: objects.CRC64NVME, Type: objects.FullObject,
		Value: base64.StdEncoding.EncodeToString(h.Sum(nil))}
	if v.Facts.Checksum != want {
		t.Errorf("the object has the checksum %+v, want %+v", v.Facts.Checksum, want)
	}
}

// TestPartsOfCompositeUploadsNeedChecksums: a part without a checksum is rejected.
func TestPartsOfCompositeUploadsNeedChecksums(t *testing.T) {
	t.Parallel()
	r := open(t)
	for _, kind := range []string{objects.Composite, objects.FullObject} {
		u, err := r.StartUpload(t.Context(), "bucket", "k", "arn:x",
			objects.Facts{Checksum: objects.Checksum{Algorithm: objects.CRC32, Type: kind}})
		if err != nil {
			t.Fatal(err)
		}
		put := func(algorithm string) (*objects.Part, error) {
			return r.PutPart(
				t.Context(),
				u,
				1,
				objects.Content{Body: strings.NewReader("x"), Size: 1, Algorithm: algorithm},
			)
		}
		if _, err := put(objects.SHA1); !errors.Is(err, objects.ErrAlgorithm) {
			t.Errorf("%s: a part with SHA1: %v", kind, err)
		}
		if _, err := put(""); errors.Is(err, objects.ErrAlgorithm) != (kind == objects.Composite) {
			t.Errorf("%s: a part without a checksum: %v", kind, err)
		}
		p, err := put(objects.CRC32)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.CompleteUpload(t.Context(), u, objects.Completion{Parts: []objects.Chosen{{Number: 1, ETag: p.ETag}},
			Size: -1})
		if errors.Is(err, objects.ErrAlgorithm) != (kind == objects.Composite) {
			t.Errorf("%s: completed without the part's checksum: %v", kind, err)
		}
	}
}

// TestChecksums compares the algorithms with known results for "123456789".
func TestChecksums(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[string]string{
		objects.CRC32: "y/Q5Jg==", objects.CRC32C: "4waSgw==", objects.CRC64NVME: "rosUhgp5mIg=",
		objects.SHA1: "98O8HYCOBHMq32eZZczDTKeuNEE=", objects.MD5: "JfnnlDI7RTiF9RgfG2JNCw==",
		objects.XXHASH64: "jLhB20DmroM=",
	} {
		h := objects.NewHash(algorithm)
		h.Write([]byte("123456789"))
		if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%s: %s, want %s", algorithm, got, want)
		}
	}
}

// countingIndex counts the rows that a listing reads.
type countingIndex struct {
	objects.Index
	rows int
}

func (c *countingIndex) Current(ctx context.Context, r objects.Range) ([]*objects.Version, error) {
	all, err := c.Index.Current(ctx, r)
	c.rows += len(all)
	return all, err
}

func TestFoldedKeysAreNotRead(t *testing.T) {
	t.Parallel()
	r := open(t)
	const folders, each = 12, 200
	v := r.put("folder-00/000", "")
	for i := range folders {
		for j := range each {
			one := *v
			one.Key, one.Pieces = fmt.Sprintf("folder-%02d/%03d", i, j), nil
			if _, err := r.db.Objects.PutVersion(t.Context(), &one, objects.Condition{}, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	index := &countingIndex{Index: r.db.Objects}
	store, err := objects.Open(t.Context(), objects.Config{
		Dir: t.TempDir(), Index: index, Keys: r.ring, Log: slog.New(slog.DiscardHandler), Now: r.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := store.ListCurrent(t.Context(), objects.Listing{Bucket: "bucket", Delimiter: "/", Limit: 1000})
	if err != nil || len(page.Prefixes) != folders || page.Truncated {
		t.Fatalf("%+v, %v", page, err)
	}
	if most := folders * 40; index.rows > most {
		t.Errorf("%d rows were read for %d folders, want at most %d", index.rows, folders, most)
	}
	index.rows = 0
	listing := objects.Listing{Bucket: "bucket", Prefix: "folder-", Delimiter: "?", Limit: 1000}
	page, err = store.ListCurrent(t.Context(), listing)
	if err != nil || len(page.Entries) != 1000 || !page.Truncated || page.NextKey != "folder-04/199" {
		t.Fatalf("%d entries up to %s, %v", len(page.Entries), page.NextKey, err)
	}
	if index.rows > 1001 {
		t.Errorf("%d rows were read for a page of 1000", index.rows)
	}
}

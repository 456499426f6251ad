// Package recstoretest tests implementations of recstore.Store and injects faults into them.
package recstoretest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"sekisho/internal/session/record/recstore"
)

// Large is the size of an object that an implementation might upload in several parts.
const Large = 11<<20 + 77

// Run runs the conformance suite. open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) recstore.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s recstore.Store)
	}{
		{"a missing object is reported as such", testMissing},
		{"an object has the bytes that were put", testPut},
		{"an object without bytes is an object", testEmpty},
		{"a large object is whole", testLarge},
		{"put replaces an object", testReplace},
		{"a reader of a replaced object notices", testReplacedWhileRead},
		{"remove removes only what is named", testRemove},
		{"list has every object in order", testList},
		{"list ends when the caller stops", testListStop},
		{"names that leave the store are refused", testNames},
		{"an ended context ends every call", testContext},
		{"concurrent puts of one object leave one whole", testConcurrentPuts},
		{"a reader reads at any offset", testReader},
		{"a reader refuses to read beyond the end", testReaderEnd},
		{"parts grow with the file", testParts},
		{"parts continue after a restart", testPartsContinue},
		{"parts after a gap do not count", testPartsGap},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Bytes returns n bytes that differ with the seed.
func Bytes(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func put(t *testing.T, s recstore.Store, name string, b []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s recstore.Store, name string) []byte {
	t.Helper()
	b, err := recstore.Small(t.Context(), s, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(t *testing.T, s recstore.Store, prefix string) []string {
	t.Helper()
	var all []string
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Name)
	}
	return all
}

func testMissing(t *testing.T, s recstore.Store) {
	put(t, s, "2026/11/a/seal.json.other", []byte("x"))
	for _, name := range []string{"2026/11/a/seal.json", "2026", "2026/11/a"} {
		if _, err := s.Stat(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %s: %v", name, err)
		}
		err := s.ReadAt(t.Context(), recstore.Info{Name: name, Size: 1}, make([]byte, 1), 0)
		if err == nil {
			t.Errorf("read %s succeeded", name)
		}
		if err := s.Remove(t.Context(), name+"/none"); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
}

func testPut(t *testing.T, s recstore.Store) {
	want := Bytes(100_000, 1)
	put(t, s, "2026/11/alice-1/session.rec", want)
	info, err := s.Stat(t.Context(), "2026/11/alice-1/session.rec")
	if err != nil || info.Name != "2026/11/alice-1/session.rec" || info.Size != int64(len(want)) || info.Version == "" {
		t.Fatalf("%+v %v", info, err)
	}
	if got := get(t, s, "2026/11/alice-1/session.rec"); !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
	for _, c := range []struct{ off, n int64 }{{0, 1}, {99_999, 1}, {500, 70_000}} {
		p := make([]byte, c.n)
		if err := s.ReadAt(t.Context(), info, p, c.off); err != nil || !bytes.Equal(p, want[c.off:c.off+c.n]) {
			t.Errorf("%d bytes at %d: %v", c.n, c.off, err)
		}
	}
	if same, err := recstore.Same(t.Context(), s, info.Name, bytes.NewReader(want), info.Size); err != nil || !same {
		t.Errorf("same: %v %v", same, err)
	}
	want[77]++
	if same, err := recstore.Same(t.Context(), s, info.Name, bytes.NewReader(want), info.Size); err != nil || same {
		t.Errorf("same as other bytes: %v %v", same, err)
	}
}

func testEmpty(t *testing.T, s recstore.Store) {
	put(t, s, "empty", nil)
	if info, err := s.Stat(t.Context(), "empty"); err != nil || info.Size != 0 {
		t.Fatalf("%+v %v", info, err)
	}
	if got := get(t, s, "empty"); len(got) != 0 {
		t.Errorf("%d bytes", len(got))
	}
}

func testLarge(t *testing.T, s recstore.Store) {
	want := Bytes(Large, 2)
	if err := recstore.Place(t.Context(), s, "dir/large", bytes.NewReader(want), Large); err != nil {
		t.Fatal(err)
	}
	if all := names(t, s, ""); !slices.Equal(all, []string{"dir/large"}) {
		t.Errorf("objects %q", all)
	}
	// Repeat the call, as after a lost response.
	if err := recstore.Place(t.Context(), s, "dir/large", bytes.NewReader(want), Large); err != nil {
		t.Error(err)
	}
}

func testReplace(t *testing.T, s recstore.Store) {
	put(t, s, "x", []byte("first, and longer"))
	before, err := s.Stat(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "x", []byte("second"))
	after, err := s.Stat(t.Context(), "x")
	if err != nil || after.Version == before.Version || after.Size != 6 {
		t.Errorf("%+v, %+v %v", before, after, err)
	}
	if got := get(t, s, "x"); string(got) != "second" {
		t.Errorf("%q", got)
	}
}

func testReplacedWhileRead(t *testing.T, s recstore.Store) {
	put(t, s, "x", []byte("first"))
	r, err := recstore.Open(t.Context(), s, "x")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "x", []byte("later"))
	if _, err := r.ReadAt(make([]byte, 5), 0); !errors.Is(err, recstore.ErrChanged) {
		t.Errorf("got %v", err)
	}
}

func testRemove(t *testing.T, s recstore.Store) {
	for _, name := range []string{"a/b", "a/bc", "a/b-d", "ab"} {
		put(t, s, name, []byte(name))
	}
	for range 2 {
		if err := s.Remove(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Stat(t.Context(), "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
	if all := names(t, s, ""); !slices.Equal(all, []string{"a/b-d", "a/bc", "ab"}) {
		t.Errorf("left: %q", all)
	}
}

func testList(t *testing.T, s recstore.Store) {
	want := []string{"2025/12/z/f", "2026/11-a/f", "2026/11/a-b/f", "2026/11/a/f", "2026/11/a/g", "2026/11/ab/f", "ledger"}
	for i, name := range slices.Backward(want) {
		put(t, s, name, Bytes(i, 3))
	}
	sorted := slices.Clone(want)
	slices.Sort(sorted)
	i := 0
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if i == len(sorted) || info.Name != sorted[i] || info.Size != int64(slices.Index(want, info.Name)) ||
			info.Version == "" {
			t.Fatalf("object %d is %+v", i, info)
		}
		i++
	}
	if i != len(sorted) {
		t.Errorf("%d objects of %d", i, len(sorted))
	}
	for prefix, n := range map[string]int{"2026/11/a/": 2, "2026/11/a": 4, "2026": 5, "2026/11/a/f": 1, "none": 0,
		"2027/": 0} {
		if got := names(t, s, prefix); len(got) != n {
			t.Errorf("%s: %q", prefix, got)
		}
	}
}

func testListStop(t *testing.T, s recstore.Store) {
	for _, name := range []string{"a", "b", "c"} {
		put(t, s, name, nil)
	}
	for info, err := range s.List(t.Context(), "") {
		if err != nil || info.Name != "a" {
			t.Fatalf("%+v %v", info, err)
		}
		break
	}
}

func testNames(t *testing.T, s recstore.Store) {
	for _, name := range []string{"", ".", "..", "../x", "a/../../x", "/x", "a//b", "a/", "a/.hidden", "."} {
		if err := s.Put(t.Context(), name, strings.NewReader("x"), 1); err == nil {
			t.Errorf("put %q succeeded", name)
		}
		if _, err := s.Stat(t.Context(), name); err == nil {
			t.Errorf("stat %q succeeded", name)
		}
		if err := s.Remove(t.Context(), name); err == nil {
			t.Errorf("remove %q succeeded", name)
		}
	}
}

func testContext(t *testing.T, s recstore.Store) {
	put(t, s, "x", []byte("x"))
	info, err := s.Stat(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "y", strings.NewReader("y"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Stat(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("stat: %v", err)
	}
	if err := s.ReadAt(ctx, info, make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if err := s.Remove(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("remove: %v", err)
	}
	var listed error
	for _, err := range s.List(ctx, "") {
		listed = err
	}
	if !errors.Is(listed, context.Canceled) {
		t.Errorf("list: %v", listed)
	}
	if got := names(t, s, ""); !slices.Equal(got, []string{"x"}) {
		t.Errorf("objects %q", got)
	}
}

func testConcurrentPuts(t *testing.T, s recstore.Store) {
	var all [8][]byte
	var wg sync.WaitGroup
	for i := range all {
		all[i] = bytes.Repeat([]byte{byte(i)}, 10_000+i)
		wg.Go(func() {
			if err := s.Put(t.Context(), "dir/x", bytes.NewReader(all[i]), int64(len(all[i]))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := get(t, s, "dir/x")
	if !slices.ContainsFunc(all[:], func(b []byte) bool { return bytes.Equal(b, got) }) {
		t.Errorf("%d bytes, of several writers", len(got))
	}
}

func testReader(t *testing.T, s recstore.Store) {
	want := Bytes(3<<20+5, 4)
	put(t, s, "x", want)
	r, err := recstore.Open(t.Context(), s, "x")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		off := random.IntN(len(want))
		p := make([]byte, random.IntN(min(len(want)-off, 600<<10)+1))
		if n, err := r.ReadAt(p, int64(off)); err != nil || n != len(p) || !bytes.Equal(p, want[off:off+len(p)]) {
			t.Fatalf("%d bytes at %d: %d %v", len(p), off, n, err)
		}
	}
}

func testReaderEnd(t *testing.T, s recstore.Store) {
	put(t, s, "x", []byte("12345"))
	r, err := recstore.Open(t.Context(), s, "x")
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	if n, err := r.ReadAt(p, 3); n != 2 || err == nil || string(p[:n]) != "45" {
		t.Errorf("across the end: %d %v", n, err)
	}
	for _, off := range []int64{5, 6, -1} {
		if n, err := r.ReadAt(p, off); n != 0 || err == nil {
			t.Errorf("at %d: %d %v", off, n, err)
		}
	}
}

// whole returns the content of the parts of a file.
func whole(t *testing.T, s recstore.Store, name string) []byte {
	t.Helper()
	found, err := recstore.FindParts(t.Context(), s, name)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := found.WriteTo(t.Context(), &b, 0); err != nil {
		t.Fatal(err)
	}
	if found.Len() != int64(b.Len()) {
		t.Errorf("%d bytes of %d", b.Len(), found.Len())
	}
	return b.Bytes()
}

func testParts(t *testing.T, s recstore.Store) {
	file := Bytes(500_000, 7)
	p := recstore.NewParts(s, "d/session.rec", true)
	for n := int64(0); n < 60_000; n += 9_000 {
		if err := p.Sync(t.Context(), bytes.NewReader(file), n); err != nil {
			t.Fatal(err)
		}
		if got := whole(t, s, "d/session.rec"); !bytes.Equal(got, file[:n]) {
			t.Fatalf("%d bytes after %d", len(got), n)
		}
	}
	if all := names(t, s, ""); len(all) != 1 {
		t.Errorf("small parts are not joined: %q", all)
	}
	for _, n := range []int64{200_000, 200_000, 500_000} {
		if err := p.Sync(t.Context(), bytes.NewReader(file), n); err != nil {
			t.Fatal(err)
		}
		if got := whole(t, s, "d/session.rec"); !bytes.Equal(got, file[:n]) {
			t.Fatalf("%d bytes after %d", len(got), n)
		}
	}
	found, err := recstore.FindParts(t.Context(), s, "d/session.rec")
	if err != nil {
		t.Fatal(err)
	}
	if err := found.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := names(t, s, ""); len(all) != 0 {
		t.Errorf("left: %q", all)
	}
}

func testPartsContinue(t *testing.T, s recstore.Store) {
	file := Bytes(50_000, 8)
	if err := recstore.NewParts(s, "f", true).Sync(t.Context(), bytes.NewReader(file), 20_000); err != nil {
		t.Fatal(err)
	}
	p := recstore.NewParts(s, "f", false)
	if err := p.Sync(t.Context(), bytes.NewReader(file), 50_000); err != nil {
		t.Fatal(err)
	}
	if got := whole(t, s, "f"); !bytes.Equal(got, file) {
		t.Errorf("%d bytes", len(got))
	}
	if p.Len() != 50_000 {
		t.Errorf("len %d", p.Len())
	}
}

func testPartsGap(t *testing.T, s recstore.Store) {
	file := Bytes(3000, 9)
	for name, b := range map[string][]byte{
		"f.part-0000000000000000-0000000000001000": file[:1000],
		"f.part-0000000000000500-0000000000001500": file[500:1500],
		"f.part-0000000000001600-0000000000003000": file[1600:],
		"f.part-0000000000001000-0000000000003000": file[:7], // its size contradicts its name
		"f.part-x": nil,
		"f.party":  nil,
	} {
		put(t, s, name, b)
	}
	if got := whole(t, s, "f"); !bytes.Equal(got, file[:1500]) {
		t.Errorf("%d bytes", len(got))
	}
}

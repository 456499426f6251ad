package recstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/record/recstore/recstoretest"
)

func openFolder(t *testing.T) recstore.Store {
	t.Helper()
	f, err := recstore.OpenFolder(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFolder(t *testing.T) {
	t.Parallel()
	recstoretest.Run(t, openFolder)
}

// TestFolderLeavesNothing: an object that could not be written completely does
// not exist, and neither does any part of it.
func TestFolderLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := recstore.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Put(t.Context(), "a/x", bytes.NewReader(make([]byte, 10)), 20); err == nil {
		t.Error("an object was cut short, and Put succeeded")
	}
	if left, err := os.ReadDir(filepath.Join(dir, "a")); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestPartsSurviveEveryFault: if any call of an upload fails, with or without
// effect, the parts are a beginning of the file, and complete once the store
// works.
func TestPartsSurviveEveryFault(t *testing.T) {
	t.Parallel()
	file := recstoretest.Bytes(200_000, 1)
	for _, fault := range []recstoretest.Fault{recstoretest.Refuse, recstoretest.LoseResponse} {
		for failing := range 12 {
			s := recstoretest.NewFaulty(openFolder(t))
			calls := 0
			s.Fail(func(string, string) recstoretest.Fault {
				calls++
				if calls-1 == failing {
					return fault
				}
				return recstoretest.None
			})
			p := recstore.NewParts(s, "f", false)
			for _, n := range []int64{10_000, 30_000, 90_000, 95_000, 200_000} {
				err := p.Sync(t.Context(), bytes.NewReader(file), n)
				if err != nil && !errors.Is(err, recstoretest.ErrFault) {
					t.Fatal(err)
				}
				if got := contentOf(t, s.Store, "f"); !bytes.Equal(got, file[:len(got)]) || err == nil && int64(len(got)) != n {
					t.Fatalf("fault %d in call %d: %d bytes after %d: %v", fault, failing, len(got), n, err)
				}
			}
			if err := p.Sync(t.Context(), bytes.NewReader(file), 200_000); err != nil {
				t.Fatal(err)
			}
			if got := contentOf(t, s.Store, "f"); !bytes.Equal(got, file) {
				t.Errorf("fault %d in call %d: %d bytes", fault, failing, len(got))
			}
		}
	}
}

func contentOf(t *testing.T, s recstore.Store, name string) []byte {
	t.Helper()
	found, err := recstore.FindParts(t.Context(), s, name)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := found.WriteTo(t.Context(), &b, 0); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPlaceReadsBack: a store that acknowledges an object and does not have
// it, or has other bytes, is detected.
func TestPlaceReadsBack(t *testing.T) {
	t.Parallel()
	b := recstoretest.Bytes(1000, 1)
	for _, fault := range []recstoretest.Fault{
		recstoretest.DropPut, recstoretest.AlterPut, recstoretest.AlterRead,
		recstoretest.Refuse, recstoretest.LoseResponse,
	} {
		s := recstoretest.NewFaulty(openFolder(t))
		s.FailAll(fault)
		if err := recstore.Place(t.Context(), s, "x", bytes.NewReader(b), 1000); err == nil {
			t.Errorf("fault %d: the object counts as stored", fault)
		}
		s.Fail(nil)
		if err := recstore.Place(t.Context(), s, "x", bytes.NewReader(b), 1000); err != nil {
			t.Errorf("fault %d: %v", fault, err)
		}
	}
}

// TestReaderReadsAhead: sequential reads need few requests.
func TestReaderReadsAhead(t *testing.T) {
	t.Parallel()
	s := recstoretest.NewFaulty(openFolder(t))
	b := recstoretest.Bytes(40<<20, 1)
	if err := s.Put(t.Context(), "x", bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatal(err)
	}
	r, err := recstore.Open(t.Context(), s, "x")
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	p := make([]byte, 128<<10)
	for off := int64(0); off < r.Size(); off += int64(len(p)) {
		n, err := r.ReadAt(p[:min(int64(len(p)), r.Size()-off)], off)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p[:n]...)
	}
	if !slices.Equal(got, b) {
		t.Error("other bytes")
	}
	if n := s.Calls("read"); n > 14 {
		t.Errorf("%d requests for 40 MiB", n)
	}
}

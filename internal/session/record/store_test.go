package record_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/record/recstore/recstoretest"
)

// storeOf opens a folder as a recording store.
func storeOf(t testing.TB) *recstoretest.Faulty {
	t.Helper()
	f, err := recstore.OpenFolder(t.TempDir())
	ok(t, err)
	t.Cleanup(func() { f.Close() })
	return recstoretest.NewFaulty(f)
}

func remoteOf(t testing.TB, s recstore.Store) record.Options {
	t.Helper()
	return record.Options{Remote: &record.Remote{Context: t.Context(), Store: s, SpoolBytes: 1 << 30}}
}

// openWith opens a recorder as a server with a store does.
func openWith(t testing.TB, dir string, s recstore.Store) *record.Recorder {
	t.Helper()
	ok(t, record.RestoreLedger(t.Context(), dir, s, publicKeys(testKey(1))))
	return open(t, dir, remoteOf(t, s))
}

// openSealing is openWith in a new folder, for a server that seals what it has fetched: no session continues.
func openSealing(t testing.TB, s recstore.Store) (r *record.Recorder) {
	t.Helper()
	dir := t.TempDir()
	ok(t, record.RestoreLedger(t.Context(), dir, s, publicKeys(testKey(1))))
	o := remoteOf(t, s)
	o.Remote.Restored = func(ctx context.Context) {
		_, err := r.Recover(ctx, func(sekisho.SessionID) bool { return true })
		ok(t, err)
	}
	r = open(t, dir, o)
	return r
}

func objects(t testing.TB, s recstore.Store, prefix string) []string {
	t.Helper()
	var all []string
	for info, err := range s.List(t.Context(), prefix) {
		ok(t, err)
		all = append(all, info.Name)
	}
	return all
}

func castOf(t testing.TB, r *record.Recorder, id sekisho.SessionID) string {
	t.Helper()
	var b bytes.Buffer
	ok(t, r.WriteCast(&b, id))
	return b.String()
}

// sealOne records and seals a session.
func sealOne(t testing.TB, r *record.Recorder, id sekisho.SessionID, output string) {
	t.Helper()
	rec := start(t, r, id)
	ok(t, rec.Resize(80, 24))
	ok(t, rec.Output([]byte(output)))
	_, err := rec.Seal(record.Exit{Reason: "shell ended"})
	ok(t, err)
}

// evictAll uploads everything, and removes it from the folder.
func evictAll(t testing.TB, r *record.Recorder) {
	t.Helper()
	ok(t, r.MakeTranscripts(t.Context()))
	for range 2 {
		ok(t, r.Upload(t.Context()))
	}
}

func contentFiles(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	for _, name := range []string{"session.rec", "session.cast", "session.text", "session.tail.0"} {
		m, err := filepath.Glob(filepath.Join(dir, "recordings", "*", "*", "*", name))
		ok(t, err)
		all = append(all, m...)
	}
	return all
}

// TestStoreSurvivesTheMachine: a session whose server and disk are lost is
// continued in the same chain from the uploaded part, sealed, and verified
// against the ledger, which comes from the store, too.
func TestStoreSurvivesTheMachine(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	r := openWith(t, t.TempDir(), s)
	sealOne(t, r, "bob-1", "an earlier session\r\n")
	rec := start(t, r, alice)
	for i := range 50 {
		ok(t, rec.Output(fmt.Appendf(nil, "line %d\r\n", i)))
		if i%10 == 9 {
			ok(t, r.Upload(t.Context()))
		}
	}
	want := castOf(t, r, alice)
	ok(t, rec.Output([]byte("not uploaded")))

	// The machine is lost: another one starts with an empty disk.
	dir := t.TempDir()
	r = openWith(t, dir, s)
	rec, err := r.Start(header(alice))
	ok(t, err)
	if got := castOf(t, r, alice); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
	ok(t, rec.Output([]byte("continued")))
	_, err = rec.Seal(record.Exit{})
	ok(t, err)
	ok(t, r.Upload(t.Context()))
	for _, id := range []sekisho.SessionID{alice, "bob-1"} {
		if _, err := r.Verify(id); err != nil {
			t.Error(err)
		}
	}
	if rep, err := record.VerifyLedger(r.FS(), r.Keys()); err != nil || rep.Sealed != 2 {
		t.Errorf("ledger: %d sealed, %v", rep.Sealed, err)
	}
	if _, evs := events(t, r, alice); !slices.Contains(evs, "m resumed") || !slices.Contains(evs, "o continued") {
		t.Errorf("events %q", evs)
	}
	flaws, err := r.CheckStore(t.Context())
	ok(t, err)
	if len(flaws) != 0 {
		t.Error(flaws)
	}
}

// TestStoreRecoversUnsealed: after the loss of the disk, recordings of
// sessions that do not continue are fetched and sealed.
func TestStoreRecoversUnsealed(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	r := openWith(t, t.TempDir(), s)
	rec := start(t, r, alice)
	ok(t, rec.Output([]byte("shown")))
	ok(t, r.Upload(t.Context()))

	r = openSealing(t, s)
	for range 2 {
		ok(t, r.Upload(t.Context()))
	}
	sum, err := r.Verify(alice)
	ok(t, err)
	if sum.Exit.Reason != "server stopped" || sum.BytesOut != 5 {
		t.Errorf("%+v", sum)
	}
	if all := objects(t, s, "2"); len(all) != 2 {
		t.Errorf("objects %q", all)
	}
}

// TestStoreServesEverything: listing, reading, verifying, exporting,
// searching, holding and removing work on recordings that only the store has.
func TestStoreServesEverything(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	dir := t.TempDir()
	r := openWith(t, dir, s)
	sealOne(t, r, alice, "the needle is here\r\n")
	sealOne(t, r, "bob-1", "nothing\r\n")
	before, err := r.Stat(alice)
	ok(t, err)
	cast := castOf(t, r, alice)
	size, err := r.Bytes()
	ok(t, err)
	evictAll(t, r)
	if left := contentFiles(t, dir); len(left) != 0 {
		t.Fatalf("in the folder: %q", left)
	}

	reads := s.Calls("read")
	after, err := r.Stat(alice)
	ok(t, err)
	if before != after {
		t.Errorf("%+v, was %+v", after, before)
	}
	for sum, err := range r.List() {
		if err != nil || sum.Owner != header(alice).Owner {
			t.Errorf("%+v %v", sum, err)
		}
	}
	if n := s.Calls("read") - reads; n != 0 {
		t.Errorf("listing reads %d times from the store", n)
	}
	if n, err := r.Bytes(); err != nil || n < size {
		t.Errorf("%d bytes, were %d: %v", n, size, err)
	}
	if got := castOf(t, r, alice); got != cast {
		t.Errorf("%q, was %q", got, cast)
	}
	if _, err := r.Verify(alice); err != nil {
		t.Error(err)
	}
	var bundle bytes.Buffer
	ok(t, r.Export(&bundle, alice))
	z, err := zip.NewReader(bytes.NewReader(bundle.Bytes()), int64(bundle.Len()))
	ok(t, err)
	if _, err := record.Verify(z, r.Keys(), alice); err != nil {
		t.Error(err)
	}
	found := 0
	ok(t, r.Search(alice, "NEEDLE", func(recfile.Line) bool {
		found++
		return true
	}))
	if found != 1 {
		t.Errorf("%d lines", found)
	}
	if key, err := r.ContentKey(alice); err != nil || len(key) == 0 {
		t.Errorf("content key: %v", err)
	}
	ok(t, r.MakeTranscripts(t.Context())) // must not fetch them again
	if left := contentFiles(t, dir); len(left) != 0 {
		t.Errorf("in the folder: %q", left)
	}

	ok(t, r.Hold(alice, "case 7"))
	removed, err := r.Expire(t.Context(), record.Retention{MaxAge: time.Nanosecond}, time.Now().Add(time.Hour))
	ok(t, err)
	if len(removed) != 1 || removed[0].Session != "bob-1" {
		t.Errorf("removed %+v", removed)
	}
	for _, name := range objects(t, s, "2") {
		if strings.Contains(name, "bob-1") {
			t.Errorf("left: %s", name)
		}
	}
	if _, err := record.VerifyLedger(r.FS(), r.Keys()); err != nil {
		t.Error(err)
	}
}

// TestStoreFaults: if any call of the store fails, with or without effect,
// nothing is lost, and everything is in the store once it works.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range []recstoretest.Fault{recstoretest.Refuse, recstoretest.LoseResponse} {
		for failing := 0; ; failing++ {
			s := storeOf(t)
			dir := t.TempDir()
			r := openWith(t, dir, s)
			calls := 0
			s.Fail(func(string, string) recstoretest.Fault {
				calls++
				if calls-1 == failing {
					return fault
				}
				return recstoretest.None
			})
			upload := func() {
				t.Helper()
				if err := r.Upload(t.Context()); err != nil && !errors.Is(err, recstoretest.ErrFault) {
					t.Fatalf("fault %d in call %d: %v", fault, failing, err)
				}
			}
			rec := start(t, r, alice)
			ok(t, rec.Output([]byte("one\r\n")))
			upload()
			ok(t, rec.Output([]byte("two\r\n")))
			upload()
			_, err := rec.Seal(record.Exit{})
			ok(t, err)
			want := castOf(t, r, alice)
			upload()
			ok(t, r.MakeTranscripts(t.Context()))
			upload()
			upload()
			failed := calls > failing
			s.Fail(nil)
			for range 2 {
				ok(t, r.Upload(t.Context()))
			}
			if left := contentFiles(t, dir); len(left) != 0 {
				t.Errorf("fault %d in call %d: in the folder: %q", fault, failing, left)
			}
			if got := castOf(t, r, alice); got != want {
				t.Errorf("fault %d in call %d: %q", fault, failing, got)
			}
			if _, err := r.Verify(alice); err != nil {
				t.Errorf("fault %d in call %d: %v", fault, failing, err)
			}
			if all := objects(t, s, "2"); len(all) != 3 {
				t.Errorf("fault %d in call %d: objects %q", fault, failing, all)
			}
			if !failed {
				if failing < 15 {
					t.Errorf("%d calls only", calls)
				}
				break
			}
		}
	}
}

// TestStoreThatLosesObjects: a store that acknowledges objects and does not keep them,
// or keeps other bytes, does not get the only copy.
func TestStoreThatLosesObjects(t *testing.T) {
	t.Parallel()
	for _, fault := range []recstoretest.Fault{recstoretest.DropPut, recstoretest.AlterPut} {
		s := storeOf(t)
		dir := t.TempDir()
		r := openWith(t, dir, s)
		sealOne(t, r, alice, "text\r\n")
		ok(t, r.MakeTranscripts(t.Context()))
		s.FailAll(fault)
		for range 3 {
			if err := r.Upload(t.Context()); err == nil {
				t.Error("the upload succeeded")
			}
		}
		if state := r.StoreState(); state.Problem == "" || state.Recordings != 1 || state.Waiting == 0 {
			t.Errorf("%+v", state)
		}
		if left := contentFiles(t, dir); len(left) != 2 {
			t.Errorf("in the folder: %q", left)
		}
		s.Fail(nil)
		ok(t, r.Upload(t.Context()))
		if _, err := r.Verify(alice); err != nil {
			t.Error(err)
		}
		if state := r.StoreState(); state.Problem != "" || state.Recordings != 0 || state.Waiting != 0 {
			t.Errorf("%+v", state)
		}
	}
}

// TestStoreAlteredContent: altered content from the store is not accepted as
// the recording.
func TestStoreAlteredContent(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	r := openWith(t, t.TempDir(), s)
	sealOne(t, r, alice, "text\r\n")
	evictAll(t, r)
	s.FailAll(recstoretest.AlterRead)
	if _, err := r.Verify(alice); err == nil {
		t.Error("verified")
	}
	if err := r.WriteCast(io.Discard, alice); err == nil {
		t.Error("read")
	}
	s.Fail(nil)
	if _, err := r.Verify(alice); err != nil {
		t.Error(err)
	}
	s.FailAll(recstoretest.Refuse)
	_, verified := r.Verify(alice)
	for _, err := range []error{verified, r.Check(alice), r.WriteCast(io.Discard, alice)} {
		_, isFlaw := errors.AsType[*record.Flaw](err)
		if isFlaw || err != nil && !errors.Is(err, recstoretest.ErrFault) {
			t.Errorf("a store that refuses is reported as %v", err)
		}
	}
}

// TestCheckStore reports objects that the store lost, altered ones, and ones
// that the server did not put there.
func TestCheckStore(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	dir := t.TempDir()
	r := openWith(t, dir, s)
	for i := range 4 {
		sealOne(t, r, sekisho.SessionID(fmt.Sprintf("alice-%d", i)), "text\r\n")
	}
	evictAll(t, r)
	for _, name := range objects(t, s, "2") {
		var err error
		switch {
		case strings.HasSuffix(name, "alice-0/session.rec"), strings.HasSuffix(name, "alice-1/seal.json"),
			strings.HasSuffix(name, "alice-3/session.text"): // which can be created again
			err = s.Remove(t.Context(), name)
		case strings.HasSuffix(name, "alice-2/session.rec"):
			err = s.Put(t.Context(), name, strings.NewReader("short"), 5)
		}
		ok(t, err)
	}
	ok(t, s.Put(t.Context(), "2026/11/mallory-1/session.rec", strings.NewReader("x"), 1))
	ok(t, s.Put(t.Context(), "somebody/elses", strings.NewReader("x"), 1))
	flaws, err := r.CheckStore(t.Context())
	ok(t, err)
	var got []string
	for _, f := range flaws {
		_, id, _ := strings.Cut(strings.TrimSuffix(f.File, "/seal.json"), "/")
		got = append(got, string(f.Kind)+" "+id[len("11/"):])
	}
	slices.Sort(got)
	want := []string{" alice-2", "inserted mallory-1", "missing alice-0", "missing alice-1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	// A check without the store must not report them as intact.
	archive, err := record.OpenArchive(dir, r.Keys(), nil)
	ok(t, err)
	defer archive.Close()
	if _, err := archive.CheckStore(t.Context()); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("without a store: %v", err)
	}
	archive.UseStore(t.Context(), s, true)
	if err := archive.Check("alice-3"); err != nil {
		t.Error(err)
	}
	if err := archive.Check("alice-2"); err == nil {
		t.Error("a full check does not read the store")
	}
}

// TestSpoolIsBounded: while the store fails, recording continues up to the
// limit of the spool and then fails closed. It recovers by itself, and nothing
// that was acknowledged is lost.
func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	o := remoteOf(t, s)
	o.Remote.SpoolBytes = 100_000
	var changes []string
	o.Remote.Changed = func(state record.StoreState) { changes = append(changes, fmt.Sprint(state.Problem != "")) }
	r := open(t, t.TempDir(), o)
	rec := start(t, r, alice)
	ok(t, r.Upload(t.Context()))
	s.FailAll(recstoretest.Refuse)
	acknowledged := 0
	noise := recstoretest.Bytes(10_000, 1)
	for {
		err := rec.Output(noise)
		if err != nil {
			if sekisho.CodeOf(err) != sekisho.CodeLimit {
				t.Fatal(err)
			}
			break
		}
		acknowledged += len(noise)
		if acknowledged > 1<<20 {
			t.Fatal("the spool has no bound")
		}
	}
	if r.Upload(t.Context()) == nil {
		t.Error("the upload succeeded")
	}
	if err := r.Ready(); sekisho.CodeOf(err) != sekisho.CodeLimit {
		t.Errorf("ready: %v", err)
	}
	if _, err := r.Start(header("bob-1")); sekisho.CodeOf(err) != sekisho.CodeLimit {
		t.Errorf("a session begins: %v", err)
	}
	if state := r.StoreState(); !state.Full || state.Problem == "" || state.Since.IsZero() {
		t.Errorf("%+v", state)
	}
	if _, err := rec.Seal(record.Exit{Reason: "not recorded"}); err != nil {
		t.Errorf("a full spool keeps the recording from being sealed: %v", err)
	}

	s.Fail(nil)
	ok(t, r.Upload(t.Context()))
	if state := r.StoreState(); state.Full || state.Problem != "" {
		t.Errorf("%+v", state)
	}
	sealOne(t, r, "bob-1", "text")
	sum, err := r.Verify(alice)
	ok(t, err)
	if sum.BytesOut != int64(acknowledged) {
		t.Errorf("%d bytes of %d", sum.BytesOut, acknowledged)
	}
	if !slices.Equal(changes, []string{"true", "false"}) {
		t.Errorf("reported %q", changes)
	}
}

// TestIdleStoreIsProbed: an idle server detects that the store fails, and that
// it works again.
func TestIdleStoreIsProbed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := storeOf(t)
		r := openWith(t, t.TempDir(), s)
		ok(t, r.Upload(t.Context()))
		s.FailAll(recstoretest.Refuse)
		<-time.After(time.Minute)
		if r.Upload(t.Context()) == nil || r.StoreState().Problem == "" {
			t.Error("not noticed")
		}
		if r.Upload(t.Context()) == nil || r.StoreState().Problem == "" {
			t.Error("it counts as working again, and was not asked")
		}
		s.Fail(nil)
		ok(t, r.Upload(t.Context()))
		if r.StoreState().Problem != "" {
			t.Error("not noticed that it works")
		}
	})
}

// TestRunStore: uploads run by themselves, pause longer and longer while the
// store fails, and run once more at the end.
func TestRunStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := storeOf(t)
		r := openWith(t, t.TempDir(), s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.RunStore(ctx)
		}()
		rec := start(t, r, alice)
		ok(t, rec.Output([]byte("one")))
		<-time.After(11 * time.Second)
		if all := objects(t, s, "2"); len(all) != 1 {
			t.Errorf("objects %q", all)
		}
		s.FailAll(recstoretest.Refuse)
		ok(t, rec.Output([]byte("two")))
		<-time.After(time.Hour)
		calls := s.Calls("stat")
		<-time.After(time.Hour)
		if n := s.Calls("stat") - calls; n < 25 || n > 70 {
			t.Errorf("%d calls an hour of a store that fails", n)
		}
		s.Fail(nil)
		<-time.After(2*time.Minute + time.Second)
		if state := r.StoreState(); state.Problem != "" {
			t.Errorf("%+v", state)
		}
		ok(t, rec.Output([]byte("three")))
		cancel()
		<-done
		sum := rec.Summary()
		if state := r.StoreState(); state.Waiting != 0 || sum.BytesOut != 11 {
			t.Errorf("%+v %+v", state, sum)
		}
		ok(t, rec.Close())
	})
}

// TestPowerFailure: a folder that has less of a recording and of the ledger
// than the store, because the disk lost its last writes, is completed.
func TestPowerFailure(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	dir := t.TempDir()
	r := openWith(t, dir, s)
	rec := start(t, r, alice)
	ok(t, rec.Output([]byte("on the disk")))
	ok(t, r.Upload(t.Context()))
	main := filepath.Join(dirOf(t, dir, alice), "session.rec")
	short, err := os.ReadFile(main)
	ok(t, err)
	ok(t, rec.Output([]byte("in the store alone")))
	start(t, r, "bob-1")
	ok(t, r.Upload(t.Context()))
	ok(t, r.Close())
	ok(t, os.WriteFile(main, short, 0o600))
	for _, tail := range []string{"session.tail.0", "session.tail.1"} {
		ok(t, os.Truncate(filepath.Join(filepath.Dir(main), tail), 0))
	}
	ledger := filepath.Join(dir, "recordings", "ledger.ndjson")
	b, err := os.ReadFile(ledger)
	ok(t, err)
	ok(t, os.WriteFile(ledger, b[:bytes.IndexByte(b, '\n')+10], 0o600)) // within a line

	r = openWith(t, dir, s)
	rec, err = r.Start(header(alice))
	ok(t, err)
	_, err = rec.Seal(record.Exit{})
	ok(t, err)
	sum, err := r.Verify(alice)
	ok(t, err)
	if sum.BytesOut != int64(len("on the disk"+"in the store alone")) {
		t.Errorf("%d bytes", sum.BytesOut)
	}
	if _, lines := r.Head(); lines != 3 {
		t.Errorf("%d lines", lines)
	}
}

// TestLedgerOfOthers: two servers do not share a store.
func TestLedgerOfOthers(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	one := openWith(t, t.TempDir(), s)
	sealOne(t, one, alice, "text")
	ok(t, one.Upload(t.Context()))
	dir := t.TempDir()
	other := open(t, dir, record.Options{})
	sealOne(t, other, "bob-1", "text")
	ok(t, other.Close())
	// Neither one with its own ledger, nor one with another key.
	if err := record.RestoreLedger(t.Context(), t.TempDir(), s,
		publicKeys(testKey(2))); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("got %v", err)
	}
	if err := record.RestoreLedger(t.Context(), dir, s,
		publicKeys(testKey(1))); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("got %v", err)
	}
}

// TestStoreUnreachableAtStart: a server with its own ledger starts without the
// store. One without a ledger does not begin another.
func TestStoreUnreachableAtStart(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	dir := t.TempDir()
	r := openWith(t, dir, s)
	sealOne(t, r, alice, "text")
	ok(t, r.Close())
	s.FailAll(recstoretest.Refuse)
	r = openWith(t, dir, s)
	sealOne(t, r, "bob-1", "text")
	if err := record.RestoreLedger(t.Context(), t.TempDir(), s, r.Keys()); !errors.Is(err, recstoretest.ErrFault) {
		t.Errorf("got %v", err)
	}
	s.Fail(nil)
	ok(t, r.Upload(t.Context()))
	if all := objects(t, s, "2"); len(all) != 4 {
		t.Errorf("objects %q", all)
	}
}

// TestSilentStoreAtStart: a store that does not respond delays the start and
// the continuation of sessions once, by seconds.
func TestSilentStoreAtStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := storeOf(t)
		dir := t.TempDir()
		r := openWith(t, dir, s)
		ids := []sekisho.SessionID{alice, "bob-1", "carol-1"}
		for _, id := range ids {
			ok(t, start(t, r, id).Output([]byte("text")))
		}
		ok(t, r.Upload(t.Context()))
		ok(t, r.Close())
		began := time.Now()
		r = openWith(t, dir, silentStore{s})
		for _, id := range ids {
			start(t, r, id)
		}
		if waited := time.Since(began); waited == 0 || waited > time.Minute {
			t.Errorf("waited %s", waited)
		}
	})
}

// silentStore does not respond to list requests.
type silentStore struct{ recstore.Store }

// List implements recstore.Store.
func (s silentStore) List(ctx context.Context, prefix string) iter.Seq2[recstore.Info, error] {
	return func(yield func(recstore.Info, error) bool) {
		<-ctx.Done()
		yield(recstore.Info{}, &recstore.Error{Store: s.String(), Op: "list", Name: prefix, Err: ctx.Err()})
	}
}

// TestRemoveWhileStoreFails: recordings that policy removes while the store
// fails are removed later, and are in the ledger once.
func TestRemoveWhileStoreFails(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	dir := t.TempDir()
	r := openWith(t, dir, s)
	sealOne(t, r, alice, "text")
	evictAll(t, r)
	s.Fail(func(op, _ string) recstoretest.Fault {
		if op == "remove" {
			return recstoretest.Refuse
		}
		return recstoretest.None
	})
	if err := r.Remove(alice, "age"); !errors.Is(err, recstoretest.ErrFault) {
		t.Errorf("got %v", err)
	}
	s.Fail(nil)
	_, err := r.Expire(t.Context(), record.Retention{}, time.Now())
	ok(t, err)
	if all := objects(t, s, "2"); len(all) != 0 {
		t.Errorf("objects %q", all)
	}
	if _, err := r.Stat(alice); !sekisho.IsNotFound(err) {
		t.Errorf("stat: %v", err)
	}
	if rep, err := record.VerifyLedger(r.FS(), r.Keys()); err != nil || len(rep.Removed) != 1 || rep.Lines != 3 {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestMove: recordings of a folder move to a store and back, an interrupted
// move continues, and every recording verifies wherever it is.
func TestMove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := open(t, dir, record.Options{})
	casts := make(map[sekisho.SessionID]string)
	for i := range 5 {
		id := sekisho.SessionID(fmt.Sprintf("alice-%d", i))
		sealOne(t, plain, id, fmt.Sprintf("text %d\r\n", i))
		casts[id] = castOf(t, plain, id)
	}
	ok(t, plain.MakeTranscripts(t.Context()))
	ok(t, plain.Close())

	s := storeOf(t)
	check := func(r *record.Recorder) {
		t.Helper()
		for id, want := range casts {
			if got := castOf(t, r, id); got != want {
				t.Errorf("%s: %q", id, got)
			}
			if _, err := r.Verify(id); err != nil {
				t.Error(err)
			}
		}
		if _, err := record.VerifyLedger(r.FS(), r.Keys()); err != nil {
			t.Error(err)
		}
	}
	move := func(toFolder bool) *record.Recorder {
		t.Helper()
		for failing := 3; ; failing += 7 { // each attempt gets further
			r := openWith(t, dir, s)
			calls := 0
			s.Fail(func(string, string) recstoretest.Fault {
				calls++
				if calls > failing {
					return recstoretest.Refuse
				}
				return recstoretest.None
			})
			err := r.Move(t.Context(), toFolder, func(sekisho.SessionID) {})
			s.Fail(nil)
			if err == nil {
				return r
			}
			check(r)
			ok(t, r.Close())
		}
	}
	r := move(false)
	ok(t, r.Upload(t.Context()))
	if left := contentFiles(t, dir); len(left) != 0 {
		t.Errorf("in the folder: %q", left)
	}
	check(r)
	ok(t, r.Close())
	r = move(true)
	check(r)
	if all := objects(t, s, "2"); len(all) != 0 {
		t.Errorf("in the store: %q", all)
	}
	ok(t, r.Close())
	plain = open(t, dir, record.Options{})
	check(plain)
}

// TestStoredFormat1: recordings of format 1 go to the store as well.
func TestStoredFormat1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ok(t, os.CopyFS(dir, os.DirFS("testdata/format1")))
	s := storeOf(t)
	r := open(t, dir, remoteOf(t, s))
	_, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true })
	ok(t, err)
	var before []record.Summary
	for sum, err := range r.List() {
		ok(t, err)
		before = append(before, sum)
	}
	if len(before) == 0 {
		t.Fatal("no recordings")
	}
	ok(t, r.Upload(t.Context()))
	if left := contentFiles(t, dir); len(left) != 0 {
		t.Errorf("in the folder: %q", left)
	}
	i := 0
	for sum, err := range r.List() {
		if err != nil || sum != before[i] {
			t.Errorf("%+v %v, was %+v", sum, err, before[i])
		}
		i++
		if sum.Damage != "" {
			continue
		}
		if _, err := r.Verify(sum.SessionID); err != nil {
			t.Error(err)
		}
		if castOf(t, r, sum.SessionID) == "" {
			t.Error("no cast")
		}
	}
}

// TestFirstFrameFromStore: showing the first frame, or a position in the
// middle, of a large recording in the store reads a small part of it.
func TestFirstFrameFromStore(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	r := openWith(t, t.TempDir(), s)
	rec := start(t, r, alice)
	ok(t, rec.Resize(80, 24))
	noise := recstoretest.Bytes(1<<20, 1)
	for range 64 {
		ok(t, rec.Output(noise))
	}
	_, err := rec.Seal(record.Exit{})
	ok(t, err)
	evictAll(t, r)
	reads := s.Calls("read")
	stored, err := r.Open(alice)
	ok(t, err)
	defer stored.Close()
	c, err := stored.Records()
	ok(t, err)
	for range 3 {
		_, err = c.Next()
		ok(t, err)
	}
	duration, err := stored.Duration()
	ok(t, err)
	c, err = stored.Seek(duration / 2)
	ok(t, err)
	_, err = c.Next()
	ok(t, err)
	if n := s.Calls("read") - reads; n > 8 {
		t.Errorf("%d requests of 256 KiB or more", n)
	}
}

// TestFetchOnDemand: after the loss of the folder, a recording can be verified and read before the
// background fetch has reached it.
func TestFetchOnDemand(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	r := openWith(t, t.TempDir(), s)
	sealOne(t, r, alice, "one\r\n")
	sealOne(t, r, "bob-1", "two\r\n")
	want := castOf(t, r, alice)
	evictAll(t, r)
	r = openWith(t, t.TempDir(), s)
	if state := r.StoreState(); state.Missing != 2 {
		t.Errorf("%+v", state)
	}
	s.FailAll(recstoretest.Refuse)
	if _, err := r.Verify(alice); !errors.Is(err, recstoretest.ErrFault) || sekisho.IsNotFound(err) {
		t.Errorf("the store refuses: %v", err)
	}
	s.Fail(nil)
	if _, err := r.Verify(alice); err != nil {
		t.Error(err)
	}
	if got := castOf(t, r, alice); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if state := r.StoreState(); state.Missing != 1 {
		t.Errorf("%+v", state)
	}
	if _, err := r.Verify("carol-1"); !sekisho.IsNotFound(err) {
		t.Errorf("no such recording: %v", err)
	}
	ok(t, r.FetchMissing(t.Context()))
	if rep, err := record.VerifyLedger(r.FS(), r.Keys()); err != nil || rep.Sealed != 2 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestFetchOnDemandOfUnsealed: a recording that was in progress when the folder was lost is sealed
// after it was fetched for somebody who wants to read it.
func TestFetchOnDemandOfUnsealed(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	r := openWith(t, t.TempDir(), s)
	ok(t, start(t, r, alice).Output([]byte("shown")))
	ok(t, r.Upload(t.Context()))
	r = openSealing(t, s)
	if sum, err := r.Stat(alice); err != nil || sum.Sealed || sum.BytesOut != 5 {
		t.Errorf("%+v, %v", sum, err)
	}
	ok(t, r.Upload(t.Context()))
	if sum, err := r.Verify(alice); err != nil || !sum.Sealed {
		t.Errorf("%+v, %v", sum, err)
	}
}

// TestCheckOfAbsentRecordings: a check with a store reads there what the folder lost, and names what
// the store lost too.
func TestCheckOfAbsentRecordings(t *testing.T) {
	t.Parallel()
	s := storeOf(t)
	dir := t.TempDir()
	r := openWith(t, dir, s)
	for i := range 4 {
		sealOne(t, r, sekisho.SessionID(fmt.Sprintf("alice-%d", i)), "text\r\n")
	}
	evictAll(t, r)
	for i := range 3 {
		ok(t, os.RemoveAll(dirOf(t, dir, sekisho.SessionID(fmt.Sprintf("alice-%d", i)))))
	}
	check := func(want ...string) {
		t.Helper()
		a, err := record.OpenArchive(dir, r.Keys(), nil)
		ok(t, err)
		defer a.Close()
		a.UseStore(t.Context(), s, true)
		_, err = a.UseStored(t.Context())
		ok(t, err)
		rep, _ := record.VerifyLedger(a.FS(), a.Keys())
		flaws, err := a.CheckStore(t.Context())
		ok(t, err)
		var got []string
		for _, f := range append(rep.Flaws, flaws...) {
			got = append(got, string(f.Kind)+" "+f.File[len("2026/11/"):])
		}
		for id := range a.All() {
			if err := a.Check(id); err != nil {
				got = append(got, "check "+string(id))
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check()
	flip := func(name string) {
		t.Helper()
		b, err := recstore.Small(t.Context(), s, name, 1<<20)
		ok(t, err)
		b[len(b)/2] ^= 1
		ok(t, s.Put(t.Context(), name, bytes.NewReader(b), int64(len(b))))
	}
	for _, name := range objects(t, s, "2") {
		switch {
		case strings.Contains(name, "alice-0/"):
			ok(t, s.Remove(t.Context(), name))
		case strings.HasSuffix(name, "alice-1/session.rec"), strings.HasSuffix(name, "alice-2/seal.json"):
			flip(name)
		}
	}
	check(" alice-2/seal.json", "check alice-1", "check alice-2", "missing alice-0")
}

package record_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recordtest"
)

func testKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func publicKeys(keys ...ed25519.PrivateKey) record.Keys {
	var pub []ed25519.PublicKey
	for _, k := range keys {
		pub = append(pub, k.Public().(ed25519.PublicKey))
	}
	return record.KeysOf(pub...)
}

func open(t testing.TB, dir string, o record.Options) *record.Recorder {
	t.Helper()
	if o.Sealer == nil {
		o.Sealer = recordtest.Sealer{}
	}
	r, err := record.Open(dir, testKey(1), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func header(id sekisho.SessionID) record.Header {
	return record.Header{
		SessionID: id, Node: "mi-0123456789abcdef0", NodeName: "web-1", Owner: "arn:aws:iam::123456789012:user/alice",
		Document: "SSM-SessionManagerRunShell", Reason: "ticket 7", SourceIP: "192.0.2.7",
		Start: time.Now(), Cols: 100, Rows: 30,
	}
}

const alice = sekisho.SessionID("alice-abcdefghijklmnopqrstuvwxyz")

func start(t testing.TB, r *record.Recorder, id sekisho.SessionID) *record.Recording {
	t.Helper()
	rec, err := r.Start(header(id))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dirOf returns the directory of a recording.
func dirOf(t testing.TB, dir string, id sekisho.SessionID) string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, "recordings", "*", "*", string(id)))
	if err != nil || len(m) != 1 {
		t.Fatalf("%d directories of %s (%v)", len(m), id, err)
	}
	return m[0]
}

// events reads the cast of a recording: the code and the exact bytes of each
// event.
func events(t testing.TB, r *record.Recorder, id sekisho.SessionID) (cast.Header, []string) {
	t.Helper()
	var b bytes.Buffer
	ok(t, r.WriteCast(&b, id))
	d, err := cast.NewReader(&b)
	ok(t, err)
	var evs []string
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return d.Header(), evs
		}
		ok(t, err)
		evs = append(evs, ev.Code+" "+string(ev.Bytes()))
	}
}

func wantFlaw(t *testing.T, err error, file, problem string) *record.Flaw {
	t.Helper()
	flaw, is := errors.AsType[*record.Flaw](err)
	if !is {
		t.Fatalf("error %v is no flaw; want one of %s, %q", err, file, problem)
	}
	if flaw.File != file || !strings.Contains(err.Error(), problem) {
		t.Errorf("flaw %q, want file %s and %q", err, file, problem)
	}
	return flaw
}

func TestRecordSealVerify(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, record.Options{})
		rec := start(t, r, alice)
		<-time.After(time.Second)
		ok(t, rec.Output([]byte("$ \xe9\x96")))
		ok(t, rec.Outputs([][]byte{[]byte("\xa2"), []byte("所"), []byte("\xff")}))
		<-time.After(time.Second)
		ok(t, rec.Input([]byte("exit\r")))
		ok(t, rec.Resize(90, 100000))
		ok(t, rec.Marker("here"))
		ok(t, rec.Flush())
		ok(t, rec.Flush()) // nothing new

		live, err := r.Stat(alice)
		ok(t, err)
		if !live.Live || live.Sealed || live.Duration != 2*time.Second || live.Events != 7 {
			t.Errorf("live: %+v", live)
		}
		if _, err := r.Verify(alice); err == nil {
			t.Error("a recording in progress verified")
		}

		sum, err := rec.Seal(record.Exit{Status: 3, Reason: "shell ended"})
		ok(t, err)
		again, err := rec.Seal(record.Exit{Status: 4})
		ok(t, err)
		if d := cmp.Diff(sum, again); d != "" {
			t.Error("sealed twice:", d)
		}
		if err := rec.Output([]byte("late")); err == nil {
			t.Error("output after the seal")
		}

		h, evs := events(t, r, alice)
		if h.Cols != 100 || h.Rows != 30 || h.Tags["owner"] != header(alice).Owner || h.Tags["input"] != "recorded" {
			t.Errorf("header %+v", h)
		}
		want := []string{
			"o $ ",
			"o 関",
			"o 所",
			"o \xff",
			"i exit\r",
			"r 90x2048",
			"m here",
			"m ended: shell ended",
			"x 3",
		}
		if d := cmp.Diff(want, evs); d != "" {
			t.Error(d)
		}

		got, err := r.Verify(alice)
		ok(t, err)
		if !got.Sealed || got.BytesOut != 9 || got.BytesIn != 5 || got.Events != 8 || got.Exit.Status != 3 ||
			got.Duration != 2*time.Second || got.Owner != header(alice).Owner || got.SealDigest != sum.SealDigest {
			t.Errorf("verified: %+v", got)
		}
		stat, err := r.Stat(alice)
		ok(t, err)
		if d := cmp.Diff(got, stat); d != "" {
			t.Error("Stat differs from Verify:", d)
		}
		for s, err := range r.List() {
			ok(t, err)
			if d := cmp.Diff(stat, s); d != "" {
				t.Error("List differs from Stat:", d)
			}
		}
		if _, err := r.Start(header(alice)); sekisho.CodeOf(err) != sekisho.CodeConflict {
			t.Errorf("started a sealed recording: %v", err)
		}
		left, err := os.ReadDir(dirOf(t, dir, alice))
		ok(t, err)
		if len(left) != 2 {
			t.Errorf("%d files are left of a sealed recording", len(left))
		}
		rep, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1)))
		ok(t, err)
		if head, n := r.Head(); rep.Head != head || rep.Lines != n || n != 2 || rep.Sealed != 1 {
			t.Errorf("ledger %+v, head %s %d", rep, head, n)
		}
	})
}

func TestModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	_, err := start(t, r, alice).Seal(record.Exit{})
	ok(t, err)
	ok(t, filepath.WalkDir(filepath.Join(dir, "recordings"), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %v", p, st.Mode())
		}
		return nil
	}))
}

func TestOmitInput(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{OmitInput: true})
	rec := start(t, r, alice)
	ok(t, rec.Input([]byte("hunter2\r")))
	ok(t, rec.Output([]byte("Password: ")))
	s, err := rec.Seal(record.Exit{})
	ok(t, err)
	h, evs := events(t, r, alice)
	if d := cmp.Diff([]string{"o Password: ", "x 0"}, evs); d != "" {
		t.Error(d)
	}
	if s.BytesIn != 8 || h.Tags["input"] != "omitted" {
		t.Errorf("%d bytes in, input %s", s.BytesIn, h.Tags["input"])
	}
	if _, err := r.Verify(alice); err != nil {
		t.Error(err)
	}
}

// TestHostileTexts: texts that users control neither break a seal nor reach
// the title bar of a player with control characters.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{})
	h := header(alice)
	h.NodeName = "web\x1b]0;owned\a\u202e\u009b\xff"
	h.Reason = strings.Repeat("r", 1<<20)
	h.Document = "x" + strings.Repeat("é", 1<<10)
	h.Cols, h.Rows = 1<<30, -1
	rec, err := r.Start(h)
	ok(t, err)
	s, err := rec.Seal(record.Exit{Reason: strings.Repeat("\x00\xff", 1<<20)})
	ok(t, err)
	c, _ := events(t, r, alice)
	if want := string(alice) + " on mi-0123456789abcdef0 (web]0;owned\uFFFD)"; c.Title != want {
		t.Errorf("title %q, want %q", c.Title, want)
	}
	if d := c.Tags["document"]; len(d) > 1024 || !strings.HasSuffix(d, "é…") {
		t.Errorf("the document's name has %d bytes and ends with %q", len(d), d[max(0, len(d)-8):])
	}
	if len(s.Exit.Reason) > 4096 || c.Cols > 2048 {
		t.Errorf("reason of %d bytes, %d columns", len(s.Exit.Reason), c.Cols)
	}
	if _, err := r.Verify(alice); err != nil {
		t.Error(err)
	}
}

func TestHostileSessionIDs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	for _, id := range []sekisho.SessionID{
		"", ".", "..", "...", "a..b", "-rf", ".hidden", "../x", "a/b", "a/../../b", "/etc", `a\b`, "a\x00b", "a b", "a\n",
		"é", "a:b", "%2e%2e",
		sekisho.SessionID(strings.Repeat("a", 97)), "../recordings-sibling",
	} {
		h := header(id)
		if _, err := r.Start(h); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("Start(%q): %v", id, err)
		}
		if _, err := r.Open(id); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("Open(%q): %v", id, err)
		}
		if _, err := r.Verify(id); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("Verify(%q): %v", id, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("something was made beside the store: %v %v", entries, err)
	}
	for _, id := range []sekisho.SessionID{"alice@example.com-a,b=c+d_e.f", sekisho.SessionID(strings.Repeat("a", 96)),
		"2026", "keys"} {
		if _, err := start(t, r, id).Seal(record.Exit{}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := r.Open("nobody-abc"); !sekisho.IsNotFound(err) {
		t.Errorf("unknown session: %v", err)
	}
}

// TestLinksAreNotFollowed: an attacker who can create links in the store must
// not make the server read or write elsewhere.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	ok(t, os.WriteFile(secret, []byte("secret\n"), 0o600))
	r := open(t, dir, record.Options{})
	ok(t, start(t, r, alice).Close())
	mainFile := filepath.Join(dirOf(t, dir, alice), record.MainFile)
	ok(t, os.Remove(mainFile))
	ok(t, os.Symlink(secret, mainFile))
	if _, err := r.Open(alice); err == nil {
		t.Error("read through a link")
	}
	if _, err := r.Start(header(alice)); err == nil {
		t.Error("wrote through a link")
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret\n" {
		t.Errorf("%q %v", b, err)
	}
}

func TestConcurrentRecordings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		id := sekisho.SessionID(fmt.Sprintf("alice-%d", i))
		rec := start(t, r, id)
		if _, err := r.Start(header(id)); sekisho.CodeOf(err) != sekisho.CodeConflict {
			t.Errorf("started twice: %v", err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			for range 300 {
				if err := rec.Output(bytes.Repeat([]byte{'o'}, 1000)); err != nil {
					t.Error(err)
				}
			}
		})
		both.Go(func() {
			for range 300 {
				if err := rec.Input([]byte("i")); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			both.Wait()
			if _, err := rec.Seal(record.Exit{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := r.Flush(); err != nil {
				t.Error(err)
			}
			for _, err := range r.List() {
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	wg.Wait()
	for i := range 8 {
		s, err := r.Verify(sekisho.SessionID(fmt.Sprintf("alice-%d", i)))
		if err != nil || s.BytesOut != 300_000 || s.BytesIn != 300 {
			t.Errorf("recording %d: %+v %v", i, s, err)
		}
	}
	if _, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1))); err != nil {
		t.Error(err)
	}
}

// sealed creates a recording with several checkpoints.
func sealed(t testing.TB, r *record.Recorder, id sekisho.SessionID, seed uint64) record.Summary {
	t.Helper()
	rec := start(t, r, id)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 40 {
		ok(t, rec.Output(fmt.Appendf(nil, "line %d %x\r\n", i, rng.Uint64())))
		if i%10 == 9 {
			ok(t, rec.Flush())
		}
	}
	s, err := rec.Seal(record.Exit{Reason: "done"})
	ok(t, err)
	return s
}

func edit(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	ok(t, err)
	ok(t, os.WriteFile(name, f(b), 0o600))
}

func TestLedgerTampering(t *testing.T) {
	t.Parallel()
	const b1, b2 = sekisho.SessionID("bob-1"), sekisho.SessionID("bob-2")
	ledger := func(root string) string { return filepath.Join(root, record.LedgerFile) }
	lines := func(b []byte) [][]byte { return bytes.SplitAfter(b, []byte("\n")) }
	tests := []struct {
		name          string
		tamper        func(t *testing.T, root, b1 string)
		file, problem string
	}{
		{
			"sealed recording deleted",
			func(t *testing.T, _, b1 string) { ok(t, os.RemoveAll(b1)) },
			"bob-1",
			"it was sealed at",
		},
		{"unsealed recording deleted", func(t *testing.T, root, _ string) {
			m, err := filepath.Glob(root + "/*/*/bob-live")
			ok(t, err)
			ok(t, os.RemoveAll(m[0]))
		}, "bob-live", "never sealed"},
		{
			"seal deleted",
			func(t *testing.T, _, b1 string) { ok(t, os.Remove(b1+"/seal.json")) },
			"bob-1/seal.json",
			"missing",
		},
		{"seal replaced", func(t *testing.T, root, b1 string) {
			edit(
				t,
				b1+"/seal.json",
				func(b []byte) []byte { return bytes.Replace(b, []byte("done"), []byte("gone"), 1) },
			)
		}, "bob-1/seal.json", "not the seal of ledger line 2"},
		{"recording added", func(t *testing.T, root, b1 string) {
			ok(t, os.CopyFS(filepath.Join(filepath.Dir(b1), "bob-9"), os.DirFS(b1)))
		}, "bob-9", "not in the ledger"},
		{"recording moved", func(t *testing.T, root, b1 string) {
			ok(t, os.MkdirAll(root+"/1999/01", 0o700))
			ok(t, os.Rename(b1, root+"/1999/01/bob-1"))
		}, "bob-1", "missing"},
		{"entry dropped", func(t *testing.T, root, b1 string) {
			ok(t, os.RemoveAll(b1))
			edit(t, ledger(root), func(b []byte) []byte { return bytes.Join(lines(b)[2:], nil) })
		}, record.LedgerFile, "entry 2"},
		{"entry changed", func(t *testing.T, root, _ string) {
			edit(
				t,
				ledger(root),
				func(b []byte) []byte { return bytes.Replace(b, []byte("bob-1"), []byte("bob-2"), 1) },
			)
		}, record.LedgerFile, "line 1: its signature"},
		{"end cut off", func(t *testing.T, root, _ string) {
			edit(t, ledger(root), func(b []byte) []byte { return bytes.Join(lines(b)[:2], nil) })
		}, record.LedgerFile, "with the digest"},
		{
			"ledger deleted",
			func(t *testing.T, root, _ string) { ok(t, os.Remove(ledger(root))) },
			record.LedgerFile,
			"missing",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root := filepath.Join(dir, "recordings")
			r := open(t, dir, record.Options{})
			sealed(t, r, b1, 1)
			sealed(t, r, b2, 2)
			start(t, r, "bob-live")
			head, _ := r.Head()
			keys := publicKeys(testKey(1))
			rep, err := record.VerifyLedger(os.DirFS(root), keys, record.LedgerHead{Digest: head})
			ok(t, err)
			if d := cmp.Diff([]sekisho.SessionID{"bob-live"}, rep.Unsealed); d != "" || rep.Sealed != 2 {
				t.Errorf("%+v", rep)
			}
			tt.tamper(t, root, dirOf(t, dir, b1))
			_, err = record.VerifyLedger(os.DirFS(root), keys, record.LedgerHead{Digest: head})
			if err == nil || !strings.Contains(err.Error(), tt.file+":") || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("got %v; want %s, %q", err, tt.file, tt.problem)
			}
		})
	}
}

func TestTamperedLedgerIsNotBuiltUpon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	sealed(t, r, alice, 1)
	ok(t, r.Close())
	name := filepath.Join(dir, "recordings", record.LedgerFile)
	edit(t, name, func(b []byte) []byte { b[10] ^= 1; return b })
	_, err := record.Open(dir, testKey(1), record.Options{Sealer: recordtest.Sealer{}})
	wantFlaw(t, err, record.LedgerFile, "line 1")
}

// Whoever lacks the key cannot recompute the chain: the signature of the last line covers all.
func TestRechainedLedgerIsNotBuiltUpon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	sealed(t, r, alice, 1)
	ok(t, r.Close())
	name := filepath.Join(dir, "recordings", record.LedgerFile)
	edit(t, name, func(b []byte) []byte {
		lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
		was := sha256.Sum256(lines[0])
		lines[0] = bytes.Replace(lines[0], []byte(`"kind":"started"`), []byte(`"kind":"removed"`), 1)
		is := sha256.Sum256(lines[0])
		lines[1] = bytes.Replace(lines[1], []byte(hex.EncodeToString(was[:])), []byte(hex.EncodeToString(is[:])), 1)
		return append(bytes.Join(lines, []byte("\n")), '\n')
	})
	_, err := record.Open(dir, testKey(1), record.Options{Sealer: recordtest.Sealer{}})
	wantFlaw(t, err, record.LedgerFile, "line 2")
}

func TestTornLedgerLineIsCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	sealed(t, r, alice, 1)
	head, _ := r.Head()
	ok(t, r.Close())
	name := filepath.Join(dir, "recordings", record.LedgerFile)
	edit(t, name, func(b []byte) []byte { return append(b, `{"n":2,"ke`...) })
	r = open(t, dir, record.Options{})
	if again, _ := r.Head(); again != head {
		t.Errorf("head %s, was %s", again, head)
	}
	sealed(t, r, "alice-2", 2)
	if _, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1)),
		record.LedgerHead{Digest: head}); err != nil {
		t.Error(err)
	}
}

func TestTwoWritersOfOneLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := open(t, dir, record.Options{}), open(t, dir, record.Options{})
	sealed(t, one, alice, 1)
	if _, err := two.Start(header("alice-2")); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	if _, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1))); err != nil {
		t.Error(err)
	}
}

func TestRestartContinues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, record.Options{})
		rec := start(t, r, alice)
		<-time.After(3 * time.Second)
		ok(t, rec.Output([]byte("before")))
		ok(t, r.Close())

		<-time.After(7 * time.Second)
		r = open(t, dir, record.Options{OmitInput: true}) // the recording keeps the settings in its header
		none, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return false })
		if err != nil || len(none) != 0 {
			t.Fatalf("recovered %v, %v", none, err)
		}
		h := header(alice)
		h.Owner = "somebody else"
		rec, err = r.Start(h)
		ok(t, err)
		ok(t, rec.Input([]byte("typed")))
		<-time.After(time.Second)
		ok(t, rec.Output([]byte("after")))
		s, err := rec.Seal(record.Exit{})
		ok(t, err)
		if s.Duration != 11*time.Second || s.BytesOut != 11 || s.Owner != header(alice).Owner {
			t.Errorf("%+v", s)
		}
		_, evs := events(t, r, alice)
		if d := cmp.Diff([]string{"o before", "m resumed", "i typed", "o after", "x 0"}, evs); d != "" {
			t.Error(d)
		}
		if _, err := r.Verify(alice); err != nil {
			t.Error(err)
		}
	})
}

// TestCrashKeepsCounting: times and counts continue from the data after the
// last checkpoint.
func TestCrashKeepsCounting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		dead := start(t, open(t, dir, record.Options{}), alice)
		<-time.After(3 * time.Second)
		ok(t, dead.Output([]byte("before \xff")))
		ok(t, dead.Input([]byte("typed")))
		<-time.After(7 * time.Second)
		r := open(t, dir, record.Options{})
		rec := start(t, r, alice)
		if s := rec.Summary(); s.Duration != 10*time.Second || s.BytesOut != 8 || s.BytesIn != 5 || s.Events != 3 {
			t.Errorf("continued: %+v", s)
		}
		s, err := rec.Seal(record.Exit{})
		ok(t, err)
		if s.Duration != 10*time.Second || s.Events != 4 {
			t.Errorf("sealed: %+v", s)
		}
		var b bytes.Buffer
		ok(t, r.WriteCast(&b, alice))
		d, err := cast.NewReader(&b)
		ok(t, err)
		var times []time.Duration
		for ev, err := d.Next(); err == nil; ev, err = d.Next() {
			times = append(times, ev.Time/time.Second)
		}
		if d := cmp.Diff([]time.Duration{3, 3, 10, 10}, times); d != "" {
			t.Error(d)
		}
		if _, err := r.Verify(alice); err != nil {
			t.Error(err)
		}
	})
}

func TestKeyChangesWithinARecording(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.Output([]byte("old key")))
	ok(t, r.Close())
	if _, err := record.Open(dir, testKey(2), record.Options{Sealer: recordtest.Sealer{}}); err == nil {
		t.Error("opened a ledger of an unknown key")
	}
	old := testKey(1).Public().(ed25519.PublicKey)
	r, err := record.Open(
		dir,
		testKey(2),
		record.Options{Sealer: recordtest.Sealer{}, OldKeys: []ed25519.PublicKey{old}},
	)
	ok(t, err)
	defer r.Close()
	rec = start(t, r, alice)
	ok(t, rec.Output([]byte("new key")))
	_, err = rec.Seal(record.Exit{})
	ok(t, err)
	if _, err := r.Verify(alice); err != nil {
		t.Error(err)
	}
	fsys := os.DirFS(dirOf(t, dir, alice))
	if _, err := record.Verify(fsys, publicKeys(testKey(2)), alice); err != nil {
		t.Errorf("the new key vouches for all of it: %v", err)
	}
	if _, err := record.Verify(fsys, publicKeys(testKey(1)), alice); err == nil {
		t.Error("verified without the new key")
	}
	if _, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")),
		publicKeys(testKey(1), testKey(2))); err != nil {
		t.Error(err)
	}
}

// TestCrashBetweenLedgerAndSeal: the ledger names a seal that still has its
// temporary name.
func TestCrashBetweenLedgerAndSeal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	sum := sealed(t, r, alice, 1)
	sealed(t, r, "alice-2", 2)
	ok(t, r.Close())
	where := dirOf(t, dir, alice)
	ok(t, os.Rename(where+"/seal.json", where+"/seal.json.tmp"))
	// The other crash: the temporary file exists, and the ledger does not know
	// it.
	r = open(t, dir, record.Options{})
	ok(t, start(t, r, "alice-3").Close())
	ok(t, os.WriteFile(dirOf(t, dir, "alice-3")+"/seal.json.tmp", []byte("torn"), 0o600))

	sums, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true })
	ok(t, err)
	got := make(map[sekisho.SessionID]record.Summary)
	for _, s := range sums {
		got[s.SessionID] = s
	}
	if len(got) != 2 || got[alice].SealDigest != sum.SealDigest || got["alice-3"].Exit.Reason != "server stopped" {
		t.Errorf("recovered %+v", sums)
	}
	for _, id := range []sekisho.SessionID{alice, "alice-2", "alice-3"} {
		if _, err := r.Verify(id); err != nil {
			t.Error(err)
		}
	}
	if _, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1))); err != nil {
		t.Error(err)
	}
}

func TestRecoverStopsWithItsContext(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{})
	ok(t, start(t, r, alice).Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Recover(ctx, func(sekisho.SessionID) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRecoverLeavesLiveRecordingsAlone(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{})
	rec := start(t, r, alice)
	sums, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true })
	if err != nil || len(sums) != 0 {
		t.Errorf("%v %v", sums, err)
	}
	ok(t, rec.Output([]byte("still here")))
}

func TestExport(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{})
	sum := sealed(t, r, alice, 1)
	var b bytes.Buffer
	ok(t, r.Export(&b, alice))
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	ok(t, err)
	pem, err := fs.ReadFile(z, record.KeyDir+"/"+r.Key()+".pem")
	ok(t, err)
	keys, err := record.ParseKeys(pem)
	ok(t, err)
	if d := cmp.Diff(r.Keys(), keys); d != "" {
		t.Error(d)
	}
	got, err := record.Verify(z, keys, alice)
	ok(t, err)
	if got.SealDigest != sum.SealDigest {
		t.Error("another seal")
	}
	ok(t, start(t, r, "alice-2").Close())
	if err := r.Export(io.Discard, "alice-2"); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("exported without seal: %v", err)
	}
}

// TestLivePages: pages of a recording in progress continue where the last one
// ended, across the blocks that are written meanwhile.
func TestLivePages(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.Resize(80, 24))
	var got []byte
	read := func() {
		t.Helper()
		for {
			p, err := r.CastPage(alice, int64(len(got)), 1000)
			ok(t, err)
			got = append(got, p.Data...)
			if p.Next != int64(len(got)) || !p.End && p.Total <= p.Next {
				t.Fatalf("%+v", p)
			}
			if p.End {
				return
			}
		}
	}
	for i := range 300 {
		ok(t, rec.Output(fmt.Appendf(nil, "line %d 関\xe9", i)))
		if i%7 == 0 {
			read()
		}
		if i%20 == 0 {
			ok(t, rec.Flush())
		}
	}
	_, err := rec.Seal(record.Exit{})
	ok(t, err)
	read()
	var whole bytes.Buffer
	ok(t, r.WriteCast(&whole, alice))
	if !bytes.Equal(got, whole.Bytes()) {
		t.Errorf("%d bytes in pages, %d at once", len(got), whole.Len())
	}
	if p, err := r.CastPage(alice, 5, 10); err != nil || !bytes.Equal(p.Data, got[5:15]) {
		t.Errorf("from the middle: %q, %v", p.Data, err)
	}
	if _, err := r.CastPage(alice, int64(len(got))+1, 10); sekisho.CodeOf(err) != sekisho.CodeInvalid {
		t.Errorf("beyond the end: %v", err)
	}
}

// TestHiddenInput: input while the terminal does not echo is counted and not
// stored.
func TestHiddenInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.Input([]byte("sudo id\r")))
	rec.Echo(false)
	ok(t, rec.Input([]byte("hunter2\r")))
	rec.Echo(true)
	ok(t, rec.Input([]byte("exit\r")))
	s, err := rec.Seal(record.Exit{})
	ok(t, err)
	_, evs := events(t, r, alice)
	if d := cmp.Diff([]string{"i sudo id\r", "m hidden input, 8 bytes", "i exit\r", "x 0"}, evs); d != "" {
		t.Error(d)
	}
	if s.BytesIn != 21 {
		t.Errorf("%d bytes in", s.BytesIn)
	}
}

// TestNothingInTheClear: no file contains the transferred data in the clear,
// neither during the session nor afterwards.
func TestNothingInTheClear(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	look := func() {
		t.Helper()
		ok(t, fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := fs.ReadFile(os.DirFS(dir), p)
			if bytes.Contains(b, []byte("top secret")) {
				t.Errorf("%s has it in the clear", p)
			}
			return err
		}))
	}
	ok(t, rec.Output([]byte("top secret output")))
	ok(t, rec.Input([]byte("top secret input")))
	look()
	ok(t, rec.Flush())
	look()
	_, err := rec.Seal(record.Exit{})
	ok(t, err)
	look()
	ok(t, r.Close())
	other, err := record.Open(dir, testKey(1), record.Options{Sealer: otherSealer{}})
	ok(t, err)
	defer other.Close()
	if _, err := other.CastPage(alice, 0, 10); err == nil {
		t.Error("read with another keyring")
	}
	if _, err := other.Verify(alice); err != nil {
		t.Errorf("verification needs no key to the content: %v", err)
	}
}

// otherSealer is the sealer of another keyring.
type otherSealer struct{ recordtest.Sealer }

func (s otherSealer) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	return s.Sealer.Open(purpose+" of another keyring", sealed, aad)
}

// TestLongStream: memory does not grow with the recording.
func TestLongStream(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	chunk := []byte(strings.Repeat("drwxr-xr-x 2 root root 4096 Nov 23 10:00 etc\r\n", 22))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	write := func(total int) {
		for n := 0; n < total; n += len(chunk) {
			ok(t, rec.Output(chunk))
		}
	}
	write(4 << 20)
	early := heap()
	total := 256 << 20
	if testing.Short() {
		total = 32 << 20
	}
	write(total)
	if late := heap(); late > early+(4<<20) {
		t.Errorf("heap grew from %d to %d", early, late)
	}
	s, err := rec.Seal(record.Exit{})
	ok(t, err)
	before := heap()
	got, err := r.Verify(alice)
	ok(t, err)
	if after := heap(); after > before+(4<<20) {
		t.Errorf("verification kept %d bytes", after-before)
	}
	if got.BytesOut != s.BytesOut || got.BytesOut < int64(total) {
		t.Errorf("%d bytes", got.BytesOut)
	}
}

// FuzzVerify changes one of the two files in any way: if it verifies, it has
// what was recorded.
func FuzzVerify(f *testing.F) {
	r, err := record.Open(f.TempDir(), testKey(1), record.Options{Sealer: recordtest.Sealer{}})
	ok(f, err)
	defer r.Close()
	rec, err := r.Start(header(alice))
	ok(f, err)
	ok(f, rec.Output([]byte("text\r\n\xff")))
	_, err = rec.Seal(record.Exit{})
	ok(f, err)
	var b bytes.Buffer
	ok(f, r.Export(&b, alice))
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	ok(f, err)
	good := make(map[string][]byte)
	for i, n := range []string{record.MainFile, record.SealFile} {
		good[n], err = fs.ReadFile(z, n)
		ok(f, err)
		f.Add(uint8(i), good[n])
		f.Add(uint8(i), good[n][:len(good[n])/2])
		f.Add(uint8(i), append(bytes.Clone(good[n]), good[n]...))
	}
	keys := publicKeys(testKey(1))
	f.Fuzz(func(t *testing.T, which uint8, text []byte) {
		name := []string{record.MainFile, record.SealFile}[which%2]
		files := make(map[string][]byte)
		for n, b := range good {
			files[n] = b
		}
		files[name] = text
		if _, err := record.Verify(memFS(files), keys, alice); err == nil && !bytes.Equal(text, good[name]) {
			t.Errorf("a changed %s verifies", name)
		}
	})
}

// memFS is a directory of files in memory.
type memFS map[string][]byte

func (m memFS) Open(name string) (fs.File, error) {
	b, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memFile{bytes.NewReader(b), name}, nil
}

type memFile struct {
	*bytes.Reader
	name string
}

func (f *memFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *memFile) Close() error               { return nil }
func (f *memFile) Name() string               { return f.name }
func (f *memFile) Mode() fs.FileMode          { return 0o600 }
func (f *memFile) ModTime() time.Time         { return time.Time{} }
func (f *memFile) IsDir() bool                { return false }
func (f *memFile) Sys() any                   { return nil }

// TestReady: obstacles to a recording are known before it begins.
func TestReady(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	for range 2 {
		if err := r.Ready(); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "recordings"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if f.Name() == ".ready" {
			t.Error("the trial was left behind")
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "recordings")); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(); err == nil {
		t.Error("ready, without a place to write to")
	}
}

// TestTampering covers every class of change and checks the reported position.
func TestTampering(t *testing.T) {
	t.Parallel()
	const other = sekisho.SessionID("alice-other")
	main := func(dir string) string { return filepath.Join(dir, record.MainFile) }
	// block returns the position of a block.
	block := func(t *testing.T, b []byte, n int) (from, to int) {
		r, err := recfile.Open(bytes.NewReader(b), int64(len(b)))
		ok(t, err)
		blocks, err := r.Blocks()
		ok(t, err)
		return int(blocks[n].Offset), int(blocks[n].Offset + blocks[n].Size)
	}
	tests := []struct {
		name    string
		tamper  func(t *testing.T, dir, otherDir string)
		file    string
		problem string
	}{
		{"bit flip in a block", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte {
				from, to := block(t, b, 2)
				b[(from+to)/2] ^= 1
				return b
			})
		}, record.MainFile, "block 2: its signature does not match"},
		{"bit flip in a signature", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte {
				_, to := block(t, b, 2)
				b[to-1] ^= 1
				return b
			})
		}, record.MainFile, "block 2: its signature does not match"},
		{"bit flip in the header", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte { b[140] ^= 1; return b })
		}, record.MainFile, "block 0: its signature does not match"},
		{"a block dropped", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte {
				from, to := block(t, b, 2)
				return append(b[:from:from], b[to:]...)
			})
		}, record.MainFile, "block 3"},
		{"tail cut", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte { return b[:len(b)-1] })
		}, record.MainFile, "the file ends at byte"},
		{"whole blocks cut", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte {
				from, _ := block(t, b, 3)
				return b[:from]
			})
		}, record.MainFile, "after 3 complete blocks"},
		{"emptied", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func([]byte) []byte { return nil })
		}, record.MainFile, "no beginning"},
		{"extended", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte { return append(b, "rm -rf /"...) })
		}, record.MainFile, "added after the seal"},
		{"a block repeated at the end", func(t *testing.T, dir, _ string) {
			edit(t, main(dir), func(b []byte) []byte {
				from, to := block(t, b, 2)
				return append(b, b[from:to]...)
			})
		}, record.MainFile, "added after the seal"},
		{"a block of another session", func(t *testing.T, dir, other string) {
			foreign, err := os.ReadFile(main(other))
			ok(t, err)
			edit(t, main(dir), func(b []byte) []byte {
				from, to := block(t, b, 2)
				f, e := block(t, foreign, 2)
				return slices.Concat(b[:from], foreign[f:e], b[to:])
			})
		}, record.MainFile, "block 2: it does not follow"},
		{"file of another session", func(t *testing.T, dir, other string) {
			ok(t, os.Rename(main(other), main(dir)))
		}, record.MainFile, "another session"},
		{"file missing", func(t *testing.T, dir, _ string) { ok(t, os.Remove(main(dir))) }, record.MainFile, "missing"},
		{
			"seal missing",
			func(t *testing.T, dir, _ string) { ok(t, os.Remove(dir+"/seal.json")) },
			record.SealFile,
			"missing",
		},
		{"seal changed", func(t *testing.T, dir, _ string) {
			edit(
				t,
				dir+"/seal.json",
				func(b []byte) []byte { return bytes.Replace(b, []byte(`"done"`), []byte(`"gone"`), 1) },
			)
		}, record.SealFile, "signature"},
		{"seal cut", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/seal.json", func(b []byte) []byte { return b[:len(b)-1] })
		}, record.SealFile, "cut short"},
		{"seal of another session", func(t *testing.T, dir, other string) {
			ok(t, os.Rename(other+"/seal.json", dir+"/seal.json"))
		}, record.SealFile, "another session"},
		{"everything of another session", func(t *testing.T, dir, other string) {
			ok(t, os.RemoveAll(dir))
			ok(t, os.Rename(other, dir))
		}, record.SealFile, "another session"},
		{"seal of another key", func(t *testing.T, dir, _ string) {
			forger, err := record.Open(
				filepath.Join(dir, "forger"),
				testKey(2),
				record.Options{Sealer: recordtest.Sealer{}},
			)
			ok(t, err)
			sealed(t, forger, alice, 9)
			ok(t, forger.Close())
			forged := dirOf(t, filepath.Join(dir, "forger"), alice)
			for _, n := range []string{record.MainFile, record.SealFile} {
				ok(t, os.Rename(filepath.Join(forged, n), filepath.Join(dir, n)))
			}
		}, record.SealFile, "not among those given"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := open(t, dir, record.Options{})
			sealed(t, r, alice, 1)
			sealed(t, r, other, 2)
			if _, err := r.Verify(alice); err != nil {
				t.Fatal("untouched: ", err)
			}
			tt.tamper(t, dirOf(t, dir, alice), dirOf(t, dir, other))
			_, err := r.Verify(alice)
			wantFlaw(t, err, tt.file, tt.problem)
		})
	}
}

// TestEveryByteCounts changes every byte of both files, and truncates them
// there.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.Output([]byte("short\n")))
	_, err := rec.Seal(record.Exit{})
	ok(t, err)
	files := make(map[string][]byte)
	for _, n := range []string{record.MainFile, record.SealFile} {
		b, err := os.ReadFile(filepath.Join(dirOf(t, dir, alice), n))
		ok(t, err)
		files[n] = b
	}
	if _, err := record.Verify(memFS(files), publicKeys(testKey(1)), alice); err != nil {
		t.Fatal(err)
	}
	for n, b := range files {
		for i := range b {
			b[i] ^= 0x20
			if _, err := record.Verify(memFS(files), publicKeys(testKey(1)), alice); err == nil {
				t.Errorf("byte %d of %s may be anything", i, n)
			}
			b[i] ^= 0x20
		}
		for i := range b {
			files[n] = b[:i]
			if _, err := record.Verify(memFS(files), publicKeys(testKey(1)), alice); err == nil {
				t.Errorf("%s may end at byte %d", n, i)
			}
		}
		files[n] = b
	}
}

// TestDamageFoundAtRecovery: damage from before the seal stays visible, and
// the recording is left as it is.
func TestDamageFoundAtRecovery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, main string)
		want   string
	}{
		{"changed", func(t *testing.T, main string) {
			edit(t, main, func(b []byte) []byte { b[len(b)-100] ^= 1; return b })
		}, "block 1: its signature"},
		{"garbage at the end", func(t *testing.T, main string) {
			edit(t, main, func(b []byte) []byte { return append(b, make([]byte, 200)...) })
		}, "not the beginning of a block"},
		{"gone", func(t *testing.T, main string) { ok(t, os.Remove(main)) }, "session.rec: it is missing"},
		{"emptied", func(t *testing.T, main string) { ok(t, os.Truncate(main, 0)) }, "session.rec"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := open(t, dir, record.Options{})
			rec := start(t, r, alice)
			ok(t, rec.Output([]byte("a secret of some length")))
			ok(t, r.Close())
			main := filepath.Join(dirOf(t, dir, alice), record.MainFile)
			tt.damage(t, main)
			before, _ := os.ReadFile(main)

			r = open(t, dir, record.Options{})
			if _, err := r.Start(header(alice)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("continued: %v", err)
			}
			sums, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true })
			ok(t, err)
			if len(sums) != 1 || !strings.Contains(sums[0].Damage, tt.want) {
				t.Fatalf("recovered %+v", sums)
			}
			if after, _ := os.ReadFile(main); !bytes.Equal(before, after) {
				t.Error("the evidence was changed")
			}
			_, err = r.Verify(alice)
			wantFlaw(t, err, record.SealFile, "damaged when it was sealed")
			if _, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1))); err != nil {
				t.Error(err)
			}
			ok(t, os.WriteFile(main, []byte("other evidence"), 0o600))
			_, err = r.Verify(alice)
			wantFlaw(t, err, record.MainFile, "changed since")
		})
	}
}

// TestEmptyRecordingIsRemoved: a crash in Start before anything was recorded
// leaves nothing behind.
func TestEmptyRecordingIsRemoved(t *testing.T) {
	t.Parallel()
	month := filepath.Join("recordings", "2026", "11")
	for name, files := range map[string]map[string]string{
		"directory only": {},
		"empty file":     {record.MainFile: ""},
		"torn header":    {record.MainFile: "SBK2\x00\x00"},
		"format 1":       {record.CastFile: `{"version":3`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			plant := func() {
				where := filepath.Join(dir, month, string(alice))
				ok(t, os.MkdirAll(where, 0o700))
				for n, text := range files {
					ok(t, os.WriteFile(filepath.Join(where, n), []byte(text), 0o600))
				}
			}
			plant()
			r := open(t, dir, record.Options{})
			sums, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true })
			if err != nil || len(sums) != 0 {
				t.Fatalf("%v %v", sums, err)
			}
			if _, err := r.Open(alice); !sekisho.IsNotFound(err) {
				t.Errorf("still there: %v", err)
			}
			plant()
			rec := start(t, r, alice)
			_, err = rec.Seal(record.Exit{})
			ok(t, err)
			if _, err := r.Verify(alice); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKilled opens the store of a killed server: all output that was shown is
// present after the restart, sealed or continued.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, resumed := range []bool{false, true} {
		dir := t.TempDir()
		r := open(t, dir, record.Options{})
		rec := start(t, r, alice)
		ok(t, rec.Output([]byte("in a block\r\n")))
		ok(t, rec.Flush())
		ok(t, rec.Output([]byte("in the tail\r\n")))
		ok(t, rec.Input([]byte("typed")))
		ok(t, rec.Output([]byte("the last words")))
		copied := t.TempDir()
		ok(t, os.CopyFS(copied, os.DirFS(dir)))

		r = open(t, copied, record.Options{})
		want := []string{"o in a block\r\n", "o in the tail\r\n", "i typed", "o the last words"}
		if resumed {
			rec := start(t, r, alice)
			ok(t, rec.Output([]byte("more")))
			_, err := rec.Seal(record.Exit{})
			ok(t, err)
			want = append(want, "m resumed", "o more", "x 0")
		} else {
			sums, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true })
			ok(t, err)
			if len(sums) != 1 || sums[0].Damage != "" {
				t.Fatalf("recovered %+v", sums)
			}
			want = append(want, "m ended: server stopped", "x -1")
		}
		_, evs := events(t, r, alice)
		if d := cmp.Diff(want, evs); d != "" {
			t.Error(d)
		}
		if _, err := r.Verify(alice); err != nil {
			t.Error(err)
		}
		if _, err := record.VerifyLedger(os.DirFS(filepath.Join(copied, "recordings")), publicKeys(testKey(1))); err != nil {
			t.Error(err)
		}
	}
}

// TestForwardedConnections: the recording of a forwarding session lists its
// connections, across a restart, without their data.
func TestForwardedConnections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.SetKind(record.SessionKind{Type: record.TypePort, Host: "db", Port: "5432"}))
	ok(t, rec.Input([]byte("select secret")))
	ok(t, rec.Output([]byte("the secret")))
	ok(t, rec.Disconnected(true))
	ok(t, r.Close())
	r = open(t, dir, record.Options{})
	rec = start(t, r, alice)
	ok(t, rec.SetKind(record.SessionKind{Type: "Standard_Stream"})) // it was recorded already
	ok(t, rec.Output([]byte("another secret")))
	_, err := rec.Seal(record.Exit{})
	ok(t, err)
	s, err := r.Open(alice)
	ok(t, err)
	defer s.Close()
	c, err := s.Records()
	ok(t, err)
	var got []record.Connection
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		if bytes.Contains(rec.Data, []byte("secret")) {
			t.Errorf("payload was kept: %q", rec.Data)
		}
		if rec.Kind == recfile.Connection {
			var c record.Connection
			ok(t, json.Unmarshal(rec.Data, &c))
			got = append(got, c)
		}
	}
	if len(got) != 2 || got[0].BytesIn != 13 || got[0].BytesOut != 10 || got[0].Ended != record.EndedByClient ||
		got[0].Peer != "192.0.2.7" ||
		got[0].Destination != "db:5432" ||
		got[1].BytesOut != 14 ||
		got[1].Ended != record.EndedBySession {
		t.Errorf("%+v", got)
	}
}

// TestForwardedPayload: if the header asks for it, the bytes of forwarded
// connections are stored, and exported as output and input.
func TestForwardedPayload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	h := header(alice)
	h.RecordForwards = true
	rec, err := r.Start(h)
	ok(t, err)
	ok(t, rec.SetKind(record.SessionKind{Type: record.TypePort, Host: "db", Port: "5432"}))
	question, answer := []byte("select \x00\xff"), bytes.Repeat([]byte("row "), 50_000)
	ok(t, rec.Input(question))
	ok(t, r.Close())
	r = open(t, dir, record.Options{})
	rec, err = r.Start(h)
	ok(t, err)
	ok(t, rec.Output(answer))
	_, err = rec.Seal(record.Exit{})
	ok(t, err)
	_, evs := events(t, r, alice)
	var in, out string
	for _, ev := range evs {
		if text, ok := strings.CutPrefix(ev, "i "); ok {
			in += text
		} else if text, ok := strings.CutPrefix(ev, "o "); ok {
			out += text
		}
	}
	if in != string(question) || out != string(answer) {
		t.Errorf("%d bytes in, %d bytes out", len(in), len(out))
	}
	s, err := r.Open(alice)
	ok(t, err)
	defer s.Close()
	if !s.Header.RecordForwards {
		t.Error("the header does not say that the bytes are kept")
	}
}

// TestRetentionOfDocument: a recording is kept as long as its document says,
// whatever the policy of the server.
func TestRetentionOfDocument(t *testing.T) {
	t.Parallel()
	const bob = sekisho.SessionID("bob-abcdefghijklmnopqrstuvwxyz")
	for _, policy := range []record.Retention{{}, {MaxAge: 24 * time.Hour}, {MaxAge: 24 * 365 * time.Hour}} {
		r := open(t, t.TempDir(), record.Options{})
		for id, days := range map[sekisho.SessionID]int{alice: 30, bob: 0} {
			h := header(id)
			h.RecordingDays = days
			rec, err := r.Start(h)
			ok(t, err)
			_, err = rec.Seal(record.Exit{})
			ok(t, err)
		}
		removed := func(after time.Duration) (ids []sekisho.SessionID) {
			gone, err := r.Expire(t.Context(), policy, time.Now().Add(after))
			ok(t, err)
			for _, g := range gone {
				if g.Reason != "age" {
					t.Errorf("%+v", g)
				}
				ids = append(ids, g.Session)
			}
			return ids
		}
		const day = 24 * time.Hour
		if ids := removed(29 * day); slices.Contains(ids, alice) {
			t.Errorf("%+v: removed before its time", policy)
		}
		if ids := removed(31 * day); !slices.Contains(ids, alice) || slices.Contains(ids, bob) {
			t.Errorf("%+v: removed %v", policy, ids)
		}
	}
}

// TestRetention: policy removes the oldest sealed recordings and records this
// in the ledger. It keeps recordings that are held, unsealed or altered.
func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, record.Options{})
		ids := []sekisho.SessionID{"a-1", "a-2", "a-3", "a-4", "a-5"}
		for i, id := range ids {
			sealed(t, r, id, uint64(i))
			<-time.After(time.Hour)
		}
		live := start(t, r, "a-live")
		ok(t, r.Hold("a-1", "case 7"))
		if err := r.Remove("a-1", "age"); sekisho.CodeOf(err) != sekisho.CodeConflict {
			t.Errorf("removed a held recording: %v", err)
		}
		if err := r.Remove("a-live", "age"); sekisho.CodeOf(err) != sekisho.CodeConflict {
			t.Errorf("removed a recording in progress: %v", err)
		}
		edit(t, filepath.Join(dirOf(t, dir, "a-2"), record.SealFile), func(b []byte) []byte { b[20] ^= 1; return b })
		gone, err := r.Expire(t.Context(), record.Retention{MaxAge: 150 * time.Minute}, time.Now())
		ok(t, err)
		if len(gone) != 1 || gone[0].Session != "a-3" || gone[0].Reason != "age" || gone[0].Bytes == 0 {
			t.Errorf("removed %+v", gone)
		}
		total, err := r.Bytes()
		ok(t, err)
		gone, err = r.Expire(t.Context(), record.Retention{MaxBytes: total - 1}, time.Now())
		ok(t, err)
		if len(gone) != 1 || gone[0].Session != "a-4" || gone[0].Reason != "size" {
			t.Errorf("removed %+v", gone)
		}
		if _, err := r.Open("a-4"); !sekisho.IsNotFound(err) {
			t.Errorf("still there: %v", err)
		}
		ok(t, live.Output([]byte("x")))
		ok(t, r.Close())

		// After a restart the hold is still in force, and a removal that a
		// crash interrupted is completed.
		r = open(t, dir, record.Options{})
		ok(
			t,
			os.MkdirAll(
				filepath.Join(
					dir,
					"recordings",
					filepath.Dir(dirOf(t, dir, "a-5")[len(filepath.Join(dir, "recordings")):]),
					"a-4",
				),
				0o700,
			),
		)
		gone, err = r.Expire(t.Context(), record.Retention{MaxAge: time.Nanosecond}, time.Now().Add(time.Hour))
		ok(t, err)
		if len(gone) != 1 || gone[0].Session != "a-5" {
			t.Errorf("removed %+v", gone)
		}
		if m, err := filepath.Glob(filepath.Join(dir, "recordings", "*", "*", "a-4")); err != nil || len(m) > 0 {
			t.Errorf("left of a removed recording: %v", m)
		}
		rep, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1)))
		if len(rep.Removed) != 3 || rep.Removed["a-4"] != "size" {
			t.Errorf("%+v", rep.Removed)
		}
		if len(rep.Flaws) != 1 || !strings.Contains(err.Error(), "a-2") {
			t.Errorf("the altered seal alone is a flaw: %v", err)
		}
		ok(t, os.RemoveAll(dirOf(t, dir, "a-1")))
		rep, _ = record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1)))
		if len(rep.Flaws) != 2 {
			t.Errorf("a deletion must differ from a removal: %v", rep.Err())
		}
		ok(t, r.Release("a-2"))
	})
}

// TestSearch: visible text is found with its time, with or without a
// transcript, and no file has it in the clear.
func TestSearch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, record.Options{})
		rec := start(t, r, alice)
		ok(t, rec.Resize(40, 5))
		ok(t, rec.Output([]byte("$ sys\x1b[1mtemctl re\x1b[0mstart nginx\r\n")))
		<-time.After(time.Minute)
		for i := range 20 {
			ok(t, rec.Output(fmt.Appendf(nil, "line %d\r\n", i)))
		}
		<-time.After(time.Minute)
		ok(t, rec.Output([]byte("\x1b[2J\x1b[Hlast words")))
		search := func(query string) []recfile.Line {
			t.Helper()
			var got []recfile.Line
			ok(t, r.Search(alice, query, func(l recfile.Line) bool {
				got = append(got, l)
				return true
			}))
			return got
		}
		check := func(when string) {
			t.Helper()
			got := search("SYSTEMCTL restart")
			if len(got) != 1 || got[0].Text != "$ systemctl restart nginx" || got[0].Time != time.Minute {
				t.Errorf("%s: %+v", when, got)
			}
			if got := search("line 1"); len(got) != 11 {
				t.Errorf("%s: %+v", when, got)
			}
			if got := search("last words"); len(got) != 1 || got[0].Time != 2*time.Minute {
				t.Errorf("%s: %+v", when, got)
			}
			if got := search("nowhere"); len(got) != 0 {
				t.Errorf("%s: %+v", when, got)
			}
		}
		check("live")
		_, err := rec.Seal(record.Exit{})
		ok(t, err)
		check("sealed")
		ok(t, r.MakeTranscripts(t.Context()))
		name := filepath.Join(dirOf(t, dir, alice), "session.text")
		text, err := os.ReadFile(name)
		ok(t, err)
		if bytes.Contains(text, []byte("systemctl")) {
			t.Error("the transcript is in the clear")
		}
		check("transcript")
		for _, f := range []func([]byte) []byte{
			func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, func(b []byte) []byte { return b[:len(b)-30] },
			func([]byte) []byte { return nil },
		} {
			ok(t, os.WriteFile(name, f(bytes.Clone(text)), 0o600))
			check("altered transcript")
		}
		if _, err := r.Verify(alice); err != nil {
			t.Error(err)
		}
	})
}

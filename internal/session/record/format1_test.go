package record_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record"
)

// openFormat1 opens a copy of a store that an earlier version wrote: two
// sealed recordings, and one that is still open.
func openFormat1(t *testing.T) (*record.Recorder, string) {
	t.Helper()
	dir := t.TempDir()
	ok(t, os.CopyFS(dir, os.DirFS("testdata/format1")))
	return open(t, dir, record.Options{}), dir
}

func TestFormat1IsReadable(t *testing.T) {
	t.Parallel()
	r, dir := openFormat1(t)
	s, err := r.Verify(alice)
	ok(t, err)
	if s.Format != 1 || !s.Sealed || s.Exit.Reason != "done" {
		t.Errorf("%+v", s)
	}
	_, evs := events(t, r, alice)
	if len(evs) != 42 || evs[41] != "x 0" {
		t.Errorf("%d events, the last %q", len(evs), evs[len(evs)-1])
	}
	want, err := os.ReadFile(filepath.Join(dirOf(t, dir, alice), record.CastFile))
	ok(t, err)
	var got bytes.Buffer
	ok(t, r.WriteCast(&got, alice))
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("the export differs from the cast")
	}
	found := 0
	ok(t, r.Search(alice, "LINE 1", func(l recfile.Line) bool { found++; return true }))
	if found == 0 {
		t.Error("a recording of format 1 is not searched")
	}
	var bundle bytes.Buffer
	ok(t, r.Export(&bundle, alice))
	if _, err := r.Start(header(alice)); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("continued a sealed recording: %v", err)
	}
}

// TestFormat1LeftOpen: a recording of format 1 is sealed instead of being
// continued.
func TestFormat1LeftOpen(t *testing.T) {
	t.Parallel()
	r, dir := openFormat1(t)
	const id = "alice-open"
	if _, err := r.Start(header(id)); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("continued: %v", err)
	}
	if s, err := r.Stat(id); err != nil || !s.Sealed || s.Damage != "" {
		t.Fatalf("it was not sealed: %+v, %v", s, err)
	}
	if sums, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true }); err != nil || len(sums) != 0 {
		t.Errorf("sealed again: %+v, %v", sums, err)
	}
	_, evs := events(t, r, id)
	if d := cmp.Diff([]string{
		"o covered by a checkpoint\r\n", "o plain\r\n", "i typed", "o not \xff text", "o the last words",
		"m ended: the server was upgraded to a version that cannot continue the recording", "x -1",
	}, evs); d != "" {
		t.Error(d)
	}
	if _, err := r.Verify(id); err != nil {
		t.Error(err)
	}
	if _, err := record.VerifyLedger(os.DirFS(filepath.Join(dir, "recordings")), publicKeys(testKey(1))); err != nil {
		t.Error(err)
	}
}

// TestFormat1DamageFoundAtRecovery: a recording of format 1 that was changed
// before it was sealed is sealed as it is.
func TestFormat1DamageFoundAtRecovery(t *testing.T) {
	t.Parallel()
	r, dir := openFormat1(t)
	const id = "alice-open"
	name := filepath.Join(dirOf(t, dir, id), record.CastFile)
	edit(t, name, func(b []byte) []byte { return bytes.Replace(b, []byte("covered"), []byte("altered"), 1) })
	sums, err := r.Recover(t.Context(), func(sekisho.SessionID) bool { return true })
	ok(t, err)
	if len(sums) != 1 || sums[0].Damage == "" {
		t.Fatalf("recovered %+v", sums)
	}
	_, err = r.Verify(id)
	wantFlaw(t, err, record.SealFile, "damaged when it was sealed")
	edit(t, name, func(b []byte) []byte { return b[1:] })
	_, err = r.Verify(id)
	wantFlaw(t, err, record.CastFile, "changed since")
}

// TestFormat1Tampering covers every class of change and checks the reported
// position.
func TestFormat1Tampering(t *testing.T) {
	t.Parallel()
	const other = sekisho.SessionID("alice-other")
	lines := func(b []byte) [][]byte { return bytes.SplitAfter(b, []byte("\n")) }
	tests := []struct {
		name    string
		tamper  func(t *testing.T, dir, otherDir string)
		file    string
		problem string
		line    int64 // 0 = any
	}{
		{"bit flip in the cast", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.cast", func(b []byte) []byte {
				i := bytes.Index(b, []byte("line 25"))
				b[i] ^= 1
				return b
			})
		}, record.CastFile, "not what was recorded (checkpoint 3)", 22},
		{"bit flip in the header", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.cast", func(b []byte) []byte { b[20] ^= 1; return b })
		}, record.CastFile, "(checkpoint 0)", 1},
		{"a line of the cast dropped", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.cast", func(b []byte) []byte {
				l := lines(b)
				return bytes.Join(append(l[:15:15], l[16:]...), nil)
			})
		}, record.CastFile, "the file has", 12},
		{"two lines of the cast swapped", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.cast", func(b []byte) []byte {
				l := lines(b)
				l[33], l[34] = l[34], l[33]
				return bytes.Join(l, nil)
			})
		}, record.CastFile, "(checkpoint 4)", 32},
		{"tail of the cast cut", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.cast", func(b []byte) []byte { return b[:len(b)-1] })
		}, record.CastFile, "the file ends at byte", 42},
		{"cast emptied", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.cast", func([]byte) []byte { return nil })
		}, record.CastFile, "the file ends at byte 0", 1},
		{"cast extended", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.cast", func(b []byte) []byte { return append(b, "[0,\"o\",\"rm -rf /\"]\n"...) })
		}, record.CastFile, "added after the seal", 44},
		{"cast of another session", func(t *testing.T, dir, other string) {
			ok(t, os.Rename(other+"/session.cast", dir+"/session.cast"))
		}, record.CastFile, "(checkpoint 0)", 1},
		{"cast missing", func(t *testing.T, dir, _ string) { ok(t, os.Remove(dir+"/session.cast")) },
			record.CastFile, "missing", 0},
		{"bit flip in the chain", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.chain", func(b []byte) []byte {
				l := lines(b)
				l[2][20] ^= 1
				return bytes.Join(l, nil)
			})
		}, record.ChainFile, "line 3", 3},
		{"signature of a checkpoint changed", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.chain", func(b []byte) []byte {
				l := lines(b)
				c := &l[1][len(l[1])-40]
				if *c == 'A' {
					*c = 'B'
				} else {
					*c = 'A'
				}
				return bytes.Join(l, nil)
			})
		}, record.ChainFile, "signature", 2},
		{"checkpoint dropped", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.chain", func(b []byte) []byte {
				l := lines(b)
				return bytes.Join(append(l[:2:2], l[3:]...), nil)
			})
		}, record.ChainFile, "checkpoint 3", 3},
		{"end of the chain cut", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.chain", func(b []byte) []byte {
				l := lines(b)
				return bytes.Join(l[:len(l)-2], nil)
			})
		}, record.ChainFile, "5 checkpoints", 6},
		{"end of cast and chain cut at the same place", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.chain", func(b []byte) []byte { return bytes.Join(lines(b)[:3], nil) })
			edit(t, dir+"/session.cast", func(b []byte) []byte { return bytes.Join(lines(b)[:21], nil) })
		}, record.ChainFile, "the seal covers 6", 4},
		{"chain cut within a line", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.chain", func(b []byte) []byte { return b[:len(b)-1] })
		}, record.ChainFile, "cut off within the line", 6},
		{"checkpoint repeated", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/session.chain", func(b []byte) []byte {
				l := lines(b)
				return append(b, l[len(l)-2]...)
			})
		}, record.ChainFile, "checkpoint 5", 7},
		{"chain of another session", func(t *testing.T, dir, other string) {
			ok(t, os.Rename(other+"/session.chain", dir+"/session.chain"))
		}, record.ChainFile, "another session", 1},
		{"cast and chain of another session", func(t *testing.T, dir, other string) {
			ok(t, os.Rename(other+"/session.chain", dir+"/session.chain"))
			ok(t, os.Rename(other+"/session.cast", dir+"/session.cast"))
		}, record.ChainFile, "another session", 1},
		{"chain missing", func(t *testing.T, dir, _ string) { ok(t, os.Remove(dir+"/session.chain")) },
			record.ChainFile, "missing", 0},
		{"seal missing", func(t *testing.T, dir, _ string) { ok(t, os.Remove(dir+"/seal.json")) },
			record.SealFile, "missing", 0},
		{"seal changed", func(t *testing.T, dir, _ string) {
			edit(
				t,
				dir+"/seal.json",
				func(b []byte) []byte { return bytes.Replace(b, []byte(`"done"`), []byte(`"gone"`), 1) },
			)
		}, record.SealFile, "signature", 0},
		{"seal cut", func(t *testing.T, dir, _ string) {
			edit(t, dir+"/seal.json", func(b []byte) []byte { return b[:len(b)-1] })
		}, record.SealFile, "cut short", 0},
		{"seal with an additional member", func(t *testing.T, dir, _ string) {
			edit(
				t,
				dir+"/seal.json",
				func(b []byte) []byte { return bytes.Replace(b, []byte(`{`), []byte(`{"x":1,`), 1) },
			)
		}, record.SealFile, "not a signed line", 0},
		{"checkpoint in place of the seal", func(t *testing.T, dir, _ string) {
			chain, err := os.ReadFile(dir + "/session.chain")
			ok(t, err)
			edit(t, dir+"/seal.json", func([]byte) []byte { return lines(chain)[0] })
		}, record.SealFile, "not a signed line", 0},
		{"seal of another session", func(t *testing.T, dir, other string) {
			ok(t, os.Rename(other+"/seal.json", dir+"/seal.json"))
		}, record.SealFile, "another session", 0},
		{"everything of another session", func(t *testing.T, dir, other string) {
			ok(t, os.RemoveAll(dir))
			ok(t, os.Rename(other, dir))
		}, record.SealFile, "another session", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, dir := openFormat1(t)
			if _, err := r.Verify(alice); err != nil {
				t.Fatal("untouched: ", err)
			}
			tt.tamper(t, dirOf(t, dir, alice), dirOf(t, dir, other))
			_, err := r.Verify(alice)
			flaw := wantFlaw(t, err, tt.file, tt.problem)
			if tt.line != 0 && flaw.Line != tt.line {
				t.Errorf("line %d, want %d: %v", flaw.Line, tt.line, err)
			}
		})
	}
}

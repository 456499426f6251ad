package record_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record"
)

// readIndependently reads a recording with a program that was written from the description of the
// format, in another language and without a library.
func readIndependently(t *testing.T, dir string, contentKey []byte) (out struct {
	Blocks  int
	Sealed  bool
	Header  map[string]any
	Records []map[string]any
}, err error,
) {
	t.Helper()
	keys, globErr := filepath.Glob(filepath.Join(dir, "..", "..", "..", "keys", "*.pem"))
	if globErr != nil || len(keys) != 1 {
		t.Fatalf("keys %q, %v", keys, globErr)
	}
	args := []string{"-B", filepath.Join("testdata", "reader.py"), dir, keys[0]}
	if contentKey != nil {
		args = append(args, hex.EncodeToString(contentKey))
	}
	text, err := exec.CommandContext(t.Context(), "python3", args...).Output()
	if exit, isExit := errors.AsType[*exec.ExitError](err); isExit {
		return out, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// described returns the records of a recording as the independent reader describes them.
func described(t *testing.T, r *record.Recorder, id sekisho.SessionID) (all []map[string]any) {
	t.Helper()
	s, err := r.Open(id)
	ok(t, err)
	defer s.Close()
	c, err := s.Records()
	ok(t, err)
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		ok(t, err)
		m := map[string]any{"kind": string(rec.Kind), "time": float64(rec.Time.Microseconds())}
		switch rec.Kind {
		case recfile.Resize, recfile.Keyframe:
			cols, rows, rest, _ := recfile.Size(rec.Data)
			m["cols"], m["rows"] = float64(cols), float64(rows)
			if rec.Kind == recfile.Keyframe {
				m["data"] = hex.EncodeToString(rest)
			}
		case recfile.HiddenInput:
			n, _ := recfile.HiddenBytes(rec.Data)
			m["hidden"] = float64(n)
		case recfile.Exit:
			status, reason, _ := recfile.ExitStatus(rec.Data)
			m["status"], m["reason"] = float64(status), reason
		case recfile.JoinedInput:
			by, p, hidden, _ := recfile.ParseJoined(rec.Data)
			if m["by"] = by; hidden > 0 {
				m["hidden"] = float64(hidden)
			} else {
				m["data"] = hex.EncodeToString(p)
			}
		case recfile.Payload:
			n, fromClient, p, _ := recfile.ParsePayload(rec.Data)
			m["direction"], m["connection"], m["data"] = 0.0, float64(n), hex.EncodeToString(p)
			if fromClient {
				m["direction"] = 1.0
			}
		case recfile.Type, recfile.Connection, recfile.File:
			var v any
			ok(t, json.Unmarshal(rec.Data, &v))
			m["json"] = v
		case recfile.Marker:
			m["text"] = string(rec.Data)
		default:
			m["data"] = hex.EncodeToString(rec.Data)
		}
		all = append(all, m)
	}
}

// TestIndependentReader: docs/formats/recording.md is sufficient for reading and verifying a
// recording.
func TestIndependentReader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, record.Options{})
	rec := start(t, r, alice)
	ok(t, rec.SetKind(record.SessionKind{Type: "Standard_Stream", Joinable: true}))
	ok(t, rec.Resize(80, 24))
	var log bytes.Buffer
	for i := range 400 {
		fmt.Fprintf(&log, "[%3d%%] Building file%04d.cc.o (%d ms)\r\n", i/4, i*i%4000, i*7919%2000)
	}
	ok(t, rec.Output(log.Bytes()))
	ok(t, rec.Flush())
	ok(t, rec.Outputs([][]byte{[]byte("\x1b[1mbold\xff"), nil, []byte("$ ")}))
	ok(t, rec.Input([]byte("ls\r")))
	ok(t, rec.Marker("目"))
	ok(t, rec.JoinedInput("arn:aws:iam::123456789012:user/bob", []byte("x")))
	rec.Echo(false)
	ok(t, rec.Input([]byte("secret\r")))
	ok(t, rec.JoinedInput("arn:aws:iam::123456789012:user/bob", []byte("also secret")))
	key, err := r.ContentKey(alice)
	ok(t, err)
	sealOne(t, r, "bob-1", "another session")
	folder := dirOf(t, dir, alice)

	check := func(sealed bool) {
		t.Helper()
		got, err := readIndependently(t, folder, key)
		ok(t, err)
		if got.Sealed != sealed || got.Header["session_id"] != string(alice) || got.Header["node_name"] != "web-1" {
			t.Errorf("sealed %v, header %v", got.Sealed, got.Header)
		}
		if d := cmp.Diff(described(t, r, alice), got.Records); d != "" {
			t.Errorf("records (-want +got)\n%s", d)
		}
	}
	check(false) // its last records are in the tails
	_, err = rec.Seal(record.Exit{Status: -1, Reason: "shell ended"})
	ok(t, err)
	check(true)

	forward, err := r.Start(header("carol-1"))
	ok(t, err)
	ok(t, forward.SetKind(record.SessionKind{Type: record.TypePort, Port: "80"}))
	_, err = forward.Seal(record.Exit{})
	ok(t, err)
	carol := dirOf(t, dir, "carol-1")
	key, err = r.ContentKey("carol-1")
	ok(t, err)
	got, err := readIndependently(t, carol, key)
	ok(t, err)
	if d := cmp.Diff(described(t, r, "carol-1"), got.Records); d != "" {
		t.Errorf("records of a forward (-want +got)\n%s", d)
	}

	// It verifies without the content key, and finds changes.
	main := filepath.Join(folder, record.MainFile)
	whole, err := os.ReadFile(main)
	ok(t, err)
	seal, err := os.ReadFile(filepath.Join(folder, record.SealFile))
	ok(t, err)
	other, err := os.ReadFile(filepath.Join(dirOf(t, dir, "bob-1"), record.SealFile))
	ok(t, err)
	if got, err := readIndependently(t, folder, nil); err != nil || got.Blocks < 4 {
		t.Errorf("without the content key: %d blocks, %v", got.Blocks, err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, files := range map[string][2][]byte{
		"a bit flipped":    {flipped, seal},
		"cut":              {whole[:len(whole)-200], seal},
		"another's seal":   {whole, other},
		"an altered seal":  {whole, bytes.Replace(seal, []byte(`"status":-1`), []byte(`"status":0`), 1)},
		"something added":  {append(bytes.Clone(whole), whole[:400]...), seal},
		"the end repeated": {append(bytes.Clone(whole), whole[len(whole)-250:]...), seal},
	} {
		ok(t, os.WriteFile(main, files[0], 0o600))
		ok(t, os.WriteFile(filepath.Join(folder, record.SealFile), files[1], 0o600))
		if _, err := readIndependently(t, folder, nil); err == nil || strings.Contains(err.Error(), "Traceback") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

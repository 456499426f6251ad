package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"sekisho"
	"sekisho/e2e/harness"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record"
	"sekisho/internal/storage/keyring"
)

// TestForwardRecording: what a forwarded connection carries is nowhere on the server's disk, not even
// in part. With recordForwards, the recording has exactly these bytes.
func TestForwardRecording(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	question, answer := make([]byte, 64<<10), make([]byte, 256<<10)
	rand.Read(question)
	rand.Read(answer)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, question) {
			http.Error(w, "another question", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(answer))) // not in chunks
		_, _ = w.Write(answer)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	// forwarded sends the question through a new session, and returns the ID of that.
	forwarded := func() string {
		t.Helper()
		cmd := s.Shell(t.Context(), nil, `exec sekisho forward "$SEKISHO_TARGET" -L "0:127.0.0.1:$1"`, u.Port())
		on := background(t, cmd, regexp.MustCompile(`on (\S+) for 127\.0\.0\.1`))
		client := &http.Client{Timeout: awhile, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Post("http://"+on[1], "application/octet-stream", bytes.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, answer) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		id := openRecording(t, s)
		if r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho sessions terminate "$1"`, id)); r.Code != 0 {
			t.Fatalf("terminate: exit %d: %s", r.Code, r.Stderr)
		}
		harness.Eventually(t, awhile, func() error {
			if r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho verify "$1"`, id)); r.Code != 0 {
				return fmt.Errorf("verify: exit %d: %s", r.Code, r.Stdout+r.Stderr)
			}
			return nil
		})
		return id
	}
	plain := forwarded()
	for _, payload := range [][]byte{question, answer} {
		if where := onDisk(t, s.Data, payload); where != "" {
			t.Errorf("forwarded data is in %s", where)
		}
	}
	setUp(t, s, `aws ssm create-document --document-type Session --name SSM-SessionManagerRunShell --content '{"schemaVersion":"1.0",
		"sessionType":"Standard_Stream","inputs":{"sekisho":{"recordForwards":true}}}'`)
	kept := forwarded()
	size := func(id string) int64 {
		t.Helper()
		m, err := filepath.Glob(filepath.Join(s.Data, "recordings", "*", "*", id, "session.rec"))
		if err != nil || len(m) != 1 {
			t.Fatalf("recordings of %s: %q, %v", id, m, err)
		}
		st, err := os.Stat(m[0])
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	total := int64(len(question) + len(answer))
	if n := size(plain); n > total/10 {
		t.Errorf("the recording without payload has %d bytes", n)
	}
	if n := size(kept); n < total || n > total+total/10 {
		t.Errorf("the recording with payload has %d bytes; %d were forwarded", n, total)
	}
	// They are encrypted there, too.
	if where := onDisk(t, s.Data, answer); where != "" {
		t.Errorf("forwarded data is in plain text in %s", where)
	}
	toClient, toDestination := payloadOf(t, s, kept)
	if !bytes.HasSuffix(toClient, answer) || !bytes.Contains(toDestination, question) {
		t.Errorf("the recording has %d bytes to the client and %d to the destination, which are not what was forwarded",
			len(toClient), len(toDestination))
	}
	if out, in := payloadOf(t, s, plain); len(out)+len(in) > 0 {
		t.Errorf("the other recording has %d and %d bytes", len(out), len(in))
	}
}

// openRecording returns the session of the only recording that is not sealed.
func openRecording(t *testing.T, s *harness.Server) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.Data, "recordings", "*", "*", "*-*"))
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, record.SealFile)); errors.Is(err, fs.ErrNotExist) {
			open = append(open, filepath.Base(dir))
		}
	}
	if len(open) != 1 {
		t.Fatalf("open recordings: %q", open)
	}
	return open[0]
}

// payloadOf returns the bytes of forwarded connections in a recording.
func payloadOf(t *testing.T, s *harness.Server, id string) (toClient, toDestination []byte) {
	t.Helper()
	ring, err := keyring.Load(filepath.Join(s.Data, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := record.OpenArchive(s.Data, record.KeysOf(ring.PublicKey()), ring)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	stored, err := archive.Open(sekisho.SessionID(id))
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	records, err := stored.Records()
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := records.Next()
		if errors.Is(err, io.EOF) {
			return toClient, toDestination
		}
		if err != nil {
			t.Fatal(err)
		}
		switch r.Kind {
		case recfile.Output, recfile.Input:
			t.Errorf("a forward has a record of kind %c", r.Kind)
		case recfile.Payload:
			_, fromClient, p, ok := recfile.ParsePayload(r.Data)
			if !ok {
				t.Errorf("a payload of %d bytes cannot be parsed", len(r.Data))
			}
			if fromClient {
				toDestination = append(toDestination, p...)
			} else {
				toClient = append(toClient, p...)
			}
		default:
		}
	}
}

// onDisk returns a file below dir that has a part of the payload, in the clear, in Base64 or in
// hexadecimal; "" if there is none.
func onDisk(t *testing.T, dir string, payload []byte) (found string) {
	t.Helper()
	const size = 24
	var needles [][]byte
	for at := 0; at+2*size <= len(payload); at += 16 << 10 {
		p := payload[at:]
		needles = append(needles, p[:size], []byte(hex.EncodeToString(p[:size])))
		for shift := range 3 { // where the bytes are in the groups of Base64
			needles = append(needles, []byte(base64.StdEncoding.EncodeToString(p[shift:shift+size])))
		}
	}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, needle := range needles {
			if bytes.Contains(b, needle) {
				found = name
				return fs.SkipAll
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

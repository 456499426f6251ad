package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/session/record"
	"sekisho/internal/wire/sigv4"
)

// fullDir is the environment variable that makes the test binary a server
// whose disk fills up. It needs its own process, because the limit on file
// sizes that simulates the full disk applies to a process.
const fullDir = "SEKISHO_TEST_FULL_DIR"

//nolint:paralleltest // a child process holds the locks of other tests between fork and exec
func TestFullDisk(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), fullDir+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") || strings.Contains(string(out), "FAULT") {
		t.Errorf("%v\n%s", err, out)
	}
}

func fullDisk(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	ctx := context.Background()
	s, err := New(ctx, killConfig(dir))
	if err != nil {
		return err
	}
	first, _, err := s.Directory.Bootstrap(ctx, "admin")
	if err != nil {
		return err
	}
	admin := sigv4.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey}
	fault := func(format string, args ...any) { fmt.Fprintf(os.Stdout, "FAULT: "+format+"\n", args...) }
	create := func(name string) int { return createUser(s, admin, name).Code }
	health := func(path string) int {
		s.state.mu.Lock()
		s.state.checked = time.Time{}
		s.state.mu.Unlock()
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://sekisho.test"+path, http.NoBody))
		return w.Code
	}
	expect := func(when string, created, healthz, livez int) {
		name := strings.ReplaceAll(when, " ", "-")
		if got := create(name); got != created {
			fault("%s: CreateUser answers %d", when, got)
		}
		if _, err := s.Directory.Users.Get(ctx, name); (err == nil) != (created == http.StatusOK) {
			fault("%s: the user: %v", when, err)
		}
		if got := health("/healthz"); got != healthz {
			fault("%s: /healthz answers %d", when, got)
		}
		if got := health("/livez"); got != livez {
			fault("%s: /livez answers %d", when, got)
		}
	}
	expect("before", 200, 200, 200)
	const session = sekisho.SessionID("alice-00000000000000000000000001")
	rec, err := s.recorder.Start(record.Header{SessionID: session, Node: "mi-0123456789abcdef0"})
	if err != nil {
		return err
	}
	if err := rec.Output([]byte("shown\n")); err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	full := limit
	full.Cur = 1
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	expect("while the disk is full", 500, 503, 200)
	storage := func(when, want string) {
		if got, err := s.recordingStorage(); err != nil || got.State != want {
			fault("%s: the storage of recordings: %+v, %v", when, got, err)
		}
	}
	storage("while the disk is full", sekishoapi.StorageFull)
	if rec.Output(make([]byte, 1<<20)) == nil {
		fault("output was recorded on a full disk")
	}
	if _, err := s.recorder.Start(
		record.Header{SessionID: "bob-00000000000000000000000001", Node: "mi-0123456789abcdef0"}); err == nil {
		fault("a recording was started on a full disk")
	}
	if err := s.unsealed.seal(rec, session, record.Exit{Status: -1, Reason: "the disk is full"}); err == nil {
		fault("a recording was sealed on a full disk")
	}
	for range 30 { // of five minutes
		if err := s.recorder.Flush(); err == nil && s.unsealed.count() != 1 {
			fault("%d recordings wait for their seals", s.unsealed.count())
		}
		s.unsealed.retry()
	}
	if health("/healthz") != http.StatusServiceUnavailable {
		fault("a server that cannot seal is healthy")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	s.unsealed.retry()
	expect("afterwards", 200, 200, 200)
	storage("afterwards", sekishoapi.StorageWorking)
	if sum, err := s.recorder.Verify(session); err != nil || sum.BytesOut != int64(len("shown\n")) ||
		sum.Exit.Reason != "the disk is full" {
		fault("the recording: %+v, %v", sum, err)
	}
	if later, err := s.recorder.Start(
		record.Header{SessionID: "bob-00000000000000000000000001", Node: "mi-0123456789abcdef0"}); err != nil {
		fault("no recording can be started afterwards: %v", err)
	} else if _, err := later.Seal(record.Exit{}); err != nil {
		fault("no recording can be sealed afterwards: %v", err)
	}
	s.state.draining.Store(true)
	if got := health("/readyz"); got != http.StatusServiceUnavailable {
		fault("draining: /readyz answers %d", got)
	}
	if err := s.trail.Verify(ctx); err != nil {
		fault("%v", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "done")
	return nil
}

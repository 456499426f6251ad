package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

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
	create := func(name string) int {
		body := url.Values{"Action": {"CreateUser"}, "Version": {"2010-05-08"}, "UserName": {name}}.Encode()
		r := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		sigv4.Sign(r, admin, "us-east-1", "iam", time.Now(), sigv4.HashBody([]byte(body)))
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		return w.Code
	}
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
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	expect("afterwards", 200, 200, 200)
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

package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sekisho/internal/activity/audit"
	"sekisho/internal/store/storetest/pgtest"
	"sekisho/internal/wire/sigv4"
)

// killDir is the environment variable that makes the test binary a server that
// creates users in the named folder until it is killed.
const killDir = "SEKISHO_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		createUsers(dir)
		return
	}
	if dir := os.Getenv(fullDir); dir != "" {
		if err := fullDisk(dir); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(pgtest.Main(m))
}

func killConfig(dir string) Config {
	return Config{DataDir: dir, Account: "123456789012", Region: "us-east-1", Log: slog.New(slog.DiscardHandler)}
}

func createUsers(dir string) {
	ctx := context.Background()
	s, err := New(ctx, killConfig(dir))
	if err != nil {
		panic(err)
	}
	first, _, err := s.Directory.Bootstrap(ctx, "admin")
	if err != nil {
		panic(err)
	}
	admin := sigv4.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey}
	for worker := range 4 {
		go func() {
			for i := 0; ; i++ {
				body := url.Values{
					"Action":   {"CreateUser"},
					"Version":  {"2010-05-08"},
					"UserName": {fmt.Sprintf("u-%d-%d", worker, i)},
				}.Encode()
				r := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				sigv4.Sign(r, admin, "us-east-1", "iam", time.Now(), sigv4.HashBody([]byte(body)))
				w := httptest.NewRecorder()
				s.handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					panic(w.Body.String())
				}
				fmt.Fprintln(os.Stdout, "created")
			}
		}()
	}
	select {}
}

// TestKillLosesNoAuditEvent kills a server several times while it creates
// users as fast as it can, and then looks for the event of every user.
//
//nolint:paralleltest // a child process holds the locks of other tests from its fork to its exec
func TestKillLosesNoAuditEvent(t *testing.T) {
	for round := range 5 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 40 + 7*round {
			if !lines.Scan() {
				t.Fatalf("the server ended by itself: %s", stderr.String())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed

		s, err := New(t.Context(), killConfig(dir))
		if err != nil {
			t.Fatal(err)
		}
		recorded := map[string]bool{}
		for before := int64(0); ; {
			events, next, err := s.trail.Lookup(
				t.Context(),
				audit.Query{EventName: "CreateUser", Before: before, Limit: 100},
			)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				var params struct{ UserName string }
				if err := json.Unmarshal(e.RequestParameters.(json.RawMessage), &params); err != nil {
					t.Fatal(err)
				}
				recorded[params.UserName] = true
			}
			if before = next; next == 0 {
				break
			}
		}
		users, err := s.Directory.Users.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, u := range users {
			if u.Name == adminUser {
				continue
			}
			found++
			if !recorded[u.Name] {
				t.Errorf("round %d: user %s has no audit event", round, u.Name)
			}
		}
		if found < 40 {
			t.Errorf("round %d: %d users are left", round, found)
		}
		if err := s.trail.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

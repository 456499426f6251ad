package servertest_test

import (
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho/internal/client"
	"sekisho/internal/servertest"
)

// approve approves the sign-in of a program and follows the browser's
// redirect.
func approve(t *testing.T, b *servertest.Browser, code string) {
	t.Helper()
	var out struct{ Redirect string }
	a := b.Request(http.MethodPost, "/console/api/programs/approve", map[string]any{"code": code, "approve": true})
	if a.Status != http.StatusOK {
		t.Errorf("approval: %d %s", a.Status, a.Body)
		return
	}
	a.Decode(t, &out)
	if out.Redirect == "" {
		return
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, out.Redirect, nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	if res.StatusCode != http.StatusOK {
		t.Errorf("the program answered the browser with %s", res.Status)
	}
	must(t, res.Body.Close())
}

// signInWithBrowser returns credentials of the user of b.
func signInWithBrowser(
	t *testing.T,
	s *servertest.Server,
	b *servertest.Browser,
	local bool,
) (client.TemporaryCredentials, error) {
	t.Helper()
	cert, err := x509.ParseCertificate(s.Certificate())
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	c := client.New(client.Config{Endpoint: s.URL, Region: servertest.Region, Roots: roots})
	defer c.Close()
	return c.SignInWithBrowser(t.Context(), client.BrowserSignIn{
		Name: "test", Duration: time.Hour, Local: local,
		Show: func(address, code string) {
			if !strings.HasPrefix(address, s.URL+"/console/approve") || strings.Contains(address, code) != local {
				t.Errorf("the address is %s", address)
			}
			approve(t, b, code)
		},
	})
}

// A user who can sign in at the console in any way gets credentials for
// programs, which expire with the password of the sign-in.
func TestProgramSignIn(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("alice", servertest.Allow("*", "ssm:DescribeSessions"))
	_, err := s.Directory.Logins.Create(t.Context(), "alice", password, false)
	must(t, err)
	b := s.Browser()
	if a := b.SignIn("alice", password); a.Status != http.StatusOK {
		t.Fatalf("sign in: %d %s", a.Status, a.Body)
	}
	for _, local := range []bool{false, true} {
		creds, err := signInWithBrowser(t, s, b, local)
		must(t, err)
		list := map[string]string{"State": "Active"}
		if a := s.JSON(creds.Credentials, "ssm", "DescribeSessions", list); a.Status != http.StatusOK {
			t.Errorf("an action that alice is allowed: %d %s", a.Status, a.Body)
		}
		if a := s.JSON(creds.Credentials, "ssm", "ListDocuments", map[string]string{}); a.Code() != "AccessDeniedException" {
			t.Errorf("an action that alice is not allowed: %d %s", a.Status, a.Body)
		}
		if left := time.Until(creds.Expires); left > time.Hour || left < 50*time.Minute {
			t.Errorf("the credentials last %v", left)
		}
		if local {
			must(t, s.Directory.Logins.Delete(t.Context(), "alice"))
			if a := s.JSON(creds.Credentials, "ssm", "DescribeSessions", list); a.Status == http.StatusOK {
				t.Error("the credentials outlast the password that they were issued for")
			}
		}
	}
	if e := s.Events("ConsoleProgramApproved"); len(e) != 2 || e[0].UserIdentity.UserName != "alice" {
		t.Errorf("the trail says %+v", e)
	}
}

// The command opens the browser that BROWSER names.
func TestLoginWithBrowser(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("alice", servertest.Allow("*", "ssm:DescribeSessions"))
	_, err := s.Directory.Logins.Create(t.Context(), "alice", password, false)
	must(t, err)
	b := s.Browser()
	if a := b.SignIn("alice", password); a.Status != http.StatusOK {
		t.Fatalf("sign in: %d %s", a.Status, a.Body)
	}
	c := newCommand(t, s)
	opened, program := filepath.Join(t.TempDir(), "opened"), filepath.Join(t.TempDir(), "browser")
	must(t, syscall.Mkfifo(opened, 0o600))
	must(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$1\" >"+opened+"\n"), 0o700))
	c.env["BROWSER"] = program
	type result struct {
		exit int
		text string
	}
	ended := make(chan result, 1)
	go func() {
		exit, _, text := c.run("", "login", s.URL, "--browser")
		ended <- result{exit, text}
	}()
	address, err := os.ReadFile(opened)
	must(t, err)
	_, code, _ := strings.Cut(strings.TrimSpace(string(address)), "/approve/")
	approve(t, b, code)
	if r := <-ended; r.exit != 0 || !strings.Contains(r.text, "user/alice") || !strings.Contains(r.text, code) {
		t.Errorf("login: exit code %d: %s", r.exit, r.text)
	}
	if exit, out, text := c.run("", "whoami"); exit != 0 || !strings.Contains(out, "user/alice") {
		t.Errorf("whoami: exit code %d: %s%s", exit, out, text)
	}
	if exit, _, text := c.run("", "login", s.URL, "--browser", "--device"); exit != 2 {
		t.Errorf("both ways at once: exit code %d: %s", exit, text)
	}
}

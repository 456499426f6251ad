package setup_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/config"
	"sekisho/internal/server"
	"sekisho/internal/server/setup"
)

// options returns options for a simulated machine.
func options(t *testing.T) setup.Options {
	t.Helper()
	dir := t.TempDir()
	return setup.Options{
		Names: []string{"sekisho.example", "192.0.2.10"}, Listen: "127.0.0.1:0",
		Config: filepath.Join(dir, "etc", "sekishod.yaml"), Data: filepath.Join(dir, "state"),
		Account: "123456789012", Region: "jp-office-1", TLS: setup.OwnCA, Log: slog.New(slog.DiscardHandler),
		Users: func(name string) (*user.User, error) {
			if name == "sekisho" {
				return user.Current()
			}
			return nil, user.UnknownUserError(name)
		},
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode().Perm()
}

func TestRun(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.User = "sekisho"
	r, err := setup.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Read(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Errorf("the written configuration does not pass its check: %v", err)
	}
	for path, want := range map[string]fs.FileMode{
		r.Credentials: 0o600, r.Config: 0o640, o.Data: 0o700, c.TLS.Key: 0o600,
		filepath.Join(filepath.Dir(r.CA), "ca.key"): 0o600,
	} {
		if got := mode(t, path); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	cert, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(r.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, name := range []string{"sekisho.example", "192.0.2.10", "localhost"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("certificate for %s: %v", name, err)
		}
	}
	// The credentials in the file are those of an administrator.
	env, err := os.ReadFile(r.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(string(env), "export AWS_ACCESS_KEY_ID=")
	key, _, _ = strings.Cut(key, "\n")
	s, err := server.New(t.Context(), server.Config{DataDir: o.Data, Account: o.Account, Region: o.Region, Log: o.Log})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := s.Directory.Keys.Owner(t.Context(), key); err != nil || u.Name != "admin" {
		t.Errorf("access key %q belongs to %+v, %v", key, u, err)
	}
	// A second setup changes nothing, and neither does a reset while the
	// server runs.
	before, err := os.ReadFile(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := setup.Run(t.Context(), o); sekisho.CodeOf(firstOf(err)) != sekisho.CodeConflict {
		t.Errorf("second setup: %v", err)
	}
	if after, err := os.ReadFile(r.Config); err != nil || string(after) != string(before) {
		t.Errorf("the second setup changed the configuration: %v", err)
	}
	cfg := server.Config{DataDir: o.Data, Account: o.Account, Region: o.Region, Log: o.Log}
	if _, err := server.ResetAdministrator(t.Context(), cfg, "admin"); sekisho.CodeOf(
		firstOf(err),
	) != sekisho.CodeInUse {
		t.Errorf("reset beside a running server: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	password, err := server.ResetAdministrator(t.Context(), cfg, "rescue")
	if err != nil || len(password) < 12 {
		t.Fatalf("reset: %d characters, %v", len(password), err)
	}
	if s, err = server.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if l, err := s.Directory.Logins.Get(t.Context(), "rescue"); err != nil || !l.ResetRequired {
		t.Errorf("login of the rescued administrator: %+v, %v", l, err)
	}
}

// firstOf returns the first of several joined errors.
func firstOf(err error) error {
	if all, ok := err.(interface{ Unwrap() []error }); ok && len(all.Unwrap()) > 0 {
		return firstOf(all.Unwrap()[0])
	}
	return err
}

// TestCheck: every problem is found before anything is written.
func TestCheck(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	for name, change := range map[string]func(o *setup.Options){
		"no name":                func(o *setup.Options) { o.Names = nil },
		"URL in place of a name": func(o *setup.Options) { o.Names = []string{"https://sekisho.example"} },
		"account":                func(o *setup.Options) { o.Account = "12345" },
		"region":                 func(o *setup.Options) { o.Region = "Tokyo" },
		"port in use":            func(o *setup.Options) { o.Listen = busy.Addr().String() },
		"listen address":         func(o *setup.Options) { o.Listen = "no-port" },
		"unknown TLS source":     func(o *setup.Options) { o.TLS = "magic" },
		"no certificate":         func(o *setup.Options) { o.TLS = setup.Files },
		"missing certificate": func(o *setup.Options) {
			o.TLS, o.Certificate, o.Key = setup.Files, "/nonexistent",
				"/nonexistent"
		},
		"unused certificate": func(o *setup.Options) { o.Certificate = "x.pem" },
		"terms not accepted": func(o *setup.Options) { o.TLS = setup.ACME },
		"address for ACME": func(o *setup.Options) {
			o.TLS, o.ACME.AcceptTerms, o.Names = setup.ACME, true, []string{"192.0.2.10"}
		},
		"files and ACME": func(o *setup.Options) {
			o.TLS, o.ACME.AcceptTerms, o.Names, o.Key = setup.ACME, true, []string{"sekisho.example"}, "key.pem"
		},
		"unknown user": func(o *setup.Options) { o.User = "nobody-here" },
		"state of another server": func(o *setup.Options) {
			if err := os.MkdirAll(o.Data, 0o700); err == nil {
				_ = os.WriteFile(filepath.Join(o.Data, "sekisho.db"), []byte("x"), 0o600)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			change(&o)
			if _, err := setup.Run(t.Context(), o); err == nil {
				t.Fatal("invalid options were accepted")
			}
			if _, err := os.Lstat(o.Config); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a refused setup wrote %s: %v", o.Config, err)
			}
		})
	}
}

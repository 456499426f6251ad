package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/server/certificate"
	"sekisho/internal/server/localca"
)

// write replaces the files by a new certificate of the authority for name.
func write(t *testing.T, a *localca.Authority, name, cert, key string) {
	t.Helper()
	pair, err := a.Issue(time.Hour, name)
	if err != nil {
		t.Fatal(err)
	}
	chain, private, err := localca.Encode(pair)
	if err == nil {
		err = errors.Join(os.WriteFile(cert, chain, 0o600), os.WriteFile(key, private, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func served(t *testing.T, s certificate.Source) string {
	t.Helper()
	var c tls.Config
	s.Configure(&c)
	pair, err := c.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.DNSNames[0]
}

// TestRenewedFiles: a renewed certificate is served without a restart, and a
// half-written one does not stop the server.
func TestRenewedFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, err := localca.Open(dir, "test")
		if err != nil {
			t.Fatal(err)
		}
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		write(t, a, "first.example", cert, key)
		s, err := certificate.OpenFiles(cert, key, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got := served(t, s); got != "first.example" {
			t.Errorf("served %s", got)
		}
		if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		<-time.After(11 * time.Second)
		if got := served(t, s); got != "first.example" {
			t.Errorf("served %s while the key is unusable", got)
		}
		write(t, a, "second.example.com", cert, key)
		<-time.After(11 * time.Second)
		if got := served(t, s); got != "second.example.com" || s.Names()[0] != got {
			t.Errorf("served %s after the renewal", got)
		}
		if s.Authority() == "" {
			t.Error("the private authority is not known")
		}
	})
}

func TestACMERoot(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, file + "-missing"} {
		if _, err := certificate.NewACME(certificate.ACMEConfig{Names: []string{"a.example"}, Root: root}); err == nil {
			t.Errorf("%s was accepted as an authority", root)
		}
	}
}

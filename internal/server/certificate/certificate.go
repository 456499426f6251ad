// Package certificate provides the server's TLS certificate: a fixed one, one
// from files that are read again when they change, or one that an ACME
// authority issues and renews.
package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// A Source provides certificates. Its methods are safe for concurrent use.
type Source interface {
	// Names are the DNS names of the certificate, in lower case.
	Names() []string
	// Authority is the certificate, in PEM, of the private authority that
	// issued the certificate. It is "" for a public one.
	Authority() string
	// Configure makes c serve the source's certificates.
	Configure(c *tls.Config)
	// Run obtains the first certificate, where that is needed, until ctx ends.
	Run(ctx context.Context)
}

// Static is one certificate.
type Static tls.Certificate

// Names implements [Source].
func (s Static) Names() []string { return names(tls.Certificate(s)) }

// Authority implements [Source].
func (s Static) Authority() string { return authority(tls.Certificate(s)) }

// Configure implements [Source].
func (s Static) Configure(c *tls.Config) { c.Certificates = []tls.Certificate{tls.Certificate(s)} }

// Run implements [Source].
func (Static) Run(context.Context) {}

// recheck is how often at most the files are looked at.
const recheck = 10 * time.Second

// Files is a certificate from two PEM files. A renewed certificate is served
// within ten seconds, without a restart.
type Files struct {
	certificate, key string
	log              *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]stamp
	checked time.Time
}

// stamp tells versions of a file apart.
type stamp struct {
	modified time.Time
	size     int64
}

// OpenFiles reads a certificate with its chain, and its key. The key must
// belong to the certificate.
func OpenFiles(certificate, key string, log *slog.Logger) (*Files, error) {
	f := &Files{certificate: certificate, key: key, log: log, checked: time.Now()}
	f.stamp = f.stamps()
	cert, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	f.current = &cert
	return f, nil
}

func (f *Files) stamps() (s [2]stamp) {
	for i, name := range []string{f.certificate, f.key} {
		if st, err := os.Stat(name); err == nil {
			s[i] = stamp{st.ModTime(), st.Size()}
		}
	}
	return s
}

// get returns the certificate and reads it again if a file has changed. If that
// fails, for instance because the second file has not been replaced yet, the
// previous certificate stays in use.
func (f *Files) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.checked) < recheck {
		return f.current
	}
	f.checked = now
	s := f.stamps()
	if s == f.stamp {
		return f.current
	}
	cert, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		f.log.Error("the certificate's files changed but cannot be used; serving the previous certificate", "error", err)
		return f.current
	}
	f.current, f.stamp = &cert, s
	f.log.Info("serving a new certificate", "file", f.certificate)
	return f.current
}

// Names implements [Source].
func (f *Files) Names() []string { return names(*f.get()) }

// Authority implements [Source].
func (f *Files) Authority() string { return authority(*f.get()) }

// Configure implements [Source].
func (f *Files) Configure(c *tls.Config) {
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get(), nil }
}

// Run implements [Source].
func (*Files) Run(context.Context) {}

func names(cert tls.Certificate) []string {
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(cert.Certificate[0]) // a certificate that cannot be parsed cannot be served either
	}
	if leaf == nil {
		return nil
	}
	all := make([]string, len(leaf.DNSNames))
	for i, n := range leaf.DNSNames {
		all[i] = strings.ToLower(n)
	}
	return all
}

// authority returns the root of cert's chain, in PEM, unless the machine trusts
// the chain already.
func authority(cert tls.Certificate) string {
	chain := make([]*x509.Certificate, 0, len(cert.Certificate))
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return ""
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return ""
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Intermediates: between}); err == nil {
		return ""
	}
	last := chain[len(chain)-1]
	if !bytes.Equal(last.RawIssuer, last.RawSubject) {
		return "" // the chain does not include its root: machines must already have it
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: last.Raw}))
}

package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"sekisho/internal/ratelimit"
	"sekisho/internal/version"
)

// authorityTimeout bounds one request to the authority.
const authorityTimeout = 30 * time.Second

// ACMEConfig says who issues a certificate, and for which names.
type ACMEConfig struct {
	Names     []string // DNS names, at least one
	Email     string   // for the authority's notices; may be empty
	Directory string   // URL of the authority's directory
	// Root is a PEM file of the private authorities to trust: for the connection
	// to the directory, and on the machines that this server tells how to connect.
	// "" means the public ones.
	Root  string
	Cache string // directory of the account's key and the certificates
	Log   *slog.Logger
}

// ACME obtains certificates from an ACME authority (RFC 8555), renews them 30
// days before they expire, and proves that the server has the name with
// TLS-ALPN-01 (RFC 8737) on the server's own port, which the authority reaches
// as port 443.
type ACME struct {
	cfg     ACMEConfig
	root    string
	manager *autocert.Manager
	reports *ratelimit.Limiter[string]
}

// NewACME returns a source without asking the authority for anything. It fails
// if cfg.Root cannot be read.
func NewACME(cfg ACMEConfig) (*ACME, error) {
	a := &ACME{cfg: cfg, reports: ratelimit.NewEvery[string](time.Minute, 16, time.Now)}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the default is one
	if cfg.Root != "" {
		b, err := os.ReadFile(cfg.Root)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s has no PEM certificate", cfg.Root)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
		a.root = string(b)
	}
	a.manager = &autocert.Manager{
		Prompt:     autocert.AcceptTOS, // the configuration says that the operator did
		Cache:      autocert.DirCache(cfg.Cache),
		HostPolicy: autocert.HostWhitelist(cfg.Names...),
		Email:      cfg.Email,
		Client: &acme.Client{
			DirectoryURL: cfg.Directory,
			UserAgent:    "sekishod/" + version.String(),
			HTTPClient:   &http.Client{Transport: transport, Timeout: authorityTimeout},
		},
	}
	return a, nil
}

// Names implements [Source].
func (a *ACME) Names() []string {
	all := make([]string, len(a.cfg.Names))
	for i, n := range a.cfg.Names {
		all[i] = strings.ToLower(n)
	}
	return all
}

// Authority implements [Source].
func (a *ACME) Authority() string { return a.root }

// Configure implements [Source].
func (a *ACME) Configure(c *tls.Config) {
	c.GetCertificate = a.get
	c.NextProtos = append(c.NextProtos, acme.ALPNProto)
}

// get returns the certificate for the requested name, or for the first one if
// the client requested none, as clients do that use an address.
func (a *ACME) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" {
		named := *hello
		named.ServerName = a.cfg.Names[0]
		hello = &named
	}
	cert, err := a.manager.GetCertificate(hello)
	if err != nil && slices.Contains(a.Names(), strings.ToLower(hello.ServerName)) && a.reports.Allow(hello.ServerName) {
		a.cfg.Log.Error("no certificate: the ACME authority did not issue one; it must reach this server as port 443 of "+
			"that name",
			"name", hello.ServerName, "directory", a.cfg.Directory, "error", err)
	}
	return cert, err
}

// retries are the pauses before another attempt to obtain the first
// certificate. Authorities allow few failures per hour.
var retries = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// Run implements [Source]. It obtains the certificates that are not in the cache,
// so that the first client does not have to wait for the authority.
func (a *ACME) Run(ctx context.Context) {
	for _, name := range a.cfg.Names {
		for failures := 0; ctx.Err() == nil; failures++ {
			cert, err := a.get(&tls.ClientHelloInfo{
				ServerName:       name,
				CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
				SupportedCurves:  []tls.CurveID{tls.CurveP256},
				SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			})
			if err == nil {
				a.cfg.Log.Info("certificate ready", "name", name, "valid_until", cert.Leaf.NotAfter)
				break
			}
			t := time.NewTimer(retries[min(failures, len(retries)-1)])
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// Cached returns the certificate for a name in the cache of a server, and
// fs.ErrNotExist if none has been issued yet.
func Cached(cache, name string) (*x509.Certificate, error) {
	b, err := os.ReadFile(filepath.Join(cache, strings.ToLower(name)))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(b, b) // the file has both
	if err != nil {
		return nil, err
	}
	if pair.Leaf == nil {
		return nil, errors.New("the cached certificate cannot be read")
	}
	return pair.Leaf, nil
}

package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"sekisho"
)

// Sealer encrypts small secrets at rest.
type Sealer interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

const (
	sealPurpose = "cluster authority"
	// scheme is the scheme of the URI that names a member in its certificate: sekisho-member://NAME/EPOCH.
	scheme = "sekisho-member"

	authorityLife   = 20 * 365 * 24 * time.Hour
	certificateLife = 12 * time.Hour
	// clockSlack lets a certificate be used by members whose clock is behind.
	clockSlack = 5 * time.Minute
)

// Authority is the certificate authority of a cluster. Its key is in the database, sealed by the keyring: what can
// open it is a member of this installation.
type Authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	clock func() time.Time

	mu      sync.Mutex
	issued  *tls.Certificate
	renewAt time.Time
	name    string
	epoch   int64
}

func newInstance() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails: see crypto/rand
	return hex.EncodeToString(b)
}

func newSerial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b) // never fails: see crypto/rand
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// openAuthority reads the authority of the cluster, or creates it.
func openAuthority(ctx context.Context, s Store, sealer Sealer, clock func() time.Time) (*Authority, error) {
	der, sealed, err := s.Authority(ctx)
	if err == nil && der == nil {
		if err := createAuthority(ctx, s, sealer, clock); err != nil {
			return nil, err
		}
		// Another member may have been faster: its authority is the one.
		der, sealed, err = s.Authority(ctx)
	}
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate of the cluster's authority: %w", err)
	}
	plain, err := sealer.Open(sealPurpose, sealed, der)
	if err != nil {
		return nil, sekisho.Errorf(sekisho.CodeConflict, "The keyring of this member does not open the cluster's authority.").
			WithHint("Copy the folder keys from a running member's data directory.")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("the key of the cluster's authority: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key of the cluster's authority is not an ECDSA key")
	}
	return &Authority{cert: cert, key: key, clock: clock}, nil
}

func createAuthority(ctx context.Context, s Store, sealer Sealer, clock func() time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: "Sekisho cluster"},
		NotBefore: clock().Add(-clockSlack), NotAfter: clock().Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	sealed, err := sealer.Seal(sealPurpose, plain, der)
	if err != nil {
		return err
	}
	return s.PutAuthority(ctx, der, sealed)
}

func memberURI(name string, epoch int64) *url.URL {
	return &url.URL{Scheme: scheme, Host: name, Path: "/" + strconv.FormatInt(epoch, 10)}
}

// memberOf returns the member that a certificate names.
func memberOf(cert *x509.Certificate) (name string, epoch int64, err error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme {
		return "", 0, errors.New("the certificate names no member")
	}
	u := cert.URIs[0]
	epoch, err = strconv.ParseInt(strings.TrimPrefix(u.Path, "/"), 10, 64)
	if err != nil || epoch < 1 || CheckName(u.Host) != nil {
		return "", 0, fmt.Errorf("the certificate names no member: %s", u)
	}
	return u.Host, epoch, nil
}

// certificate returns the certificate of a member's epoch. It issues a new one when half of its life is over.
func (a *Authority) certificate(name string, epoch int64) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock()
	if a.issued != nil && a.name == name && a.epoch == epoch && now.Before(a.renewAt) {
		return a.issued, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{memberURI(name, epoch)},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(certificateLife), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	a.issued = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	a.name, a.epoch, a.renewAt = name, epoch, now.Add(certificateLife/2)
	return a.issued, nil
}

// verify checks a peer's certificate, and that it is not of an epoch that has ended.
func (c *Cluster) verify(state tls.ConnectionState, usage x509.ExtKeyUsage) (name string, err error) {
	if len(state.PeerCertificates) == 0 {
		return "", errors.New("the peer has no certificate")
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.authority.cert)
	if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: c.cfg.Clock(), KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		return "", fmt.Errorf("the peer is not a member of this cluster: %w", err)
	}
	name, epoch, err := memberOf(state.PeerCertificates[0])
	if err != nil {
		return "", err
	}
	if known := c.KnownEpoch(name); epoch < known {
		return "", fmt.Errorf("the peer is an earlier process of member %s: epoch %d, now %d", name, epoch, known)
	}
	return name, nil
}

// ServerTLS is the configuration of the member port: it accepts members only.
func (c *Cluster) ServerTLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: protocols, ClientAuth: tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // every connection proves the epoch again
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.authority.certificate(c.cfg.Name, c.Epoch())
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := c.verify(state, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// ClientTLS is the configuration of a connection to the member port of one member.
func (c *Cluster) ClientTLS(member string, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, ServerName: member,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks the peer: it has a URI instead of a DNS name
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.authority.certificate(c.cfg.Name, c.Epoch())
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			name, err := c.verify(state, x509.ExtKeyUsageServerAuth)
			if err == nil && name != member {
				err = fmt.Errorf("the peer is member %s, not %s", name, member)
			}
			return err
		},
	}
}

package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
)

// ownCA returns the authority, in PEM, that a machine must trust to verify cert. It is empty if a
// public authority issued cert.
func ownCA(cert tls.Certificate) string {
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

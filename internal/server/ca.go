package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
)

// ownCA is what a machine must trust to believe cert, in PEM: empty when the
// authorities that every machine trusts vouch for it.
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
		return "" // the chain does not reach its root: machines must have it already
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: last.Raw}))
}

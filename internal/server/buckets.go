package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"strings"

	"sekisho/internal/storage/objects"
)

// openObjects opens the store of the S3 door.
func (s *Server) openObjects(ctx context.Context) (err error) {
	s.objects, err = objects.Open(
		ctx,
		objects.Config{Dir: filepath.Join(s.cfg.DataDir, "objects"), Index: s.db.Objects, Keys: s.ring, Log: s.cfg.Log},
	)
	return err
}

// bucketHosts are the names whose subdomains are buckets: those of the
// certificate, and what its wildcards stand under where that says it is for
// S3. A wildcard alone may be how the server itself is covered.
func bucketHosts(cert tls.Certificate) []string {
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(cert.Certificate[0]) // one that cannot be parsed cannot be served either
	}
	if leaf == nil {
		return nil
	}
	var hosts []string
	for _, name := range leaf.DNSNames {
		name = strings.ToLower(name)
		base, wild := strings.CutPrefix(name, "*.")
		if !wild || strings.HasPrefix(base, "s3.") {
			hosts = append(hosts, base)
		}
	}
	return hosts
}

package server

import (
	"context"
	"strings"

	"sekisho/internal/storage/objects"
)

// openObjects opens the store of the S3 door.
func (s *Server) openObjects(ctx context.Context) (err error) {
	s.objects, err = objects.Open(
		ctx,
		objects.Config{
			Dir: s.objectsDir(), Shared: s.member != nil, Index: s.db.Objects, Keys: s.ring, Log: s.cfg.Log,
		},
	)
	return err
}

// bucketHosts returns the names whose subdomains are buckets: the names of the certificate, and the
// parents of its wildcards if they are for S3. Any other wildcard may be there for the server's own
// name.
func bucketHosts(names []string) []string {
	var hosts []string
	for _, name := range names {
		base, wild := strings.CutPrefix(name, "*.")
		if !wild || strings.HasPrefix(base, "s3.") {
			hosts = append(hosts, base)
		}
	}
	return hosts
}

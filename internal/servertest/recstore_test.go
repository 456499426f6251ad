package servertest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"sekisho/internal/servertest"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/record/recstore/recstoretest"
	"sekisho/internal/session/record/recstore/s3store"
)

// TestStoreOfRecordings runs the conformance suite of stores on Sekisho's own S3
// door, over TLS: one server can keep the recordings of another.
func TestStoreOfRecordings(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t)
	if got := srv.Do(nil, srv.Admin, "s3", http.MethodPut, "/recordings-of-others", ""); got.Status != http.StatusOK {
		t.Fatalf("create bucket: %d", got.Status)
	}
	n := 0
	recstoretest.Run(t, func(t *testing.T) recstore.Store {
		t.Helper()
		n++
		s := s3store.Open(s3store.Config{
			Endpoint: srv.URL, Region: servertest.Region, Bucket: "recordings-of-others", PathStyle: true,
			Prefix: fmt.Sprintf("test/%d", n), Roots: srv.TLS().RootCAs, PartSize: 5 << 20,
			Credentials: credentials.NewStaticCredentialsProvider(srv.Admin.AccessKeyID, srv.Admin.SecretAccessKey, ""),
		})
		t.Cleanup(func() { s.Close() })
		return s
	})
}

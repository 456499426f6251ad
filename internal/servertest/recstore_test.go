package servertest_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

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

// TestWitnessBucketOfOwnDoor: the heads of one server can be kept in a bucket of another. What is put
// over an object does not hide it, and a lock, which this door does not have, is refused.
func TestWitnessBucketOfOwnDoor(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t)
	for _, put := range [][2]string{
		{"/heads", ""}, {"/heads?versioning", `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`},
	} {
		if got := srv.Do(nil, srv.Admin, "s3", http.MethodPut, put[0], put[1]); got.Status != http.StatusOK {
			t.Fatalf("%s: %d", put[0], got.Status)
		}
	}
	s := s3store.Open(s3store.Config{
		Endpoint: srv.URL, Region: servertest.Region, Bucket: "heads", PathStyle: true, Prefix: "sekisho", Roots: srv.TLS().RootCAs,
		Credentials: credentials.NewStaticCredentialsProvider(srv.Admin.AccessKeyID, srv.Admin.SecretAccessKey, ""), Attempts: 1,
	})
	defer s.Close()
	for _, put := range [][2]string{{"a", "head one"}, {"b", "head two"}, {"a", "a lie"}} {
		if err := s.PutLocked(t.Context(), put[0], []byte(put[1]), 0); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	if err := s.EachVersion(t.Context(), 1<<10, func(name string, content []byte) error {
		got[name+": "+string(content)] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !got["a: head one"] || !got["a: a lie"] || !got["b: head two"] {
		t.Errorf("versions: %v", got)
	}
	if err := s.PutLocked(t.Context(), "c", []byte("x"), time.Hour); err == nil {
		t.Error("a lock was ignored")
	}
}

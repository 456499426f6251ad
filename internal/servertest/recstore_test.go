package servertest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/record/recstore/recstoretest"
	"sekisho/internal/session/record/recstore/s3store"
	"sekisho/internal/wire/sigv4"
)

// TestStoreOfRecordings runs the conformance suite of recording stores on
// Sekisho's own S3 door, over TLS: one server can store the recordings of
// another.
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

// TestWitnessBucketOfOwnDoor: the audit heads of one server can be kept in a
// bucket of another. Overwriting an object does not hide it, and an object
// lock, which this door lacks, is refused.
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
		Endpoint: srv.URL, Region: servertest.Region, Bucket: "heads", PathStyle: true, Prefix: "sekisho",
		Roots:       srv.TLS().RootCAs,
		Credentials: credentials.NewStaticCredentialsProvider(srv.Admin.AccessKeyID, srv.Admin.SecretAccessKey, ""),
		Attempts:    1,
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

// TestServerWithStore: recordings reach the store during and after the
// session, the server reports when the store fails and recovers by itself, and
// a server that lost all recordings on its disk gets them from the store.
func TestServerWithStore(t *testing.T) {
	t.Parallel()
	folder, err := recstore.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	store := recstoretest.NewFaulty(folder)
	lost := false
	srv := servertest.StartWith(t, func(c *server.Config) {
		c.Recordings = server.RecordingStore{Store: store, UploadEvery: 20 * time.Millisecond}
		if lost {
			if err := os.RemoveAll(filepath.Join(c.DataDir, "recordings")); err != nil {
				t.Error(err)
			}
		}
	})
	stored := func(suffix string) func() bool {
		return func() bool {
			for info, err := range folder.List(t.Context(), "2") {
				if err == nil && strings.Contains(info.Name, suffix) {
					return true
				}
			}
			return false
		}
	}
	node := srv.Node()
	node.Connect()
	session := srv.Session(srv.Admin, node)
	srv.Eventually("a part of the recording is in the store", stored(session.ID+"/session.rec.part-"))

	store.FailAll(recstoretest.Refuse)
	session.Check(t) // it runs on meanwhile
	failing := func() bool {
		return strings.Contains(srv.Do(nil, sigv4.Credentials{}, "", http.MethodGet, "/readyz", "").Body,
			"store of recordings")
	}
	srv.Eventually("the health page says that the store fails", failing)
	if got := srv.Do(nil, sigv4.Credentials{}, "", http.MethodGet, "/readyz", ""); got.Status != http.StatusOK {
		t.Errorf("readyz: %d %s", got.Status, got.Body)
	}
	metrics := httptest.NewRecorder()
	srv.AdminHandler().ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "http://localhost/metrics", http.NoBody))
	for _, want := range []string{"sekisho_recording_store_up 0", "sekisho_recording_store_waiting_bytes ",
		"sekisho_recording_store_waiting_recordings "} {
		if !strings.Contains(metrics.Body.String(), want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	store.Fail(nil)
	srv.Eventually("the store works again", func() bool { return !failing() })
	srv.Eventually("both changes are events", func() bool {
		body := srv.JSON(srv.Admin, "sekisho", "ListEvents", map[string]any{}).Body
		return strings.Contains(body, `"state":"failing"`) && strings.Contains(body, `"state":"working"`)
	})

	if _, err := srv.SSM(srv.Admin).TerminateSession(t.Context(),
		&awsssm.TerminateSessionInput{SessionId: &session.ID}); err != nil {
		t.Fatal(err)
	}
	srv.Eventually("the seal is in the store", stored(session.ID+"/seal.json"))
	srv.Eventually("the parts are gone", func() bool { return !stored(".part-")() })
	lost = true
	srv.Restart()
	srv.Eventually("the recording verifies", func() bool {
		got := srv.JSON(srv.Admin, "sekisho", "VerifySessionRecording", map[string]any{"SessionId": session.ID})
		return strings.Contains(got.Body, `"Verified":true`)
	})
	store.FailAll(recstoretest.Refuse)
	if got := srv.JSON(srv.Admin, "sekisho", "GetSessionRecording",
		map[string]any{"SessionId": session.ID}); got.Status/100 != 4 {
		t.Errorf("while the store fails: %d %s", got.Status, got.Body)
	}
	store.Fail(nil)
	got := srv.JSON(srv.Admin, "sekisho", "GetSessionRecording", map[string]any{"SessionId": session.ID})
	var page struct{ Data []byte }
	got.Decode(t, &page)
	if !strings.Contains(string(page.Data), "word ") {
		t.Errorf("the recording: %s", page.Data)
	}
}

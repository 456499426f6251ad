package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"sekisho/internal/session/record/recstore"
	"sekisho/internal/session/record/recstore/recstoretest"
	"sekisho/internal/session/record/recstore/s3store"
)

// TestS3 runs the conformance suite on a real S3 server.
func TestS3(t *testing.T) {
	t.Parallel()
	server := recstoretest.StartS3Server(t, "recordings")
	prefixes := 0
	recstoretest.Run(t, func(t *testing.T) recstore.Store {
		t.Helper()
		prefixes++
		s := s3store.Open(s3store.Config{
			Endpoint: server.Endpoint, Region: recstoretest.Region, Bucket: "recordings", PathStyle: true,
			Prefix: fmt.Sprintf("test/%d", prefixes), Credentials: server.Credentials(), PartSize: 5 << 20,
		})
		t.Cleanup(func() { s.Close() })
		return s
	})
}

// TestS3Problems: a real server reports mistakes of the configuration so that
// the error names the remedy, and none of them looks like a missing object.
func TestS3Problems(t *testing.T) {
	t.Parallel()
	server := recstoretest.StartS3Server(t, "recordings")
	good := s3store.Config{
		Endpoint: server.Endpoint, Region: recstoretest.Region, Bucket: "recordings", PathStyle: true,
		Credentials: server.Credentials(), Attempts: 1, Timeout: 5 * time.Second,
	}
	for name, c := range map[string]struct {
		change func(c *s3store.Config)
		hint   string
	}{
		"bucket missing":   {func(c *s3store.Config) { c.Bucket = "others" }, "create the bucket"},
		"unknown key":      {func(c *s3store.Config) { c.Credentials = static("x", "y") }, ""},
		"wrong secret":     {func(c *s3store.Config) { c.Credentials = static(recstoretest.AccessKey, "y") }, "credentials"},
		"unreachable":      {func(c *s3store.Config) { c.Endpoint = "http://127.0.0.1:1" }, ""},
		"not an S3 server": {func(c *s3store.Config) { c.Endpoint = notS3(t) }, ""},
	} {
		cfg := good
		c.change(&cfg)
		s := s3store.Open(cfg)
		_, statErr := s.Stat(t.Context(), "x")
		readErr := s.ReadAt(t.Context(), recstore.Info{Name: "x", Size: 1}, make([]byte, 1), 0)
		for op, err := range map[string]error{
			"stat": statErr, "read": readErr, "remove": s.Remove(t.Context(), "x"),
			"put": s.Put(t.Context(), "x", strings.NewReader("x"), 1),
		} {
			e, ok := errors.AsType[*recstore.Error](err)
			if !ok || errors.Is(err, fs.ErrNotExist) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%s: %s: %v", name, op, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func static(key, secret string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(key, secret, "")
}

func notS3(t *testing.T) string {
	t.Helper()
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusTeapot)
	}))
	t.Cleanup(ts.Close)
	return ts.URL
}

// fakeS3 returns the responses that a test sets.
func fakeS3(t *testing.T, handler http.HandlerFunc) *s3store.Store {
	t.Helper()
	ts := httptest.NewServer(handler)
	t.Cleanup(ts.Close)
	s := s3store.Open(s3store.Config{
		Endpoint: ts.URL, Region: "us-east-1", Bucket: "b", PathStyle: true, Credentials: static("a", "b"),
		Timeout:  500 * time.Millisecond,
		Attempts: 3, MaxBackoff: 10 * time.Millisecond,
	})
	t.Cleanup(func() { s.Close() })
	return s
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", code)
}

// TestS3RetriesThrottling: requests to a store that throttles or fails a few
// times are retried, but not forever.
func TestS3RetriesThrottling(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusInternalServerError} {
		var calls, failing atomic.Int32
		failing.Store(2)
		s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if calls.Add(1) <= failing.Load() {
				s3Error(w, status, "SlowDown")
			}
		})
		if err := s.Put(t.Context(), "x", strings.NewReader("x"), 1); err != nil || calls.Load() != 3 {
			t.Errorf("%d: %v after %d calls", status, err, calls.Load())
		}
		calls.Store(0)
		failing.Store(1000)
		if err := s.Put(t.Context(), "x", strings.NewReader("x"), 1); err == nil || calls.Load() != 3 {
			t.Errorf("%d: %v after %d calls", status, err, calls.Load())
		}
	}
}

// TestS3ResponseLost: a request whose response is lost is repeated with the
// same bytes.
func TestS3ResponseLost(t *testing.T) {
	t.Parallel()
	var bodies []string
	s := fakeS3(t, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if sum := r.Header.Get("X-Amz-Content-Sha256"); len(sum) != 64 {
			t.Errorf("the body is not signed: %q", sum)
		}
		bodies = append(bodies, string(b))
		if len(bodies) == 1 {
			panic(http.ErrAbortHandler)
		}
	})
	if err := s.Put(t.Context(), "x", strings.NewReader("content"), 7); err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 2 || bodies[0] != "content" || bodies[1] != "content" {
		t.Errorf("got %q", bodies)
	}
}

// TestS3BadReads: a truncated response, or one with other bytes than
// requested, is not accepted as the object.
func TestS3BadReads(t *testing.T) {
	t.Parallel()
	content := recstoretest.Bytes(1000, 1)
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, call int)
		ok     bool
	}{
		"cut short once": {func(w http.ResponseWriter, call int) {
			w.Header().Set("Content-Range", "bytes 100-199/1000")
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusPartialContent)
			if call == 1 {
				_, _ = w.Write(content[100:150])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(content[100:200])
		}, true},
		"always cut short": {func(w http.ResponseWriter, _ int) {
			w.Header().Set("Content-Range", "bytes 100-199/1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content[100:150])
		}, false},
		"the complete object": {func(w http.ResponseWriter, _ int) { _, _ = w.Write(content) }, false},
		"another range": {func(w http.ResponseWriter, _ int) {
			w.Header().Set("Content-Range", "bytes 0-99/1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content[:100])
		}, false},
		"an object of another size": {func(w http.ResponseWriter, _ int) {
			w.Header().Set("Content-Range", "bytes 100-199/900")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content[100:200])
		}, false},
		"another version": {func(w http.ResponseWriter, _ int) {
			s3Error(w, http.StatusPreconditionFailed, "PreconditionFailed")
		}, false},
	} {
		calls := 0
		s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Range") + r.Header.Get("If-Match"); got != `bytes=100-199"v"` {
				t.Errorf("asked for %s", got)
			}
			calls++
			c.answer(w, calls)
		})
		p := make([]byte, 100)
		err := s.ReadAt(t.Context(), recstore.Info{Name: "x", Size: 1000, Version: `"v"`}, p, 100)
		if (err == nil) != c.ok || c.ok && !bytes.Equal(p, content[100:200]) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "another version" && !errors.Is(err, recstore.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestS3BadLists: a store that repeats keys, or truncates its list without a
// continuation, makes the client neither loop nor skip objects.
func TestS3BadLists(t *testing.T) {
	t.Parallel()
	page := `<ListBucketResult><IsTruncated>true</IsTruncated>%s<Contents><Key>a</Key><Size>1</Size></Contents>` +
		`</ListBucketResult>`
	for _, token := range []string{"<NextContinuationToken>t</NextContinuationToken>", ""} {
		s := fakeS3(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, page, token) })
		n := 0
		var last error
		for _, err := range s.List(t.Context(), "") {
			n++
			last = err
		}
		if n != 2 || last == nil {
			t.Errorf("token %q: %d objects, %v", token, n, last)
		}
	}
}

// TestS3SlowStore: requests to a store that does not respond time out.
func TestS3SlowStore(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	s := fakeS3(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	})
	defer close(done)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.Stat(ctx, "x"); err == nil || ctx.Err() != nil {
		t.Errorf("got %v", err)
	}
}

// TestS3ClockSkew: the client follows the clock of a store that reports that
// the client's is wrong.
func TestS3ClockSkew(t *testing.T) {
	t.Parallel()
	s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		store := time.Now().Add(time.Hour)
		w.Header().Set("Date", store.UTC().Format(http.TimeFormat))
		if err != nil || at.Sub(store).Abs() > 5*time.Minute {
			s3Error(w, http.StatusForbidden, "RequestTimeTooSkewed")
		}
	})
	if err := s.Put(t.Context(), "x", strings.NewReader("x"), 1); err != nil {
		t.Error(err)
	}
}

// TestReadCredentials: a file that others can read, or without keys, is
// refused.
func TestReadCredentials(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "credentials")
	for text, want := range map[string]string{
		"[default]\naws_access_key_id = A\naws_secret_access_key=B=\n":                                "A B= ",
		"aws_access_key_id=A\naws_secret_access_key=B\naws_session_token=C\n[x]\naws_access_key_id=D": "A B C",
		"[default]\naws_access_key_id = A\n":                                                          "",
		"":                                                                                            "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := s3store.ReadCredentials(file)
		if (err == nil) != (want != "") || err == nil && c.AccessKeyID+" "+c.SecretAccessKey+" "+c.SessionToken != want {
			t.Errorf("%q: %+v %v", text, c, err)
		}
	}
	if err := os.WriteFile(file, []byte("aws_access_key_id=A\naws_secret_access_key=B\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := s3store.ReadCredentials(file); err == nil {
			t.Errorf("mode %o is accepted", mode)
		}
	}
}

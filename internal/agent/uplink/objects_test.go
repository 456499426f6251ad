package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/sigv4"
)

// TestObjects has a bucket with one object, and a folder of 3.
func TestObjects(t *testing.T) {
	t.Parallel()
	creds := sigv4.Credentials{AccessKeyID: "ASIATEST", SecretAccessKey: "secret", SessionToken: "token"}
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := sigv4.Parse(r)
		if err == nil {
			err = p.Verify(creds.SecretAccessKey, r, sigv4.HashBody(nil), time.Now())
		}
		if err != nil || p.Service != "s3" {
			t.Errorf("%s is not signed: %v", r.URL, err)
		}
		switch {
		case r.URL.Path == "/bucket/a b+c/key" && r.URL.RawQuery == "":
			_, _ = w.Write([]byte("content"))
		case r.URL.Path == "/bucket" && r.URL.Query().Get("list-type") == "2" && r.URL.Query().Get("prefix") == "a b+c/":
			fmt.Fprint(
				w,
				`<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>`,
			)
			for _, k := range []string{"a b+c/1", "a b+c/&lt;2&gt;", "a b+c/sub/3"} {
				fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>1</Size></Contents>", k)
			}
			fmt.Fprint(w, `</ListBucketResult>`)
		case r.URL.Query().Get("prefix") == "cut/":
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>`)
		}
	}))
	t.Cleanup(bucket.Close)
	c, err := uplink.New(
		uplink.Server{Endpoint: bucket.URL, Region: "eu-test-1"},
		func(context.Context) (sigv4.Credentials, error) { return creds, nil },
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)

	var b strings.Builder
	if err := c.GetObject(t.Context(), "bucket", "a b+c/key", &b, 7); err != nil || b.String() != "content" {
		t.Errorf("%q, %v", b.String(), err)
	}
	b.Reset()
	if err := c.GetObject(t.Context(), "bucket", "a b+c/key", &b, 6); !errors.Is(err, uplink.ErrTooLarge) ||
		b.Len() > 7 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
	b.Reset()
	err = c.GetObject(t.Context(), "bucket", "none", &b, 7)
	if e, ok := errors.AsType[*uplink.APIError](err); !ok || e.Code != "NoSuchKey" || e.Status != http.StatusNotFound ||
		b.Len() != 0 {
		t.Errorf("%q, %v", b.String(), err)
	}
	keys, err := c.ListObjects(t.Context(), "bucket", "a b+c/", 3)
	if want := []string{"a b+c/1", "a b+c/<2>", "a b+c/sub/3"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("%q, %v", keys, err)
	}
	for _, prefix := range []string{"a b+c/", "cut/"} {
		if keys, err := c.ListObjects(t.Context(), "bucket", prefix, 2); err == nil {
			t.Errorf("a list longer than the limit was returned: %q", keys)
		}
	}
	if host := c.Host(); "http://"+host != bucket.URL {
		t.Errorf("host %q", host)
	}
}

package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"sekisho/internal/config"
	"sekisho/internal/session/record/recstore/recstoretest"
)

// TestWitnessBucket: a bucket keeps heads, the check compares with it, and objects that the server
// did not sign are findings that hide nothing.
func TestWitnessBucket(t *testing.T) {
	t.Parallel()
	srv := recstoretest.StartS3Server(t, "heads")
	file := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = "+recstoretest.AccessKey+
		"\naws_secret_access_key = "+recstoretest.SecretKey+"\n"), 0o600))
	c := &config.WitnessBucket{S3Store: config.S3Store{
		Endpoint: srv.Endpoint, Region: recstoretest.Region, Bucket: "heads", Prefix: "sekisho", PathStyle: true,
		CredentialsFile: file,
	}}
	w, err := openWitnessBucket(c)
	must(t, err)
	whole := newDataDir(t, 3)
	lines, err := os.ReadFile(whole.witness)
	must(t, err)
	for line := range bytes.SplitAfterSeq(lines, []byte("\n")) {
		if len(line) > 0 {
			must(t, w.Publish(t.Context(), line))
		}
	}
	found, err := VerifyData(t.Context(), State{Dir: whole.dir}, nil, nil, c)
	must(t, err)
	if len(found.Findings) != 0 || found.Witnesses < 3 {
		t.Errorf("%d witnesses, findings %+v", found.Witnesses, found.Findings)
	}
	old := newDataDir(t, 1) // another server: nothing in the bucket has its signature
	if found, err = VerifyData(t.Context(), State{Dir: old.dir}, nil, nil, c); err != nil || len(found.Findings) < 3 ||
		found.Findings[0].Where != "witness" {
		t.Errorf("%+v, %v", found, err)
	}
	cut := whole
	cut.sql(t, `DELETE FROM audit_records WHERE seq > 1`)
	cut.sql(t, `DELETE FROM audit_heads WHERE seq > 1`)
	if _, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &c.Bucket, Key: ptr("sekisho/zzz"), Body: strings.NewReader("not a head\n"),
	}); err != nil {
		t.Fatal(err)
	}
	found, err = VerifyData(t.Context(), State{Dir: cut.dir}, nil, nil, c)
	must(t, err)
	kinds := map[string]bool{}
	for _, f := range found.Findings {
		kinds[f.Kind+" "+f.Where] = true
	}
	if !kinds["inserted witness"] || !kinds["rolled back audit"] {
		t.Errorf("findings %+v", found.Findings)
	}
	if _, err := VerifyData(t.Context(), State{Dir: whole.dir}, nil, nil, &config.WitnessBucket{S3Store: config.S3Store{
		Endpoint: srv.Endpoint, Region: recstoretest.Region, Bucket: "nowhere", PathStyle: true, CredentialsFile: file,
		Timeout: time.Second,
	}}); err == nil {
		t.Error("a bucket that is not there was taken for an empty one")
	}
}

func ptr(s string) *string { return &s }

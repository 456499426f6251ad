package server

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sekisho/internal/config"
	"sekisho/internal/session/record/recstore/recstoretest"
)

// TestWitnessBucket: a bucket keeps heads, and the check compares with it.
// Objects that the server did not sign are findings that hide nothing.
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

// TestLockedWitnessBucket uses a real S3 server with object lock: nobody can remove or replace the
// heads there, and an attacker who writes newer versions over them hides nothing.
func TestLockedWitnessBucket(t *testing.T) {
	t.Parallel()
	srv := recstoretest.StartS3Server(t, "unlocked")
	client := srv.Client()
	lock := true
	if _, err := client.CreateBucket(t.Context(),
		&s3.CreateBucketInput{Bucket: ptr("heads"), ObjectLockEnabledForBucket: &lock}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = "+recstoretest.AccessKey+
		"\naws_secret_access_key = "+recstoretest.SecretKey+"\n"), 0o600))
	bucket := func(name string, days int) *config.Server {
		return &config.Server{Witnesses: []config.Witness{{S3: &config.WitnessBucket{
			RetainDays: days, S3Store: config.S3Store{
				Endpoint: srv.Endpoint, Region: recstoretest.Region, Bucket: name, PathStyle: true, CredentialsFile: file,
			},
		}}}}
	}
	c := bucket("heads", 1)
	if found, err := CheckWitnesses(t.Context(), c); err != nil || !strings.Contains(found, "1 days") {
		t.Errorf("the check of a locked bucket: %q, %v", found, err)
	}
	for name, bad := range map[string]*config.Server{
		"without retention":   bucket("heads", 0),
		"without object lock": bucket("unlocked", 1),
		"missing":             bucket("nowhere", 1),
	} {
		if found, err := CheckWitnesses(t.Context(), bad); err == nil {
			t.Errorf("a bucket %s: %s", name, found)
		}
	}

	whole := newDataDir(t, 3)
	w, err := openWitnessBucket(c.Witnesses[0].S3)
	must(t, err)
	lines, err := os.ReadFile(whole.witness)
	must(t, err)
	for line := range bytes.SplitAfterSeq(lines, []byte("\n")) {
		if len(line) > 0 {
			must(t, w.Publish(t.Context(), line))
		}
	}
	list, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: ptr("heads")})
	must(t, err)
	if len(list.Versions) < 3 {
		t.Fatalf("%d versions", len(list.Versions))
	}
	for _, v := range list.Versions {
		_, err := client.DeleteObject(t.Context(),
			&s3.DeleteObjectInput{Bucket: ptr("heads"), Key: v.Key, VersionId: v.VersionId})
		if err == nil {
			t.Errorf("a locked head was removed: %s", *v.Key)
		}
		shorter := time.Now().Add(time.Minute)
		if _, err := client.PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{
			Bucket: ptr("heads"), Key: v.Key, VersionId: v.VersionId,
			Retention: &types.ObjectLockRetention{
				Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: &shorter,
			},
		}); err == nil {
			t.Errorf("the lock of a head was shortened: %s", *v.Key)
		}
		// Newer versions and delete markers are possible, and hide nothing.
		_, err = client.PutObject(t.Context(),
			&s3.PutObjectInput{Bucket: ptr("heads"), Key: v.Key, Body: strings.NewReader("")})
		must(t, err)
		_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: ptr("heads"), Key: v.Key})
		must(t, err)
	}
	whole.sql(t, `DELETE FROM audit_records WHERE seq > 1`)
	whole.sql(t, `DELETE FROM audit_heads WHERE seq > 1`)
	found, err := VerifyData(t.Context(), State{Dir: whole.dir}, nil, nil, c.Witnesses[0].S3)
	must(t, err)
	if !slices.ContainsFunc(found.Findings, func(f Finding) bool {
		return f.Kind == "rolled back" && f.Where == "audit"
	}) {
		t.Errorf("findings %+v", found.Findings)
	}
}

// TestCheckRecordingStore: the check reports what is wrong with a store, and leaves nothing in one
// that works.
func TestCheckRecordingStore(t *testing.T) {
	t.Parallel()
	srv := recstoretest.StartS3Server(t, "recordings")
	file := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = "+recstoretest.AccessKey+
		"\naws_secret_access_key = "+recstoretest.SecretKey+"\n"), 0o600))
	wrong := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(wrong, []byte("aws_access_key_id = "+recstoretest.AccessKey+"\naws_secret_access_key = x\n"),
		0o600))
	with := func(change func(*config.S3Store)) *config.Server {
		s := &config.S3Store{
			Endpoint: srv.Endpoint, Region: recstoretest.Region, Bucket: "recordings", PathStyle: true,
			CredentialsFile: file,
		}
		change(s)
		return &config.Server{Recordings: config.Recordings{Store: config.RecordingStore{S3: s}}}
	}
	folder := t.TempDir()
	for name, tt := range map[string]struct {
		c    *config.Server
		hint string // a setting that the error names; empty = no error
	}{
		"works":  {with(func(*config.S3Store) {}), ""},
		"none":   {&config.Server{Data: "/data"}, ""},
		"folder": {&config.Server{Recordings: config.Recordings{Store: config.RecordingStore{Folder: folder}}}, ""},
		"no dir": {&config.Server{Recordings: config.Recordings{Store: config.RecordingStore{Folder: folder + "/x"}}},
			"folder"},
		"bucket":  {with(func(s *config.S3Store) { s.Bucket = "nowhere" }), "recordings.store.s3.bucket"},
		"secret":  {with(func(s *config.S3Store) { s.CredentialsFile = wrong }), "credentials of recordings.store.s3"},
		"address": {with(func(s *config.S3Store) { s.Endpoint = "http://127.0.0.1:1" }), "recordings.store.s3.endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := CheckRecordingStore(t.Context(), tt.c)
			if tt.hint == "" && (err != nil || found == "") || tt.hint != "" && err == nil ||
				err != nil && !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("%q, %v", found, err)
			}
			left, listErr := srv.Client().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: ptr("recordings")})
			if must(t, listErr); tt.hint == "" && tt.c.Recordings.Store.S3 != nil && len(left.Contents) != 0 {
				t.Errorf("left in the store: %v", *left.Contents[0].Key)
			}
		})
	}
}

func ptr(s string) *string { return &s }

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/config"
)

const storeConfig = `account: "100000000000"
data: /var/lib/sekisho
tls: {certificate: /c.pem, key: /k.pem}
recordings:
  max_age_days: 30
  store:
    cache_bytes: 1000000
    spool_max_bytes: 1000000000
    upload_every: 10s
    s3:
      endpoint: https://s3.example.com
      region: us-east-1
      bucket: recordings
      prefix: prod/sekisho
      path_style: true
      credentials_file: /etc/sekisho/s3
      ca: /etc/ca.pem
      timeout: 20s
`

func TestRecordingStore(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(storeConfig))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Recordings.Store
	if s.S3 == nil || s.S3.Bucket != "recordings" || !s.S3.PathStyle || s.S3.Timeout.Seconds() != 20 ||
		s.CacheBytes != 1000000 {
		t.Errorf("%+v %+v", s, s.S3)
	}
	c, err = config.Parse([]byte("account: \"100000000000\"\ntls: {certificate: /c.pem, key: /k.pem}\n"))
	if err != nil || c.Recordings.Store.S3 != nil || c.Recordings.Store.CacheBytes == 0 {
		t.Errorf("%+v %v", c, err)
	}
}

// TestRecordingStoreMistakes: every mistake is named with its line.
func TestRecordingStoreMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, want string }{
		{"https://s3.example.com", "s3.example.com", "line 11: recordings: store: s3: endpoint: "},
		{"https://s3.example.com", "http://s3.example.com", "line 11: recordings: store: s3: endpoint: "},
		{"https://s3.example.com", "https://key:secret@s3.example.com", "line 11: recordings: store: s3: endpoint: "},
		{"https://s3.example.com", "https://s3.example.com/bucket", "line 11: recordings: store: s3: endpoint: "},
		{"us-east-1", "somewhere", "line 12: recordings: store: s3: region: "},
		{"bucket: recordings", "bucket: Re", "line 13: recordings: store: s3: bucket: "},
		{"prod/sekisho", "../x", "line 14: recordings: store: s3: prefix: "},
		{"path_style", "pathstyle", `line 15: recordings: store: s3: unknown key "pathstyle"; did you mean "path_style"?`},
		{"20s", "20h", "line 18: recordings: store: s3: timeout: "},
		{"cache_bytes: 1000000", "cache_bytes: -1", "line 7: recordings: store: cache_bytes: "},
		{"spool_max_bytes: 1000000000", "spool_max_bytes: 1000", "line 8: recordings: store: spool_max_bytes: "},
		{"10s", "1ms", "line 9: recordings: store: upload_every: "},
		{"cache_bytes: 1000000", "folder: relative", "line 7: recordings: store: folder: "},
	} {
		_, err := config.Parse([]byte(strings.Replace(storeConfig, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.new, err, c.want)
		}
	}
	// A connection to this machine needs no encryption.
	for _, host := range []string{"http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"} {
		if _, err := config.Parse([]byte(strings.Replace(storeConfig, "https://s3.example.com", host, 1))); err != nil {
			t.Error(err)
		}
	}
}

// TestRecordingStoreCredentials: credentials that others can read are refused.
func TestRecordingStoreCredentials(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "s3")
	if err := os.WriteFile(file, []byte("aws_access_key_id=a\naws_secret_access_key=b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(strings.Replace(storeConfig, "/etc/sekisho/s3", file, 1), "      ca: /etc/ca.pem\n", "", 1)
	c, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	const problem = "recordings: store: s3: credentials_file"
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), problem) {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil && strings.Contains(err.Error(), problem) {
		t.Error(err)
	}
}

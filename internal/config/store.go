package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sekisho/internal/session/record/recstore/s3store"
)

// RecordingStore keeps recordings outside the data directory, which then is a cache of them. With
// neither a folder nor an S3 store, the data directory keeps them.
type RecordingStore struct {
	Folder string   `yaml:"folder"` // absolute path, for example on another machine's mount
	S3     *S3Store `yaml:"s3"`
	// CacheBytes is how much of what the store has may stay in the data directory.
	CacheBytes int64 `yaml:"cache_bytes"`
	// SpoolBytes is how much may wait for the store; 0 = as much as the disk holds. Beyond it,
	// nothing can be recorded.
	SpoolBytes int64 `yaml:"spool_max_bytes"`
	// UploadEvery is how often what sessions have written is uploaded.
	UploadEvery time.Duration `yaml:"upload_every"`
	// CheckRate is how many bytes per second of what the store has are read and verified in the
	// background; 0 = none.
	CheckRate int64 `yaml:"check_bytes_per_second"`
}

// S3Store is an S3-compatible store.
type S3Store struct {
	Endpoint  string `yaml:"endpoint"` // URL; empty for AWS
	Region    string `yaml:"region"`
	Bucket    string `yaml:"bucket"`
	Prefix    string `yaml:"prefix"` // of all keys
	PathStyle bool   `yaml:"path_style"`
	// CredentialsFile has an access key, in the form of ~/.aws/credentials. Empty: the environment has
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
	CredentialsFile string `yaml:"credentials_file"`
	// CA is a PEM file of authorities for the store's certificate, in place of the system's.
	CA string `yaml:"ca"`
	// Timeout is how long one request may take, without the time for its bytes; 0 = 30s.
	Timeout time.Duration `yaml:"timeout"`
}

// ReadRecordingStore reads a file with nothing but the settings of a store.
func ReadRecordingStore(file string) (*RecordingStore, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var s RecordingStore
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := errors.Join(s.form(), s.check()); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &s, nil
}

// Bounds of the settings of a store.
const (
	minUploadEvery  = time.Second
	maxUploadEvery  = 10 * time.Minute
	minStoreTimeout = time.Second
	maxStoreTimeout = 10 * time.Minute
	minSpool        = 64 << 20
	maxPrefix       = 512
	defaultCache    = 1 << 30
	// defaultCheckRate checks 1 TB in 12 days.
	defaultCheckRate = 1 << 20
	maxCheckRate     = 10 << 30
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// form checks what can be checked without looking at the machine.
func (s *RecordingStore) form() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("recordings: store: "+format, args...))
	}
	if s.Folder != "" && s.S3 != nil {
		bad("folder: set either folder or s3")
	}
	if s.Folder != "" && !filepath.IsAbs(s.Folder) {
		bad("folder: %q is not an absolute path", s.Folder)
	}
	if s.CacheBytes < 0 {
		bad("cache_bytes: %d is negative", s.CacheBytes)
	}
	if s.SpoolBytes != 0 && s.SpoolBytes < minSpool {
		bad("spool_max_bytes: %d is less than %d; 0 means as much as the disk holds", s.SpoolBytes, minSpool)
	}
	if s.UploadEvery != 0 && (s.UploadEvery < minUploadEvery || s.UploadEvery > maxUploadEvery) {
		bad("upload_every: %s is not between %s and %s", s.UploadEvery, minUploadEvery, maxUploadEvery)
	}
	if s.CheckRate < 0 || s.CheckRate > maxCheckRate {
		bad("check_bytes_per_second: %d is not between 0 (off) and %d", s.CheckRate, int64(maxCheckRate))
	}
	if s.S3 != nil {
		s.S3.form(bad)
	}
	return errors.Join(errs...)
}

func (s *S3Store) form(bad func(format string, args ...any)) {
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			bad("s3: endpoint: %q is not a URL such as https://s3.example.com", s.Endpoint)
		case u.User != nil:
			bad("s3: endpoint: a URL must not contain credentials; set credentials_file")
		case u.RawQuery != "" || strings.Trim(u.Path, "/") != "":
			bad("s3: endpoint: %q has a path or query; set bucket and prefix", s.Endpoint)
		case u.Scheme == "http" && !loopback(u.Hostname()):
			bad("s3: endpoint: %q is not encrypted; http:// is for stores on this machine", s.Endpoint)
		}
	}
	if !regionPattern.MatchString(s.Region) {
		bad("s3: region: %q is not a region name such as us-east-1; stores without regions accept us-east-1", s.Region)
	}
	if !bucketName.MatchString(s.Bucket) {
		bad("s3: bucket: %q is not the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens", s.Bucket)
	}
	p := strings.Trim(s.Prefix, "/")
	if len(p) > maxPrefix || strings.Contains("/"+p+"/", "/../") || strings.Contains(p, "//") {
		bad("s3: prefix: %q is not a prefix such as sekisho/recordings", s.Prefix)
	}
	if s.Timeout != 0 && (s.Timeout < minStoreTimeout || s.Timeout > maxStoreTimeout) {
		bad("s3: timeout: %s is not between %s and %s", s.Timeout, minStoreTimeout, maxStoreTimeout)
	}
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Roots returns the authorities for the store's certificate; nil = the system's.
func (s *S3Store) Roots() (*x509.CertPool, error) {
	if s.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, fmt.Errorf("recordings: store: s3: ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("recordings: store: s3: ca: %s has no certificate", s.CA)
	}
	return pool, nil
}

// check looks at the machine.
func (s *RecordingStore) check() error {
	if s.S3 == nil {
		return nil
	}
	_, err := s.S3.Roots()
	if _, keyErr := s3store.ReadCredentials(s.S3.CredentialsFile); keyErr != nil {
		err = errors.Join(err, fmt.Errorf("recordings: store: s3: credentials_file: %w", keyErr))
	}
	return err
}

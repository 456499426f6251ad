package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sekisho/internal/session/record/recstore"
)

// PutLocked stores a small object in a bucket with object lock. Nobody can change or delete the
// object for the time retain; 0 = the bucket's default.
func (s *Store) PutLocked(ctx context.Context, name string, content []byte, retain time.Duration) error {
	if err := recstore.CheckName(name); err != nil {
		return err
	}
	ctx, cancel := s.limit(ctx, int64(len(content)))
	defer cancel()
	in := &s3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: aws.String(s.key(name)), ContentLength: aws.Int64(int64(len(content))),
		Body: bytes.NewReader(content),
	}
	if retain > 0 {
		in.ObjectLockMode = types.ObjectLockModeCompliance
		in.ObjectLockRetainUntilDate = aws.Time(time.Now().Add(retain).UTC())
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 // S3 requires a checksum with a lock
	}
	_, err := s.client.PutObject(ctx, in, signBody)
	return s.failed("put", name, err)
}

// Lock describes how a bucket keeps old versions and locks new objects.
type Lock struct {
	Versioning bool // old versions are kept
	Enabled    bool // objects can be locked
	// Mode is the default for objects that do not ask for a lock: COMPLIANCE or GOVERNANCE, or empty
	// for no lock. Default is how long it lasts.
	Mode    string
	Default time.Duration
}

// Lock returns the bucket's settings of versions and object lock.
func (s *Store) Lock(ctx context.Context) (Lock, error) {
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	versions, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.cfg.Bucket})
	if err != nil {
		return Lock{}, s.failed("read versioning of", s.cfg.Bucket, err)
	}
	l := Lock{Versioning: versions.Status == types.BucketVersioningStatusEnabled}
	out, err := s.client.GetObjectLockConfiguration(ctx,
		&s3.GetObjectLockConfigurationInput{Bucket: &s.cfg.Bucket})
	if codeOf(err) == "ObjectLockConfigurationNotFoundError" {
		return l, nil
	}
	if err != nil {
		return l, s.failed("read object lock of", s.cfg.Bucket, err)
	}
	c := out.ObjectLockConfiguration
	if c == nil {
		return l, nil
	}
	l.Enabled = c.ObjectLockEnabled == types.ObjectLockEnabledEnabled
	if c.Rule != nil && c.Rule.DefaultRetention != nil {
		r := c.Rule.DefaultRetention
		const day = 24 * time.Hour
		l.Mode = string(r.Mode)
		l.Default = time.Duration(aws.ToInt32(r.Days))*day + time.Duration(aws.ToInt32(r.Years))*365*day
	}
	return l, nil
}

// EachVersion calls visit with every version of every object, of at most limit bytes each, in the
// order of their names. Anybody who can write to the bucket can add a newer version of a locked
// object, but cannot remove the older one.
func (s *Store) EachVersion(ctx context.Context, limit int64, visit func(name string, content []byte) error) error {
	var prefix *string
	if s.cfg.Prefix != "" {
		prefix = aws.String(s.cfg.Prefix + "/")
	}
	in := &s3.ListObjectVersionsInput{Bucket: &s.cfg.Bucket, Prefix: prefix}
	for {
		page, err := s.versions(ctx, in)
		if err != nil {
			return s.failed("list", "", err)
		}
		for _, v := range page.Versions {
			name := strings.TrimPrefix(aws.ToString(v.Key), aws.ToString(prefix))
			if aws.ToInt64(v.Size) > limit {
				return s.failed("read", name, fmt.Errorf("it has %d bytes; the maximum is %d", aws.ToInt64(v.Size), limit))
			}
			content, err := s.version(ctx, v, limit)
			if err != nil {
				return s.failed("read", name, err)
			}
			if err := visit(name, content); err != nil {
				return err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
}

func (s *Store) versions(ctx context.Context, in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	return s.client.ListObjectVersions(ctx, in)
}

func (s *Store) version(ctx context.Context, v types.ObjectVersion, limit int64) ([]byte, error) {
	ctx, cancel := s.limit(ctx, limit)
	defer cancel()
	in := &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: v.Key}
	if id := aws.ToString(v.VersionId); id != "" && id != "null" {
		in.VersionId = &id
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(out.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, errors.Join(err, out.Body.Close())
}

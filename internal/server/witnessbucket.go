package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"sekisho/internal/config"
	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore/s3store"
)

// witnessBucket puts heads into a bucket, each as an object of its own. With object lock nobody can
// remove them, not even whoever has the server's credentials for the bucket.
type witnessBucket struct {
	store  *s3store.Store
	retain time.Duration
}

func openWitnessBucket(c *config.WitnessBucket) (*witnessBucket, error) {
	roots, err := c.Roots()
	if err != nil {
		return nil, err
	}
	return &witnessBucket{
		store: s3store.Open(s3store.Config{
			Endpoint: c.Endpoint, Region: c.Region, Bucket: c.Bucket, Prefix: c.Prefix, PathStyle: c.PathStyle,
			Credentials: s3store.Credentials(c.CredentialsFile), Roots: roots, Timeout: c.Timeout,
			Setting: "witnesses.s3", Actions: "s3:PutObject and s3:PutObjectRetention; for verify, s3:ListBucketVersions, " +
				"s3:GetObject and s3:GetObjectVersion; for doctor, s3:GetBucketVersioning and " +
				"s3:GetBucketObjectLockConfiguration",
		}),
		retain: time.Duration(c.RetainDays) * 24 * time.Hour,
	}, nil
}

func (w *witnessBucket) String() string { return w.store.String() }

// Publish implements Witness.
func (w *witnessBucket) Publish(ctx context.Context, line []byte) error {
	var unique [4]byte
	rand.Read(unique[:]) // never fails: see crypto/rand
	name := time.Now().UTC().Format("2006/01/02/150405.000") + "-" + hex.EncodeToString(unique[:]) + ".json"
	return w.store.PutLocked(ctx, name, line, w.retain)
}

const (
	maxWitnessObject = 64 << 10
	maxWitnessBytes  = 1 << 30
)

// ReadWitnessBucket returns all lines that a bucket has, of all versions of its objects.
func ReadWitnessBucket(ctx context.Context, c *config.WitnessBucket) ([]byte, error) {
	w, err := openWitnessBucket(c)
	if err != nil {
		return nil, err
	}
	var all []byte
	err = w.store.EachVersion(ctx, maxWitnessObject, func(name string, content []byte) error {
		if len(all)+len(content) > maxWitnessBytes {
			return fmt.Errorf("witness %s has more than %d bytes", w, maxWitnessBytes)
		}
		all = append(all, bytes.TrimSuffix(content, []byte("\n"))...)
		all = append(all, '\n')
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", w, err)
	}
	return all, w.store.Close()
}

// useBucket takes the heads in a bucket. An object without the server's signature is a
// finding. It hides nothing, because it cannot replace locked objects.
func (c *integrityCheck) useBucket(ctx context.Context, bucket *config.WitnessBucket, keys record.Keys) error {
	text, err := ReadWitnessBucket(ctx, bucket)
	if err != nil {
		return err
	}
	for n, line := range bytes.SplitAfter(text, []byte("\n")) {
		heads, err := record.ParseWitnesses(line, keys)
		if err != nil {
			c.foreign = append(c.foreign, Finding{
				"inserted", "witness", fmt.Sprintf("%s, object %d", bucket.Bucket, n+1),
				"the server did not sign it: " + err.Error(),
			})
			continue
		}
		c.witnesses = append(c.witnesses, heads...)
	}
	return nil
}

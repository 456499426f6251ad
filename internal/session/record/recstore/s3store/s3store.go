// Package s3store keeps recordings in an S3-compatible store.
package s3store

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"sekisho/internal/session/record/recstore"
)

// Config configures an S3-compatible store.
type Config struct {
	Endpoint  string // URL; empty for AWS
	Region    string
	Bucket    string
	Prefix    string // of all keys; may be empty
	PathStyle bool   // ENDPOINT/BUCKET/KEY in place of BUCKET.ENDPOINT/KEY
	// Credentials sign requests.
	Credentials aws.CredentialsProvider
	// Roots are the certificate authorities trusted for the store; nil = the system's.
	Roots *x509.CertPool
	// Timeout is how long one request can take, in addition to the time for its bytes at minRate; 0
	// = 30 s.
	Timeout time.Duration
	// Attempts is how often a request is attempted; 0 = 4.
	Attempts int
	// MaxBackoff is the maximum wait between two attempts; 0 = 5 s.
	MaxBackoff time.Duration
	// Setting names the part of the configuration that describes the store, for hints; empty =
	// recordings.store.s3.
	Setting string
	// Actions are those that the credentials must be allowed, for hints; empty = those of a store of
	// recordings.
	Actions string
	// PartSize is the size of a part in multipart uploads, in bytes; 0 = 16 MiB. Multipart upload
	// is used for objects of more than two parts.
	PartSize int64
}

const (
	// minRate is the rate, in bytes per second, below which a request is aborted.
	minRate        = 256 << 10
	defaultTimeout = 30 * time.Second
	attempts       = 4
	maxBackoff     = 5 * time.Second
	partSize       = 16 << 20
	// maxParts is S3's limit.
	maxParts    = 10000
	dialTimeout = 10 * time.Second

	defaultSetting = "recordings.store.s3"
	storeActions   = "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket, s3:AbortMultipartUpload and " +
		"s3:ListBucketMultipartUploads"
	idleConns   = 16
	idleTimeout = 90 * time.Second
)

// Store is an S3-compatible store.
type Store struct {
	cfg    Config
	client *s3.Client
	http   *http.Transport
}

// Open returns the store. It makes no request.
func Open(cfg Config) *Store {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.PartSize = cmp.Or(cfg.PartSize, partSize)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, maxBackoff)
	cfg.Attempts = cmp.Or(cfg.Attempts, attempts)
	cfg.Setting = cmp.Or(cfg.Setting, defaultSetting)
	cfg.Actions = cmp.Or(cfg.Actions, storeActions)
	cfg.Prefix = strings.Trim(cfg.Prefix, "/")
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: cfg.Timeout,
		MaxIdleConnsPerHost:   idleConns,
		IdleConnTimeout:       idleTimeout,
	}
	o := s3.Options{
		Region: cfg.Region, Credentials: cfg.Credentials, UsePathStyle: cfg.PathStyle,
		HTTPClient: &http.Client{
			Transport: transport,
			// A signed request must not follow a redirect to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// Many compatible stores do not support the checksums that the SDK adds by default.
		// Instead, the signature of each body includes its SHA-256.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = cfg.Attempts
			o.MaxBackoff = cfg.MaxBackoff
			// Callers limit their own attempts: an outage must not use up a budget that other
			// requests need.
			o.RateLimiter = unlimited{}
		}),
	}
	if cfg.Endpoint != "" {
		o.BaseEndpoint = &cfg.Endpoint
	}
	return &Store{cfg, s3.New(o), transport}
}

type unlimited struct{}

// GetToken implements the SDK's rate limiter for retries.
func (unlimited) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}

// AddTokens implements the SDK's rate limiter for retries.
func (unlimited) AddTokens(uint) error { return nil }

// Close closes idle connections.
func (s *Store) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// String returns s3://BUCKET/PREFIX and the endpoint.
func (s *Store) String() string {
	name := "s3://" + s.cfg.Bucket
	if s.cfg.Prefix != "" {
		name += "/" + s.cfg.Prefix
	}
	if s.cfg.Endpoint != "" {
		name += " at " + s.cfg.Endpoint
	}
	return name
}

func (s *Store) key(name string) string {
	if s.cfg.Prefix == "" {
		return name
	}
	return s.cfg.Prefix + "/" + name
}

// limit returns a context with the deadline for a request that transfers size bytes.
func (s *Store) limit(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	each := s.cfg.Timeout + time.Duration(size)*time.Second/minRate
	return context.WithTimeout(ctx, time.Duration(s.cfg.Attempts)*(each+s.cfg.MaxBackoff))
}

// signBody includes the SHA-256 of the body in the signature, over TLS too, so the store refuses a
// body that was altered in transit.
func signBody(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		hash := &v4.ComputePayloadSHA256{}
		_, err := stack.Finalize.Swap(hash.ID(), hash)
		return err
	})
}

// Put implements recstore.Store.
func (s *Store) Put(ctx context.Context, name string, content io.ReaderAt, size int64) error {
	if err := recstore.CheckName(name); err != nil {
		return err
	}
	if size > 2*s.cfg.PartSize {
		return s.failed("put", name, s.putParts(ctx, name, content, size))
	}
	ctx, cancel := s.limit(ctx, size)
	defer cancel()
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: aws.String(s.key(name)), ContentLength: &size,
		Body: io.NewSectionReader(content, 0, size),
	}, signBody)
	return s.failed("put", name, err)
}

// putParts uploads a large object. It first aborts unfinished uploads of the same object.
func (s *Store) putParts(ctx context.Context, name string, content io.ReaderAt, size int64) error {
	key := aws.String(s.key(name))
	if err := s.abortUploads(ctx, *key); err != nil {
		return err
	}
	limit, cancel := s.limit(ctx, 0)
	defer cancel()
	made, err := s.client.CreateMultipartUpload(limit, &s3.CreateMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: key})
	if err != nil {
		return err
	}
	step := max(s.cfg.PartSize, size/maxParts+1)
	var parts []types.CompletedPart
	for off := int64(0); off < size; off += step {
		n := min(step, size-off)
		number := aws.Int32(int32(len(parts) + 1))
		limit, cancel := s.limit(ctx, n)
		out, err := s.client.UploadPart(limit, &s3.UploadPartInput{
			Bucket: &s.cfg.Bucket, Key: key, UploadId: made.UploadId, PartNumber: number, ContentLength: &n,
			Body: io.NewSectionReader(content, off, n),
		}, signBody)
		cancel()
		if err != nil {
			return err
		}
		parts = append(parts, types.CompletedPart{ETag: out.ETag, PartNumber: number})
	}
	limit, cancel = s.limit(ctx, size)
	defer cancel()
	_, err = s.client.CompleteMultipartUpload(limit, &s3.CompleteMultipartUploadInput{
		Bucket: &s.cfg.Bucket, Key: key, UploadId: made.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if codeOf(err) == "NoSuchUpload" {
		// An attempt whose response was lost has completed the upload.
		if info, statErr := s.Stat(ctx, name); statErr == nil && info.Size == size {
			return nil
		}
	}
	return err
}

func (s *Store) abortUploads(ctx context.Context, key string) error {
	limit, cancel := s.limit(ctx, 0)
	defer cancel()
	left, err := s.client.ListMultipartUploads(limit, &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: &key})
	if err != nil {
		return nil // not all stores can list them, and rules of the bucket can remove them as well
	}
	for _, u := range left.Uploads {
		if aws.ToString(u.Key) != key {
			continue
		}
		_, err := s.client.AbortMultipartUpload(limit, &s3.AbortMultipartUploadInput{
			Bucket: &s.cfg.Bucket, Key: u.Key, UploadId: u.UploadId,
		})
		if err != nil && codeOf(err) != "NoSuchUpload" {
			return err
		}
	}
	return nil
}

// Stat implements recstore.Store. It uses a list request, because the response to HEAD does not
// tell whether the object or the bucket is missing.
func (s *Store) Stat(ctx context.Context, name string) (recstore.Info, error) {
	if err := recstore.CheckName(name); err != nil {
		return recstore.Info{}, err
	}
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	key := s.key(name)
	out, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &s.cfg.Bucket, Prefix: &key, MaxKeys: aws.Int32(1),
	})
	if err != nil {
		return recstore.Info{}, s.failed("stat", name, err)
	}
	// Of all keys with this prefix, the key itself sorts first.
	if len(out.Contents) == 0 || aws.ToString(out.Contents[0].Key) != key {
		return recstore.Info{}, s.failed("stat", name, fs.ErrNotExist)
	}
	return s.info(&out.Contents[0]), nil
}

func (s *Store) info(o *types.Object) recstore.Info {
	name := aws.ToString(o.Key)
	if s.cfg.Prefix != "" {
		name = strings.TrimPrefix(name, s.cfg.Prefix+"/")
	}
	return recstore.Info{Name: name, Size: aws.ToInt64(o.Size), Version: aws.ToString(o.ETag)}
}

// ReadAt implements recstore.Store.
func (s *Store) ReadAt(ctx context.Context, info recstore.Info, p []byte, off int64) error {
	if err := recstore.CheckName(info.Name); err != nil || len(p) == 0 {
		return err
	}
	ctx, cancel := s.limit(ctx, int64(len(p)))
	defer cancel()
	var err error
	for range s.cfg.Attempts {
		// The SDK retries until there is a response, not until the body is complete.
		if err = s.readAt(ctx, info, p, off); !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
	}
	if codeOf(err) == "PreconditionFailed" {
		err = recstore.ErrChanged
	}
	return s.failed("read", info.Name, err)
}

func (s *Store) readAt(ctx context.Context, info recstore.Info, p []byte, off int64) error {
	last := off + int64(len(p)) - 1
	in := &s3.GetObjectInput{
		Bucket: &s.cfg.Bucket, Key: aws.String(s.key(info.Name)), Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, last)),
	}
	if info.Version != "" {
		in.IfMatch = &info.Version
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("bytes %d-%d/%d", off, last, info.Size)
	if got := aws.ToString(out.ContentRange); got != want {
		err = fmt.Errorf("the store returned the range %q instead of %q", got, want)
	} else {
		_, err = io.ReadFull(out.Body, p)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	return errors.Join(err, out.Body.Close())
}

// List implements recstore.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[recstore.Info, error] {
	return func(yield func(recstore.Info, error) bool) {
		key := prefix
		if s.cfg.Prefix != "" {
			key = s.cfg.Prefix + "/" + prefix
		}
		var token *string
		last := ""
		for {
			limit, cancel := s.limit(ctx, 0)
			out, err := s.client.ListObjectsV2(limit, &s3.ListObjectsV2Input{
				Bucket: &s.cfg.Bucket, Prefix: &key, ContinuationToken: token,
			})
			cancel()
			if err != nil {
				yield(recstore.Info{}, s.failed("list", prefix, err))
				return
			}
			for i := range out.Contents {
				info := s.info(&out.Contents[i])
				if info.Name <= last {
					yield(recstore.Info{}, s.failed("list", prefix, fmt.Errorf(
						"the store listed %q after %q, which is out of order", info.Name, last)))
					return
				}
				last = info.Name
				if recstore.CheckName(info.Name) != nil {
					continue // somebody else's
				}
				if !yield(info, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			if token = out.NextContinuationToken; aws.ToString(token) == "" || len(out.Contents) == 0 {
				yield(recstore.Info{}, s.failed("list", prefix, errors.New(
					"the store returned an incomplete list without a continuation token")))
				return
			}
		}
	}
}

// Remove implements recstore.Store. In a versioned bucket it adds a delete marker: the bucket's
// lifecycle rules determine how long old versions stay.
func (s *Store) Remove(ctx context.Context, name string) error {
	if err := recstore.CheckName(name); err != nil {
		return err
	}
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.key(name))})
	if codeOf(err) == "NoSuchKey" {
		return nil
	}
	return s.failed("remove", name, err)
}

func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// failed adds the operation and object to an error and, if the cause is known, the remedy.
func (s *Store) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	e := &recstore.Error{Store: s.String(), Op: op, Name: name, Err: err}
	status := 0
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = r.HTTPStatusCode()
	}
	switch code := codeOf(err); {
	case code == "NoSuchKey":
		e.Err = fs.ErrNotExist
	case code == "NoSuchBucket":
		e.Hint = "create the bucket, or correct " + s.cfg.Setting + ".bucket"
	case code == "RequestTimeTooSkewed":
		e.Hint = "set the clock of this machine or of the store"
	case code == "InvalidAccessKeyId" || code == "SignatureDoesNotMatch" || code == "ExpiredToken":
		e.Hint = "correct the credentials of " + s.cfg.Setting
	case code == "PermanentRedirect" || code == "AuthorizationHeaderMalformed" || status == http.StatusMovedPermanently:
		e.Hint = "correct " + s.cfg.Setting + ".region or endpoint"
	case code == "AccessDenied" || status == http.StatusForbidden:
		e.Hint = "allow these credentials " + s.cfg.Actions
	case code == "" && status == 0 && !errors.Is(err, fs.ErrNotExist) && isNetwork(err):
		e.Hint = "check " + s.cfg.Setting + ".endpoint, and that this machine can reach it"
	}
	return e
}

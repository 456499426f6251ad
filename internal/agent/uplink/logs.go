package uplink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"sekisho/internal/wire/sigv4"
)

// Names of services in signatures.
const (
	serviceS3   = "s3"
	serviceLogs = "logs"
)

// uploadTimeout bounds the upload of one object.
const uploadTimeout = 10 * time.Minute

// BucketEncryption returns a bucket's default encryption: AES256, aws:kms, or "".
func (c *Client) BucketEncryption(ctx context.Context, bucket string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := c.s3(
		ctx,
		"GetBucketEncryption",
		http.MethodGet,
		"/"+bucket,
		"encryption=",
		nil,
		nil,
		0,
		sigv4.HashBody(nil),
	)
	if e, ok := errors.AsType[*APIError](err); ok && e.Code == "ServerSideEncryptionConfigurationNotFoundError" {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var out struct {
		Algorithm string `xml:"Rule>ApplyServerSideEncryptionByDefault>SSEAlgorithm"`
	}
	if err := xml.Unmarshal(answer, &out); err != nil {
		return "", fmt.Errorf("GetBucketEncryption: the server's response is not the expected XML: %w", err)
	}
	return out.Algorithm, nil
}

// PutObject writes size bytes of content to a bucket, with additional headers.
func (c *Client) PutObject(
	ctx context.Context,
	bucket, key string,
	content io.ReaderAt,
	size int64,
	headers http.Header,
) error {
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(content, 0, size)); err != nil {
		return fmt.Errorf("PutObject: %w", err)
	}
	// The transport closes bodies; the caller keeps content open.
	body := io.NopCloser(io.NewSectionReader(content, 0, size))
	_, err := c.s3(
		ctx,
		"PutObject",
		http.MethodPut,
		"/"+bucket+"/"+key,
		"",
		headers,
		body,
		size,
		hex.EncodeToString(h.Sum(nil)),
	)
	return err
}

// s3 sends one path-style request.
func (c *Client) s3(
	ctx context.Context,
	op, method, path, query string,
	h http.Header,
	body io.ReadCloser,
	size int64,
	hash string,
) ([]byte, error) {
	u := *c.base
	u.Path, u.RawQuery = path, query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if body != nil && size > 0 {
		req.Body, req.ContentLength = body, size
	}
	for name, values := range h {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "sekisho-agent")
	if err := c.signed(serviceS3)(ctx, req, hash); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	// An upload may take longer than a call.
	long := *c.http
	long.Timeout = 0
	resp, err := long.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: read the response: %w", op, err)
	case resp.StatusCode != http.StatusOK:
		return nil, apiError(op, resp, answer)
	}
	return answer, nil
}

// Logs calls an operation of CloudWatch Logs.
func (c *Client) Logs(ctx context.Context, op string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	h := http.Header{
		"Content-Type": {"application/x-amz-json-1.1"},
		"X-Amz-Target": {"Logs_20140328." + op},
	}
	answer, err := c.post(ctx, op, "/", h, body, http.StatusOK, c.signed(serviceLogs))
	if err != nil || len(strings.TrimSpace(string(answer))) == 0 {
		return err // some operations return nothing
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: the server's response is not the expected JSON: %w", op, err)
	}
	return nil
}

// Region is the server's region.
func (c *Client) Region() string { return c.region }

package uplink

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sekisho/internal/wire/sigv4"
)

// ErrTooLarge ends a download that exceeds its limit.
var ErrTooLarge = errors.New("larger than the limit")

// GetObject writes an object of at most limit bytes to w.
func (c *Client) GetObject(ctx context.Context, bucket, key string, w io.Writer, limit int64) error {
	const op = "GetObject"
	u := *c.base
	u.Path = "/" + bucket + "/" + key
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req.Header.Set("User-Agent", "sekisho-agent")
	req.Header.Set("Accept-Encoding", "identity") // the object as stored
	if err := c.signed(serviceS3)(ctx, req, sigv4.HashBody(nil)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	long := *c.http
	long.Timeout = 0 // a download may take longer than a call
	resp, err := long.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("%s: read the response: %w", op, err)
		}
		return apiError(op, resp, answer)
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", op, err)
	case n > limit:
		return fmt.Errorf("%s: %w", op, ErrTooLarge)
	}
	return nil
}

// ListObjects lists the keys that begin with prefix. More than limit keys are an
// error.
func (c *Client) ListObjects(ctx context.Context, bucket, prefix string, limit int) ([]string, error) {
	const op = "ListObjectsV2"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	q := url.Values{"list-type": {"2"}, "prefix": {prefix}, "max-keys": {strconv.Itoa(min(limit+1, 1000))}}
	query := strings.ReplaceAll(q.Encode(), "+", "%20") // signed queries do not encode a space as +
	answer, err := c.s3(ctx, op, http.MethodGet, "/"+bucket, query, nil, nil, 0, sigv4.HashBody(nil))
	if err != nil {
		return nil, err
	}
	var out struct {
		IsTruncated bool
		Contents    []struct{ Key string }
	}
	if err := xml.Unmarshal(answer, &out); err != nil {
		return nil, fmt.Errorf("%s: the server's response is not the expected XML: %w", op, err)
	}
	if out.IsTruncated || len(out.Contents) > limit {
		return nil, fmt.Errorf("%s: there are more than %d objects", op, limit)
	}
	keys := make([]string, len(out.Contents))
	for i := range out.Contents {
		keys[i] = out.Contents[i].Key
	}
	return keys, nil
}

// Host returns the server's host, with its port unless it is the default.
func (c *Client) Host() string { return c.base.Host }

package client

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/sigv4"
)

// iam is one operation of IAM, which speaks forms and XML. Of the answer out
// is what stands in its Result element.
func (c *Client) iam(ctx context.Context, action string, params map[string]string, out any) error {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for k, v := range params {
		form.Set(k, v)
	}
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.cfg.Endpoint, "/")+"/", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if c.cfg.Credentials.AccessKeyID == "" {
		return sekisho.Errorf(sekisho.CodeUnauthenticated, "%s: there are no credentials.", action)
	}
	sigv4.Sign(req, c.cfg.Credentials, c.cfg.Region, "iam", time.Now(), sigv4.HashBody([]byte(body)))
	answer, status, err := c.fetch(req)
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	if status != http.StatusOK {
		var e struct {
			Code    string `xml:"Error>Code"`
			Message string `xml:"Error>Message"`
		}
		_ = xml.Unmarshal(answer, &e) // a proxy answers anything
		return &APIError{Operation: action, StatusCode: status, Code: e.Code, Message: e.Message}
	}
	if out == nil {
		return nil
	}
	if err := xml.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: malformed answer: %w", action, err)
	}
	return nil
}

// fetch sends a request and reads its whole answer.
func (c *Client) fetch(req *http.Request) (answer []byte, status int, err error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return answer, resp.StatusCode, err
}

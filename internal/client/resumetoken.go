package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// resumeToken gets a token that resumes this session after the caller's
// credentials have expired. It is empty if the server does not allow that.
func (c *Client) resumeToken(ctx context.Context, sessionID string) (string, error) {
	var out struct{ ResumeToken string }
	err := c.call(ctx, "sekisho", "Sekisho.GetResumeToken", sessionInput{sessionID}, &out)
	return out.ResumeToken, err
}

// resumeByToken is ResumeSession authenticated by the session's own token instead
// of a signature.
func (c *Client) resumeByToken(ctx context.Context, sessionID, token string) (Stream, error) {
	const operation = "ResumeSessionByToken"
	body, err := json.Marshal(struct {
		SessionID   string `json:"SessionId"`
		ResumeToken string
	}{sessionID, token})
	if err != nil {
		return Stream{}, fmt.Errorf("%s: %w", operation, err)
	}
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		strings.TrimSuffix(c.cfg.Endpoint, "/")+"/",
		bytes.NewReader(body),
	)
	if err != nil {
		return Stream{}, fmt.Errorf("%s: %w", operation, err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Sekisho."+operation)
	var out Stream
	err = c.do(req, operation, &out)
	return out, err
}

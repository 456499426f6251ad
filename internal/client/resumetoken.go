package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// resumeToken asks for a token that resumes this one session when the
// caller's credentials have lapsed. It is empty where the server's setting
// does not allow that.
func (c *Client) resumeToken(ctx context.Context, session string) (string, error) {
	var out struct{ ResumeToken string }
	err := c.call(ctx, "sekisho", "Sekisho.GetResumeToken", sessionInput{session}, &out)
	return out.ResumeToken, err
}

// resumeByToken is ResumeSession with the session's own token in place of a
// signature.
func (c *Client) resumeByToken(ctx context.Context, session, token string) (Stream, error) {
	const operation = "ResumeSessionByToken"
	body, err := json.Marshal(struct {
		SessionID   string `json:"SessionId"`
		ResumeToken string
	}{session, token})
	if err != nil {
		return Stream{}, fmt.Errorf("%s: %w", operation, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.cfg.Endpoint, "/")+"/", bytes.NewReader(body))
	if err != nil {
		return Stream{}, fmt.Errorf("%s: %w", operation, err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Sekisho."+operation)
	var out Stream
	err = c.do(req, operation, &out)
	return out, err
}

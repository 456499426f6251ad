package client

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/wire/sigv4"
)

// Paths and headers of the console's sign-in API.
const (
	signInPath    = "/console/api/session"
	consolePath   = "/console/api/aws"
	csrfHeader    = "X-Sekisho-Csrf"
	serviceHeader = "X-Sekisho-Service"
	stsVersion    = "2011-06-15"
)

// maxCodes bounds how often the user is prompted for a second-factor code.
const maxCodes = 3

// TemporaryCredentials are short-lived credentials.
type TemporaryCredentials struct {
	sigv4.Credentials
	Expires time.Time
}

// SignIn signs a user in with a password and, if the server asks for it, the
// code of an authenticator app, and returns credentials for duration.
func (c *Client) SignIn(
	ctx context.Context,
	user, password string,
	code func() (string, error),
	duration time.Duration,
) (TemporaryCredentials, error) {
	in := struct {
		User     string `json:"user"`
		Password string `json:"password"`
		Code     string `json:"code,omitempty"`
	}{User: user, Password: password}
	for attempt := 0; ; attempt++ {
		session, again, err := c.openConsole(ctx, in)
		if err == nil {
			return session.credentials(ctx, duration)
		}
		if !again || attempt == maxCodes {
			return TemporaryCredentials{}, err
		}
		if in.Code, err = code(); err != nil {
			return TemporaryCredentials{}, err
		}
	}
}

// consoleSession is a console sign-in. It lasts only until credentials are issued.
type consoleSession struct {
	client  *Client
	cookies []*http.Cookie
	csrf    string
}

// openConsole signs in to the console. again means that another code may be accepted.
func (c *Client) openConsole(ctx context.Context, in any) (s *consoleSession, again bool, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, false, fmt.Errorf("sign in: %w", err)
	}
	resp, answer, err := (&consoleSession{client: c}).do(ctx, http.MethodPost, signInPath, "application/json", "", body)
	if err != nil {
		return nil, false, err
	}
	var out struct {
		CSRF                    string `json:"csrf"`
		Message                 string `json:"message"`
		MFARequired             bool   `json:"mfaRequired"`
		TOTP                    bool   `json:"totp"`
		FirstRun, PasswordReset bool
	}
	if err := json.Unmarshal(answer, &out); err != nil && resp.StatusCode == http.StatusOK {
		return nil, false, fmt.Errorf("sign in: malformed response: %w", err)
	}
	console := strings.TrimSuffix(c.cfg.Endpoint, "/") + "/console/"
	switch {
	case resp.StatusCode == http.StatusOK && (out.FirstRun || out.PasswordReset):
		s = &consoleSession{c, resp.Cookies(), out.CSRF}
		s.close(ctx)
		return nil, false, sekisho.Errorf(sekisho.CodeUnauthenticated, "Sign-in is incomplete.").
			WithHint("Sign in at %s to change your password or choose a second factor.", Printable(console))
	case resp.StatusCode == http.StatusOK:
		return &consoleSession{c, resp.Cookies(), out.CSRF}, false, nil
	case out.MFARequired && !out.TOTP:
		return nil, false, sekisho.Errorf(sekisho.CodeUnauthenticated,
			"This user signs in with a passkey, which works only in a browser.").
			WithHint("Sign in with: sekisho login --browser")
	case out.MFARequired:
		return nil, true, sekisho.Errorf(sekisho.CodeUnauthenticated, "The code was not accepted.")
	case resp.StatusCode == http.StatusTooManyRequests:
		return nil, false, sekisho.Errorf(sekisho.CodeThrottled, "Too many attempts to sign in.").
			WithHint("Retry in %s seconds.", Printable(first(resp.Header.Get("Retry-After"), "60")))
	case resp.StatusCode == http.StatusNotFound:
		return nil, false, sekisho.Errorf(sekisho.CodeNotImplemented,
			"The server at %s has no console to sign in to.", Printable(c.cfg.Endpoint)).
			WithHint("Use access keys.")
	}
	return nil, false, sekisho.Errorf(
		sekisho.CodeUnauthenticated,
		"Sign-in failed: %s",
		Printable(first(out.Message, http.StatusText(resp.StatusCode))),
	)
}

// credentials exchanges the sign-in for temporary credentials and closes it.
func (s *consoleSession) credentials(ctx context.Context, duration time.Duration) (TemporaryCredentials, error) {
	defer s.close(ctx)
	form := url.Values{
		"Action":          {"GetSessionToken"},
		"Version":         {stsVersion},
		"DurationSeconds": {strconv.Itoa(int(duration.Seconds()))},
	}
	resp, answer, err := s.do(
		ctx,
		http.MethodPost,
		consolePath,
		"application/x-www-form-urlencoded",
		"sts",
		[]byte(form.Encode()),
	)
	if err != nil {
		return TemporaryCredentials{}, err
	}
	return parseCredentials("GetSessionToken", resp.StatusCode, answer)
}

// close signs out, so that nothing but the credentials remains.
func (s *consoleSession) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordTime)
	defer cancel()
	_, _, _ = s.do(ctx, http.MethodDelete, signInPath, "", "", nil) // otherwise it expires
}

func (s *consoleSession) do(
	ctx context.Context,
	method, path, contentType, service string,
	body []byte,
) (*http.Response, []byte, error) {
	endpoint := strings.TrimSuffix(s.client.cfg.Endpoint, "/")
	req, err := http.NewRequestWithContext(ctx, method, endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("sign in: %w", err)
	}
	req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	req.Header.Set("User-Agent", userAgent)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if service != "" {
		req.Header.Set(serviceHeader, service)
	}
	if s.csrf != "" {
		req.Header.Set(csrfHeader, s.csrf)
	}
	for _, cookie := range s.cookies {
		req.AddCookie(cookie)
	}
	return s.client.send(req)
}

// send sends a request and reads the response.
func (c *Client) send(req *http.Request) (*http.Response, []byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, connectError(c.cfg.Endpoint, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return nil, nil, connectError(c.cfg.Endpoint, err)
	}
	return resp, answer, nil
}

// SignInWithToken exchanges a token of an OpenID Connect provider that the server
// trusts for credentials of a role.
func (c *Client) SignInWithToken(
	ctx context.Context,
	roleARN, sessionName, token string,
	duration time.Duration,
) (TemporaryCredentials, error) {
	const operation = "AssumeRoleWithWebIdentity"
	form := url.Values{
		"Action": {operation}, "Version": {stsVersion}, "RoleArn": {roleARN}, "RoleSessionName": {sessionName},
		"WebIdentityToken": {token}, "DurationSeconds": {strconv.Itoa(int(duration.Seconds()))},
	}
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		strings.TrimSuffix(c.cfg.Endpoint, "/")+"/",
		strings.NewReader(form.Encode()),
	)
	if err != nil {
		return TemporaryCredentials{}, fmt.Errorf("%s: %w", operation, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", userAgent)
	resp, answer, err := c.send(req)
	if err != nil {
		return TemporaryCredentials{}, fmt.Errorf("%s: %w", operation, err)
	}
	return parseCredentials(operation, resp.StatusCode, answer)
}

// Caller is the identity of the credentials.
type Caller struct {
	Arn, UserID, Account string
}

// WhoAmI returns the identity of the client's credentials.
func (c *Client) WhoAmI(ctx context.Context) (Caller, error) {
	const operation = "GetCallerIdentity"
	body := []byte(url.Values{"Action": {operation}, "Version": {stsVersion}}.Encode())
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		strings.TrimSuffix(c.cfg.Endpoint, "/")+"/",
		bytes.NewReader(body),
	)
	if err != nil {
		return Caller{}, fmt.Errorf("%s: %w", operation, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", userAgent)
	sigv4.Sign(req, c.credentials(), c.cfg.Region, "sts", time.Now(), sigv4.HashBody(body))
	resp, answer, err := c.send(req)
	if err != nil {
		return Caller{}, fmt.Errorf("%s: %w", operation, err)
	}
	if resp.StatusCode != http.StatusOK {
		return Caller{}, queryError(operation, resp.StatusCode, answer)
	}
	var out struct {
		Arn     string `xml:"GetCallerIdentityResult>Arn"`
		UserID  string `xml:"GetCallerIdentityResult>UserId"`
		Account string `xml:"GetCallerIdentityResult>Account"`
	}
	if err := xml.Unmarshal(answer, &out); err != nil {
		return Caller{}, fmt.Errorf("%s: malformed response: %w", operation, err)
	}
	return Caller(out), nil
}

// parseCredentials reads the response of an STS operation that issues
// credentials.
func parseCredentials(operation string, status int, answer []byte) (TemporaryCredentials, error) {
	if status != http.StatusOK {
		return TemporaryCredentials{}, queryError(operation, status, answer)
	}
	type issued struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      time.Time
	}
	var out struct {
		Session issued `xml:"GetSessionTokenResult>Credentials"`
		Role    issued `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := xml.Unmarshal(answer, &out); err != nil {
		return TemporaryCredentials{}, fmt.Errorf("%s: malformed response: %w", operation, err)
	}
	got := out.Session
	if got.AccessKeyID == "" {
		got = out.Role
	}
	if got.AccessKeyID == "" || got.SecretAccessKey == "" || got.SessionToken == "" {
		return TemporaryCredentials{}, fmt.Errorf("%s: the response contains no credentials", operation)
	}
	return TemporaryCredentials{
		sigv4.Credentials{
			AccessKeyID:     got.AccessKeyID,
			SecretAccessKey: got.SecretAccessKey,
			SessionToken:    got.SessionToken,
		}, got.Expiration,
	}, nil
}

// queryError reads an error of the query protocol, or of the console.
func queryError(operation string, status int, answer []byte) error {
	var body struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if xml.Unmarshal(answer, &body) != nil || body.Code == "" {
		return apiError(operation, status, answer)
	}
	return &APIError{Operation: operation, StatusCode: status, Code: body.Code, Message: body.Message}
}

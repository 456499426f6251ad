package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/wire/sigv4"
)

// Paths of the console's interface for programs that sign in through a browser.
const (
	programsPath           = "/console/api/programs"
	programCredentialsPath = programsPath + "/credentials"
	approvePage            = "/console/approve"
)

// BrowserSignIn is a sign-in that the user approves in a browser.
type BrowserSignIn struct {
	Name     string        // of this program and machine, which the browser shows
	Duration time.Duration // of the credentials
	// Local says that the browser runs on this machine. It then delivers a code
	// to the loopback interface, so that nobody can approve from elsewhere.
	Local bool
	// Show tells the user where to approve, and the code to compare or to type.
	Show func(address, userCode string)
}

// programCodes is the server's answer to a sign-in through a browser.
type programCodes struct {
	DeviceCode string    `json:"deviceCode"`
	UserCode   string    `json:"userCode"`
	Interval   int       `json:"interval"` // seconds between two polls
	Expires    time.Time `json:"expires"`
}

// SignInWithBrowser waits until the user has approved the sign-in in a browser,
// and returns credentials with the identity of the user there.
func (c *Client) SignInWithBrowser(ctx context.Context, in BrowserSignIn) (TemporaryCredentials, error) {
	port, delivered, stop, err := in.listen(ctx)
	if err != nil {
		return TemporaryCredentials{}, err
	}
	defer stop()
	var codes programCodes
	status, answer, err := c.program(ctx, programsPath, map[string]any{"name": in.Name, "port": port}, &codes)
	if err != nil {
		return TemporaryCredentials{}, err
	}
	if status != http.StatusOK || codes.DeviceCode == "" {
		return TemporaryCredentials{}, c.programError(status, answer)
	}
	address := strings.TrimSuffix(c.cfg.Endpoint, "/") + approvePage
	if in.Local {
		address += "/" + url.PathEscape(codes.UserCode)
	}
	in.Show(address, codes.UserCode)

	ctx, cancel := context.WithDeadline(ctx, codes.Expires)
	defer cancel()
	poll := time.NewTicker(max(time.Duration(codes.Interval)*time.Second, time.Second))
	defer poll.Stop()
	browserCode := ""
	var lost error // of the latest poll, if it did not reach the server
	for {
		select {
		case <-ctx.Done():
			if lost != nil && !errors.Is(ctx.Err(), context.Canceled) {
				return TemporaryCredentials{}, lost
			}
			return TemporaryCredentials{}, sekisho.Errorf(sekisho.CodeExpired, "Nobody approved the sign-in: %w", ctx.Err())
		case browserCode = <-delivered:
		case <-poll.C:
		}
		var out struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expires         time.Time `json:"expires"`
		}
		request := map[string]any{
			"deviceCode": codes.DeviceCode, "browserCode": browserCode, "seconds": int(in.Duration.Seconds()),
		}
		status, answer, err := c.program(ctx, programCredentialsPath, request, &out)
		// The server keeps the request in its database: it can restart while the user decides.
		lost = nil
		switch {
		case sekisho.CodeOf(err) == sekisho.CodeUnreachable:
			lost = err
		case err != nil:
			return TemporaryCredentials{}, err
		case status >= http.StatusInternalServerError:
			lost = c.programError(status, answer)
		case status == http.StatusAccepted, status == http.StatusTooManyRequests:
		case status == http.StatusOK && out.AccessKeyID != "" && out.SecretAccessKey != "" && out.SessionToken != "":
			return TemporaryCredentials{sigv4.Credentials{
				AccessKeyID: out.AccessKeyID, SecretAccessKey: out.SecretAccessKey, SessionToken: out.SessionToken,
			}, out.Expires}, nil
		default:
			return TemporaryCredentials{}, c.programError(status, answer)
		}
	}
}

// program calls the console's interface for programs. It reads the answer into out
// if the call succeeded.
func (c *Client) program(ctx context.Context, path string, in, out any) (status int, answer []byte, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, nil, fmt.Errorf("sign in: %w", err)
	}
	session := &consoleSession{client: c}
	//nolint:bodyclose // do closes it
	resp, answer, err := session.do(ctx, http.MethodPost, path, "application/json", "", body)
	if err != nil {
		return 0, nil, err
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(answer, out); err != nil {
			return 0, nil, fmt.Errorf("sign in: malformed response: %w", err)
		}
	}
	return resp.StatusCode, answer, nil
}

func (c *Client) programError(status int, answer []byte) error {
	var out struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer, &out) // the status says enough
	switch status {
	case http.StatusNotFound:
		if out.Message == "" {
			return sekisho.Errorf(sekisho.CodeNotImplemented,
				"The server at %s does not offer sign-in through a browser.", Printable(c.cfg.Endpoint)).
				WithHint("Sign in with a password: sekisho login --user NAME")
		}
	case http.StatusTooManyRequests:
		return sekisho.Errorf(sekisho.CodeThrottled, "Too many attempts to sign in.").WithHint("Retry in a minute.")
	}
	return sekisho.Errorf(
		sekisho.CodeUnauthenticated, "Sign-in failed: %s", Printable(first(out.Message, http.StatusText(status))),
	)
}

// donePage is what the browser shows when it has delivered its code.
const donePage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sekisho</title>
<p style="font: 1.2em sans-serif; margin: 3em">Signed in. Close this page and return to the terminal.</p></html>
`

// listen receives the browser's code on the loopback interface, if there is a
// browser on this machine. Port is 0 if not.
func (in *BrowserSignIn) listen(ctx context.Context) (port int, delivered <-chan string, stop func(), err error) {
	if !in.Local {
		return 0, nil, func() {}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, nil, fmt.Errorf("listen for the browser: %w", err)
	}
	// The latest code counts: a page of somebody else may deliver a wrong one.
	codes := make(chan string, 1)
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			code := r.URL.Query().Get("code")
			if r.Method != http.MethodGet || r.URL.Path != "/" || code == "" {
				http.NotFound(w, r)
				return
			}
			select {
			case <-codes:
			default:
			}
			select {
			case codes <- code:
			default:
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			_, _ = io.WriteString(w, donePage) // the browser may be gone
		}),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l) // ends when stop closes it
	}()
	stop = func() {
		// Let the browser read its page.
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(limit) != nil {
			_ = srv.Close()
		}
		<-served
	}
	return l.Addr().(*net.TCPAddr).Port, codes, stop, nil //nolint:forcetypeassert // a TCP listener's address
}

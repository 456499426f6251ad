// Package webhook delivers signed events over HTTP, only to allowed addresses.
//
// Signatures follow the open specification "Standard Webhooks", so that receivers can
// verify them with existing libraries:
//
//	webhook-id         the event's ID, the same at every attempt
//	webhook-timestamp  seconds since 1970, of this attempt
//	webhook-signature  "v1," and the base64 of HMAC-SHA256(secret, id "." timestamp "." body);
//	                   during a rotation one for each secret, separated by a space
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sekisho/internal/activity/event"
	"sekisho/internal/netguard"
)

// Limits of a delivery.
const (
	defaultTimeout = 10 * time.Second
	maxAnswer      = 64 << 10 // bytes of a response to read, so that the connection can be reused
	maxHeader      = 16 << 10
)

// Config is the configuration of an Endpoint.
type Config struct {
	URL string
	// Secrets returns the secrets to sign with. It is called for each delivery, so that
	// secrets can be rotated. See [ParseSecrets].
	Secrets func() ([]Secret, error)
	// Allow are the allowed private networks.
	Allow   []netip.Prefix
	Roots   *x509.CertPool   // nil = the system's
	Timeout time.Duration    // 0 = 10 s
	Now     func() time.Time // nil = time.Now
}

// Endpoint is one receiver. It is safe for concurrent use.
type Endpoint struct {
	cfg    Config
	url    *url.URL
	client *http.Client
}

var _ event.Endpoint = (*Endpoint)(nil)

// CheckURL parses a webhook's URL and refuses one that events must not be sent to.
func CheckURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("not a valid URL") // err contains the URL, which may be secret
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must begin with https://")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.User != nil:
		return nil, errors.New("must not contain a user name or password: deliveries are signed")
	case u.Fragment != "":
		return nil, errors.New("must not have a fragment (the part after #), which is never sent")
	}
	return u, nil
}

// New returns an Endpoint.
func New(cfg Config) (*Endpoint, error) {
	u, err := CheckURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	e := &Endpoint{cfg: cfg, url: u}
	dialer := &net.Dialer{Timeout: cfg.Timeout, Control: e.control}
	e.client = &http.Client{
		Timeout: cfg.Timeout,
		Transport: &http.Transport{
			// No proxy: it would resolve and dial any address itself.
			Proxy: nil, DialContext: dialer.DialContext, TLSHandshakeTimeout: cfg.Timeout, ResponseHeaderTimeout: cfg.Timeout,
			TLSClientConfig: &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			// Connections are not kept for long, because the address may change.
			IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: maxHeader,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e, nil
}

// control checks the resolved address before anything is sent to it.
func (e *Endpoint) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &forbidden{fmt.Sprintf("%q is not an IP address and port", address)}
	}
	if e.url.Scheme == "http" && !netguard.Reached(ap.Addr()).IsLoopback() {
		return &forbidden{
			fmt.Sprintf(
				"%s is not a loopback address: events are sent there only with TLS, use https://",
				ap.Addr(),
			),
		}
	}
	return CheckAddress(ap.Addr(), e.cfg.Allow)
}

// Address implements [event.Endpoint]. It omits the path, which may contain a secret.
func (e *Endpoint) Address() string { return e.url.Scheme + "://" + e.url.Host }

// Close implements [event.Endpoint].
func (e *Endpoint) Close() { e.client.CloseIdleConnections() }

// Deliver implements [event.Endpoint].
func (e *Endpoint) Deliver(ctx context.Context, id string, body []byte) error {
	secrets, err := e.cfg.Secrets()
	if err != nil {
		return err
	}
	at := e.cfg.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("cannot create the request")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Sekisho")
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	r.Header.Set("webhook-signature", Sign(secrets, id, at, body))
	resp, err := e.client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	// Read the body so that the connection can be reused.
	if _, err := io.CopyN(io.Discard, resp.Body, maxAnswer); err != nil && !errors.Is(err, io.EOF) {
		e.client.CloseIdleConnections()
	}
	return verdict(resp)
}

// withoutURL removes the URL from an error of the HTTP client.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return errors.New("no response in time")
		}
		err = u.Err
	}
	if f, ok := errors.AsType[*forbidden](err); ok {
		return f
	}
	return err
}

// verdict returns nil for a successful response, otherwise why the delivery failed.
func verdict(resp *http.Response) error {
	code := resp.StatusCode
	f := &event.Failure{Err: fmt.Errorf("HTTP status %d %s", code, http.StatusText(code))}
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		f.Err = fmt.Errorf("HTTP status %d: redirects are not followed; configure the final address", code)
	case code == http.StatusBadRequest,
		code == http.StatusRequestEntityTooLarge,
		code == http.StatusUnsupportedMediaType,
		code == http.StatusUnprocessableEntity:
		f.Refused = true // the endpoint refuses only this event
	}
	if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		f.After = time.Duration(n) * time.Second
	}
	return f
}

// Secret signs deliveries. Its String method hides it.
type Secret struct{ key []byte }

// String hides the secret.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(secret)" }

// Limits of a secret, in bytes.
const (
	minSecret = 24
	maxSecret = 64
)

// ParseSecrets parses the secrets of a webhook: one, or two during a rotation,
// separated by white space. Each is "whsec_" and the base64 of 24 to 64 random bytes.
func ParseSecrets(text string) ([]Secret, error) {
	var all []Secret
	for i, s := range strings.Fields(text) {
		encoded, ok := strings.CutPrefix(s, "whsec_")
		if !ok {
			return nil, fmt.Errorf("secret %d must begin with whsec_", i+1)
		}
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, fmt.Errorf("secret %d must be base64 after whsec_", i+1)
		}
		if len(key) < minSecret || len(key) > maxSecret {
			return nil, fmt.Errorf("secret %d has %d bytes: want %d to %d", i+1, len(key), minSecret, maxSecret)
		}
		all = append(all, Secret{key})
	}
	if len(all) == 0 || len(all) > 2 {
		return nil, fmt.Errorf("got %d secrets: want one, or two during a rotation", len(all))
	}
	return all, nil
}

// Sign returns the signature header of a delivery.
func Sign(secrets []Secret, id string, at time.Time, body []byte) string {
	var all []string
	for _, s := range secrets {
		h := hmac.New(sha256.New, s.key)
		fmt.Fprintf(h, "%s.%d.", id, at.Unix())
		h.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(all, " ")
}

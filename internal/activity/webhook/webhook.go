// Package webhook delivers events over HTTP: signed, to addresses that are
// allowed, and to nowhere else.
//
// A delivery is signed as the open specification "Standard Webhooks" says,
// so that receivers can verify it with a library they have:
//
//	webhook-id         the event's ID, the same at every attempt
//	webhook-timestamp  seconds since 1970, of this attempt
//	webhook-signature  "v1," and the base64 of HMAC-SHA256(secret, id "." timestamp "." body);
//	                   during a rotation one for each secret, with a space between them
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

// Bounds of a delivery.
const (
	defaultTimeout = 10 * time.Second
	maxAnswer      = 64 << 10 // bytes of an answer that are read, to use the connection again
	maxHeader      = 16 << 10
)

// Config is what an Endpoint needs.
type Config struct {
	URL string
	// Secrets are the secrets to sign with: asked for at each delivery, so
	// that they can be changed meanwhile. See [ParseSecrets].
	Secrets func() ([]Secret, error)
	// Allow are networks that may be reached although they are private.
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

// CheckURL reads an address that events may be sent to, and refuses others.
func CheckURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is not a URL") // the error repeats it, and it may be secret
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("it must begin with https://")
	case u.Hostname() == "":
		return nil, errors.New("it names no host")
	case u.User != nil:
		return nil, errors.New("it must not hold a user name or password: deliveries are signed")
	case u.Fragment != "":
		return nil, errors.New("what follows # is never sent")
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
			// No proxy: it would resolve and dial any address in our place.
			Proxy: nil, DialContext: dialer.DialContext, TLSHandshakeTimeout: cfg.Timeout, ResponseHeaderTimeout: cfg.Timeout,
			TLSClientConfig: &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			// A connection is not kept for long: the address may change.
			IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e, nil
}

// control sees the address after the name was resolved, and before anything
// is sent there.
func (e *Endpoint) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &forbidden{fmt.Sprintf("%q is not an address", address)}
	}
	if e.url.Scheme == "http" && !netguard.Reached(ap.Addr()).IsLoopback() {
		return &forbidden{fmt.Sprintf("without TLS events are sent to this machine only, and %s is another", ap.Addr())}
	}
	return CheckAddress(ap.Addr(), e.cfg.Allow)
}

// Address implements [event.Endpoint]: a path may hold a secret.
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
		return errors.New("the request cannot be made")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Sekisho")
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	r.Header.Set("webhook-signature", Sign(secrets, id, at, body))
	resp, err := e.client.Do(r)
	if err != nil {
		return worded(err)
	}
	defer resp.Body.Close()
	// Only so that the connection can serve again.
	if _, err := io.CopyN(io.Discard, resp.Body, maxAnswer); err != nil && !errors.Is(err, io.EOF) {
		e.client.CloseIdleConnections()
	}
	return verdict(resp)
}

// worded is an error of the client without the URL in it.
func worded(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return errors.New("it did not answer in time")
		}
		err = u.Err
	}
	if f, ok := errors.AsType[*forbidden](err); ok {
		return f
	}
	return err
}

// verdict is what an answer means.
func verdict(resp *http.Response) error {
	code := resp.StatusCode
	f := &event.Failure{Err: fmt.Errorf("it answered %d %s", code, http.StatusText(code))}
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		f.Err = fmt.Errorf("it answered %d: redirects are not followed, configure the address itself", code)
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge, code == http.StatusUnsupportedMediaType, code == http.StatusUnprocessableEntity:
		f.Refused = true // it is about this very event
	}
	if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		f.After = time.Duration(n) * time.Second
	}
	return f
}

// Secret signs deliveries. It does not print.
type Secret struct{ key []byte }

// String hides the secret.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(secret)" }

// Bounds of a secret, in bytes.
const (
	minSecret = 24
	maxSecret = 64
)

// ParseSecrets reads the secrets of a webhook: one, or two while one takes the
// place of the other, with white space between them. Each is "whsec_" and the
// base64 of 24 to 64 random bytes.
func ParseSecrets(text string) ([]Secret, error) {
	var all []Secret
	for i, s := range strings.Fields(text) {
		encoded, ok := strings.CutPrefix(s, "whsec_")
		if !ok {
			return nil, fmt.Errorf("secret %d does not begin with whsec_", i+1)
		}
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, fmt.Errorf("secret %d is not base64 after whsec_", i+1)
		}
		if len(key) < minSecret || len(key) > maxSecret {
			return nil, fmt.Errorf("secret %d has %d bytes; it must have %d to %d", i+1, len(key), minSecret, maxSecret)
		}
		all = append(all, Secret{key})
	}
	if len(all) == 0 || len(all) > 2 {
		return nil, fmt.Errorf("there are %d secrets; there must be one, or two during a rotation", len(all))
	}
	return all, nil
}

// Sign is the signature header of a delivery.
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

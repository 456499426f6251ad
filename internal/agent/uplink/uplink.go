// Package uplink is the agent's client of the server: signed calls, and control and
// data channels. It sends what AWS's agent sends, so that the server needs only one
// code path.
package uplink

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// Names of services in signatures.
const (
	serviceSSM = "ssm"
	serviceMGS = "ssmmessages"
	serviceKMS = "kms"
)

// maxAnswer bounds the body of every answer.
const maxAnswer = 256 << 10

// callTimeout bounds one call, and one WebSocket handshake.
const callTimeout = 15 * time.Second

// tlsSessions bounds the TLS sessions cached for resumption.
const tlsSessions = 16

// Server is a server's address and the CA that authenticates it.
type Server struct {
	Endpoint string // https://host[:port]
	Region   string
	CA       string // PEM; if set, nothing else is trusted
}

// Client calls a server. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	process string // of this agent, while it runs
	region  string
	tls     *tls.Config
	http    *http.Client
	dialer  *net.Dialer
	// creds returns the credentials to sign with.
	creds func(context.Context) (sigv4.Credentials, error)
}

// New returns a client of s. credentials is called for each signed call; it can be nil for a client
// without signed calls.
func New(s Server, credentials func(context.Context) (sigv4.Credentials, error)) (*Client, error) {
	base, err := parseEndpoint(s.Endpoint)
	if err != nil {
		return nil, err
	}
	if !validRegion(s.Region) {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"region %.40q is not valid: up to 63 letters, digits and hyphens",
			s.Region,
		)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions)}
	if s.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "the CA file contains no certificate in PEM form")
		}
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &Client{
		base:    base,
		process: id.UUID(),
		region:  s.Region,
		tls:     conf,
		dialer:  dialer,
		creds:   credentials,
		http: &http.Client{
			Timeout: callTimeout,
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           dialer.DialContext,
				TLSClientConfig:       conf.Clone(),
				TLSHandshakeTimeout:   10 * time.Second,
				ResponseHeaderTimeout: callTimeout,
				// Calls are minutes apart; only the next one would detect a dead idle connection.
				IdleConnTimeout: 20 * time.Second,
				MaxIdleConns:    2,
			},
			// A redirect would send signed headers to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// parseEndpoint accepts https URLs, and http URLs to loopback addresses.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		(u.Path != "" && u.Path != "/") {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "endpoint %.200q is not of the form https://host[:port]", s)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !a.IsLoopback()) {
			return nil, sekisho.Errorf(sekisho.CodeInvalid,
				"endpoint %.200q does not use TLS, which is only allowed for loopback addresses", s).
				WithHint("Use https.")
		}
	default:
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "endpoint %.200q is not of the form https://host[:port]", s)
	}
	// Signer and verifier must agree on the host, so default ports are
	// omitted.
	if p := u.Port(); (u.Scheme == "https" && p == "443") || (u.Scheme == "http" && p == "80") {
		u.Host = strings.TrimSuffix(u.Host, ":"+p)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func validRegion(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (c != '-' || i == 0) {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// HostPort is the server's address for a TCP connection.
func (c *Client) HostPort() string {
	if c.base.Port() != "" {
		return c.base.Host
	}
	if c.base.Scheme == "http" {
		return net.JoinHostPort(c.base.Hostname(), "80")
	}
	return net.JoinHostPort(c.base.Hostname(), "443")
}

// TLS returns the TLS configuration for the server, or nil for http.
func (c *Client) TLS() *tls.Config {
	if c.base.Scheme != "https" {
		return nil
	}
	return c.tls.Clone()
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// APIError is an error response of the server.
type APIError struct {
	Op      string
	Status  int    // of HTTP
	Code    string // such as AccessDeniedException; may be empty
	Message string
	Date    time.Time // of the response; zero without a Date header
	// After is the response's Retry-After; usually 0.
	After time.Duration
}

// Pause returns the Retry-After of err, or 0.
func Pause(err error) time.Duration {
	if e, ok := errors.AsType[*APIError](err); ok {
		return e.After
	}
	return 0
}

// maxPause bounds Retry-After.
const maxPause = time.Minute

// Error implements error.
func (e *APIError) Error() string {
	s := fmt.Sprintf("%s: the server responded with status %d", e.Op, e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// SessionGone reports whether err means that a session has ended.
func SessionGone(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && strings.Contains(e.Message, mgs.SessionTerminated)
}

// signer adds the Authorization header.
type signer func(ctx context.Context, req *http.Request, hash string) error

func unsigned(context.Context, *http.Request, string) error { return nil }

func (c *Client) signed(service string) signer {
	return func(ctx context.Context, req *http.Request, hash string) error {
		creds, err := c.creds(ctx)
		if err != nil {
			return err
		}
		sigv4.Sign(req, creds, c.region, service, time.Now(), hash)
		return nil
	}
}

// Register calls RegisterManagedInstance, which is not signed, because the caller
// has no identity yet.
func (c *Client) Register(ctx context.Context, in, out any) error {
	return c.ssm(ctx, "RegisterManagedInstance", in, out, unsigned)
}

// RoleToken calls RequestManagedInstanceRoleToken, signed with the node's key.
func (c *Client) RoleToken(ctx context.Context, node sekisho.NodeID, key *rsa.PrivateKey, in, out any) error {
	return c.ssm(
		ctx,
		"RequestManagedInstanceRoleToken",
		in,
		out,
		func(_ context.Context, req *http.Request, hash string) error {
			return sigv4.SignRSA(req, key, string(node), c.region, serviceSSM, time.Now(), hash)
		},
	)
}

// SSM calls a signed operation of SSM.
func (c *Client) SSM(ctx context.Context, op string, in, out any) error {
	return c.ssm(ctx, op, in, out, c.signed(serviceSSM))
}

// Decrypt calls kms:Decrypt for a key that a client encrypted under keyID with the
// same encryption context.
func (c *Client) Decrypt(
	ctx context.Context,
	keyID string,
	wrapped []byte,
	encryptionContext map[string]string,
) ([]byte, error) {
	in := struct {
		KeyID             string `json:"KeyId"`
		CiphertextBlob    []byte
		EncryptionContext map[string]string
	}{keyID, wrapped, encryptionContext}
	var out struct{ Plaintext []byte }
	err := c.call(ctx, "TrentService", "Decrypt", in, &out, c.signed(serviceKMS))
	return out.Plaintext, err
}

func (c *Client) ssm(ctx context.Context, op string, in, out any, sign signer) error {
	return c.call(ctx, "AmazonSSM", op, in, out, sign)
}

func (c *Client) call(ctx context.Context, service, op string, in, out any, sign signer) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	h := http.Header{
		"Content-Type": {"application/x-amz-json-1.1"},
		"X-Amz-Target": {service + "." + op},
	}
	answer, err := c.post(ctx, op, "/", h, body, http.StatusOK, sign)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: the server's response is not the expected JSON: %w", op, err)
	}
	return nil
}

func (c *Client) post(
	ctx context.Context,
	op, path string,
	h http.Header,
	body []byte,
	want int,
	sign signer,
) ([]byte, error) {
	// The client's own timeout does not include waiting for credentials.
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	u := *c.base
	u.Path = path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	req.Header = h
	req.Header.Set("User-Agent", "sekisho-agent")
	if err := sign(ctx, req, sigv4.HashBody(body)); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: read the response: %w", op, err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("%s: the server's response is larger than %d bytes", op, maxAnswer)
	case resp.StatusCode != want:
		return nil, apiError(op, resp, answer)
	}
	return answer, nil
}

// xmlError is an error in any of the XML forms that AWS's services use: S3 has the code and message
// at the top level, the query protocol within Error or Errors>Error, and message channels have a
// lower-case message.
type xmlError struct {
	Code    string `xml:"Code"`
	Message string `xml:"Message"`
	Lower   string `xml:"message"`
	Error   *struct {
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	} `xml:"Error"`
	Errors *struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	} `xml:"Errors"`
}

// parse returns the code and message of body, and whether it is XML.
func (x *xmlError) parse(body []byte) (code, message string, ok bool) {
	if err := xml.Unmarshal(body, x); err != nil {
		return "", "", false
	}
	switch {
	case x.Error != nil:
		return x.Error.Code, x.Error.Message, true
	case x.Errors != nil:
		return x.Errors.Code, x.Errors.Message, true
	}
	return x.Code, cmp.Or(x.Message, x.Lower), true
}

func apiError(op string, resp *http.Response, body []byte) *APIError {
	e := &APIError{Op: op, Status: resp.StatusCode}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		e.Date = t
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.After = min(time.Duration(n)*time.Second, maxPause)
	}
	var j struct {
		Type     string `json:"__type"`
		Message  string `json:"message"`
		Message2 string `json:"Message"`
	}
	switch {
	case json.Unmarshal(body, &j) == nil && (j.Type != "" || j.Message != "" || j.Message2 != ""):
		e.Code, e.Message = j.Type[strings.LastIndexByte(j.Type, '#')+1:], j.Message
		if e.Message == "" {
			e.Message = j.Message2
		}
	default:
		var x xmlError
		if code, message, ok := x.parse(body); ok {
			e.Code, e.Message = code, message
		} else {
			e.Message = string(body)
		}
	}
	e.Code, e.Message = safetext.Line(e.Code, 100), message(e.Message)
	return e
}

// message turns a server's message into one line that is safe for terminals and logs.
func message(s string) string { return safetext.Line(strings.Join(strings.Fields(s), " "), 400) }

// OpenControl creates and opens the control channel of a node.
func (c *Client) OpenControl(ctx context.Context, node sekisho.NodeID) (*link.Conn, error) {
	request := id.UUID()
	token, err := c.createControl(ctx, node, request)
	if err != nil {
		return nil, err
	}
	open, err := mgs.MarshalBody(mgs.OpenControlChannel{
		MessageSchemaVersion: mgs.SchemaVersion10,
		RequestID:            request,
		TokenValue:           token,
		AgentVersion:         Version,
		Process:              c.process,
		PlatformType:         "linux",
	})
	if err != nil {
		return nil, err
	}
	return c.open(ctx, opControl, controlPath(node), "role=subscribe&stream=input", open)
}

// CheckControl creates a control channel without opening it, which does not affect an open one.
func (c *Client) CheckControl(ctx context.Context, node sekisho.NodeID) error {
	_, err := c.createControl(ctx, node, id.UUID())
	return err
}

const opControl = "CreateControlChannel"

// controlPath returns an unescaped path, like all paths here; url.URL.String escapes it.
func controlPath(node sekisho.NodeID) string { return "/v1/control-channel/" + string(node) }

func (c *Client) createControl(ctx context.Context, node sekisho.NodeID, request string) (string, error) {
	body, err := mgs.MarshalBody(
		mgs.CreateControlChannelRequest{MessageSchemaVersion: mgs.SchemaVersion10, RequestID: request},
	)
	if err != nil {
		return "", err
	}
	return c.create(ctx, opControl, controlPath(node), body)
}

// OpenData creates and opens the agent's leg of a session's data channel.
func (c *Client) OpenData(ctx context.Context, node sekisho.NodeID, session sekisho.SessionID) (*link.Conn, error) {
	const op = "CreateDataChannel"
	path := "/v1/data-channel/" + string(session)
	request := id.UUID()
	body, err := mgs.MarshalBody(
		mgs.CreateDataChannelRequest{MessageSchemaVersion: mgs.SchemaVersion10, RequestID: request},
	)
	if err != nil {
		return nil, err
	}
	token, err := c.create(ctx, op, path, body)
	if err != nil {
		return nil, err
	}
	open, err := mgs.MarshalBody(mgs.OpenDataChannel{
		MessageSchemaVersion: mgs.SchemaVersion10,
		RequestID:            request,
		TokenValue:           token,
		ClientInstanceID:     string(node),
	})
	if err != nil {
		return nil, err
	}
	return c.open(ctx, op, path, "role=publish_subscribe", open)
}

// create creates a channel and returns its token.
func (c *Client) create(ctx context.Context, op, path string, body []byte) (string, error) {
	// Channels are created after a start or a broken connection. Idle HTTP
	// connections are then likely broken too, and waiting for one could lose
	// the session.
	c.http.CloseIdleConnections()
	h := http.Header{"Content-Type": {"application/json"}}
	answer, err := c.post(ctx, op, path, h, body, http.StatusCreated, c.signed(serviceMGS))
	if err != nil {
		return "", err
	}
	r, err := mgs.ParseChannelResponse(answer)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	return r.TokenValue, nil
}

// open dials a channel and sends its first frame.
func (c *Client) open(ctx context.Context, op, path, query string, first []byte) (*link.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	u := *c.base
	u.Path, u.RawQuery = path, query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := c.signed(serviceMGS)(ctx, req, sigv4.HashBody(nil)); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http") // https → wss
	conn, err := link.Dial(ctx, u.String(), link.DialOptions{Header: req.Header, TLS: c.tls.Clone()})
	if e, ok := errors.AsType[*link.HandshakeError](err); ok {
		return nil, &APIError{Op: op, Status: e.StatusCode, Message: message(e.Body)}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := conn.Write(ctx, link.Text, first); err != nil {
		_ = conn.CloseNow()
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return conn, nil
}

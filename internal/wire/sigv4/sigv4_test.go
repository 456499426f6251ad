package sigv4_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"sekisho/internal/wire/sigv4"
)

const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

var signedAt = time.Date(2026, 4, 15, 9, 30, 0, 0, time.UTC)

// arrive returns req as a server's handler sees it after transport.
func arrive(t testing.TB, req *http.Request, body string) *http.Request {
	t.Helper()
	if body != "" && req.Body == nil {
		req.Body = io.NopCloser(strings.NewReader(body))
	}
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	return got
}

type oddRequest struct {
	name    string
	method  string
	url     string
	body    string
	service string
	header  http.Header
	token   string
	hash    string // payload hash, if not that of the body
	chunked bool
	host    string
}

var oddRequests = []oddRequest{
	{name: "plain post", method: "POST", url: "https://h.example/", body: "{}", service: "ssm",
		header: http.Header{
			"Content-Type": {"application/x-amz-json-1.1"},
			"X-Amz-Target": {"AmazonSSM.StartSession"},
		}},
	{name: "session token", method: "POST", url: "https://h.example:8443/",
		body: "Action=GetCallerIdentity&Version=2011-06-15", service: "sts", token: "tok/en+=="},
	{name: "chunked", method: "POST", url: "http://127.0.0.1:1/", body: "{}", service: "ssm", chunked: true},
	{name: "no body", method: "GET", url: "https://h.example/v1/control-channel/mi-0?role=subscribe&stream=input",
		service: "ssmmessages"},
	{name: "empty path", method: "GET", url: "https://h.example", service: "sts"},
	{name: "duplicate keys", method: "GET", url: "https://h.example/?b=2&a=2&a=1&b=1&a=", service: "iam"},
	{name: "key without value", method: "GET", url: "https://h.example/?versions&prefix=a", service: "s3"},
	{name: "plus and percent20", method: "GET", url: "https://h.example/?q=a+b%20c%2Bd", service: "iam"},
	{name: "order after encoding", method: "GET", url: "https://h.example/?k=a-b&k=a/b&%C3%A9=1&z=%7e~%2A*%27()",
		service: "iam"},
	{name: "session id in path", method: "GET",
		url: "https://h.example/v1/data-channel/alice@x,y=z+w-0abc?role=publish_subscribe", service: "ssmmessages"},
	{name: "space in path", method: "GET", url: "https://h.example/a%20b/c%25d", service: "lambda"},
	{name: "empty segments", method: "GET", url: "https://h.example//a//b/", service: "lambda"},
	{name: "s3 odd key", method: "GET", url: "https://h.example/bucket/a%20b%2Bc/(x)!'*~//../d%2Fe/%E2%82%AC",
		service: "s3"},
	{name: "s3 unsigned payload", method: "PUT", url: "https://h.example/bucket/k", body: "data", service: "s3",
		hash: sigv4.UnsignedPayload},
	{name: "s3 streaming", method: "PUT", url: "https://h.example/bucket/k", body: "data", service: "s3",
		hash: sigv4.StreamingUnsigned},
	{name: "header folding", method: "GET", url: "https://h.example/", service: "iam",
		header: http.Header{"X-Amz-Meta-A": {"  a   b  c ", "second"}, "My-Header": {"  x    y"}}},
	{name: "default port", method: "GET", url: "https://h.example:443/", service: "iam"},
	{name: "ipv6", method: "GET", url: "https://[::1]:8443/", service: "iam"},
	{name: "virtual host", method: "GET", url: "https://127.0.0.1:1/k", service: "s3", host: "bucket.s3.example"},
}

func (o oddRequest) build(t testing.TB) (*http.Request, string) {
	t.Helper()
	var body io.Reader
	if o.body != "" {
		body = strings.NewReader(o.body)
	}
	req, err := http.NewRequest(o.method, o.url, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range o.header {
		req.Header[k] = v
	}
	if o.host != "" {
		req.Host = o.host
	}
	if o.chunked {
		req.ContentLength = -1
	}
	hash := o.hash
	if hash == "" {
		hash = sigv4.HashBody([]byte(o.body))
	}
	if o.service == "s3" {
		req.Header.Set("X-Amz-Content-Sha256", hash)
	}
	return req, hash
}

func (o oddRequest) options(opt *v4.SignerOptions) { opt.DisableURIPathEscaping = o.service == "s3" }

func sdkCredentials(token string) aws.Credentials {
	return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: secret, SessionToken: token}
}

// verify verifies a request as a door does.
func verify(r *http.Request, body, secret string, now time.Time) error {
	p, err := sigv4.Parse(r)
	if err != nil {
		return err
	}
	return p.Verify(secret, r, sigv4.HashBody([]byte(body)), now)
}

func codeOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		t.Fatalf("error %v is a %T", err, err)
	}
	return e.Code
}

func TestVerifySDK(t *testing.T) {
	t.Parallel()
	for _, o := range oddRequests {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			req, hash := o.build(t)
			if err := v4.NewSigner().SignHTTP(context.Background(), sdkCredentials(o.token), req, hash, o.service, "eu-west-1",
				signedAt, o.options); err != nil {
				t.Fatal(err)
			}
			check(t, o, arrive(t, req, o.body))
		})
		t.Run(o.name+" presigned", func(t *testing.T) {
			t.Parallel()
			req, hash := o.build(t)
			q := req.URL.Query()
			q.Set("X-Amz-Expires", "60")
			req.URL.RawQuery = q.Encode()
			signed, header, err := v4.NewSigner().PresignHTTP(context.Background(), sdkCredentials(o.token), req, hash,
				o.service, "eu-west-1", signedAt, o.options)
			if err != nil {
				t.Fatal(err)
			}
			req, _ = o.build(t)
			if req.URL, err = url.Parse(signed); err != nil {
				t.Fatal(err)
			}
			for k := range req.Header {
				if strings.HasPrefix(k, "X-Amz-") && header[k] == nil {
					req.Header.Del(k) // hoisted into the query
				}
			}
			check(t, o, arrive(t, req, o.body))
		})
		t.Run(o.name+" ours", func(t *testing.T) {
			t.Parallel()
			req, hash := o.build(t)
			sigv4.Sign(req, sigv4.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: secret, SessionToken: o.token},
				"eu-west-1", o.service, signedAt, hash)
			check(t, o, arrive(t, req, o.body))
		})
	}
}

// check accepts r, refuses it under another secret, and refuses each mutation
// of it.
func check(t *testing.T, o oddRequest, r *http.Request) {
	t.Helper()
	now := signedAt.Add(30 * time.Second)
	p, err := sigv4.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if p.Service != o.service || p.Region != "eu-west-1" || p.SecurityToken != o.token || !p.Time.Equal(signedAt) {
		t.Errorf("parsed %+v", p)
	}
	if err := verify(r, o.body, secret, now); err != nil {
		t.Fatalf("not accepted: %v\n%s", err, r.URL)
	}
	if got := codeOf(t, verify(r, o.body, secret+"x", now)); got != sigv4.CodeMismatch {
		t.Errorf("wrong secret: code %q", got)
	}
	mutations := map[string]func(r *http.Request) string{
		"method":     func(r *http.Request) string { r.Method = "DELETE"; return o.body },
		"path":       func(r *http.Request) string { r.URL = r.URL.JoinPath("x"); return o.body },
		"query":      func(r *http.Request) string { r.URL.RawQuery += "&x=1"; return o.body },
		"host":       func(r *http.Request) string { r.Host = "evil.example"; return o.body },
		"amz header": func(r *http.Request) string { r.Header.Set("X-Amz-Extra", "1"); return o.body },
		"token":      func(r *http.Request) string { r.Header.Add("X-Amz-Security-Token", "other"); return o.body },
	}
	if !strings.Contains(p.PayloadHash, "UNSIGNED") {
		mutations["body"] = func(*http.Request) string { return o.body + "x" }
	}
	if !p.Presigned {
		mutations["date"] = func(r *http.Request) string {
			r.Header.Set("X-Amz-Date", signedAt.Add(time.Second).Format("20060102T150405Z"))
			return o.body
		}
	}
	for name, mutate := range mutations {
		m := r.Clone(context.Background())
		body := mutate(m)
		if verify(m, body, secret, now) == nil {
			t.Errorf("accepted with another %s", name)
		}
	}
}

func TestSDKAcceptsOurSignature(t *testing.T) {
	t.Parallel()
	// The same request signed by both has the same signature.
	build := func() *http.Request {
		req, _ := http.NewRequest("GET", "https://h.example/a%20b?q=1&p=x+y", nil)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Amz-Target", "AmazonSSM.StartSession")
		return req
	}
	theirs, ours := build(), build()
	empty := sigv4.HashBody(nil)
	if err := v4.NewSigner().SignHTTP(context.Background(), sdkCredentials("tok"), theirs, empty, "ssm", "us-east-1",
		signedAt); err != nil {
		t.Fatal(err)
	}
	sigv4.Sign(ours, sigv4.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: secret,
		SessionToken: "tok"}, "us-east-1", "ssm", signedAt, empty)
	if got, want := ours.Header.Get("Authorization"), theirs.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	sign := func(service string) *http.Request {
		r := httptest.NewRequest("POST", "https://h.example/", nil)
		sigv4.Sign(r, sigv4.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: secret}, "r", service, signedAt,
			sigv4.HashBody(nil))
		return r
	}
	presign := func(expires string) *http.Request {
		req := httptest.NewRequest("GET", "https://h.example/?X-Amz-Expires="+expires, nil)
		uri, _, err := v4.NewSigner().
			PresignHTTP(context.Background(), sdkCredentials(""), req, sigv4.HashBody(nil), "sts",
				"r", signedAt)
		if err != nil {
			t.Fatal(err)
		}
		return httptest.NewRequest("GET", uri, nil)
	}
	for _, c := range []struct {
		name  string
		r     *http.Request
		after time.Duration
		code  string
		text  string
	}{
		{"5 minutes late", sign("ssm"), 5 * time.Minute, "", ""},
		{"over 5 minutes late", sign("ssm"), 5*time.Minute + time.Second, sigv4.CodeExpired, "20260415T093501Z"},
		{"over 5 minutes early", sign("ssm"), -5*time.Minute - time.Second, sigv4.CodeExpired, "5m0s"},
		{"s3, 15 minutes late", sign("s3"), 15 * time.Minute, "", ""},
		{"s3, over 15 minutes late", sign("s3"), 15*time.Minute + time.Second, sigv4.CodeExpired, "15m0s"},
		{"presigned in time", presign("3600"), time.Hour, "", ""},
		{"presigned expired", presign("3600"), time.Hour + time.Second, sigv4.CodeExpired, "20260415T093000Z"},
		{"presigned too early", presign("3600"), -6 * time.Minute, sigv4.CodeExpired, "not yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := verify(c.r, "", secret, signedAt.Add(c.after))
			if got := codeOf(t, err); got != c.code {
				t.Fatalf("code %q, want %q (%v)", got, c.code, err)
			}
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("message %q does not have %q", err, c.text)
			}
		})
	}
	t.Run("skew is configurable", func(t *testing.T) {
		t.Parallel()
		r := sign("ssm")
		p, err := sigv4.Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		p.MaxSkew = time.Hour
		if err := p.Verify(secret, r, sigv4.HashBody(nil), signedAt.Add(time.Hour)); err != nil {
			t.Error(err)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const date = "X-Amz-Date: 20260415T093000Z\n"
	const good = "AWS4-HMAC-SHA256 Credential=AKIA1/20260415/r/ssm/aws4_request, SignedHeaders=host;x-amz-date, " +
		"Signature=00"
	const query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA1%2F20260415%2Fr%2Fs3%2Faws4_request&" +
		"X-Amz-Date=20260415T093000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
	for name, c := range map[string]struct{ query, header, code string }{
		"nothing": {"", "", sigv4.CodeMissingToken},
		"bearer":  {"", "Authorization: Bearer x\n", sigv4.CodeIncomplete},
		"sigv4a": {"", date + "Authorization: " + strings.Replace(good, "HMAC", "ECDSA-P256", 1),
			sigv4.CodeIncomplete},
		"two headers":      {"", date + "Authorization: " + good + "\nAuthorization: " + good, sigv4.CodeIncomplete},
		"header and query": {query + "&X-Amz-Expires=60", date + "Authorization: " + good, sigv4.CodeIncomplete},
		"no signature": {"", date + "Authorization: " + strings.Replace(good, ", Signature=00", "", 1),
			sigv4.CodeIncomplete},
		"twice":             {"", date + "Authorization: " + good + ", Signature=00", sigv4.CodeIncomplete},
		"unknown part":      {"", date + "Authorization: " + good + ", Extra=1", sigv4.CodeIncomplete},
		"no date":           {"", "Authorization: " + good, sigv4.CodeIncomplete},
		"fractional date":   {"", "X-Amz-Date: 20260415T093000.5Z\nAuthorization: " + good, sigv4.CodeIncomplete},
		"date not in scope": {"", "X-Amz-Date: 20260416T093000Z\nAuthorization: " + good, sigv4.CodeIncomplete},
		"two dates":         {"", date + date + "Authorization: " + good, sigv4.CodeIncomplete},
		"host not signed":   {"", date + "Authorization: " + strings.Replace(good, "host;", "", 1), sigv4.CodeIncomplete},
		"unsorted": {"", date + "Authorization: " + strings.Replace(good, "host;x-amz-date", "x-amz-date;host",
			1), sigv4.CodeIncomplete},
		"upper case": {"", date + "Authorization: " + strings.Replace(good, "host", "Host", 1),
			sigv4.CodeIncomplete},
		"duplicate": {"", date + "Authorization: " + strings.Replace(good, "host", "host;host", 1),
			sigv4.CodeIncomplete},
		"short scope":  {"", date + "Authorization: " + strings.Replace(good, "/ssm", "", 1), sigv4.CodeIncomplete},
		"empty region": {"", date + "Authorization: " + strings.Replace(good, "/r/", "//", 1), sigv4.CodeIncomplete},
		"terminator": {"", date + "Authorization: " + strings.Replace(good, "aws4_request", "aws5_request", 1),
			sigv4.CodeIncomplete},
		"huge": {"", date + "Authorization: " + good + strings.Repeat("0", 9000), sigv4.CodeIncomplete},
		"unsigned body": {"", date + "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\nAuthorization: " + good,
			sigv4.CodeIncomplete},
		"odd payload hash":      {"", date + "X-Amz-Content-Sha256: abc\nAuthorization: " + good, sigv4.CodeIncomplete},
		"bad escape":            {"a=%zz", date + "Authorization: " + good, sigv4.CodeIncomplete},
		"presigned, no expires": {query, "", sigv4.CodeQueryParameters},
		"presigned, long":       {query + "&X-Amz-Expires=604801", "", sigv4.CodeQueryParameters},
		"presigned, zero":       {query + "&X-Amz-Expires=0", "", sigv4.CodeQueryParameters},
		"presigned, twice":      {query + "&X-Amz-Expires=60&X-Amz-Expires=60", "", sigv4.CodeQueryParameters},
		"presigned, incomplete": {"X-Amz-Signature=00", "", sigv4.CodeQueryParameters},
		"presigned, token":      {query + "&X-Amz-Expires=60", "X-Amz-Security-Token: t", sigv4.CodeQueryParameters},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wire := "GET /?" + c.query + " HTTP/1.1\r\nHost: h\r\n" + strings.ReplaceAll(
				strings.TrimSpace(c.header)+"\n\n",
				"\n",
				"\r\n",
			)
			r, err := http.ReadRequest(
				bufio.NewReader(strings.NewReader(strings.ReplaceAll(wire, "\r\n\r\n\r\n", "\r\n\r\n"))),
			)
			if err != nil {
				t.Fatal(err)
			}
			_, err = sigv4.Parse(r)
			if got := codeOf(t, err); got != c.code {
				t.Errorf("code %q, want %q (%v)", got, c.code, err)
			}
		})
	}
}

func TestErrorNames(t *testing.T) {
	t.Parallel()
	e := &sigv4.Error{Code: sigv4.CodeUnknownKey}
	if e.Code != "InvalidClientTokenId" || e.JSONCode() != "UnrecognizedClientException" ||
		e.S3Code() != "InvalidAccessKeyId" || e.Status() != 403 {
		t.Errorf("%+v %s %s %d", e, e.JSONCode(), e.S3Code(), e.Status())
	}
}

func TestMissingSignedHeader(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "https://h.example/", nil)
	r.Header.Set("Content-Type", "application/json")
	sigv4.Sign(r, sigv4.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: secret}, "r", "ssm", signedAt,
		sigv4.HashBody(nil))
	r.Header.Del("Content-Type")
	err := verify(r, "", secret, signedAt)
	if codeOf(t, err) != sigv4.CodeMismatch || !strings.Contains(err.Error(), `"content-type"`) {
		t.Errorf("got %v", err)
	}
}

type captured struct {
	Name, Method, URI, Host, Body, Secret, PublicKey string
	Headers                                          map[string]string
	Chunked                                          bool
}

func (c captured) request() *http.Request {
	r := httptest.NewRequest(c.Method, c.URI, strings.NewReader(c.Body))
	r.Host = c.Host
	r.Header = http.Header{}
	for k, v := range c.Headers {
		if k != "Content-Length" {
			r.Header.Set(k, v)
		}
	}
	if c.Chunked {
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
	}
	return r
}

func readCaptured(t testing.TB) []captured {
	t.Helper()
	data, err := os.ReadFile("testdata/captured.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []captured
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCaptured verifies requests of the real agent, sent to a dummy service
// whose throw-away keys are known.
func TestCaptured(t *testing.T) {
	t.Parallel()
	for _, c := range readCaptured(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			verify := func(r *http.Request, body string) error {
				p, err := sigv4.Parse(r)
				if err != nil {
					return err
				}
				if c.PublicKey == "" {
					return p.Verify(c.Secret, r, sigv4.HashBody([]byte(body)), p.Time)
				}
				der, err := base64.StdEncoding.DecodeString(c.PublicKey)
				if err != nil {
					t.Fatal(err)
				}
				pub, err := x509.ParsePKIXPublicKey(der)
				if err != nil {
					t.Fatal(err)
				}
				return sigv4.VerifyRSA(p, pub.(*rsa.PublicKey), r, sigv4.HashBody([]byte(body)), p.Time)
			}
			if err := verify(c.request(), c.Body); err != nil {
				t.Fatal(err)
			}
			if verify(c.request(), c.Body+" ") == nil {
				t.Error("accepted with another body")
			}
			r := c.request()
			r.Host = "other"
			if got := codeOf(t, verify(r, c.Body)); got != sigv4.CodeMismatch {
				t.Errorf("another host: %q", got)
			}
		})
	}
}

func TestRSA(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"Fingerprint":"f"}`
	hash := sigv4.HashBody([]byte(body))
	req, _ := http.NewRequest("POST", "https://h.example:8443/", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonSSM.RequestManagedInstanceRoleToken")
	if err := sigv4.SignRSA(req, key, "mi-0123456789abcdef0", "eu-west-1", "ssm", signedAt, hash); err != nil {
		t.Fatal(err)
	}
	r := arrive(t, req, body)
	p, err := sigv4.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if p.AccessKeyID != "mi-0123456789abcdef0" {
		t.Errorf("node %q", p.AccessKeyID)
	}
	if err := sigv4.VerifyRSA(p, &key.PublicKey, r, hash, signedAt); err != nil {
		t.Error(err)
	}
	if got := codeOf(t, sigv4.VerifyRSA(p, &other.PublicKey, r, hash, signedAt)); got != sigv4.CodeMismatch {
		t.Errorf("another key: %q", got)
	}
	if got := codeOf(t, sigv4.VerifyRSA(p, &key.PublicKey, r, hash, signedAt.Add(time.Hour))); got != sigv4.CodeExpired {
		t.Errorf("an hour later: %q", got)
	}
	// An RSA signature must not verify as an HMAC.
	if got := codeOf(t, p.Verify("", r, hash, signedAt)); got != sigv4.CodeIncomplete {
		t.Errorf("as HMAC: %q", got)
	}
	weak := &rsa.PublicKey{N: key.N, E: key.E}
	weak.N = weak.N.Rsh(weak.N, 1025)
	if got := codeOf(t, sigv4.VerifyRSA(p, weak, r, hash, signedAt)); got != sigv4.CodeUnknownKey {
		t.Errorf("weak key: %q", got)
	}
}

func TestS3BodyLeftToTheReader(t *testing.T) {
	t.Parallel()
	hash := sigv4.HashBody([]byte("data"))
	r := httptest.NewRequest("PUT", "https://h.example/b/k", nil)
	sigv4.Sign(r, sigv4.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: secret}, "r", "s3", signedAt, hash)
	p, err := sigv4.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(secret, r, "", signedAt); err != nil || p.PayloadHash != hash {
		t.Errorf("%v, hash %q", err, p.PayloadHash)
	}
	if got := codeOf(t, p.Verify(secret, r, sigv4.HashBody([]byte("other")), signedAt)); got != sigv4.CodePayloadHash {
		t.Errorf("another body: %q", got)
	}
	// Without a declared hash, the body could not be verified.
	r = httptest.NewRequest("POST", "https://h.example/", nil)
	sigv4.Sign(r, sigv4.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: secret}, "r", "ssm", signedAt, hash)
	if p, err = sigv4.Parse(r); err != nil {
		t.Fatal(err)
	}
	if got := codeOf(t, p.Verify(secret, r, "", signedAt)); got != sigv4.CodeIncomplete {
		t.Errorf("undeclared body: %q", got)
	}
}

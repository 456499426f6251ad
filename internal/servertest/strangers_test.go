package servertest_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// dialRaw opens a TLS connection for handwritten HTTP/1.1.
func dialRaw(t *testing.T, s *servertest.Server) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.Host, s.TLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(servertest.Patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRequestSmuggling sends requests whose length two servers could
// understand differently. Each must be refused, and nothing of the rest may be
// handled as another request.
func TestRequestSmuggling(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const inner = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, head := range map[string]string{
		"two lengths":                       "Content-Length: 0\r\nContent-Length: 35\r\n",
		"a list of lengths":                 "Content-Length: 0, 35\r\n",
		"a signed length":                   "Content-Length: +35\r\n",
		"a negative length":                 "Content-Length: -1\r\n",
		"a length in hexadecimal":           "Content-Length: 0x23\r\n",
		"a length with a space in its name": "Content-Length : 35\r\n",
		"an unknown encoding":               "Transfer-Encoding: xchunked\r\n",
		"an encoding behind another":        "Transfer-Encoding: gzip, chunked\r\n",
		"two encodings":                     "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
		"an encoding with a tab":            "Transfer-Encoding:\tchunked\x0b\r\n",
		"an encoding with a space":          "Transfer-Encoding : chunked\r\n",
		"a folded header":                   "X: a\r\n b: c\r\nContent-Length: 0\r\n Content-Length: 35\r\n",
		"a bare carriage return":            "X: a\rContent-Length: 35\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dialRaw(t, s)
			if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\n%s\r\n%s", s.Host, head, inner); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(c)
			if err != nil {
				t.Fatalf("the connection was not closed: %v, %q", err, b)
			}
			if got := string(b); strings.Count(got, "HTTP/1.1 ") != 1 ||
				!strings.HasPrefix(got, "HTTP/1.1 400") && !strings.HasPrefix(got, "HTTP/1.1 501") {
				t.Errorf("answered %q", got)
			}
		})
	}
	t.Run("a length next to an encoding", func(t *testing.T) {
		t.Parallel()
		// In RFC 9112 the encoding takes precedence and the connection is
		// closed.
		c := dialRaw(t, s)
		if _, err := fmt.Fprintf(c,
			"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", s.Host,
			inner); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil || strings.Count(string(b), "HTTP/1.1 ") != 1 {
			t.Errorf("%v, %q", err, b)
		}
	})
	for name, head := range map[string]string{
		"an encoding in HTTP/1.0":                  "",
		"a length next to an encoding in HTTP/1.0": "Content-Length: 5\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dialRaw(t, s)
			if _, err := fmt.Fprintf(c,
				"POST / HTTP/1.0\r\nHost: %s\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n%s\r\n0\r\n\r\n%s",
				s.Host, head, inner); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(c)
			if err != nil || strings.Count(string(b), "HTTP/1.") != 1 {
				t.Errorf("%v, %q", err, b)
			}
		})
	}
}

// TestWrongHost sends signed requests for another name: the signature covers
// the Host header, and the console's cookies and links follow it.
func TestWrongHost(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const body = "Action=GetCallerIdentity&Version=2011-06-15"
	signed := func(host string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		sigv4.Sign(r, s.Admin, servertest.Region, "sts", time.Now(), sigv4.HashBody([]byte(body)))
		return r
	}
	r := signed("victim.example")
	r.Host = s.Host
	if got := s.Send(r); got.Code() != "SignatureDoesNotMatch" {
		t.Errorf("signed for another host: %d %s", got.Status, got.Body)
	}
	r = signed(s.Host)
	r.Host = "victim.example"
	if got := s.Send(r); got.Code() != "SignatureDoesNotMatch" {
		t.Errorf("sent to another host: %d %s", got.Status, got.Body)
	}
	for name, lines := range map[string]string{
		"no host":             "",
		"two hosts":           "Host: " + s.Host + "\r\nHost: victim.example\r\n",
		"a host with a space": "Host: " + s.Host + " victim.example\r\n",
		"a host with a path":  "Host: " + s.Host + "/@victim.example\r\n",
	} {
		c := dialRaw(t, s)
		if _, err := io.WriteString(c, "GET /console/ HTTP/1.1\r\n"+lines+"Accept: text/html\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode == http.StatusOK && strings.Contains(resp.Header.Get("Content-Security-Policy"), "victim") ||
			name != "a host with a path" && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s, %v", name, resp.Status, resp.Header)
		}
	}
	c := dialRaw(t, s)
	if _, err := io.WriteString(c, "GET /console HTTP/1.1\r\nHost: victim.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if at := resp.Header.Get("Location"); at != "/console/" {
		t.Errorf("redirected to %q, want /console/", at)
	}
}

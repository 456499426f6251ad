package imds_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/agent/imds"
)

// machine is a source of fixed facts.
type machine struct{ err error }

func (m *machine) Host(context.Context) imds.Host {
	return imds.Host{Name: "web-1", IPAddress: "10.1.2.3"}
}

func (m *machine) Tags(context.Context) (map[string]string, error) {
	return map[string]string{"Hostname": "MyEC2Instance", "a b/c": "odd"}, m.err
}

func (m *machine) Role(context.Context) (imds.Role, error) {
	return imds.Role{Name: "Web", Account: "123456789012"}, m.err
}

func (m *machine) Credentials(context.Context) (imds.Credentials, error) {
	return imds.Credentials{
		AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "token",
		Since: time.Unix(1, 0), Expires: time.Unix(3601, 0),
	}, m.err
}

func server(v1 bool, source imds.Source) *imds.Server {
	return imds.New(imds.Config{
		Node: "i-01234567890abcdef", Region: "ap-northeast-1", Since: time.Unix(0, 0), V1: v1, Source: source,
		Log: slog.New(slog.DiscardHandler),
	})
}

// ask sends a request; header has names and values in turn.
func ask(s *imds.Server, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "169.254.169.254"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPaths(t *testing.T) {
	t.Parallel()
	s := server(true, &machine{})
	for path, want := range map[string]string{
		"/":        "latest",
		"/latest/": "dynamic/\nmeta-data/",
		"/latest/meta-data/": "hostname\niam/\ninstance-id\nlocal-hostname\nlocal-ipv4\nplacement/\nservices/" +
			"\ntags/",
		"/latest/meta-data/instance-id":                  "i-01234567890abcdef",
		"/latest/meta-data/hostname":                     "web-1",
		"/latest/meta-data/local-ipv4":                   "10.1.2.3",
		"/latest/meta-data/placement/":                   "availability-zone\nregion",
		"/latest/meta-data/placement/availability-zone":  "ap-northeast-1a",
		"/latest/meta-data/placement/availability-zone/": "ap-northeast-1a", // as AWS's libraries request it
		"/latest/meta-data/placement/region":             "ap-northeast-1",
		"/latest/meta-data/tags/":                        "instance/",
		"/latest/meta-data/tags/instance":                "Hostname\na b/c",
		"/latest/meta-data/tags/instance/Hostname":       "MyEC2Instance",
		"/latest/meta-data/tags/instance/a%20b%2Fc":      "odd",
		"/latest/meta-data/iam/":                         "security-credentials/",
		"/latest/meta-data/iam/security-credentials/":    "Web",
		"/latest/meta-data/services/partition":           "aws",
		"/latest/dynamic/instance-identity/":             "document",
	} {
		if r := ask(s, http.MethodGet, path); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, r.Status)
		} else if got := body(t, r); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
	for _, path := range []string{
		"/latest/meta-data/nothing", "/latest/meta-data/tags/instance/hostname",
		"/latest/meta-data/iam/security-credentials/Other",
		"/2009-04-04/meta-data/instance-id", "/latest/meta-data/instance-id/x", "/latest/../etc/passwd", "/latest/user-data",
		"/latest/" + strings.Repeat("a", 2000),
	} {
		if r := ask(s, http.MethodGet, path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, r.Status)
		}
	}

	var creds map[string]string
	r := ask(s, http.MethodGet, "/latest/meta-data/iam/security-credentials/Web")
	if err := json.Unmarshal([]byte(body(t, r)), &creds); err != nil || creds["Code"] != "Success" ||
		creds["Type"] != "AWS-HMAC" ||
		creds["AccessKeyId"] != "ASIAEXAMPLE" || creds["Token"] != "token" ||
		creds["Expiration"] != "1970-01-01T01:00:01Z" {
		t.Errorf("%v, %v", creds, err)
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Error("caches can store the credentials")
	}
	var document map[string]string
	if err := json.Unmarshal([]byte(body(t, ask(s, http.MethodGet, "/latest/dynamic/instance-identity/document"))),
		&document); err != nil ||
		document["instanceId"] != "i-01234567890abcdef" || document["accountId"] != "123456789012" ||
		document["region"] != "ap-northeast-1" {
		t.Errorf("%v, %v", document, err)
	}
}

const (
	ttl      = "X-aws-ec2-metadata-token-ttl-seconds"
	token    = "X-aws-ec2-metadata-token"
	instance = "/latest/meta-data/instance-id"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := server(false, &machine{})
		status := func(want int, method, path string, header ...string) *http.Response {
			t.Helper()
			r := ask(s, method, path, header...)
			if r.StatusCode != want {
				t.Errorf("%s %s %v: %s, not %d", method, path, header, r.Status, want)
			}
			return r
		}
		status(401, http.MethodGet, instance)
		status(401, http.MethodGet, instance, token, "nonsense")
		for _, bad := range []string{"", "0", "-1", "21601", "many"} {
			status(400, http.MethodPut, "/latest/api/token", ttl, bad)
		}
		status(405, http.MethodGet, "/latest/api/token", ttl, "60")
		r := status(200, http.MethodPut, "/latest/api/token", ttl, "60")
		if r.Header.Get(ttl) != "60" {
			t.Errorf("token lifetime %q", r.Header.Get(ttl))
		}
		held := body(t, r)
		status(200, http.MethodGet, instance, token, held)
		status(200, http.MethodHead, instance, token, held)
		status(405, http.MethodPost, instance, token, held)
		status(405, http.MethodDelete, instance, token, held)
		for i := range held {
			c := byte('A')
			if held[i] == c {
				c = 'B'
			}
			status(401, http.MethodGet, instance, token, held[:i]+string(c)+held[i+1:])
		}
		r = ask(server(false, &machine{}), http.MethodGet, instance, token, held)
		if r.StatusCode != 401 {
			t.Error("the token of another server is taken")
		}
		time.Sleep(59 * time.Second)
		status(200, http.MethodGet, instance, token, held)
		time.Sleep(time.Second)
		status(401, http.MethodGet, instance, token, held)

		// An invalid token is refused for version 1 requests, too.
		if r := ask(server(true, &machine{}), http.MethodGet, instance, token, held); r.StatusCode != 401 {
			t.Errorf("a bad token under version 1: %s", r.Status)
		}
	})
}

// A proxy forwards requests of other hosts, and the name of a web page may
// resolve to the service (DNS rebinding).
func TestRequestsFromElsewhere(t *testing.T) {
	t.Parallel()
	s := server(true, &machine{})
	for host, want := range map[string]int{
		"169.254.169.254": 200, "169.254.169.254:80": 200, "127.0.0.1:1234": 200, "localhost": 200, "localhost:99": 200,
		"[::1]:80":     200,
		"evil.example": 403, "evil.example:80": 403, "169.254.169.254.evil.example": 403, "10.0.0.1": 403, "": 403,
		"localhost.evil.example": 403,
	} {
		if r := ask(s, http.MethodGet, instance, "Host", host); r.StatusCode != want {
			t.Errorf("Host %q: %s, not %d", host, r.Status, want)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		for _, header := range []string{"X-Forwarded-For", "Origin"} {
			if r := ask(s, method, "/latest/api/token", ttl, "60", header, "10.0.0.1"); r.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %s: %s", method, header, r.Status)
			}
		}
	}
}

func TestServerRefusals(t *testing.T) {
	t.Parallel()
	s := server(true, &machine{err: errors.New("the secret of the server")})
	for path, want := range map[string]int{
		"/latest/meta-data/tags/instance": 503, "/latest/meta-data/iam/security-credentials/": 503,
		"/latest/meta-data/iam/security-credentials/Web": 503, instance: 200,
	} {
		r := ask(s, http.MethodGet, path)
		if got := body(t, r); r.StatusCode != want || strings.Contains(got, "secret") {
			t.Errorf("%s: %s %s", path, r.Status, got)
		}
	}
	s = server(true, &machine{err: &imds.Denied{Reason: "not authorized to perform: ec2:DescribeTags"}})
	if r := ask(s, http.MethodGet, "/latest/meta-data/tags/instance/Hostname"); r.StatusCode != 403 ||
		!strings.Contains(body(t, r), "ec2:DescribeTags") {
		t.Errorf("%s", r.Status)
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		"127.0.0.1:8080": true, "127.1.2.3:1": true, "169.254.169.254:80": true,
		"0.0.0.0:80": false, "10.0.0.1:80": false, "169.254.169.253:80": false, "[::]:80": false, "[::1]:80": false,
		"localhost:80": false, ":80": false, "": false,
	} {
		if _, err := imds.ParseAddress(in); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server(true, &machine{}).Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	for range 100 { // more than the limit
		r, err := client.Get("http://" + l.Addr().String() + instance)
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, r); got != "i-01234567890abcdef" {
			t.Errorf("%s %q", r.Status, got)
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("it still listens")
		_ = c.Close()
	}
}

func FuzzLook(f *testing.F) {
	s := server(true, &machine{})
	for _, p := range []string{"/latest/meta-data/", "/latest/meta-data/tags/instance/%zz", "//",
		"/latest/meta-data/iam/security-credentials/Web/x"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequestWithContext(
			t.Context(),
			http.MethodGet,
			"http://127.0.0.1/"+strings.TrimPrefix(path, "/"),
			nil,
		)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%q: %d %s", path, w.Code, w.Body)
		}
	})
}

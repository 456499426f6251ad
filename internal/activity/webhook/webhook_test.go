package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sekisho/internal/activity/event"
	"sekisho/internal/activity/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func parse(t *testing.T, text string) []webhook.Secret {
	t.Helper()
	all, err := webhook.ParseSecrets(text)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// endpoint returns an endpoint at a server of the test.
func endpoint(t *testing.T, srv *httptest.Server, change func(c *webhook.Config)) *webhook.Endpoint {
	t.Helper()
	secrets := parse(t, secretA)
	cfg := webhook.Config{
		URL: srv.URL + "/hook?token=sesame", Secrets: func() ([]webhook.Secret, error) { return secrets, nil },
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	if srv.TLS != nil {
		cfg.Roots = x509.NewCertPool()
		cfg.Roots.AddCert(srv.Certificate())
	}
	if change != nil {
		change(&cfg)
	}
	e, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// The vector is from the specification "Standard Webhooks".
func TestSignatureVector(t *testing.T) {
	t.Parallel()
	got := webhook.Sign(
		parse(t, secretA),
		"msg_p5jXN8AQM9LWM0D4loKWxJek",
		time.Unix(1614265330, 0),
		[]byte(`{"test": 2432232314}`),
	)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	type request struct {
		method, path string
		header       http.Header
		body         []byte
	}
	got := make(chan request, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- request{r.Method, r.URL.String(), r.Header, b}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	now := time.Unix(1795449063, 999)
	both := parse(t, secretA+"\n"+secretB+"\n")
	e := endpoint(t, srv, func(c *webhook.Config) {
		c.Now = func() time.Time { return now }
		c.Secrets = func() ([]webhook.Secret, error) { return both, nil }
	})
	body := []byte(`{"detail-type":"Node Up"}`)
	if err := e.Deliver(t.Context(), "id-1", body); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.method != http.MethodPost || r.path != "/hook?token=sesame" || !bytes.Equal(r.body, body) {
		t.Errorf("%+v", r)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Webhook-Id": "id-1", "Webhook-Timestamp": "1795449063",
		// During a rotation there is one signature of each secret.
		"Webhook-Signature": webhook.Sign(both[:1], "id-1", now, body) + " " + webhook.Sign(both[1:], "id-1", now, body),
	} {
		if r.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, r.header.Get(name), want)
		}
	}
	if s := e.Address(); strings.Contains(s, "sesame") || strings.Contains(s, "hook") ||
		!strings.HasPrefix(s, "https://127.0.0.1:") {
		t.Errorf("address %s", s)
	}
}

// What a response means for the event and the receiver. Errors do not contain
// the URL.
func TestAnswers(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, tc := range []struct {
		status  int
		retry   string
		refused bool
		after   time.Duration
		want    string
	}{
		{status: 200}, {status: 204}, {status: 299},
		{status: 301, want: "redirects are not followed"}, {status: 307, want: "redirects are not followed"},
		{status: 304, want: "304"},
		{status: 400, refused: true, want: "400 Bad Request"}, {status: 422, refused: true, want: "422"},
		{status: 413, refused: true, want: "413"},
		{status: 401, want: "401"}, {status: 403, want: "403"}, {status: 404, want: "404"}, {status: 410, want: "410"},
		{status: 429, retry: "90", after: 90 * time.Second, want: "429"},
		{status: 503, retry: "Mon, 23 Nov 2026 12:00:00 GMT", want: "503"},
		{status: 500, retry: "-5", want: "500"}, {status: 500, retry: "99999999999999999999", want: "500"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", other.URL)
			w.Header().Set("Retry-After", tc.retry)
			w.WriteHeader(tc.status)
		}))
		err := endpoint(t, srv, nil).Deliver(t.Context(), "id", []byte("{}"))
		srv.Close()
		if tc.want == "" {
			if err != nil {
				t.Errorf("%d: %v", tc.status, err)
			}
			continue
		}
		f, ok := errors.AsType[*event.Failure](err)
		if !ok || f.Refused != tc.refused || f.After != tc.after || !strings.Contains(err.Error(), tc.want) ||
			strings.Contains(err.Error(), "sesame") {
			t.Errorf("%d: %v", tc.status, err)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// A receiver that sends endlessly, or nothing, delays nobody for long, and
// errors do not show the URL.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if err := endpoint(t, endless, nil).Deliver(t.Context(), "id", []byte("{}")); err != nil {
		t.Errorf("one that answers 200, and on and on: %v", err)
	}
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	err := endpoint(
		t,
		silent,
		func(c *webhook.Config) { c.Timeout = 50 * time.Millisecond },
	).Deliver(t.Context(), "id", []byte("{}"))
	if err == nil || !strings.Contains(err.Error(), "no response in time") {
		t.Errorf("a silent one: %v", err)
	}
	heads := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 64<<10))
	}))
	defer heads.Close()
	if err := endpoint(t, heads, nil).Deliver(t.Context(), "id", []byte("{}")); err == nil ||
		strings.Contains(err.Error(), "sesame") {
		t.Errorf("much too long a header: %v", err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if err := endpoint(t, gone, nil).Deliver(t.Context(), "id", []byte("{}")); err == nil ||
		strings.Contains(err.Error(), "sesame") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := endpoint(t, endless, nil).Deliver(ctx, "id", []byte("{}")); err == nil {
		t.Error("a stopped delivery arrived")
	}
}

// The certificate must be valid for the host and from a trusted authority.
func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	var came atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came.Add(1) }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	srv.StartTLS()
	defer srv.Close()
	err := endpoint(
		t,
		srv,
		func(c *webhook.Config) { c.Roots = x509.NewCertPool() },
	).Deliver(t.Context(), "id", []byte("{}"))
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("from nobody: %v", err)
	}
	// 127.0.0.2 is this machine, too, and not in the certificate.
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	wrong := httptest.NewUnstartedServer(srv.Config.Handler)
	_ = wrong.Listener.Close()
	wrong.Listener = l
	wrong.Config.ErrorLog = srv.Config.ErrorLog
	wrong.StartTLS()
	defer wrong.Close()
	if err := endpoint(t, wrong, nil).Deliver(t.Context(), "id", []byte("{}")); err == nil {
		t.Error("of another host: delivered")
	}
	if n := came.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

// Addresses are checked when they are dialled: private ones are refused unless
// allowed, and some always are.
func TestAddresses(t *testing.T) {
	t.Parallel()
	lan := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("127.0.0.1/32"),
		netip.MustParsePrefix("fd00::/8"),
		netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("169.254.0.0/16"),
	}
	for _, tc := range []struct {
		addr         string
		alone, allow bool
	}{
		{"93.184.215.14", true, true}, {"2606:2800:21f:cb07:6820:80da:af6b:8b2c", true, true}, {"8.8.8.8", true, true},
		{"10.1.2.3", false, true}, {"::ffff:10.1.2.3", false, true}, {"64:ff9b::a01:203", false, true},
		{"2002:a01:203::1", false, true}, {"::10.1.2.3", false, true},
		{"127.0.0.1", false, true}, {"127.0.0.2", false, false}, {"::1", false, false}, {"192.168.0.1", false, false},
		{"172.31.255.255", false, false},
		{"172.32.0.1", true, true}, {"100.64.0.1", false, true}, {"fd12::1", false, true}, {"fc00::1", false, false},
		{"198.18.0.1", false, false}, {"203.0.113.1", false, false}, {"2001:db8::1", false, false},
		{"64:ff9b:1::a01:203", false, false},
		// These are refused whatever is allowed.
		{"169.254.169.254", false, false}, {"::ffff:169.254.169.254", false, false}, {"64:ff9b::a9fe:a9fe", false, false},
		{"2002:a9fe:a9fe::1", false, false},
		{"169.254.170.2", false, false}, {"fe80::1", false, false}, {"fe80::1%eth0", false, false},
		{"fd00:ec2::254", false, false}, {"100.100.100.200", false, false},
		{"168.63.129.16", false, false}, {"0.0.0.0", false, false}, {"::", false, false}, {"0.1.2.3", false, false},
		{"255.255.255.255", false, false},
		{"224.0.0.1", false, false}, {"ff02::1", false, false}, {"240.0.0.1", false, false},
		{"2001:0:a01:203::1", false, false}, {"fec0::1", false, false},
	} {
		a := netip.MustParseAddr(tc.addr)
		if got := webhook.CheckAddress(a, nil) == nil; got != tc.alone {
			t.Errorf("%s: %v", tc.addr, got)
		}
		if got := webhook.CheckAddress(a, lan) == nil; got != tc.allow {
			t.Errorf("%s, with its network allowed: %v", tc.addr, got)
		}
	}

	for network, can := range map[string]bool{"10.0.0.0/8": true, "::1/128": true, "fd00::/8": true,
		"169.254.0.0/16": false, "169.254.169.254/32": false, "fe80::/64": false} {
		if got := webhook.CheckAllowed(netip.MustParsePrefix(network)) == nil; got != can {
			t.Errorf("%s can be allowed: %v", network, got)
		}
	}

	var came atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came.Add(1) }))
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		e, err := webhook.New(
			webhook.Config{
				URL:     "https://" + host + ":" + port,
				Secrets: func() ([]webhook.Secret, error) { return parse(t, secretA), nil },
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Deliver(t.Context(), "id", []byte("{}")); err == nil ||
			!strings.Contains(err.Error(), "is a private address") {
			t.Errorf("%s: %v", host, err)
		}
		e.Close()
	}
	// Without TLS, no other machine can be a receiver, even if it is allowed.
	e, err := webhook.New(webhook.Config{
		URL: "http://10.255.255.1:1", Secrets: func() ([]webhook.Secret, error) { return parse(t, secretA), nil }, Allow: lan,
		Timeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Deliver(t.Context(), "id", []byte("{}")); err == nil ||
		!strings.Contains(err.Error(), "loopback address") {
		t.Errorf("in clear to another machine: %v", err)
	}
	if n := came.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"ftp://a.example": "https://", "//a.example": "https://", "https://": "no host", "https://u:p@a.example": "user name",
		"https://a.example/#x":  "#",
		"https://a.example/%zz": "not a valid URL", "": "https://", "hooks.example": "https://",
	} {
		if _, err := webhook.New(webhook.Config{URL: url}); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "%zz") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	short := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23))
	long := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))
	for _, bad := range []string{"", "  \n", "swordfish", "whsec_", "whsec_!!", short, long,
		secretA + " " + secretB + " " + secretA, secretA + " swordfish"} {
		if _, err := webhook.ParseSecrets(bad); err == nil {
			t.Errorf("%q was taken", bad)
		} else if strings.Contains(err.Error(), "swordfish") || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%v repeats a secret", err)
		}
	}
	one := parse(t, secretA)[0]
	for _, shown := range []string{fmt.Sprint(one), fmt.Sprintf("%v %+v %#v %s", one, one, one, one),
		fmt.Sprintf("%+v", struct{ S []webhook.Secret }{[]webhook.Secret{one}})} {
		if !strings.Contains(shown, "(secret)") || strings.Contains(shown, "49 242") ||
			strings.Contains(shown, "0x31") {
			t.Errorf("shown as %s", shown)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", one)
	if strings.Contains(log.String(), "MfKQ9r8") || strings.Contains(log.String(), "SDA5") {
		t.Errorf("logged as %s", log.String())
	}
}

// A secret that cannot be read delays deliveries and is not logged.
func TestSecretUnreadable(t *testing.T) {
	t.Parallel()
	var came atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came.Add(1) }))
	defer srv.Close()
	e := endpoint(t, srv, func(c *webhook.Config) {
		c.Secrets = func() ([]webhook.Secret, error) { return nil, errors.New("no such file") }
	})
	if err := e.Deliver(t.Context(), "id", []byte("{}")); err == nil || came.Load() != 0 {
		t.Errorf("%v, %d came", err, came.Load())
	}
}

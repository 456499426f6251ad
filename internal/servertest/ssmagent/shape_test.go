package ssmagent_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"crypto/tls"

	"sekisho/internal/servertest/ssmagent"
)

// The double's requests have the same headers and members as captured ones.
func TestShapeOfRequests(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string]*http.Request{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		name := r.Header.Get("X-Amz-Target")
		if name == "" {
			name = r.Method + " " + r.URL.RequestURI()
		}
		mu.Lock()
		got[name] = r
		mu.Unlock()
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/") && r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `<R><TokenValue>token</TokenValue></R>`)
		case strings.HasSuffix(name, "RegisterManagedInstance"):
			_, _ = io.WriteString(w, `{"InstanceId":"mi-0123456789abcdef0"}`)
		case strings.HasSuffix(name, "RoleToken"):
			_, _ = io.WriteString(
				w,
				`{"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T","TokenExpirationDate":1,"UpdateKeyPair":false}`,
			)
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusTeapot)
		default:
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	m := ssmagent.NewMachine(
		s.URL,
		"us-east-1",
		&tls.Config{
			RootCAs:    s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
			MinVersion: tls.VersionTLS12,
		},
		key(),
	)
	defer m.Close()
	ctx := t.Context()
	for _, err := range []error{
		m.Register(ctx, "a", "c"), m.RoleToken(ctx), m.Report(ctx),
		func() error { _, err := m.Messages(ctx); return err }(),
		func() error { _, err := m.Token(ctx, "control-channel", m.ID); return err }(),
		func() error { _, err := m.Token(ctx, "data-channel", "s"); return err }(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Dial(ctx, "control-channel", m.ID); err == nil {
		t.Error("Dial succeeded although the server did not upgrade the connection")
	}
	const json, path = "application/x-amz-json-1.1", "/v1/control-channel/mi-0123456789abcdef0"
	for name, want := range map[string]struct {
		headers, signed, contentType string
		length                       int64
	}{
		"AmazonSSM.RegisterManagedInstance": {
			"Accept-Encoding Content-Length Content-Type User-Agent X-Amz-Target", "", json, 0},
		"AmazonSSM.RequestManagedInstanceRoleToken": {
			"Accept-Encoding Authorization Content-Type User-Agent X-Amz-Content-Sha256 X-Amz-Date X-Amz-Target",
			"content-type;host;x-amz-date;x-amz-target", json, -1},
		"AmazonSSM.UpdateInstanceInformation": {
			"Accept-Encoding Authorization Content-Length Content-Type User-Agent X-Amz-Date X-Amz-Security-Token X-Amz-Target",
			"content-length;content-type;host;x-amz-date;x-amz-security-token;x-amz-target", json, 0},
		"EC2WindowsMessageDeliveryService.GetMessages": {
			"Accept-Encoding Authorization Content-Length Content-Type User-Agent X-Amz-Date X-Amz-Security-Token X-Amz-Target",
			"content-length;content-type;host;x-amz-date;x-amz-security-token;x-amz-target", json, 0},
		"POST " + path: {"Accept-Encoding Authorization Content-Length Content-Type User-Agent X-Amz-Date " +
			"X-Amz-Security-Token", "content-type;host;x-amz-date;x-amz-security-token", "application/json", 0},
		"GET " + path + "?role=subscribe&stream=input": {
			"Authorization Connection Sec-Websocket-Key Sec-Websocket-Version Upgrade User-Agent X-Amz-Date " +
				"X-Amz-Security-Token", "host;x-amz-date;x-amz-security-token", "", 0},
	} {
		r := got[name]
		if r == nil {
			t.Errorf("the agent sent no %s request", name)
			continue
		}
		var headers []string
		for h := range r.Header {
			headers = append(headers, h)
		}
		slices.Sort(headers)
		// One HTTP library sets Accept-Encoding, the other does not.
		if got := strings.Join(headers, " "); strings.TrimPrefix(
			got,
			"Accept-Encoding ",
		) != strings.TrimPrefix(
			want.headers,
			"Accept-Encoding ",
		) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want.headers)
		}
		_, signed, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
		signed, _, _ = strings.Cut(signed, ",")
		if signed != want.signed || r.Header.Get("Content-Type") != want.contentType {
			t.Errorf("%s: signed %q, content %q", name, signed, r.Header.Get("Content-Type"))
		}
		if want.length < 0 && r.ContentLength >= 0 {
			t.Errorf("%s: content length %d, want none", name, r.ContentLength)
		}
	}
}

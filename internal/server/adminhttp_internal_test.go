package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"sekisho/internal/wire/sigv4"
)

func TestAdministrativeListener(t *testing.T) {
	t.Parallel()
	s, err := New(t.Context(), killConfig(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	first, _, err := s.Directory.Bootstrap(t.Context(), adminUser)
	if err != nil {
		t.Fatal(err)
	}
	for action, status := range map[string]int{"CreateUser": 200, "DeleteUser": 404,
		"Nonsense" + strings.Repeat("x", 50): 501} {
		body := url.Values{"Action": {action}, "Version": {"2010-05-08"}, "UserName": {action}}.Encode()
		r := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		sigv4.Sign(
			r,
			sigv4.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey},
			"us-east-1",
			"iam",
			time.Now(),
			sigv4.HashBody([]byte(body)),
		)
		w := httptest.NewRecorder()
		if s.handler.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%s: %d %s", action, w.Code, w.Body)
		}
	}
	admin := s.AdminHandler()
	ask := func(method, target, origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, http.NoBody)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, r)
		return w
	}
	got := ask(http.MethodGet, "http://127.0.0.1:9090/metrics", "").Body.String()
	for _, want := range []string{
		`sekisho_api_calls_total{code="",operation="CreateUser",service="iam"} 1`,
		`sekisho_api_calls_total{code="NoSuchEntity",operation="DeleteUser",service="iam"} 1`,
		`operation="unknown",service="iam"} 1`, `sekisho_api_call_seconds_count{service="iam"} 3`,
		`sekisho_audit_transactions_total{result="stored"}`, "sekisho_nodes_connected 0", "sekisho_sessions_active 0",
		"sekisho_ready 1", "go_goroutines",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(got, "Nonsense") || strings.Contains(got, first.AccessKeyID) {
		t.Error("a metric contains text that a caller chose")
	}
	for _, step := range []struct {
		method, target, origin string
		status                 int
	}{
		{http.MethodGet, "http://localhost:9090/readyz", "", 200},
		{http.MethodPost, "http://localhost:9090/drain", "", 200},
		{http.MethodGet, "http://[::1]:9090/readyz", "", 503},
		{http.MethodGet, "http://localhost:9090/livez", "", 200},
		{http.MethodPost, "http://localhost:9090/undrain", "", 200},
		{http.MethodGet, "http://localhost:9090/readyz", "", 200},
		{http.MethodGet, "http://localhost:9090/drain", "", 405},
		{http.MethodGet, "http://localhost:9090/debug/pprof/goroutine?debug=1", "", 200},
		{http.MethodGet, "http://rebound.example:9090/metrics", "", 403},
		{http.MethodPost, "http://localhost:9090/drain", "https://evil.example", 403},
	} {
		if w := ask(step.method, step.target, step.origin); w.Code != step.status {
			t.Errorf("%s %s: %d %s", step.method, step.target, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	if s.handler.ServeHTTP(w,
		httptest.NewRequest(http.MethodGet, "https://sekisho.test/metrics", http.NoBody)); w.Code == http.StatusOK {
		t.Error("metrics are on the public listener")
	}
}

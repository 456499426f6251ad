package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/client"
)

// A server may restart, or fail for a moment, while the user approves a sign-in.
func TestSignInWithBrowserOutlastsRestart(t *testing.T) {
	t.Parallel()
	var polls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/console/api/programs" {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"deviceCode": "device", "userCode": "BCDF-GHJK", "interval": 1, "expires": time.Now().Add(time.Hour),
			})
			return
		}
		switch polls.Add(1) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{
				"accessKeyId": "ASIAX", "secretAccessKey": "secret", "sessionToken": "token",
			})
		}
	}))
	defer srv.Close()
	c := client.New(client.Config{Endpoint: srv.URL, Region: "eu-test-1"})
	defer c.Close()
	creds, err := c.SignInWithBrowser(t.Context(), client.BrowserSignIn{Name: "test", Show: func(string, string) {}})
	if err != nil || creds.AccessKeyID != "ASIAX" || polls.Load() != 3 {
		t.Errorf("%+v after %d polls, %v", creds, polls.Load(), err)
	}
}

// A request that the server no longer knows ends the sign-in at once.
func TestSignInWithBrowserEndsWhenUnknown(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/console/api/programs" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message":"unknown"}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"deviceCode": "device", "userCode": "BCDF-GHJK", "interval": 1, "expires": time.Now().Add(time.Hour),
		})
	}))
	defer srv.Close()
	c := client.New(client.Config{Endpoint: srv.URL, Region: "eu-test-1"})
	defer c.Close()
	_, err := c.SignInWithBrowser(t.Context(), client.BrowserSignIn{Name: "test", Show: func(string, string) {}})
	if sekisho.CodeOf(err) != sekisho.CodeUnauthenticated {
		t.Errorf("%v", err)
	}
}

package netguard_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sekisho/internal/netguard"
)

// TestProxiesAreNotSentToMetadataServices: the address in a request is checked
// before a proxy gets it.
func TestProxiesAreNotSentToMetadataServices(t *testing.T) {
	t.Parallel()
	proxy := netguard.CheckProxied(http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:3128"}))
	for address, refused := range map[string]bool{
		"https://169.254.169.254/":        true,
		"https://169.254.169.254./":       true,
		"https://[fd00:ec2::254]/":        true,
		"https://[::ffff:169.254.1.1]/":   true,
		"https://2852039166/":             true,
		"https://0xa9fea9fe/":             true,
		"https://169.254.43518/":          true,
		"https://metadata.0XA9FEA9FE/":    true,
		"https://127.0.0.1/":              false,
		"https://8.8.8.8/":                false,
		"https://no-such-name.invalid/":   false, // the proxy may know it
		"https://0x.no-such-tld.invalid/": false,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proxy(r); (err != nil) != refused {
			t.Errorf("%s: %v, want a refusal: %v", address, err, refused)
		}
	}
}

// TestRedirectsAreNotFollowedToMetadataServices, neither directly nor by a
// proxy.
func TestRedirectsAreNotFollowedToMetadataServices(t *testing.T) {
	t.Parallel()
	var asked atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(new(r.Host))
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
	}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, through := range map[string]*url.URL{"directly": nil, "by a proxy": at} {
		tr := netguard.Transport(time.Second)
		tr.Proxy = netguard.CheckProxied(http.ProxyURL(through))
		c := http.Client{Transport: tr}
		address := server.URL
		if through != nil {
			address = "http://127.0.0.1:1/"
		}
		resp, err := c.Get(address)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, netguard.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
		if host := asked.Load(); host == nil || strings.Contains(*host, "169.254") {
			t.Errorf("%s: the server was asked for %v", name, host)
		}
		tr.CloseIdleConnections()
	}
}

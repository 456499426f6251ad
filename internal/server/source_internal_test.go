package server

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestOnlyConfiguredProxiesAreTrusted(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	for _, x := range []struct {
		name    string
		trusted []netip.Prefix
		peer    string
		xff     []string
		want    string
	}{
		{"no proxy is trusted by default", nil, "192.0.2.1:5", []string{"198.51.100.7"}, "192.0.2.1"},
		{"not a proxy", proxies, "192.0.2.1:5", []string{"198.51.100.7"}, "192.0.2.1"},
		{"a proxy", proxies, "10.0.0.9:5", []string{"198.51.100.7"}, "198.51.100.7"},
		{"addresses that the client invented are ignored", proxies, "10.0.0.9:5", []string{"203.0.113.1, 198.51.100.7"},
			"198.51.100.7"},
		{"two headers", proxies, "10.0.0.9:5", []string{"203.0.113.1", "198.51.100.7"}, "198.51.100.7"},
		{"a chain of proxies", proxies, "10.0.0.9:5", []string{"198.51.100.7, 10.0.0.8"}, "198.51.100.7"},
		{"nonsense", proxies, "10.0.0.9:5", []string{"198.51.100.7, evil"}, "10.0.0.9"},
		{"no header", proxies, "10.0.0.9:5", nil, "10.0.0.9"},
		{"mapped IPv6", proxies, "[::ffff:10.0.0.9]:5", []string{"2001:db8::1"}, "2001:db8::1"},
	} {
		r := &http.Request{RemoteAddr: x.peer, Header: http.Header{"X-Forwarded-For": x.xff}}
		if got := sourceIP(x.trusted)(r).String(); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
}

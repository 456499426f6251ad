package netguard

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Transport returns http.DefaultTransport without access to forbidden addresses. Each connection is
// checked when it is opened, so that neither a redirect nor a name that resolves differently the
// next time leads there.
//
// A proxy of the environment (HTTPS_PROXY) opens connections itself. Addresses, and names that this
// machine can resolve, are checked before the proxy gets the request. The proxy decides on other
// names.
func Transport(dialTimeout time.Duration) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout, Control: Control}).DialContext
	t.Proxy = CheckProxied(http.ProxyFromEnvironment)
	return t
}

// CheckProxied wraps the Proxy function of a transport. It refuses requests that would make a proxy
// connect to a forbidden address.
func CheckProxied(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		through, err := proxy(r)
		if through == nil || err != nil {
			return through, err
		}
		host := strings.TrimSuffix(r.URL.Hostname(), ".")
		addresses, err := net.DefaultResolver.LookupNetIP(r.Context(), "ip", host)
		if err != nil {
			if numeric(host) {
				return nil, fmt.Errorf("%.100q is not a host name: it ends in a number", host)
			}
			return through, nil // the proxy may know names that this machine does not
		}
		for _, a := range addresses {
			if Never(a) {
				return nil, fmt.Errorf("connections to %s (%.100q) are %w", a, host, ErrDenied)
			}
		}
		return through, nil
	}
}

// numeric reports whether a host ends in a number, which some programs interpret as an IPv4
// address: 2852039166, 0xa9fea9fe and 169.254.43518 are 169.254.169.254.
func numeric(host string) bool {
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		last, digits = "0"+hex, "0123456789abcdef"
	}
	return last != "" && strings.Trim(last, digits) == ""
}

package webid

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sekisho/internal/iam/identity"
	"sekisho/internal/netguard"
)

// Providers are fetched over HTTPS only, and no more often than the limit.
func TestProviderFetchesAreLimited(t *testing.T) {
	t.Parallel()
	asked := 0
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	b := newBounded(roundTripper(func(*http.Request) (*http.Response, error) {
		asked++
		return nil, errors.New("down")
	}), func() time.Time { return now })
	get := func(method, url string) {
		r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := b.RoundTrip(r); err == nil {
			res.Body.Close()
			t.Errorf("%s was answered", url)
		}
	}
	get(http.MethodGet, "http://idp.example.com/keys")
	if asked != 0 {
		t.Error("a provider was fetched over plain HTTP")
	}
	for range 100 {
		get(http.MethodGet, "https://idp.example.com/keys")
	}
	if asked != fetchBurst {
		t.Errorf("%d fetches at once", asked)
	}
	now = now.Add(2 * fetchEvery)
	for range 100 {
		get(http.MethodGet, "https://idp.example.com/keys")
	}
	if asked != fetchBurst+2 {
		t.Errorf("%d fetches after a while", asked)
	}
	get(http.MethodPost, "https://idp.example.com/token")
	if asked != fetchBurst+3 {
		t.Error("the limit on fetches kept a code from being redeemed")
	}
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Names are never changed to fit, so two users never share one.
func TestSessionNames(t *testing.T) {
	t.Parallel()
	token := func(subject, email string) *Token {
		return &Token{WebIdentity: identity.WebIdentity{Subject: subject}, Email: email}
	}
	seen := map[string]string{}
	for _, c := range []struct{ subject, email, want string }{
		{"1", "carol@example.com", "carol@example.com"},
		{"auth0-7", "", "auth0-7"},
		{"auth0|7", "", ""},
		{"auth0/7", "", ""},
		{"carol@example.com", "", ""}, // a subject must not look like an address
		{"2", "\"odd name\"@example.com", ""},
		{"x", "", ""},
		{strings.Repeat("s", 65), "", ""},
	} {
		got := sessionName(token(c.subject, c.email))
		if c.want != "" && got != c.want || !sessionNames.MatchString(got) || c.want == "" && len(got) != 32 {
			t.Errorf("%q, %q: %q", c.subject, c.email, got)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both %q", other, c.subject, got)
		}
		seen[got] = c.subject
	}
}

func FuzzIssuerOf(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbSJ9.")
	f.Add("..")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := issuerOf(raw)
		if (err == nil) != (name != "") {
			t.Errorf("%q, %v", name, err)
		}
		if err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("%v", err)
		}
	})
}

// TestProviderDocumentsAreBounded: the limit counts what a document decompresses to.
func TestProviderDocumentsAreBounded(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("the transport does not ask for compression: this test proves nothing")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 64 {
			if _, err := z.Write(make([]byte, maxDocument)); err != nil {
				return // the client has read enough
			}
		}
		_ = z.Close()
	}))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newBounded(server.Client().Transport, time.Now).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != maxDocument {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestProvidersAtMetadataAddressesAreNotReached(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequestWithContext(
		t.Context(),
		http.MethodGet,
		"https://[64:ff9b::a9fe:a9fe]/.well-known/openid-configuration",
		http.NoBody,
	)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := netguard.Transport(fetchTimeout).RoundTrip(r)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, netguard.ErrDenied) {
		t.Errorf("got %v", err)
	}
}

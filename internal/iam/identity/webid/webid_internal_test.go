package webid

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"sekisho/internal/iam/identity"
)

// TestProvidersAreAskedInModeration: over HTTPS alone, and not more often than
// the bound, whatever tokens come.
func TestProvidersAreAskedInModeration(t *testing.T) {
	t.Parallel()
	asked := 0
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	b := &bounded{
		next: roundTripper(func(*http.Request) (*http.Response, error) {
			asked++
			return nil, errors.New("down")
		}),
		now: func() time.Time { return now }, tokens: fetchBurst, at: now,
	}
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
		t.Error("a provider was asked in clear")
	}
	for range 100 {
		get(http.MethodGet, "https://idp.example.com/keys")
	}
	if asked != fetchBurst {
		t.Errorf("asked %d times at once", asked)
	}
	now = now.Add(2 * fetchEvery)
	for range 100 {
		get(http.MethodGet, "https://idp.example.com/keys")
	}
	if asked != fetchBurst+2 {
		t.Errorf("asked %d times after a while", asked)
	}
	get(http.MethodPost, "https://idp.example.com/token")
	if asked != fetchBurst+3 {
		t.Error("a code was not redeemed because of the keys")
	}
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSessionNames: nothing is rewritten to fit, so that two people never
// share a name.
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
		{"carol@example.com", "", ""}, // a subject must not pass for an address
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

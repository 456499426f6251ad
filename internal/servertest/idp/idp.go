// Package idp is an OpenID Connect identity provider for tests, on a loopback
// TLS listener.
package idp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Client is the client ID that is registered at the provider, and its secret.
const (
	Client = "sekisho-client"
	Secret = "client-secret"
)

// Provider is a running provider.
type Provider struct {
	Issuer string
	// Keys counts how often clients fetched the keys.
	Keys func() int

	t   testing.TB
	srv *httptest.Server
	key *ecdsa.PrivateKey
	kid string

	mu      sync.Mutex
	fetched int
	codes   map[string]grant
	claims  map[string]any
}

// grant is the data behind a code.
type grant struct{ nonce, challenge, redirect string }

// Start starts a provider that stops when the test ends.
func Start(t testing.TB) *Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, key: key, kid: "k1", codes: map[string]grant{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.json(w, map[string]any{
			"issuer": p.Issuer, "jwks_uri": p.Issuer + "/keys", "authorization_endpoint": p.Issuer + "/authorize",
			"token_endpoint": p.Issuer + "/token",
			"id_token_signing_alg_values_supported": []string{
				"ES256",
				"none",
			}, "response_types_supported": []string{"code"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.fetched++
		p.mu.Unlock()
		p.json(
			w,
			jose.JSONWebKeySet{
				Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: p.kid, Algorithm: "ES256", Use: "sig"}},
			},
		)
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.srv = httptest.NewTLSServer(mux)
	t.Cleanup(p.srv.Close)
	p.Issuer = p.srv.URL
	p.Keys = func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.fetched
	}
	return p
}

// Transport trusts the provider's certificate.
func (p *Provider) Transport() http.RoundTripper { return p.srv.Client().Transport }

// Claims are the claims of a valid token with changes; nil removes a claim.
func (p *Provider) Claims(now time.Time, changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": p.Issuer, "aud": Client, "sub": "alice", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

// Sign makes a token of claims.
func (p *Provider) Sign(claims map[string]any) string {
	return p.SignAs(claims, p.key, jose.ES256, p.kid)
}

// SignAs signs a token with another key, algorithm or key ID.
func (p *Provider) SignAs(claims map[string]any, key any, alg jose.SignatureAlgorithm, kid string) string {
	p.t.Helper()
	s, err := jose.NewSigner(
		jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		p.t.Fatal(err)
	}
	jws, err := s.Sign(p.marshal(claims))
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// Unsigned makes a token of the algorithm "none".
func (p *Provider) Unsigned(claims map[string]any) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + enc(p.marshal(claims)) + "."
}

// PublicKeyAsSecret signs with HMAC and the public key: an attack on verifiers
// that take the algorithm from the token.
func (p *Provider) PublicKeyAsSecret(claims map[string]any) string {
	b, err := p.key.PublicKey.Bytes()
	if err != nil {
		p.t.Fatal(err)
	}
	return p.SignAs(claims, b, jose.HS256, p.kid)
}

func (p *Provider) marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *Provider) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(p.marshal(v)) // reported by the client
}

// Person sets the claims of the user that the provider signs in.
func (p *Provider) Person(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims = claims
}

// authorize signs the user in at once and redirects the browser back.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != Client || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "not a request for a code with PKCE", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = grant{q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri")}
	p.mu.Unlock()
	http.Redirect(
		w,
		r,
		q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(),
		http.StatusFound,
	)
}

// token exchanges a code, once.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	p.mu.Lock()
	g, known := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	claims := p.claims
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if id != Client || secret != Secret || !known || g.redirect != r.FormValue("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		w.WriteHeader(http.StatusBadRequest)
		p.json(w, map[string]string{"error": "invalid_grant"})
		return
	}
	all := map[string]any{"nonce": g.nonce}
	for k, v := range claims {
		all[k] = v
	}
	p.json(
		w,
		map[string]any{
			"access_token": "at-" + rand.Text(),
			"token_type":   "Bearer",
			"id_token":     p.Sign(p.Claims(time.Now(), all)),
		},
	)
}

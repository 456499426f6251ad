// Package webid verifies OpenID Connect ID tokens against the identity
// providers that the account trusts.
//
// A token is valid if its issuer equals one of the account's providers exactly, it is signed with a key that the issuer
// publishes, its audience is a client ID of the provider, and it is currently valid. Providers' documents are fetched
// only over HTTPS and cached; tokens cannot make the server fetch them more often than every few seconds.
package webid

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/policy"
	"sekisho/internal/netguard"
	"sekisho/internal/ratelimit"
)

const (
	maxToken     = 20_000 // AWS's limit
	maxDocument  = 1 << 20
	fetchTimeout = 10 * time.Second
	// fetchBurst is the burst of requests to a provider, fetchEvery the interval of further ones.
	fetchBurst = 6
	fetchEvery = 5 * time.Second
	maxClaims  = 50
)

// Errors that the errors of this package wrap.
var (
	// ErrToken means that the token is invalid.
	ErrToken = errors.New("invalid identity token")
	// ErrExpired means that the token was valid but has expired.
	ErrExpired = errors.New("expired identity token")
	// ErrProvider means that the provider's documents could not be fetched.
	ErrProvider = errors.New("identity provider not reached")
)

// signatures are the accepted algorithms: neither "none" nor shared secrets.
var signatures = []string{
	oidc.RS256,
	oidc.RS384,
	oidc.RS512,
	oidc.PS256,
	oidc.PS384,
	oidc.PS512,
	oidc.ES256,
	oidc.ES384,
	oidc.ES512,
	oidc.EdDSA,
}

// Verifier verifies ID tokens. It is safe for concurrent use.
type Verifier struct {
	dir *identity.Directory
	now func() time.Time
	rt  http.RoundTripper

	mu      sync.Mutex
	issuers map[string]*issuer
}

// Config is the configuration of a Verifier.
type Config struct {
	Directory *identity.Directory
	// Transport reaches providers; nil means the system's certificates, and no
	// link-local or metadata addresses.
	Transport http.RoundTripper
	Now       func() time.Time // nil = time.Now
}

// New returns a Verifier.
func New(c Config) *Verifier {
	v := &Verifier{dir: c.Directory, now: c.Now, rt: c.Transport, issuers: map[string]*issuer{}}
	if v.now == nil {
		v.now = time.Now
	}
	if v.rt == nil {
		v.rt = netguard.Transport(fetchTimeout) // whoever creates a provider chooses the name that is resolved
	}
	return v
}

// issuer is a provider's discovery document and the client that fetches it.
type issuer struct {
	client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider
}

// discovered returns the provider, fetching its discovery document the first time.
func (i *issuer) discovered(ctx context.Context, name string) (*oidc.Provider, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.provider != nil {
		return i.provider, nil
	}
	// The provider keeps the context for later fetches of keys.
	p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), i.client), name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrProvider, name, err)
	}
	i.provider = p
	return p, nil
}

func (v *Verifier) issuer(name string) *issuer {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.issuers[name]
	if i == nil {
		i = &issuer{client: &http.Client{
			Timeout:       fetchTimeout,
			Transport:     newBounded(v.rt, v.now),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		v.issuers[name] = i
	}
	return i
}

// bounded is a transport limited to HTTPS, to a rate of requests and to a size
// of answers.
type bounded struct {
	next http.RoundTripper
	rate *ratelimit.Limiter[struct{}]
}

func newBounded(next http.RoundTripper, now func() time.Time) *bounded {
	return &bounded{next: next, rate: ratelimit.New[struct{}](ratelimit.Config{
		Rate: 1 / fetchEvery.Seconds(), Burst: fetchBurst, MaxKeys: 1, Now: now,
	})}
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("refusing to fetch %s: not https", r.URL.Redacted())
	}
	if r.Method == http.MethodGet && !b.rate.Allow(struct{}{}) { // POST redeems a code, which works only once anyway
		return nil, errors.New("too many requests to the identity provider")
	}
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = limited{io.LimitReader(res.Body, maxDocument), res.Body}
	}
	return res, err
}

type limited struct {
	io.Reader
	io.Closer
}

// Token is a verified token.
type Token struct {
	identity.WebIdentity
	Nonce string
	Email string // empty unless the provider has verified it
	keys  []policy.Key
}

// claims are the known claims of an ID token. A claim of the wrong type is refused, not converted,
// such as "email_verified": "true".
type claims struct {
	AuthorizedParty string   `json:"azp"`
	Email           string   `json:"email"`
	EmailVerified   bool     `json:"email_verified"`
	Methods         []string `json:"amr"`
	Groups          []string `json:"groups"`
	SourceIdentity  string   `json:"https://aws.amazon.com/source_identity"`
	Tags            struct {
		Principal  map[string][]string `json:"principal_tags"`
		Transitive []string            `json:"transitive_tag_keys"`
	} `json:"https://aws.amazon.com/tags"`
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrToken, fmt.Sprintf(format, args...))
}

// Verify verifies a token and returns its content.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Token, error) {
	name, err := issuerOf(raw)
	if err != nil {
		return nil, err
	}
	p, err := v.provider(ctx, name)
	if err != nil {
		return nil, err
	}
	i := v.issuer(name)
	described, err := i.discovered(ctx, name)
	if err != nil {
		return nil, err
	}
	t, err := described.Verifier(&oidc.Config{
		SkipClientIDCheck: true, SupportedSigningAlgs: signatures, Now: v.now,
	}).Verify(ctx, raw)
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
		return nil, fmt.Errorf("%w: %w", ErrExpired, err)
	}
	if err != nil {
		return nil, bad("%v", err)
	}
	var c claims
	if err := t.Claims(&c); err != nil {
		return nil, bad("its claims are malformed")
	}
	return c.token(t, p)
}

// issuerOf returns the issuer that an unverified token names.
func issuerOf(raw string) (string, error) {
	if len(raw) > maxToken {
		return "", bad("it is longer than %d characters", maxToken)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return "", bad("it is not a signed JWT")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", bad("it is not a JWT")
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(body, &c); err != nil || c.Issuer == "" {
		return "", bad("it names no issuer")
	}
	return c.Issuer, nil
}

// provider finds the account's provider whose issuer this is.
func (v *Verifier) provider(ctx context.Context, name string) (*identity.OIDCProvider, error) {
	all, err := v.dir.Providers.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Issuer() == name {
			return p, nil
		}
	}
	return nil, bad("no OpenIDConnect provider of this account has its issuer")
}

func (c *claims) token(t *oidc.IDToken, p *identity.OIDCProvider) (*Token, error) {
	known := func(id string) bool { return slices.Contains(p.ClientIDs, id) }
	audience := ""
	switch {
	case c.AuthorizedParty != "" && !known(c.AuthorizedParty),
		!slices.ContainsFunc(t.Audience, known):
		return nil, bad("incorrect token audience")
	case c.AuthorizedParty != "":
		audience = c.AuthorizedParty
	case len(t.Audience) != 1:
		return nil, bad("it has several audiences and no azp claim")
	default:
		audience = t.Audience[0]
	}
	if t.Subject == "" || len(t.Subject) > 255 {
		return nil, bad("its subject is empty or longer than 255 characters")
	}
	if t.IssuedAt.IsZero() {
		return nil, bad("it has no iat claim")
	}
	if len(c.Methods) > maxClaims || len(c.Groups) > maxClaims*10 {
		return nil, bad("it has too many claims")
	}
	tags := make(map[string]string, len(c.Tags.Principal))
	for k, values := range c.Tags.Principal {
		if len(values) != 1 {
			return nil, bad("the tag %q does not have one value", k)
		}
		tags[k] = values[0]
	}
	out := &Token{
		WebIdentity: identity.WebIdentity{
			Provider: p, Subject: t.Subject, Audience: audience, SourceIdentity: c.SourceIdentity, Tags: tags,
			TransitiveTags: c.Tags.Transitive,
		},
		Nonce: t.Nonce,
	}
	key := func(name string) string { return p.URL + ":" + name }
	out.keys = append(out.keys, one(key("aud"), audience), one(key("sub"), t.Subject), many(key("oaud"), t.Audience))
	if len(c.Methods) > 0 {
		out.keys = append(out.keys, many(key("amr"), c.Methods))
	}
	if len(c.Groups) > 0 {
		out.keys = append(out.keys, many(key("groups"), c.Groups))
	}
	if c.Email != "" && c.EmailVerified {
		out.Email = c.Email
		out.keys = append(out.keys, one(key("email"), c.Email))
	}
	return out, nil
}

// Principal returns the bearer of the token before it assumes a role.
func (t *Token) Principal(account string) *sekisho.Principal {
	return &sekisho.Principal{
		Type: sekisho.PrincipalWebIdentity, Account: account, ARN: t.Provider.ARN,
		UserID: t.Provider.URL + ":" + t.Audience + ":" + t.Subject, UserName: t.Subject,
	}
}

// Trust consists of only a role's trust policy, for bearers of tokens, which have no policies of
// their own.
type Trust struct {
	Sets *identity.PolicySets
	Role *identity.Role
}

// Policies implements authz.Policies.
func (t Trust) Policies(ctx context.Context, _ *sekisho.Principal) (*policy.Set, error) {
	return t.Sets.TrustOf(ctx, t.Role)
}

// RequiredActions returns the actions that a role's trust policy must allow
// for the token, and their condition keys besides the tags of the role and of
// the token.
func (t *Token) RequiredActions(sessionName string) (actions []string, keys []policy.Key) {
	actions = []string{"sts:AssumeRoleWithWebIdentity"}
	keys = append(slices.Clone(t.keys), one("sts:RoleSessionName", sessionName))
	if len(t.Tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if len(t.TransitiveTags) > 0 {
		keys = append(keys, many("sts:TransitiveTagKeys", t.TransitiveTags))
	}
	if t.SourceIdentity != "" {
		actions = append(actions, "sts:SetSourceIdentity")
		keys = append(keys, one("sts:SourceIdentity", t.SourceIdentity))
	}
	return actions, keys
}

func one(name, value string) policy.Key { return policy.Key{Name: name, Values: []string{value}} }

func many(name string, values []string) policy.Key {
	return policy.Key{Name: name, Values: values, Multi: true}
}

package webid

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/policy"
)

// ConsoleProvider is an identity provider for console sign-in. The account must also have a
// matching OpenID Connect provider, and the role must trust it.
type ConsoleProvider struct {
	Name         string // as the sign-in page shows it
	Issuer       string
	ClientID     string
	ClientSecret string
	Role         string // ARN
	Scopes       []string
}

// Sealer encrypts data at rest.
type Sealer interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

// AuthorizeFunc evaluates a role's trust policy for who and action. The error is a denial, or a
// failure to decide.
type AuthorizeFunc func(ctx context.Context, who *sekisho.Principal, t Trust, action string, token *Token,
	keys []policy.Key) error

// Console signs users in to the console with the authorization code flow, with state, nonce and
// PKCE. It implements the console's Federation.
type Console struct {
	v         *Verifier
	seal      Sealer
	providers []ConsoleProvider
}

// NewConsole returns a Console.
func NewConsole(v *Verifier, seal Sealer, providers []ConsoleProvider) *Console {
	return &Console{v, seal, providers}
}

// Providers implements the console's Federation.
func (c *Console) Providers() []string {
	names := make([]string, 0, len(c.providers))
	for _, p := range c.providers {
		names = append(names, p.Name)
	}
	return names
}

const purposeFlow = "console federation"

// flow is the state of a sign-in between the redirect and the answer.
type flow struct {
	Provider string    `json:"p"`
	Redirect string    `json:"r"`
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"` // PKCE
	Until    time.Time `json:"u"`
}

const flowTime = 10 * time.Minute

func (c *Console) named(name string) (*ConsoleProvider, error) {
	i := slices.IndexFunc(c.providers, func(p ConsoleProvider) bool { return p.Name == name })
	if i < 0 {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "unknown identity provider %q", name)
	}
	return &c.providers[i], nil
}

func (c *Console) config(
	ctx context.Context,
	p *ConsoleProvider,
	redirect string,
) (*oauth2.Config, context.Context, error) {
	i := c.v.issuer(p.Issuer)
	described, err := i.discovered(ctx, p.Issuer)
	if err != nil {
		return nil, nil, err
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: described.Endpoint(), RedirectURL: redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}, oidc.ClientContext(ctx, i.client), nil
}

// Begin implements the console's Federation.
func (c *Console) Begin(ctx context.Context, provider, redirect string) (address string, state []byte, err error) {
	p, err := c.named(provider)
	if err != nil {
		return "", nil, err
	}
	cfg, _, err := c.config(ctx, p, redirect)
	if err != nil {
		return "", nil, err
	}
	f := flow{
		Provider: p.Name, Redirect: redirect, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Until: c.v.now().Add(flowTime),
	}
	plain, err := json.Marshal(f)
	if err != nil {
		return "", nil, err
	}
	if state, err = c.seal.Seal(purposeFlow, plain, nil); err != nil {
		return "", nil, err
	}
	return cfg.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), state, nil
}

// Finish implements the console's Federation.
func (c *Console) Finish(
	ctx context.Context,
	state []byte,
	answer url.Values,
	authorize AuthorizeFunc,
) (identity.SignIn, error) {
	plain, err := c.seal.Open(purposeFlow, state, nil)
	if err != nil {
		return identity.SignIn{}, bad("the answer has no valid state")
	}
	var f flow
	if err := json.Unmarshal(plain, &f); err != nil || !c.v.now().Before(f.Until) {
		return identity.SignIn{}, bad("the sign-in took longer than %s", flowTime)
	}
	if subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(f.State)) != 1 {
		return identity.SignIn{}, bad("the state of the answer does not match")
	}
	if answer.Get("error") != "" || answer.Get("code") == "" {
		return identity.SignIn{}, bad("the provider refused the sign-in")
	}
	p, err := c.named(f.Provider)
	if err != nil {
		return identity.SignIn{}, err
	}
	cfg, fetch, err := c.config(ctx, p, f.Redirect)
	if err != nil {
		return identity.SignIn{}, err
	}
	tokens, err := cfg.Exchange(fetch, answer.Get("code"), oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return identity.SignIn{}, fmt.Errorf(
			"%w: the code was not redeemed",
			ErrProvider,
		) // the error may quote the answer
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return identity.SignIn{}, bad("the provider sent no ID token")
	}
	t, err := c.v.Verify(ctx, raw)
	if err != nil {
		return identity.SignIn{}, err
	}
	if t.Provider.Issuer() != p.Issuer || t.Audience != p.ClientID {
		return identity.SignIn{}, bad("it was issued by another provider or for another client")
	}
	if subtle.ConstantTimeCompare([]byte(t.Nonce), []byte(f.Nonce)) != 1 {
		return identity.SignIn{}, bad("its nonce does not match")
	}
	return c.signIn(ctx, p, t, authorize)
}

// signIn checks the role's trust policy and signs in.
func (c *Console) signIn(
	ctx context.Context,
	p *ConsoleProvider,
	t *Token,
	authorize AuthorizeFunc,
) (identity.SignIn, error) {
	role, err := c.v.dir.Roles.ByARN(ctx, p.Role)
	if err != nil {
		return identity.SignIn{}, err
	}
	name := sessionName(t)
	who := t.Principal(c.v.dir.Account())
	actions, keys := t.RequiredActions(name)
	for _, action := range actions {
		if err := authorize(ctx, who, Trust{c.v.dir.Sets, role}, action, t, keys); err != nil {
			return identity.SignIn{}, err
		}
	}
	return c.v.dir.SignIns.WebSignIn(ctx, &t.WebIdentity, role,
		identity.SessionRequest{Name: name, Duration: role.MaxSession})
}

var sessionNames = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// sessionName returns the role session name of a token's subject: the verified email address,
// otherwise the subject. Names are never rewritten to fit, so two people never share one.
func sessionName(t *Token) string {
	switch {
	case sessionNames.MatchString(t.Email):
		return t.Email
	case sessionNames.MatchString(t.Subject) && !strings.Contains(t.Subject, "@"):
		return t.Subject
	}
	sum := sha256.Sum256([]byte(t.Subject))
	return hex.EncodeToString(sum[:16])
}

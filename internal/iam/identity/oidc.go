package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// Quotas of AWS's identity providers.
const (
	maxProviders   = 100
	maxClientIDs   = 100
	maxThumbprints = 5
)

// OIDCProvider is an OpenID Connect identity provider that roles may trust.
type OIDCProvider struct {
	URL       string // the issuer without https://
	ARN       string
	ClientIDs []string `json:",omitempty"`
	// stored but unused: certificates are verified against the system's authorities
	Thumbprints []string `json:",omitempty"`
	Created     time.Time
	Tags        map[string]string `json:",omitempty"`
}

func (p *OIDCProvider) kind() Kind  { return KindOIDCProvider }
func (p *OIDCProvider) key() string { return p.URL }

// Issuer is the provider's issuer identifier.
func (p *OIDCProvider) Issuer() string { return "https://" + p.URL }

// Create adds an identity provider by the URL of its issuer.
func (providers *OIDCProviders) Create(
	ctx context.Context,
	issuer string,
	clientIDs, thumbprints []string,
	tags map[string]string,
) (*OIDCProvider, error) {
	u, err := url.Parse(issuer)
	if err != nil || len(issuer) > 255 || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" ||
		strings.ContainsAny(issuer, "?#") {
		return nil, invalid("Invalid Open ID Connect Provider URL")
	}
	if err := checkClientIDs(clientIDs); err != nil {
		return nil, err
	}
	if err := checkThumbprints(thumbprints); err != nil {
		return nil, err
	}
	var p *OIDCProvider
	err = providers.update(ctx, func(t *tx) error {
		tags, err := mergeTags(nil, tags)
		if err != nil {
			return err
		}
		p = &OIDCProvider{
			URL:         strings.TrimPrefix(issuer, "https://"),
			ClientIDs:   clientIDs,
			Thumbprints: thumbprints,
			Created:     t.now,
			Tags:        tags,
		}
		p.ARN = "arn:aws:iam::" + providers.id + ":oidc-provider/" + p.URL
		if t.providers[p.ARN] != nil {
			return exists("Provider with url %s already exists.", issuer)
		}
		if len(t.providers) >= maxProviders {
			return limit("Cannot exceed quota for OpenIdConnectProvidersPerAccount: %d", maxProviders)
		}
		t.put(p)
		return nil
	})
	return p, err
}

func checkClientIDs(ids []string) error {
	if len(ids) > maxClientIDs {
		return limit("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
	}
	for _, id := range ids {
		if id == "" || len(id) > 255 {
			return invalid(
				"1 validation error detected: Value at 'clientIDList' failed to satisfy constraint: Member must have length " +
					"between 1 and 255",
			)
		}
	}
	return nil
}

func checkThumbprints(prints []string) error {
	if len(prints) > maxThumbprints {
		return invalid("Thumbprint list must contain fewer than 5 entries.")
	}
	for _, p := range prints {
		if len(p) != 40 || strings.Trim(strings.ToLower(p), "0123456789abcdef") != "" {
			return invalid("Thumbprint must be 40 hexadecimal digits.")
		}
	}
	return nil
}

// Get returns a provider by its ARN.
func (providers *OIDCProviders) Get(ctx context.Context, arn string) (*OIDCProvider, error) {
	return get(ctx, providers.account, func(s *state) (*OIDCProvider, error) { return s.provider(arn) })
}

func (s *state) provider(arn string) (*OIDCProvider, error) {
	if p := s.providers[arn]; p != nil {
		return p, nil
	}
	return nil, notFound("OpenIDConnect Provider not found for arn %s", printable(arn))
}

// List returns every provider, by ARN.
func (providers *OIDCProviders) List(ctx context.Context) ([]*OIDCProvider, error) {
	return get(ctx, providers.account, func(s *state) ([]*OIDCProvider, error) { return sorted(s.providers), nil })
}

// Edit changes a provider: its client IDs, its thumbprints, its
// tags.
func (providers *OIDCProviders) Edit(ctx context.Context, arn string, change func(p *OIDCProvider) error) error {
	return providers.update(ctx, func(t *tx) error {
		old, err := t.provider(arn)
		if err != nil {
			return err
		}
		p := edit(old)
		if err := change(p); err != nil {
			return err
		}
		slices.Sort(p.ClientIDs)
		p.ClientIDs = slices.Compact(p.ClientIDs)
		if err := checkClientIDs(p.ClientIDs); err != nil {
			return err
		}
		if err := checkThumbprints(p.Thumbprints); err != nil {
			return err
		}
		if p.Tags, err = mergeTags(nil, p.Tags); err != nil {
			return err
		}
		t.put(p)
		return nil
	})
}

// Delete removes a provider. Credentials issued for its tokens
// become invalid.
func (providers *OIDCProviders) Delete(ctx context.Context, arn string) error {
	return providers.update(ctx, func(t *tx) error {
		if p := t.providers[arn]; p != nil { // as in AWS, deleting a missing provider succeeds
			t.drop(p)
		}
		return nil
	})
}

// WebIdentity is an identity asserted by an identity provider, from a verified
// token.
type WebIdentity struct {
	Provider *OIDCProvider
	Subject  string
	Audience string
	// SourceIdentity and the tags come from the claims that AWS reserves for
	// them.
	SourceIdentity string
	Tags           map[string]string
	TransitiveTags []string
}

// person returns a hash that identifies who, because subjects have no maximum length but session
// tokens do.
func (who *WebIdentity) person() string {
	sum := sha256.Sum256([]byte(who.Provider.ARN + "\x00" + who.Subject))
	return "web:" + hex.EncodeToString(sum[:])
}

// TrustOf returns the compiled trust policy of a role alone, for callers who
// have no policies of their own.
func (sets *PolicySets) TrustOf(ctx context.Context, role *Role) (*policy.Set, error) {
	trust, err := sets.trustPolicies(ctx, role)
	if err != nil {
		return nil, err
	}
	return policy.Compile(trust), nil
}

// AssumeRoleWithWebIdentity issues credentials of a role to who. The caller has
// checked that the role trusts them: see [PolicySets.TrustOf].
func (creds *Credentials) AssumeRoleWithWebIdentity(
	ctx context.Context,
	who *WebIdentity,
	role *Role,
	r SessionRequest,
) (TemporaryCredentials, *sekisho.Principal, error) {
	c, ttl, err := creds.webClaims(ctx, who, role, r)
	if err != nil {
		return TemporaryCredentials{}, nil, err
	}
	out, err := creds.issue(c, ttl)
	if err != nil {
		return TemporaryCredentials{}, nil, err
	}
	p := creds.rolePrincipal(role, r.Name)
	return out, &p, nil
}

func (a *account) webClaims(
	ctx context.Context,
	who *WebIdentity,
	role *Role,
	r SessionRequest,
) (claims, time.Duration, error) {
	if err := checkSessionName("roleSessionName", r.Name); err != nil {
		return claims{}, 0, err
	}
	if r.Duration == 0 {
		r.Duration = time.Hour
	}
	if r.Duration < 15*time.Minute || r.Duration > role.MaxSession {
		return claims{}, 0, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	tags, err := mergeTags(nil, who.Tags)
	if err != nil {
		return claims{}, 0, err
	}
	if err := a.checkSessionPolicies(ctx, r); err != nil {
		return claims{}, 0, err
	}
	if err := a.read(ctx, func(s *state) error { return s.checkSessionOwner(r.Name, "") }); err != nil {
		return claims{}, 0, err
	}
	return claims{
		Kind: claimRole, ID: role.ID, Name: r.Name, Policies: r.Policies, PolicyARNs: r.PolicyARNs,
		Tags: tags, Transitive: who.TransitiveTags, SourceIdentity: who.SourceIdentity,
		Provider: who.Provider.ARN, Person: who.person(), SignedIn: term(termWeb, who.Provider.ARN),
	}, r.Duration, nil
}

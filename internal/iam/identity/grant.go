package identity

import (
	"context"
	"encoding/json"
	"time"

	"sekisho"
)

// SignIn is a console sign-in. The console stores Grant and passes it to
// [SignIns.Granted] at every request; it contains no secret.
type SignIn struct {
	Principal *sekisho.Principal
	Grant     []byte
	// Expires is a hard limit; zero if the console decides.
	Expires time.Time
}

// userSignIn returns the sign-in of a user who has presented the credential of
// the lease term shown.
func (signIns *SignIns) userSignIn(u *User, shown string, mfa bool) SignIn {
	now := signIns.now().UTC().Truncate(time.Second)
	c := claims{Kind: claimUser, ID: u.ID, Issued: now.Unix(), SignedIn: shown, Console: true}
	if mfa {
		c.MFA = now.Unix()
	}
	p := signIns.userPrincipal(u)
	p.TokenIssueTime, p.Lease = now, c.lease()
	if mfa {
		p.MFATime = now
	}
	return SignIn{Principal: &p, Grant: c.grant()}
}

// WebSignIn signs in a person authenticated by an identity provider as a
// session of a role. The caller has checked that the role trusts them.
func (signIns *SignIns) WebSignIn(ctx context.Context, who *WebIdentity, role *Role, r SessionRequest) (SignIn, error) {
	c, ttl, err := signIns.webClaims(ctx, who, role, r)
	if err != nil {
		return SignIn{}, err
	}
	now := signIns.now()
	c.Issued, c.Expires, c.Console = now.Unix(), now.Add(ttl).Unix(), true
	grant := c.grant()
	p, err := signIns.Granted(ctx, grant)
	return SignIn{Principal: p, Grant: grant, Expires: time.Unix(c.Expires, 0)}, err
}

func (c *claims) grant() []byte {
	b, err := json.Marshal(c)
	if err != nil { // strings, numbers and maps of strings always marshal
		panic(err)
	}
	return b
}

// Granted returns the principal of a console sign-in in its current state. It fails if an object
// that the sign-in depends on is gone: the user, the password, the passkey, the role or the
// identity provider.
func (signIns *SignIns) Granted(ctx context.Context, grant []byte) (*sekisho.Principal, error) {
	var c claims
	if err := json.Unmarshal(grant, &c); err != nil || !c.Console || c.SignedIn == "" {
		return nil, errUnknownKey
	}
	if c.Expires != 0 && signIns.now().Unix() >= c.Expires {
		return nil, errExpiredToken
	}
	return get(ctx, signIns.account, func(s *state) (*sekisho.Principal, error) { return signIns.claimed(s, &c) })
}

// OfSignIn issues credentials with the identity of a console sign-in, for a
// program that its user approved. They end with the sign-in's password, passkey
// or identity provider, as the sign-in does, and with the hard limit of a role
// session.
func (creds *Credentials) OfSignIn(grant []byte, ttl time.Duration) (TemporaryCredentials, error) {
	var c claims
	if err := json.Unmarshal(grant, &c); err != nil || !c.Console || c.SignedIn == "" {
		return TemporaryCredentials{}, errUnknownKey
	}
	if err := checkLongDuration(ttl); err != nil {
		return TemporaryCredentials{}, err
	}
	if c.Expires != 0 {
		ttl = min(ttl, time.Unix(c.Expires, 0).Sub(creds.now()))
	}
	if ttl <= 0 {
		return TemporaryCredentials{}, errExpiredToken
	}
	c.Console = false
	if c.Kind == claimUser {
		c.SourceUser = c.ID
	}
	return creds.issue(c, ttl)
}

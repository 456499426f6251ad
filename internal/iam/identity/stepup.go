package identity

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"sekisho"
)

// stepUpTerm is the lifetime of the credentials that a user with an access key gets for a second
// factor.
const stepUpTerm = 12 * time.Hour

// ReasonNoApp is the reason of the refusal of a code by a user who has no authenticator app, so that
// no other code helps.
const ReasonNoApp = "NoAuthenticatorApp"

var errNoFactor = sekisho.Errorf(sekisho.CodeDenied, "Only IAM users can verify a second factor again.").
	WithHint("For a role, assume it again with a second factor.")

// CanStepUp returns an error if p cannot verify a second factor.
func CanStepUp(p *sekisho.Principal) error {
	if p.Type != sekisho.PrincipalUser {
		return errNoFactor
	}
	return nil
}

// StepUp exchanges a code of any of the caller's authenticator apps for credentials with a fresh second factor. They
// depend on the same objects as the caller's own credentials, and expire no later.
func (creds *Credentials) StepUp(
	ctx context.Context, caller *sekisho.Principal, code string,
) (TemporaryCredentials, error) {
	if err := CanStepUp(caller); err != nil {
		return TemporaryCredentials{}, err
	}
	u, err := creds.user(ctx, caller.UserName)
	if err != nil {
		return TemporaryCredentials{}, err
	}
	if len(u.MFA) == 0 {
		err := sekisho.Errorf(sekisho.CodeDenied, "You have no authenticator app.").
			WithHint("Add one in the console. Passkeys work only in the console.")
		err.Reason = ReasonNoApp
		return TemporaryCredentials{}, err
	}
	mfa, err := creds.devices.anyCode(ctx, u, code)
	if err != nil {
		return TemporaryCredentials{}, err
	}
	ttl := stepUpTerm
	if caller.Session != nil {
		ttl = min(ttl, caller.Session.Expires.Sub(creds.now()))
	}
	return creds.issueUser(caller, ttl, mfa)
}

// anyCode accepts a code of any of u's authenticator apps, once, and returns the time. The guess
// counts for each app.
func (devices *MFADevices) anyCode(ctx context.Context, u *User, code string) (time.Time, error) {
	for _, serial := range u.MFA {
		if err := devices.guessMFA(ctx, u.Name, serial); err != nil {
			return time.Time{}, err
		}
	}
	if err := devices.acceptCode(ctx, u, "", code); err != nil {
		return time.Time{}, err
	}
	for _, serial := range u.MFA {
		devices.lockouts.succeeded(guess{kind: "mfa", name: serial}, devices.now())
	}
	return devices.now().UTC().Truncate(time.Second), nil
}

// StepUpSignIn verifies a second factor again for a console sign-in, and returns the sign-in with
// the fresh factor. Without a factor, the error is a [*MFARequired], which lists the user's
// factors.
func (signIns *SignIns) StepUpSignIn(
	ctx context.Context,
	grant []byte,
	host string,
	source netip.Addr,
	second Second,
) (SignIn, error) {
	p, err := signIns.Granted(ctx, grant)
	if err != nil {
		return SignIn{}, err
	}
	if err := CanStepUp(p); err != nil {
		return SignIn{}, err
	}
	u, err := signIns.user(ctx, p.UserName)
	if err != nil {
		return SignIn{}, err
	}
	switch {
	case !second.shown():
		challenge, err := signIns.passkeys.secondFactorChallenge(ctx, u, host)
		if err != nil {
			return SignIn{}, err
		}
		return SignIn{}, &MFARequired{TOTP: len(u.MFA) > 0, Passkey: challenge}
	case second.State != "":
		g := guess{kind: "passkey", name: u.Name, source: source}
		if err := signIns.lockouts.attempt(g, signIns.now()); err != nil {
			return SignIn{}, err
		}
		if _, _, err := signIns.passkeys.assert(ctx, ceremonySecond, host, second.State, u.ID, second.Answer); err != nil {
			return SignIn{}, errSignIn
		}
		signIns.lockouts.succeeded(g, signIns.now())
	default:
		if _, err := signIns.devices.anyCode(ctx, u, second.Code); err != nil {
			return SignIn{}, err
		}
	}
	var c claims
	if err := json.Unmarshal(grant, &c); err != nil {
		return SignIn{}, errUnknownKey
	}
	c.MFA = signIns.now().Unix()
	p.MFATime = time.Unix(c.MFA, 0).UTC()
	return SignIn{Principal: p, Grant: c.grant()}, nil
}

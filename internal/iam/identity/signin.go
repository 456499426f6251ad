package identity

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"sekisho"
)

// Errors that the errors of this package wrap, so that doors can use AWS's
// names for them.
var (
	// ErrMFARequired means that the password is correct, but a second factor is also required.
	ErrMFARequired = errors.New("a second factor is required")
	// ErrMFACode means that the code is wrong or was already used.
	ErrMFACode = errors.New("wrong authentication code")
	// ErrPasswordPolicy means that the new password is too weak.
	ErrPasswordPolicy = errors.New("password policy")
	// ErrPackedPolicy means that session policies and tags together are too large.
	ErrPackedPolicy = errors.New("packed policy too large")
)

var errSignIn = sekisho.Errorf(sekisho.CodeUnauthenticated, "The user name, the password or the code is wrong.")

// Second is a second factor as the user presents it.
type Second struct {
	Code string // of an authenticator application
	// State and Answer are from a passkey ceremony.
	State  string
	Answer []byte
}

func (s *Second) shown() bool { return s.Code != "" || s.State != "" }

// MFARequired is the error of a sign-in with a correct password but without a second factor. It
// lists the factors that the user can present.
type MFARequired struct {
	TOTP    bool
	Passkey *Challenge // nil if the user has no passkey for this host name
}

// Error implements error.
func (*MFARequired) Error() string { return "A second factor is required." }

// Unwrap makes errors.Is match ErrMFARequired.
func (*MFARequired) Unwrap() error { return ErrMFARequired }

// SignIns sign users in to the console.
type SignIns struct {
	*account

	lockouts *lockouts
	logins   *Logins
	devices  *MFADevices
	passkeys *Passkeys
	uses     *Uses
}

// CheckPassword signs a user in with a password and, where one is enrolled, a second factor.
// host is the name by which the browser addressed the server, source the browser's address;
// failed attempts are counted by both user and source. Neither the answer nor its timing
// reveals whether the name or the password was wrong. The error is a [*MFARequired] if the
// password is correct but the second factor is missing.
func (signIns *SignIns) CheckPassword(
	ctx context.Context,
	user, password, host string,
	source netip.Addr,
	second Second,
) (SignIn, error) {
	g := guess{kind: "password", name: user, source: source}
	if err := signIns.lockouts.attempt(g, signIns.now()); err != nil {
		return SignIn{}, err
	}
	u, err := signIns.logins.passwordOf(ctx, user, password)
	if err != nil {
		return SignIn{}, err
	}
	passkeys, err := signIns.passkeys.Of(ctx, user)
	if err != nil {
		return SignIn{}, err
	}
	mfa := len(u.MFA) > 0 || len(passkeys) > 0
	switch {
	case !mfa:
	case !second.shown():
		signIns.lockouts.cancel(g, signIns.now())
		challenge, err := signIns.passkeys.secondFactorChallenge(ctx, u, host)
		if err != nil {
			return SignIn{}, err
		}
		return SignIn{}, &MFARequired{TOTP: len(u.MFA) > 0, Passkey: challenge}
	case second.State != "":
		if _, _, err := signIns.passkeys.assert(ctx, ceremonySecond, host, second.State, u.ID, second.Answer); err != nil {
			return SignIn{}, errSignIn
		}
	default:
		if err := signIns.devices.acceptCode(ctx, u, "", second.Code); err != nil {
			return SignIn{}, errSignIn
		}
	}
	signIns.lockouts.succeeded(g, signIns.now())
	signIns.uses.touch(Use{ID: u.ID, At: signIns.now(), Service: "signin"})
	return signIns.userSignIn(u, term(termPassword, u.ID+"/"+u.Login.fingerprint()), mfa), nil
}

// passwordOf checks a user's password and returns the user.
func (logins *Logins) passwordOf(ctx context.Context, user, password string) (*User, error) {
	if len(password) > maxPassword {
		return nil, errSignIn
	}
	u, err := logins.user(ctx, user)
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	hash := dummyHash
	if u != nil && u.Login != nil {
		hash = u.Login.Hash
	}
	select {
	case logins.hashing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	matches := passwordMatches(hash, password)
	<-logins.hashing
	if !matches || u == nil || u.Login == nil {
		return nil, errSignIn
	}
	return u, nil
}

func loginExists(user string) error {
	return exists("Login Profile for user %s already exists.", user)
}

func noLogin(user string) error {
	return notFound("Login Profile for User %s cannot be found.", user)
}

// Create sets a user's first password.
func (logins *Logins) Create(ctx context.Context, user, password string, reset bool) (*LoginProfile, error) {
	if err := logins.checkPassword(ctx, user, password); err != nil {
		return nil, err
	}
	hash := hashPassword(password)
	var l *LoginProfile
	err := logins.update(ctx, func(t *tx) error {
		u, err := t.editUser(user)
		if err != nil {
			return err
		}
		if u.Login != nil {
			return loginExists(user)
		}
		l = &LoginProfile{Hash: hash, Created: t.now, Changed: t.now, ResetRequired: reset}
		u.Login = l
		return nil
	})
	return l, err
}

// Update changes a user's password, or whether it must be changed at the
// next sign-in; nil changes nothing.
func (logins *Logins) Update(ctx context.Context, user string, password *string, reset *bool) error {
	hash := ""
	if password != nil {
		if err := logins.checkPassword(ctx, user, *password); err != nil {
			return err
		}
		hash = hashPassword(*password)
	}
	return logins.update(ctx, func(t *tx) error {
		u, err := t.editUser(user)
		if err != nil {
			return err
		}
		if u.Login == nil {
			return noLogin(user)
		}
		if hash != "" {
			u.Login.Hash, u.Login.Changed = hash, t.now
		}
		if reset != nil {
			u.Login.ResetRequired = *reset
		}
		return nil
	})
}

// Delete removes a user's password.
func (logins *Logins) Delete(ctx context.Context, user string) error {
	return logins.update(ctx, func(t *tx) error {
		u, err := t.editUser(user)
		if err != nil {
			return err
		}
		if u.Login == nil {
			return noLogin(user)
		}
		u.Login = nil
		return nil
	})
}

// Get returns a user's login profile.
func (logins *Logins) Get(ctx context.Context, user string) (*LoginProfile, error) {
	u, err := logins.user(ctx, user)
	if err != nil {
		return nil, err
	}
	if u.Login == nil {
		return nil, noLogin(user)
	}
	return u.Login, nil
}

// PasswordReset reports whether p has signed in to the console with a password
// that must be changed first.
func (signIns *SignIns) PasswordReset(ctx context.Context, p *sekisho.Principal) (bool, error) {
	kind, value, _ := strings.Cut(signedIn(p.Lease), ":")
	if kind != termPassword {
		return false, nil
	}
	id, _, _ := strings.Cut(value, "/")
	return get(ctx, signIns.account, func(s *state) (bool, error) {
		u := s.userIDs[id]
		return u != nil && u.Login != nil && (u.Login.ResetRequired || s.expired(u.Login, signIns.now())), nil
	})
}

// ChangePassword changes a user's password after checking the old one. If a
// reset is required, the new password must differ from the old one.
func (logins *Logins) ChangePassword(ctx context.Context, user, old, password string) error {
	g := guess{kind: "change", name: user}
	if err := logins.lockouts.attempt(g, logins.now()); err != nil {
		return err
	}
	u, err := logins.passwordOf(ctx, user, old)
	if err != nil {
		if sekisho.CodeOf(err) == sekisho.CodeUnauthenticated {
			return sekisho.Errorf(sekisho.CodeDenied, "The old password was incorrect.")
		}
		return err
	}
	logins.lockouts.succeeded(g, logins.now())
	expired, err := get(ctx, logins.account, func(s *state) (bool, error) { return s.expired(u.Login, logins.now()), nil })
	if err != nil {
		return err
	}
	if (u.Login.ResetRequired || expired) && old == password {
		return &sekisho.Error{
			Code:    sekisho.CodeInvalid,
			Err:     ErrPasswordPolicy,
			Message: "The new password must differ from the old one.",
		}
	}
	no := false
	return logins.Update(ctx, user, &password, &no)
}

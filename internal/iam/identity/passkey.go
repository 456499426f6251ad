package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"sekisho"
)

const (
	maxPasskeysPerUser = 8
	purposeCeremony    = "webauthn ceremony"
	// ceremonyTime bounds the time for using the authenticator.
	ceremonyTime     = 5 * time.Minute
	maxCeremonyState = 16 << 10
	maxPasskeyAnswer = 64 << 10
	defaultPasskey   = "passkey"
)

// Passkey is a WebAuthn credential of a user: a second factor, or, with user verification, a way to
// sign in without a password.
type Passkey struct {
	ID         string // of the credential, base64url
	Name       string
	Serial     string // ARN, as AWS names FIDO devices
	UserID     string
	RPID       string // the host name for which it was created
	Credential webauthn.Credential
	Created    time.Time
	Used       time.Time `json:",omitzero"`
	// Newest is the newest challenge answered so far. An answer to an older challenge is a replay.
	Newest int64 `json:",omitempty"`
}

func (k *Passkey) kind() Kind  { return KindPasskey }
func (k *Passkey) key() string { return k.ID }

// passkeysOf returns a user's passkeys, the oldest first.
func (s *state) passkeysOf(userID string) []*Passkey {
	var out []*Passkey
	for _, k := range s.passkeys {
		if k.UserID == userID {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b *Passkey) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Of returns a user's passkeys, the oldest first.
func (passkeys *Passkeys) Of(ctx context.Context, user string) ([]*Passkey, error) {
	return get(ctx, passkeys.account, func(s *state) ([]*Passkey, error) {
		u, err := s.user(user)
		if err != nil {
			return nil, err
		}
		return s.passkeysOf(u.ID), nil
	})
}

// BySerial returns a passkey and its user.
func (passkeys *Passkeys) BySerial(ctx context.Context, serial string) (*Passkey, *User, error) {
	var u *User
	k, err := get(ctx, passkeys.account, func(s *state) (*Passkey, error) {
		for _, k := range s.passkeys {
			if k.Serial == serial {
				u = s.userIDs[k.UserID]
				return k, nil
			}
		}
		return nil, notFound("MFA device with serial number %s does not exist.", printable(serial))
	})
	return k, u, err
}

// Delete removes a passkey from its user and ends its sign-ins.
func (passkeys *Passkeys) Delete(ctx context.Context, user, serial string) error {
	return passkeys.update(ctx, func(t *tx) error {
		u, err := t.user(user)
		if err != nil {
			return err
		}
		for _, k := range t.passkeysOf(u.ID) {
			if k.Serial == serial {
				t.drop(k)
				return nil
			}
		}
		return notFound("MFA device with serial number %s does not exist.", printable(serial))
	})
}

// Challenge is the first half of a ceremony.
type Challenge struct {
	Options any    // for navigator.credentials, as JSON
	State   string // sealed; the browser returns it with its answer
}

// ceremony is the sealed content of a Challenge's State.
type ceremony struct {
	Kind    string `json:"k"` // what the answer may be used for
	Made    int64  `json:"m"` // microseconds: the order of challenges
	Host    string `json:"h"`
	UserID  string `json:"u,omitempty"`
	Session webauthn.SessionData
}

const (
	ceremonyRegister = "register"
	ceremonySignIn   = "sign in"
	ceremonySecond   = "second factor"
)

// relyingParty is this server under the host name the browser used. Browsers
// never present a passkey of one name to another.
func relyingParty(host string) (*webauthn.WebAuthn, error) {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil || name == "" {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "Browsers do not support passkeys for the address %s.",
			printable(name)).
			WithHint("Open the console by host name; on this machine, https://localhost with the same port.")
	}
	w, err := webauthn.New(
		&webauthn.Config{RPID: strings.ToLower(name), RPDisplayName: "Sekisho", RPOrigins: []string{"https://" + host}},
	)
	if err != nil {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"Passkeys cannot be registered for the host name %s.",
			printable(name),
		)
	}
	return w, nil
}

// passkeyUser is a user in the form that the WebAuthn library requires.
type passkeyUser struct {
	u    *User
	keys []*Passkey
}

func (p passkeyUser) WebAuthnID() []byte          { return []byte(p.u.ID) }
func (p passkeyUser) WebAuthnName() string        { return p.u.Name }
func (p passkeyUser) WebAuthnDisplayName() string { return p.u.Name }
func (p passkeyUser) WebAuthnCredentials() []webauthn.Credential {
	out := make([]webauthn.Credential, 0, len(p.keys))
	for _, k := range p.keys {
		out = append(out, k.Credential)
	}
	return out
}

// passkeyUser returns a user with the passkeys it has for a host name.
func (s *state) passkeyUser(u *User, rp *webauthn.WebAuthn) passkeyUser {
	p := passkeyUser{u: u}
	for _, k := range s.passkeysOf(u.ID) {
		if k.RPID == rp.Config.RPID {
			p.keys = append(p.keys, k)
		}
	}
	return p
}

func (passkeys *Passkeys) challenge(
	kind, host, userID string,
	options any,
	session *webauthn.SessionData,
) (*Challenge, error) {
	now := passkeys.now()
	session.Expires = now.Add(ceremonyTime)
	plain, err := json.Marshal(
		ceremony{Kind: kind, Made: now.UnixMicro(), Host: host, UserID: userID, Session: *session},
	)
	if err != nil {
		return nil, err
	}
	sealed, err := passkeys.ring.Seal(purposeCeremony, plain, nil)
	if err != nil {
		return nil, err
	}
	return &Challenge{options, base64.RawURLEncoding.EncodeToString(sealed)}, nil
}

var errCeremony = sekisho.Errorf(sekisho.CodeInvalid, "The passkey was not accepted. Start again.")

func (passkeys *Passkeys) openCeremony(kind, host, state string) (*ceremony, error) {
	if len(state) > maxCeremonyState {
		return nil, errCeremony
	}
	sealed, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil {
		return nil, errCeremony
	}
	plain, err := passkeys.ring.Open(purposeCeremony, sealed, nil)
	if err != nil {
		return nil, errCeremony
	}
	var c ceremony
	if err := json.Unmarshal(plain, &c); err != nil || c.Kind != kind || c.Host != host ||
		!passkeys.now().Before(c.Session.Expires) {
		return nil, errCeremony
	}
	// The library would compare it with the wall clock.
	c.Session.Expires = time.Time{}
	return &c, nil
}

// Begin starts the registration of a passkey by a user whose browser
// addressed the server as host.
func (passkeys *Passkeys) Begin(ctx context.Context, user, host string) (*Challenge, error) {
	rp, err := relyingParty(host)
	if err != nil {
		return nil, err
	}
	who, err := get(ctx, passkeys.account, func(s *state) (passkeyUser, error) {
		u, err := s.user(user)
		if err != nil {
			return passkeyUser{}, err
		}
		return s.passkeyUser(u, rp), nil
	})
	if err != nil {
		return nil, err
	}
	var have []protocol.CredentialDescriptor
	for _, c := range who.WebAuthnCredentials() {
		have = append(have, c.Descriptor())
	}
	options, session, err := rp.BeginRegistration(who,
		webauthn.WithExclusions(have),
		webauthn.WithConveyancePreference(protocol.PreferNoAttestation),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired,
		}))
	if err != nil {
		return nil, err
	}
	return passkeys.challenge(ceremonyRegister, host, who.u.ID, options, session)
}

// Finish registers the passkey that a browser created for a challenge of BeginPasskey.
func (passkeys *Passkeys) Finish(
	ctx context.Context,
	user, host, name, state string,
	answer []byte,
) (*Passkey, error) {
	rp, err := relyingParty(host)
	if err != nil {
		return nil, err
	}
	c, err := passkeys.openCeremony(ceremonyRegister, host, state)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = defaultPasskey
	}
	if err := checkName("name", name, 64); err != nil {
		return nil, err
	}
	if len(answer) > maxPasskeyAnswer {
		return nil, errCeremony
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return nil, errCeremony
	}
	var k *Passkey
	err = passkeys.update(ctx, func(t *tx) error {
		u, err := t.user(user)
		if err != nil {
			return err
		}
		if u.ID != c.UserID {
			return errCeremony
		}
		if len(t.passkeysOf(u.ID)) >= maxPasskeysPerUser {
			return limit("Cannot exceed quota for MFADevicesPerUser: %d", maxPasskeysPerUser)
		}
		cred, err := rp.CreateCredential(t.passkeyUser(u, rp), c.Session, parsed)
		if err != nil {
			return errCeremony
		}
		id := base64.RawURLEncoding.EncodeToString(cred.ID)
		if t.passkeys[id] != nil {
			return exists("This passkey is already registered.")
		}
		cred.Attestation = webauthn.CredentialAttestation{} // attestation is not evaluated
		k = &Passkey{
			ID: id, Name: name, UserID: u.ID, RPID: rp.Config.RPID, Credential: *cred, Created: t.now, Newest: c.Made,
			Serial: passkeys.arn("u2f", "/user/"+u.Name+"/", name+"-"+newID("", 8)),
		}
		t.put(k)
		return nil
	})
	return k, err
}

// BeginPasskeySignIn begins a sign-in with only a passkey.
func (signIns *SignIns) BeginPasskeySignIn(_ context.Context, host string) (*Challenge, error) {
	rp, err := relyingParty(host)
	if err != nil {
		return nil, err
	}
	options, session, err := rp.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, err
	}
	return signIns.passkeys.challenge(ceremonySignIn, host, "", options, session)
}

// PasskeySignIn signs in the owner of a passkey. The authenticator has verified
// the user, so the passkey counts as two factors.
func (signIns *SignIns) PasskeySignIn(ctx context.Context, host, state string, answer []byte) (SignIn, error) {
	k, u, err := signIns.passkeys.assert(ctx, ceremonySignIn, host, state, "", answer)
	if err != nil {
		return SignIn{}, err
	}
	signIns.uses.touch(Use{ID: u.ID, At: signIns.now(), Service: "signin"})
	return signIns.userSignIn(u, term(termPasskey, k.ID), true), nil
}

// secondFactorChallenge returns a challenge for a user whose password was correct; nil if the user
// has no passkey for host.
func (passkeys *Passkeys) secondFactorChallenge(ctx context.Context, u *User, host string) (*Challenge, error) {
	rp, err := relyingParty(host)
	if err != nil {
		return nil, nil //nolint:nilerr // such a name has no passkeys
	}
	who, err := get(ctx, passkeys.account, func(s *state) (passkeyUser, error) { return s.passkeyUser(u, rp), nil })
	if err != nil || len(who.keys) == 0 {
		return nil, err
	}
	options, session, err := rp.BeginLogin(who, webauthn.WithUserVerification(protocol.VerificationPreferred))
	if err != nil {
		return nil, err
	}
	return passkeys.challenge(ceremonySecond, host, u.ID, options, session)
}

// assert verifies the answer to a challenge and returns the passkey and its user. Each
// challenge can be answered only once in the cluster.
func (passkeys *Passkeys) assert(
	ctx context.Context,
	kind, host, state, userID string,
	answer []byte,
) (*Passkey, *User, error) {
	rp, err := relyingParty(host)
	if err != nil {
		return nil, nil, err
	}
	c, err := passkeys.openCeremony(kind, host, state)
	if err != nil {
		return nil, nil, errSignIn
	}
	if len(answer) > maxPasskeyAnswer || c.UserID != userID {
		return nil, nil, errSignIn
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return nil, nil, errSignIn
	}
	id := base64.RawURLEncoding.EncodeToString(parsed.RawID)
	var key *Passkey
	var user *User
	err = passkeys.update(ctx, func(t *tx) error {
		k := t.passkeys[id]
		if k == nil || k.RPID != rp.Config.RPID || c.Made <= k.Newest {
			return errSignIn
		}
		u := t.userIDs[k.UserID]
		if u == nil || userID != "" && u.ID != userID {
			return errSignIn
		}
		who := t.passkeyUser(u, rp)
		var cred *webauthn.Credential
		if userID != "" {
			cred, err = rp.ValidateLogin(who, c.Session, parsed)
		} else {
			cred, err = rp.ValidateDiscoverableLogin(func(_, handle []byte) (webauthn.User, error) {
				if string(handle) != u.ID {
					return nil, errors.New("another user's passkey")
				}
				return who, nil
			}, c.Session, parsed)
		}
		if err != nil || cred.Authenticator.CloneWarning ||
			userID == "" && !parsed.Response.AuthenticatorData.Flags.HasUserVerified() {
			return errSignIn
		}
		used := edit(k)
		used.Credential.Authenticator.SignCount, used.Credential.Flags = cred.Authenticator.SignCount, cred.Flags
		used.Newest, used.Used = c.Made, t.now
		t.put(used)
		key, user = used, u
		return nil
	})
	return key, user, err
}

package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"time"

	"sekisho"
)

// Purposes under which the keyring seals this package's secrets.
const (
	purposeAccessKey    = "iam access key"
	purposeSessionToken = "sts session token"
	purposeTOTP         = "iam totp seed"
)

const (
	maxTokenText = 16 << 10
	// maxPacked bounds the policies and tags that a session token carries, as
	// AWS's packed size limit does: the token travels with every request.
	maxPacked = 6 << 10
)

var (
	errUnknownKey = sekisho.Errorf(
		sekisho.CodeUnauthenticated,
		"The security token included in the request is invalid.",
	)
	errExpiredToken = sekisho.Errorf(sekisho.CodeExpired, "The security token included in the request is expired")
)

// TemporaryCredentials are credentials with an end.
type TemporaryCredentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// claims is the sealed content of a session token.
type claims struct {
	Kind    string `json:"k"` // claimUser, claimRole or claimFederated
	Secret  string `json:"s"`
	ID      string `json:"i"`           // ID of the user or role
	Name    string `json:"n,omitempty"` // name of the role session or federated user
	Issued  int64  `json:"t"`
	Expires int64  `json:"e"`
	MFA     int64  `json:"m,omitempty"`

	Policies       []string          `json:"p,omitempty"`
	PolicyARNs     []string          `json:"a,omitempty"`
	Tags           map[string]string `json:"g,omitempty"`
	Transitive     []string          `json:"r,omitempty"`
	SourceIdentity string            `json:"si,omitempty"`
	SourceUser     string            `json:"su,omitempty"`
	SourceKey      string            `json:"sk,omitempty"`
	Provider       string            `json:"fp,omitempty"` // ARN of the identity provider
	Person         string            `json:"fs,omitempty"` // see PrincipalSession.FederatedPerson
	SignedIn       string            `json:"l,omitempty"`  // the lease term of the console sign-in
	Console        bool              `json:"c,omitempty"`  // the sign-in itself, not credentials issued from it
	Node           sekisho.NodeID    `json:"d,omitempty"`
	NodeProgram    bool              `json:"dp,omitempty"` // for programs on the node, not for its agent
}

const (
	claimUser      = "user"
	claimRole      = "role"
	claimFederated = "federated"
)

// Credentials verifies access keys and issues temporary credentials.
type Credentials struct {
	*account

	devices *MFADevices
	sets    *PolicySets
	uses    *Uses
}

// Credential returns the secret and the principal of an access key; token is
// the session token, empty for long-term keys. It refuses unknown, revoked and
// expired credentials.
func (creds *Credentials) Credential(
	ctx context.Context,
	accessKeyID, token string,
) (secret string, p *sekisho.Principal, err error) {
	if token != "" {
		return creds.temporary(ctx, accessKeyID, token)
	}
	var sealed []byte
	err = creds.read(ctx, func(s *state) error {
		u, k := s.activeKey(accessKeyID)
		if k == nil {
			return errUnknownKey
		}
		sealed = k.Sealed
		up := creds.userPrincipal(u)
		up.AccessKeyID, up.Lease = accessKeyID, lease(term(termUser, u.ID), term(termKey, accessKeyID))
		p = &up
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	plain, err := creds.ring.Open(purposeAccessKey, sealed, []byte(accessKeyID))
	if err != nil {
		return "", nil, err
	}
	return string(plain), p, nil
}

func (s *state) activeKey(id string) (*User, *AccessKey) {
	u := s.keyOwners[id]
	if u == nil {
		return nil, nil
	}
	for i := range u.Keys {
		if u.Keys[i].ID == id && u.Keys[i].Active {
			return u, &u.Keys[i]
		}
	}
	return nil, nil
}

func (creds *Credentials) temporary(
	ctx context.Context, accessKeyID, token string,
) (string, *sekisho.Principal, error) {
	if len(token) > maxTokenText || !strings.HasPrefix(accessKeyID, "ASIA") {
		return "", nil, errUnknownKey
	}
	sealed, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return "", nil, errUnknownKey
	}
	plain, err := creds.ring.Open(purposeSessionToken, sealed, []byte(accessKeyID))
	if err != nil {
		return "", nil, errUnknownKey
	}
	var c claims
	if err := json.Unmarshal(plain, &c); err != nil {
		return "", nil, errUnknownKey
	}
	if creds.now().Unix() >= c.Expires {
		return "", nil, errExpiredToken
	}
	var p *sekisho.Principal
	err = creds.read(ctx, func(s *state) (err error) {
		p, err = creds.claimed(s, &c)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	p.AccessKeyID = accessKeyID
	if c.Kind == claimRole {
		creds.uses.touch(Use{ID: c.ID, At: creds.now(), Service: "sts"})
	}
	return c.Secret, p, nil
}

// claimed returns the principal of a session token, unless one of the objects
// the token depends on is gone.
func (a *account) claimed(s *state, c *claims) (*sekisho.Principal, error) {
	held := c.lease()
	if !s.stands(held) {
		return nil, errUnknownKey
	}
	var p sekisho.Principal
	switch c.Kind {
	case claimUser:
		u := s.userIDs[c.ID]
		if u == nil {
			return nil, errUnknownKey
		}
		p = a.userPrincipal(u)
	case claimRole:
		r := s.roleIDs[c.ID]
		if r == nil {
			return nil, errUnknownKey
		}
		p = a.rolePrincipal(r, c.Name)
		p.Tags = overlay(r.Tags, c.Tags)
	case claimFederated:
		arn := "arn:aws:sts::" + a.id + ":federated-user/" + c.Name
		p = sekisho.Principal{
			Type: sekisho.PrincipalFederatedUser, Account: a.id, ARN: arn, PolicyARN: arn,
			UserID: a.id + ":" + c.Name, RoleSessionName: c.Name, Tags: c.Tags,
		}
	default:
		return nil, errUnknownKey
	}
	p.TokenIssueTime = time.Unix(c.Issued, 0).UTC()
	if c.MFA != 0 {
		p.MFATime = time.Unix(c.MFA, 0).UTC()
	}
	p.Node, p.NodeProgram, p.Lease = c.Node, c.NodeProgram, held
	if c.Console && c.Kind == claimUser {
		return &p, nil // a user at the console acts as itself
	}
	p.Session = &sekisho.PrincipalSession{
		Expires: time.Unix(c.Expires, 0).UTC(), Policies: c.Policies, PolicyARNs: c.PolicyARNs,
		TransitiveTags: c.Transitive, SourceIdentity: c.SourceIdentity, FederatedProvider: c.Provider,
		FederatedPerson: c.Person,
		SourceUserID:    c.SourceUser, SourceAccessKeyID: c.SourceKey,
	}
	return &p, nil
}

func (a *account) rolePrincipal(r *Role, session string) sekisho.Principal {
	return sekisho.Principal{
		Type: sekisho.PrincipalAssumedRole, Account: a.id,
		ARN:       "arn:aws:sts::" + a.id + ":assumed-role/" + r.Name + "/" + session,
		PolicyARN: r.ARN, UserID: r.ID + ":" + session,
		RoleName: r.Name, RoleSessionName: session, Tags: r.Tags,
	}
}

// overlay returns base with the tags of top, which win in any letter case.
func overlay(base, top map[string]string) map[string]string {
	if len(top) == 0 {
		return base
	}
	out := maps.Clone(top)
	folded := map[string]bool{}
	for k := range top {
		folded[strings.ToLower(k)] = true
	}
	for k, v := range base {
		if !folded[strings.ToLower(k)] {
			out[k] = v
		}
	}
	return out
}

// issue issues temporary credentials with claims.
func (creds *Credentials) issue(c claims, ttl time.Duration) (TemporaryCredentials, error) {
	packed := 0
	for _, p := range c.Policies {
		packed += len(p)
	}
	for _, a := range c.PolicyARNs {
		packed += len(a)
	}
	for k, v := range c.Tags {
		packed += len(k) + len(v)
	}
	if packed > maxPacked {
		return TemporaryCredentials{}, &sekisho.Error{
			Code: sekisho.CodeLimit, Err: ErrPackedPolicy,
			Message: "The session policies and tags together are too large.",
		}
	}
	now := creds.now()
	c.Issued, c.Expires = now.Unix(), now.Add(ttl).Unix()
	c.Secret = newSecret()
	out := TemporaryCredentials{
		AccessKeyID: newID("ASIA", 16), SecretAccessKey: c.Secret,
		Expiration: time.Unix(c.Expires, 0).UTC(),
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return TemporaryCredentials{}, err
	}
	sealed, err := creds.ring.Seal(purposeSessionToken, plain, []byte(out.AccessKeyID))
	if err != nil {
		return TemporaryCredentials{}, err
	}
	out.SessionToken = base64.StdEncoding.EncodeToString(sealed)
	return out, nil
}

// SessionRequest is a request for temporary credentials. The caller of this package authorizes it;
// this package checks its form.
type SessionRequest struct {
	Name           string // of the role session or federated user
	Duration       time.Duration
	Policies       []string
	PolicyARNs     []string
	Tags           map[string]string
	TransitiveTags []string
	SourceIdentity string
	MFATime        time.Time
}

// AssumeRole issues credentials of a role to a principal that the caller of
// this method has authorized: see [PolicySets.TrustSet].
func (creds *Credentials) AssumeRole(
	ctx context.Context,
	caller *sekisho.Principal,
	role *Role,
	r SessionRequest,
) (TemporaryCredentials, *sekisho.Principal, error) {
	if err := checkSessionName("roleSessionName", r.Name); err != nil {
		return TemporaryCredentials{}, nil, err
	}
	if r.Duration == 0 {
		r.Duration = time.Hour
	}
	longest := role.MaxSession
	if caller.Type == sekisho.PrincipalAssumedRole { // role chaining
		longest = min(longest, time.Hour)
	}
	if r.Duration < 15*time.Minute || r.Duration > longest {
		return TemporaryCredentials{}, nil, invalid(
			"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
		)
	}
	tags, transitive, err := sessionTags(caller, r)
	if err != nil {
		return TemporaryCredentials{}, nil, err
	}
	if err := creds.checkSessionPolicies(ctx, r); err != nil {
		return TemporaryCredentials{}, nil, err
	}
	user, key := source(caller)
	if err := creds.read(ctx, func(s *state) error { return s.checkSessionOwner(r.Name, user) }); err != nil {
		return TemporaryCredentials{}, nil, err
	}
	c := claims{
		Kind: claimRole, ID: role.ID, Name: r.Name, Policies: r.Policies, PolicyARNs: r.PolicyARNs,
		Tags: tags, Transitive: transitive, SourceIdentity: r.SourceIdentity, SourceUser: user, SourceKey: key,
		SignedIn: signedIn(caller.Lease),
	}
	if caller.Session != nil {
		c.Provider, c.Person = caller.Session.FederatedProvider, caller.Session.FederatedPerson
	}
	// As in AWS, a role session does not inherit the second factor: aws:MultiFactorAuthPresent
	// refers to this call.
	if !r.MFATime.IsZero() {
		c.MFA = r.MFATime.Unix()
	}
	out, err := creds.issue(c, r.Duration)
	if err != nil {
		return TemporaryCredentials{}, nil, err
	}
	p := creds.rolePrincipal(role, r.Name)
	return out, &p, nil
}

// sessionTags returns the tags of the request and the transitive tags of caller's own session.
func sessionTags(caller *sekisho.Principal, r SessionRequest) (map[string]string, []string, error) {
	tags, err := mergeTags(nil, r.Tags)
	if err != nil {
		return nil, nil, err
	}
	transitive := r.TransitiveTags
	for _, name := range transitive {
		// Otherwise a tag of the role itself would pass on to the next session.
		if _, ok := tags[name]; !ok {
			return nil, nil, invalid("The specified transitive tag key must be included in the requested tags.")
		}
	}
	if caller.Session == nil {
		return tags, transitive, nil
	}
	for _, name := range caller.Session.TransitiveTags {
		for have := range tags {
			if strings.EqualFold(have, name) {
				return nil, nil, invalid(
					"One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from " +
						"the calling session.",
				)
			}
		}
		if v, ok := caller.Tags[name]; ok {
			tags[name] = v
		}
		transitive = append(transitive[:len(transitive):len(transitive)], name)
	}
	return tags, transitive, nil
}

// source returns the long-term identity at the start of a chain of credentials.
func source(p *sekisho.Principal) (userID, accessKeyID string) {
	if p.Session != nil {
		return p.Session.SourceUserID, p.Session.SourceAccessKeyID
	}
	if p.Type == sekisho.PrincipalUser && strings.HasPrefix(p.AccessKeyID, "AKIA") {
		return p.UserID, p.AccessKeyID
	}
	if p.Type == sekisho.PrincipalUser { // at the console
		return p.UserID, ""
	}
	return "", ""
}

// SessionToken issues credentials of the user caller itself
// (GetSessionToken).
func (creds *Credentials) SessionToken(
	_ context.Context,
	caller *sekisho.Principal,
	duration time.Duration,
	mfa time.Time,
) (TemporaryCredentials, error) {
	if caller.Type != sekisho.PrincipalUser || caller.Session != nil {
		return TemporaryCredentials{}, sekisho.Errorf(
			sekisho.CodeDenied,
			"Cannot call GetSessionToken with session credentials",
		)
	}
	if duration == 0 {
		duration = 12 * time.Hour
	}
	if err := checkLongDuration(duration); err != nil {
		return TemporaryCredentials{}, err
	}
	return creds.issueUser(caller, duration, mfa)
}

// issueUser issues credentials of the user caller, which depend on the same objects as caller's own
// credentials.
func (creds *Credentials) issueUser(
	caller *sekisho.Principal,
	ttl time.Duration,
	mfa time.Time,
) (TemporaryCredentials, error) {
	user, key := source(caller)
	c := claims{Kind: claimUser, ID: caller.UserID, SourceUser: user, SourceKey: key, SignedIn: signedIn(caller.Lease)}
	if !mfa.IsZero() {
		c.MFA = mfa.Unix()
	}
	return creds.issue(c, ttl)
}

// FederationToken issues credentials of a federated user, who is limited to
// what both the caller's policies and the session policies allow.
func (creds *Credentials) FederationToken(
	ctx context.Context,
	caller *sekisho.Principal,
	r SessionRequest,
) (TemporaryCredentials, *sekisho.Principal, error) {
	if caller.Type != sekisho.PrincipalUser || caller.Session != nil {
		return TemporaryCredentials{}, nil, sekisho.Errorf(
			sekisho.CodeDenied,
			"Cannot call GetFederationToken with session credentials",
		)
	}
	if len(r.Name) > 32 {
		return TemporaryCredentials{}, nil, invalid(
			"1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must have length less "+
				"than or equal to 32",
			printable(r.Name),
		)
	}
	if err := checkSessionName("name", r.Name); err != nil {
		return TemporaryCredentials{}, nil, err
	}
	if r.Duration == 0 {
		r.Duration = 12 * time.Hour
	}
	if err := checkLongDuration(r.Duration); err != nil {
		return TemporaryCredentials{}, nil, err
	}
	tags, err := mergeTags(caller.Tags, r.Tags)
	if err != nil {
		return TemporaryCredentials{}, nil, err
	}
	if err := creds.checkSessionPolicies(ctx, r); err != nil {
		return TemporaryCredentials{}, nil, err
	}
	user, key := source(caller)
	if err := creds.read(ctx, func(s *state) error { return s.checkSessionOwner(r.Name, user) }); err != nil {
		return TemporaryCredentials{}, nil, err
	}
	c := claims{
		Kind:       claimFederated,
		ID:         caller.UserID,
		Name:       r.Name,
		Policies:   r.Policies,
		PolicyARNs: r.PolicyARNs,
		Tags:       tags,
		SourceUser: user,
		SourceKey:  key,
		SignedIn:   signedIn(caller.Lease),
	}
	out, err := creds.issue(c, r.Duration)
	if err != nil {
		return TemporaryCredentials{}, nil, err
	}
	return out, &sekisho.Principal{
		Type: sekisho.PrincipalFederatedUser, Account: creds.id,
		ARN: "arn:aws:sts::" + creds.id + ":federated-user/" + r.Name, UserID: creds.id + ":" + r.Name,
	}, nil
}

// IssueNodeCredentials issues a node the credentials of its role. The role must still trust ssm.amazonaws.com or, for
// roles of instance profiles, ec2.amazonaws.com. With programs, the credentials are for programs on the node and cannot
// be used as its agent.
func (creds *Credentials) IssueNodeCredentials(
	ctx context.Context,
	node sekisho.NodeID,
	role string,
	programs bool,
	ttl time.Duration,
) (TemporaryCredentials, error) {
	r, err := get(ctx, creds.account, func(s *state) (*Role, error) { return s.rolePath(role) })
	if err != nil {
		return TemporaryCredentials{}, err
	}
	trusted, err := creds.sets.TrustsService(ctx, r, "ssm.amazonaws.com")
	if err != nil {
		return TemporaryCredentials{}, err
	}
	if !trusted {
		if trusted, err = creds.sets.TrustsService(ctx, r, "ec2.amazonaws.com"); err != nil {
			return TemporaryCredentials{}, err
		}
	}
	if !trusted {
		return TemporaryCredentials{}, sekisho.Errorf(
			sekisho.CodeDenied,
			"The role %s trusts neither ssm.amazonaws.com nor ec2.amazonaws.com.",
			r.Name,
		)
	}
	return creds.issue(claims{Kind: claimRole, ID: r.ID, Name: string(node), Node: node, NodeProgram: programs}, ttl)
}

func checkSessionName(field, name string) error {
	if len(name) < 2 {
		return invalid(
			"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length greater "+
				"than or equal to 2",
			printable(name),
			field,
		)
	}
	if len(name) > 64 {
		return invalid(
			"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less "+
				"than or equal to 64",
			printable(name),
			field,
		)
	}
	for _, r := range name {
		if !nameRune(r) {
			return invalid(
				`1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy regular `+
					`expression pattern: [\w+=,.@-]*`,
				printable(name),
				field,
			)
		}
	}
	return nil
}

func checkLongDuration(d time.Duration) error {
	if d < 15*time.Minute || d > 36*time.Hour {
		return invalid(
			"1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have "+
				"value between 900 and 129600",
			int(d/time.Second),
		)
	}
	return nil
}

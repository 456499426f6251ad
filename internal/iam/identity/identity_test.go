package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sekisho"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/policy"
	"sekisho/internal/storage/keyring"
)

const (
	account = "123456789012"
	host    = "sekisho.test"
)

// fixture is a directory with a clock that tests move.
type fixture struct {
	*identity.Directory
	store *memStore
	ring  *keyring.Ring
	clock *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func setup(t *testing.T) *fixture {
	t.Helper()
	ring, err := keyring.Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{store: &memStore{}, ring: ring, clock: &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}}
	f.Directory = f.member(t)
	return f
}

// member opens another directory on the same store, as another server of a
// cluster does.
func (f *fixture) member(t *testing.T) *identity.Directory {
	t.Helper()
	d, err := identity.New(
		t.Context(),
		identity.Config{Store: f.store, Keyring: f.ring, Account: account, Now: f.clock.Now},
	)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code sekisho.Code, text string) {
	t.Helper()
	if sekisho.CodeOf(err) != code || (err != nil && !strings.Contains(err.Error(), text)) {
		t.Errorf("got %v (%s), want %s with %q", err, sekisho.CodeOf(err), code, text)
	}
}

func (f *fixture) user(t *testing.T, name string) (*identity.User, *identity.NewAccessKey) {
	t.Helper()
	u, err := f.Users.Create(t.Context(), "/", name, "", nil)
	must(t, err)
	k, err := f.Keys.Create(t.Context(), name)
	must(t, err)
	return u, k
}

func (f *fixture) principal(t *testing.T, k *identity.NewAccessKey) *sekisho.Principal {
	t.Helper()
	secret, p, err := f.Credentials.Credential(t.Context(), k.ID, "")
	must(t, err)
	if secret != k.Secret {
		t.Errorf("the secret of %s is %q, want %q", k.ID, secret, k.Secret)
	}
	return p
}

func allows(t *testing.T, d *identity.Directory, p *sekisho.Principal, action, resource string) bool {
	t.Helper()
	set, err := d.Sets.Policies(t.Context(), p)
	must(t, err)
	return set.Evaluate(&policy.Request{
		Action: action, Resource: resource, Context: policy.NewContext(),
		Principal: policy.Principal{Type: string(p.Type), ARN: p.ARN, Account: p.Account, UserID: p.UserID},
	}).Effect == policy.Allowed
}

func allow(action string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%q,"Resource":"*"}]}`, action)
}

func trusting(principal string) string {
	return fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":%s,"Action":"sts:AssumeRole"}]}`,
		principal,
	)
}

func TestBootstrapHappensOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	first, made, err := f.Bootstrap(t.Context(), "admin")
	if err != nil || !made {
		t.Fatalf("Bootstrap = %v, %v", made, err)
	}
	p := f.principal(
		t,
		&identity.NewAccessKey{AccessKey: identity.AccessKey{ID: first.AccessKeyID}, Secret: first.SecretAccessKey},
	)
	if p.ARN != "arn:aws:iam::"+account+":user/admin" || p.UserName != "admin" ||
		!strings.HasPrefix(p.UserID, "AIDA") ||
		len(p.UserID) != 21 {
		t.Errorf("principal = %+v", p)
	}
	if !allows(t, f.Directory, p, "ssm:StartSession", "*") {
		t.Error("the administrator may not do everything")
	}
	if _, err := f.SignIns.CheckPassword(t.Context(), "admin", first.Password, host, netip.Addr{},
		identity.Second{}); err != nil {
		t.Errorf("the first password: %v", err)
	}
	creds, err := f.Credentials.IssueNodeCredentials(
		t.Context(),
		"mi-0123456789abcdef0",
		"service-role/"+identity.NodeRole,
		false,
		time.Hour,
	)
	must(t, err)
	_, node, err := f.Credentials.Credential(t.Context(), creds.AccessKeyID, creds.SessionToken)
	must(t, err)
	if node.Node != "mi-0123456789abcdef0" || node.RoleSessionName != "mi-0123456789abcdef0" ||
		node.ARN != "arn:aws:sts::"+account+":assumed-role/"+identity.NodeRole+"/mi-0123456789abcdef0" ||
		node.PolicyARN != "arn:aws:iam::"+account+":role/service-role/"+identity.NodeRole {
		t.Errorf("node principal = %+v", node)
	}
	if !allows(t, f.Directory, node, "ssmmessages:OpenDataChannel", "*") ||
		allows(t, f.Directory, node, "ssm:StartSession", "*") {
		t.Error("the node role does not allow what an agent needs, and that alone")
	}
	for _, d := range []*identity.Directory{f.Directory, f.member(t)} {
		if again, made, err := d.Bootstrap(t.Context(), "admin2"); made || err != nil || again.Password != "" {
			t.Errorf("second Bootstrap = %v, %v", made, err)
		}
	}
}

func TestSecretsAreNotReadableInTheStore(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, k := f.user(t, "alice")
	_, err := f.Logins.Create(t.Context(), "alice", "Correct-Horse-1", false)
	must(t, err)
	dev, err := f.MFA.Create(t.Context(), "/", "alice", nil)
	must(t, err)
	for _, l := range f.store.log {
		for _, secret := range []string{k.Secret, "Correct-Horse-1", dev.Seed} {
			if strings.Contains(string(l.Body), secret) {
				t.Errorf("%s %s holds a secret in clear", l.Kind, l.Key)
			}
		}
	}
}

func TestKeysStopAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, stop := range map[string]func(f *fixture, key string) error{
		"key deactivated": func(f *fixture, key string) error { return f.Keys.SetActive(ctx, "alice", key, false) },
		"key deleted":     func(f *fixture, key string) error { return f.Keys.Delete(ctx, "alice", key) },
		"user deleted": func(f *fixture, key string) error {
			return errors.Join(f.Keys.Delete(ctx, "alice", key), f.Users.Delete(ctx, "alice"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			other := f.member(t)
			_, k := f.user(t, "alice")
			p := f.principal(t, k)
			role, err := f.Roles.Create(ctx, identity.NewRole{Name: "ops", Trust: trusting(`{"AWS":"` + account + `"}`)})
			must(t, err)
			session, err := f.Credentials.SessionToken(ctx, p, 0, time.Time{})
			must(t, err)
			assumed, _, err := f.Credentials.AssumeRole(ctx, p, role, identity.SessionRequest{Name: "alice"})
			must(t, err)
			guest, _, err := f.Credentials.FederationToken(ctx, p, identity.SessionRequest{Name: "guest"})
			must(t, err)
			all := []identity.TemporaryCredentials{{AccessKeyID: k.ID}, session, assumed, guest}
			f.clock.advance(2 * time.Second)
			for _, d := range []*identity.Directory{f.Directory, other} {
				for _, c := range all {
					if _, _, err := d.Credentials.Credential(ctx, c.AccessKeyID, c.SessionToken); err != nil {
						t.Errorf("%s before: %v", c.AccessKeyID, err)
					}
				}
			}
			must(t, stop(f, k.ID))
			for _, c := range all {
				_, _, err := f.Credentials.Credential(ctx, c.AccessKeyID, c.SessionToken)
				wantCode(t, err, sekisho.CodeUnauthenticated, "security token")
			}
			f.clock.advance(2 * time.Second) // the other member checks again after a second
			for _, c := range all {
				_, _, err := other.Credentials.Credential(ctx, c.AccessKeyID, c.SessionToken)
				wantCode(t, err, sekisho.CodeUnauthenticated, "security token")
			}
		})
	}
}

func TestSessionTokensCannotBeForgedSwappedOrOutlived(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, k := f.user(t, "alice")
	p := f.principal(t, k)
	a, err := f.Credentials.SessionToken(t.Context(), p, time.Hour, time.Time{})
	must(t, err)
	b, err := f.Credentials.SessionToken(t.Context(), p, time.Hour, time.Time{})
	must(t, err)
	for name, c := range map[string][2]string{
		"another user's token": {a.AccessKeyID, b.SessionToken},
		"no token":             {a.AccessKeyID, ""},
		"cut token":            {a.AccessKeyID, a.SessionToken[:len(a.SessionToken)-8]},
		"not base64":           {a.AccessKeyID, "%%%"},
		"huge":                 {a.AccessKeyID, strings.Repeat("A", 1<<20)},
		"long-term key":        {k.ID, a.SessionToken},
		"unknown key":          {"AKIAUNKNOWN", ""},
	} {
		if _, _, err := f.Credentials.Credential(t.Context(), c[0],
			c[1]); sekisho.CodeOf(err) != sekisho.CodeUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.clock.advance(time.Hour - time.Second)
	if _, _, err := f.Credentials.Credential(t.Context(), a.AccessKeyID, a.SessionToken); err != nil {
		t.Errorf("a second before the end: %v", err)
	}
	f.clock.advance(time.Second)
	_, _, err = f.Credentials.Credential(t.Context(), a.AccessKeyID, a.SessionToken)
	wantCode(t, err, sekisho.CodeExpired, "")
}

func TestPoliciesFollowEveryWrite(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	_, k := f.user(t, "alice")
	p := f.principal(t, k)
	step := func(name string, want bool, errs ...error) {
		t.Helper()
		must(t, errors.Join(errs...))
		if got := allows(t, f.Directory, p, "ssm:StartSession", "*"); got != want {
			t.Errorf("%s: allowed = %v, want %v", name, got, want)
		}
	}
	step("nothing", false)
	step("inline", true, f.Holders.PutInline(ctx, identity.KindUser, "alice", "p", allow("ssm:StartSession")))
	step("inline deleted", false, f.Holders.DeleteInline(ctx, identity.KindUser, "alice", "p"))
	_, err := f.Groups.Create(ctx, "/", "ops")
	must(t, err)
	step("member of an empty group", false, f.Groups.AddUser(ctx, "alice", "ops"))
	step("group policy", true, f.Holders.PutInline(ctx, identity.KindGroup, "ops", "p", allow("ssm:*")))
	step("left the group", false, f.Groups.RemoveUser(ctx, "alice", "ops"))
	mp, err := f.Policies.Create(ctx, "/", "start", "", allow("ssm:StartSession"), nil)
	must(t, err)
	step("attached", true, f.Holders.Attach(ctx, identity.KindUser, "alice", mp.ARN))
	v2, err := f.Policies.CreateVersion(ctx, mp.ARN, allow("ssm:TerminateSession"), false)
	must(t, err)
	step("a version not in force", true)
	step("version in force", false, f.Policies.SetDefaultVersion(ctx, mp.ARN, v2.ID))
	step("back", true, f.Policies.SetDefaultVersion(ctx, mp.ARN, "v1"))
	bound, err := f.Policies.Create(ctx, "/", "bound", "", allow("ec2:*"), nil)
	must(t, err)
	step("boundary", false, f.Holders.SetBoundary(ctx, identity.KindUser, "alice", bound.ARN))
	step("boundary away", true, f.Holders.SetBoundary(ctx, identity.KindUser, "alice", ""))
	step("renamed", true, f.Users.Update(ctx, "alice", "/team/", "alicia"))
	step("detached", false, f.Holders.Detach(ctx, identity.KindUser, "alicia", mp.ARN))
}

func TestSessionPoliciesOnlyLimit(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	_, k := f.user(t, "alice")
	must(t, f.Holders.PutInline(ctx, identity.KindUser, "alice", "p", allow("ssm:*")))
	p := f.principal(t, k)
	mp, err := f.Policies.Create(ctx, "/", "limit", "", allow("ssm:Describe*"), nil)
	must(t, err)
	for _, c := range []struct {
		name            string
		r               identity.SessionRequest
		start, describe bool
		list            bool
	}{
		{"none", identity.SessionRequest{}, false, false, false},
		{"inline", identity.SessionRequest{Policies: []string{allow("ssm:StartSession")}}, true, false, false},
		{"managed", identity.SessionRequest{PolicyARNs: []string{mp.ARN}}, false, true, false},
		{"both", identity.SessionRequest{Policies: []string{allow("ssm:StartSession")}, PolicyARNs: []string{mp.ARN}}, true,
			true, false},
		{"more than the user", identity.SessionRequest{Policies: []string{allow("*")}}, true, true, false},
	} {
		c.r.Name = "guest"
		creds, _, err := f.Credentials.FederationToken(ctx, p, c.r)
		must(t, err)
		_, guest, err := f.Credentials.Credential(ctx, creds.AccessKeyID, creds.SessionToken)
		must(t, err)
		got := []bool{
			allows(t, f.Directory, guest, "ssm:StartSession", "*"),
			allows(t, f.Directory, guest, "ssm:DescribeSessions", "*"),
			allows(t, f.Directory, guest, "iam:ListUsers", "*"),
		}
		if want := []bool{c.start, c.describe, c.list}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: start, describe, list users = %v, want %v", c.name, got, want)
		}
	}
	_, _, err = f.Credentials.FederationToken(
		ctx,
		p,
		identity.SessionRequest{Name: "guest", Policies: []string{allow("ssm:" + strings.Repeat("x", 2048))}},
	)
	if !errors.Is(err, identity.ErrPackedPolicy) {
		t.Errorf("a large session policy: %v", err)
	}
}

func TestUnreadablePoliciesAllowNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, k := f.user(t, "alice")
	must(t, f.Holders.PutInline(t.Context(), identity.KindUser, "alice", "p", allow("ssm:*")))
	last := &f.store.log[len(f.store.log)-1]
	last.Body = []byte(strings.Replace(string(last.Body), "Allow", "Alow", 1))
	d := f.member(t)
	_, p, err := d.Credentials.Credential(t.Context(), k.ID, "")
	must(t, err)
	if set, err := d.Sets.Policies(t.Context(), p); err == nil {
		t.Errorf("a set came back: %v", set)
	}
}

func TestSimultaneousChangesAreKept(t *testing.T) {
	t.Parallel()
	f := setup(t)
	members := []*identity.Directory{f.Directory, f.member(t), f.member(t)}
	_, err := f.Users.Create(t.Context(), "/", "alice", "", nil)
	must(t, err)
	var wg sync.WaitGroup
	for m, d := range members {
		wg.Go(func() {
			for i := range 8 {
				tags := map[string]string{fmt.Sprintf("t%d-%d", m, i): "x"}
				err := d.Tags.Add(t.Context(), identity.KindUser, "alice", tags)
				for sekisho.CodeOf(err) == sekisho.CodeThrottled { // the others were faster every time
					err = d.Tags.Add(t.Context(), identity.KindUser, "alice", tags)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.clock.advance(2 * time.Second)
	for _, d := range members {
		tags, err := d.Tags.Of(t.Context(), identity.KindUser, "alice")
		if err != nil || len(tags) != 24 {
			t.Errorf("%d tags are left of 24 (%v)", len(tags), err)
		}
	}
}

func TestConflictsLimitsAndNames(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	f.user(t, "alice")
	_, err := f.Users.Create(ctx, "/", "ALICE", "", nil)
	wantCode(t, err, sekisho.CodeConflict, "User with name ALICE already exists.")
	_, err = f.Users.Get(ctx, "ALICE")
	wantCode(t, err, sekisho.CodeNotFound, "The user with name ALICE cannot be found.")
	_, err = f.Users.Create(ctx, "/", "a b", "", nil)
	wantCode(t, err, sekisho.CodeInvalid, "")
	_, err = f.Users.Create(ctx, "/", strings.Repeat("a", 65), "", nil)
	wantCode(t, err, sekisho.CodeInvalid, "less than or equal to 64")
	_, err = f.Users.Create(ctx, "nopath", "bob", "", nil)
	wantCode(t, err, sekisho.CodeInvalid, "")
	_, err = f.Users.Create(ctx, "/", "bob", "arn:aws:iam::aws:policy/None", nil)
	wantCode(t, err, sekisho.CodeNotFound, "does not exist or is not attachable")
	_, err = f.Users.Create(ctx, "/", "bob", "", map[string]string{"Team": "a", "team": "b"})
	wantCode(t, err, sekisho.CodeInvalid, "")

	_, err = f.Keys.Create(ctx, "alice")
	must(t, err)
	_, err = f.Keys.Create(ctx, "alice")
	wantCode(t, err, sekisho.CodeLimit, "Cannot exceed quota for AccessKeysPerUser: 2")
	wantCode(t, f.Users.Delete(ctx, "alice"), sekisho.CodeInUse, "must delete access keys first")

	wantCode(
		t,
		f.Holders.PutInline(ctx, identity.KindUser, "alice", "p", "{}"),
		sekisho.CodeMalformedPolicy,
		"Syntax errors in policy.",
	)
	wantCode(
		t,
		f.Holders.PutInline(ctx, identity.KindUser, "alice", "p", allow("ssm:"+strings.Repeat("a", 2048))),
		sekisho.CodeLimit,
		"Maximum policy size of 2048 bytes exceeded for user alice",
	)
	must(t, f.Holders.PutInline(ctx, identity.KindUser, "alice", "p", allow("ssm:"+strings.Repeat("a", 1500))))
	wantCode(
		t,
		f.Holders.PutInline(ctx, identity.KindUser, "alice", "q", allow("ssm:"+strings.Repeat("a", 500))),
		sekisho.CodeLimit,
		"Maximum policy size",
	)

	mp, err := f.Policies.Create(ctx, "/", "p", "", allow("ssm:*"), nil)
	must(t, err)
	_, err = f.Policies.Create(ctx, "/other/", "P", "", allow("ssm:*"), nil)
	wantCode(t, err, sekisho.CodeConflict, "A policy called P already exists.")
	_, err = f.Policies.Create(ctx, "/", "big", "", allow("ssm:"+strings.Repeat("a", 6144)), nil)
	wantCode(t, err, sekisho.CodeLimit, "Cannot exceed quota for PolicySize: 6144")
	for range 4 {
		_, err := f.Policies.CreateVersion(ctx, mp.ARN, allow("ssm:*"), true)
		must(t, err)
	}
	_, err = f.Policies.CreateVersion(ctx, mp.ARN, allow("ssm:*"), true)
	wantCode(t, err, sekisho.CodeLimit, "up to 5 versions")
	wantCode(t, f.Policies.DeleteVersion(ctx, mp.ARN, "v5"), sekisho.CodeInUse, "")
	wantCode(t, f.Policies.Delete(ctx, mp.ARN), sekisho.CodeInUse, "")
	must(t, f.Holders.Attach(ctx, identity.KindUser, "alice", mp.ARN))
	wantCode(t, f.Policies.Delete(ctx, mp.ARN), sekisho.CodeInUse, "")
	must(t, f.Policies.DeleteVersion(ctx, mp.ARN, "v1"))
	v, err := f.Policies.CreateVersion(ctx, mp.ARN, allow("ssm:*"), false)
	if err != nil || v.ID != "v6" {
		t.Errorf("the sixth version is %v, %v", v, err)
	}
	_, err = f.Policies.CreateVersion(ctx, identity.AdministratorAccess, allow("*"), true)
	wantCode(t, err, sekisho.CodeInvalid, "")
	for i := range 9 {
		q, err := f.Policies.Create(ctx, "/", fmt.Sprint("q", i), "", allow("ssm:*"), nil)
		must(t, err)
		must(t, f.Holders.Attach(ctx, identity.KindUser, "alice", q.ARN))
	}
	wantCode(
		t,
		f.Holders.Attach(ctx, identity.KindUser, "alice", identity.AdministratorAccess),
		sekisho.CodeLimit,
		"Cannot exceed quota for PoliciesPerUser: 10",
	)

	_, err = f.Roles.Create(ctx, identity.NewRole{Name: "r", Trust: allow("sts:AssumeRole")})
	wantCode(t, err, sekisho.CodeMalformedPolicy, "Has prohibited field Resource")
	_, err = f.Roles.Create(
		ctx,
		identity.NewRole{Name: "r", Trust: trusting(`{"AWS":"arn:aws:iam::` + account + `:user/nobody"}`)},
	)
	wantCode(t, err, sekisho.CodeMalformedPolicy, "Invalid principal in policy")
	_, err = f.Roles.Create(ctx, identity.NewRole{Name: "r", Trust: trusting(`{"AWS":"*"}`), MaxSession: 13 * time.Hour})
	wantCode(t, err, sekisho.CodeInvalid, "43200")
}

func TestTrustMeansTheOriginalUser(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	_, k := f.user(t, "alice")
	role, err := f.Roles.Create(
		ctx,
		identity.NewRole{Name: "ops", Trust: trusting(`{"AWS":["arn:aws:iam::` + account + `:user/alice"]}`)},
	)
	must(t, err)
	trusted := func(p *sekisho.Principal) bool {
		t.Helper()
		set, err := f.Sets.TrustSet(ctx, p, role)
		must(t, err)
		return set.Evaluate(&policy.Request{
			Action: "sts:AssumeRole", Resource: role.ARN, Context: policy.NewContext(),
			Principal: policy.Principal{Type: string(p.Type), ARN: p.ARN, Account: p.Account, UserID: p.UserID},
		}).Effect == policy.Allowed
	}
	if !trusted(f.principal(t, k)) {
		t.Error("alice is not trusted")
	}
	must(t, f.Users.Update(ctx, "alice", "", "alicia"))
	if !trusted(f.principal(t, k)) {
		t.Error("alice under her new name is not trusted")
	}
	_, k2 := f.user(t, "alice")
	if trusted(f.principal(t, k2)) {
		t.Error("another alice is trusted")
	}
	must(t, f.Keys.Delete(ctx, "alicia", k.ID))
	must(t, f.Users.Delete(ctx, "alicia"))
	if trusted(f.principal(t, k2)) {
		t.Error("another alice is trusted after the first is gone")
	}
	text, err := f.Roles.TrustDocument(ctx, role)
	if err != nil || !strings.Contains(text, "AIDA") {
		t.Errorf("the trust policy shows %s, %v; want the ID of who is gone", text, err)
	}
}

func TestNodeCredentialsNeedATrustingRole(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	_, err := f.Roles.Create(
		ctx,
		identity.NewRole{Path: "/x/", Name: "people", Trust: trusting(`{"AWS":"` + account + `"}`)},
	)
	must(t, err)
	_, err = f.Credentials.IssueNodeCredentials(ctx, "mi-0123456789abcdef0", "people", false, time.Hour)
	wantCode(t, err, sekisho.CodeDenied, "")
	_, err = f.Credentials.IssueNodeCredentials(ctx, "mi-0123456789abcdef0", "y/people", false, time.Hour)
	wantCode(t, err, sekisho.CodeNotFound, "")
	must(t, f.Roles.UpdateTrust(ctx, "people", trusting(`{"Service":"ssm.amazonaws.com"}`)))
	_, err = f.Credentials.IssueNodeCredentials(ctx, "mi-0123456789abcdef0", "x/people", false, time.Hour)
	must(t, err)
}

func TestSessionTagsOverrideAndPassOn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	_, k := f.user(t, "alice")
	role, err := f.Roles.Create(
		ctx,
		identity.NewRole{
			Name:  "r",
			Trust: trusting(`{"AWS":"*"}`),
			Tags:  map[string]string{"Team": "role", "own": "1"},
		},
	)
	must(t, err)
	assume := func(p *sekisho.Principal, r identity.SessionRequest) *sekisho.Principal {
		t.Helper()
		r.Name = "s1"
		c, _, err := f.Credentials.AssumeRole(ctx, p, role, r)
		must(t, err)
		_, out, err := f.Credentials.Credential(ctx, c.AccessKeyID, c.SessionToken)
		must(t, err)
		return out
	}
	first := assume(
		f.principal(t, k),
		identity.SessionRequest{
			Tags:           map[string]string{"team": "session", "once": "x"},
			TransitiveTags: []string{"team"},
		},
	)
	if fmt.Sprint(first.Tags) != "map[once:x own:1 team:session]" {
		t.Errorf("tags = %v", first.Tags)
	}
	second := assume(first, identity.SessionRequest{})
	if fmt.Sprint(second.Tags) != "map[own:1 team:session]" {
		t.Errorf("tags after chaining = %v", second.Tags)
	}
	_, _, err = f.Credentials.AssumeRole(
		ctx,
		second,
		role,
		identity.SessionRequest{Name: "s1", Tags: map[string]string{"TEAM": "x"}},
	)
	wantCode(t, err, sekisho.CodeInvalid, "")
	_, _, err = f.Credentials.AssumeRole(ctx, second, role,
		identity.SessionRequest{Name: "s1", TransitiveTags: []string{"own"}})
	wantCode(t, err, sekisho.CodeInvalid, "")
	_, _, err = f.Credentials.AssumeRole(ctx, second, role, identity.SessionRequest{Name: "s1", Duration: 2 * time.Hour})
	wantCode(t, err, sekisho.CodeInvalid, "")
}

func TestPasswordsAndCodes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	f.user(t, "alice")
	const password = "Correct-Horse-1"
	for _, weak := range []string{"", "short1A", "alllowercase", "ALICE", "UPPERlower", strings.Repeat("aA1", 50)} {
		if _, err := f.Logins.Create(ctx, "alice", weak, false); !errors.Is(err, identity.ErrPasswordPolicy) {
			t.Errorf("password %q: %v", weak, err)
		}
	}
	_, err := f.Logins.Create(ctx, "alice", password, false)
	must(t, err)
	p, err := f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{})
	if err != nil || p.Principal.UserName != "alice" || !p.Principal.MFATime.IsZero() {
		t.Errorf("CheckPassword = %+v, %v", p, err)
	}
	for _, c := range [][2]string{{"alice", "Wrong-Horse-1"}, {"nobody", password}, {"ALICE", password}} {
		_, err := f.SignIns.CheckPassword(ctx, c[0], c[1], host, netip.Addr{}, identity.Second{})
		wantCode(t, err, sekisho.CodeUnauthenticated, "")
	}
	dev, err := f.MFA.Create(ctx, "/", "phone", nil)
	must(t, err)
	code := func(offset time.Duration) string {
		c, err := totp.GenerateCode(dev.Seed, f.clock.Now().Add(offset))
		must(t, err)
		return c
	}
	if err := f.MFA.Enable(ctx, "alice", dev.Serial, "000000", "000001"); !errors.Is(err, identity.ErrMFACode) {
		t.Errorf("enabling with wrong codes: %v", err)
	}
	must(t, f.MFA.Enable(ctx, "alice", dev.Serial, code(-30*time.Second), code(0)))
	_, err = f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{})
	if !errors.Is(err, identity.ErrMFARequired) {
		t.Errorf("without a code: %v", err)
	}
	_, err = f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{Code: code(0)})
	wantCode(t, err, sekisho.CodeUnauthenticated, "") // it enabled the device: each code works once
	f.clock.advance(time.Minute)
	p, err = f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{Code: code(0)})
	if err != nil || !p.Principal.MFATime.Equal(f.clock.Now()) {
		t.Errorf("with a code: %+v, %v", p, err)
	}
	if _, err := f.MFA.Verify(ctx, "alice", dev.Serial, code(0)); !errors.Is(err, identity.ErrMFACode) {
		t.Errorf("a code used twice: %v", err)
	}
	f.clock.advance(time.Minute)
	_, err = f.member(t).MFA.Verify(ctx, "alice", dev.Serial, code(0))
	must(t, err)
	if _, err := f.MFA.Verify(ctx, "alice", dev.Serial, code(0)); !errors.Is(err, identity.ErrMFACode) {
		t.Errorf("a code used on another member: %v", err)
	}
	// After the lock-out, the password and then the code are accepted.
	for range 5 {
		_, err = f.SignIns.CheckPassword(ctx, "alice", "Wrong-Horse-1", host, netip.Addr{}, identity.Second{})
		wantCode(t, err, sekisho.CodeUnauthenticated, "")
	}
	f.clock.advance(time.Minute)
	if _, err = f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{}); !errors.Is(
		err,
		identity.ErrMFARequired,
	) {
		t.Errorf("after a lock-out, without a code: %v", err)
	}
	_, err = f.SignIns.CheckPassword(ctx, "alice", password, host, netip.Addr{}, identity.Second{Code: code(0)})
	must(t, err)
	wantCode(t, f.MFA.Delete(ctx, dev.Serial), sekisho.CodeInUse, "")
	must(t, f.MFA.Deactivate(ctx, "alice", dev.Serial))
	must(t, f.MFA.Delete(ctx, dev.Serial))
}

func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "nobody"} {
		f := setup(t)
		ctx := t.Context()
		f.user(t, "alice")
		_, err := f.Logins.Create(ctx, "alice", "Correct-Horse-1", false)
		must(t, err)
		for range 5 {
			_, err := f.SignIns.CheckPassword(ctx, name, "Wrong-Horse-1", host, netip.Addr{}, identity.Second{})
			wantCode(t, err, sekisho.CodeUnauthenticated, "")
		}
		_, err = f.SignIns.CheckPassword(ctx, name, "Correct-Horse-1", host, netip.Addr{}, identity.Second{})
		wantCode(t, err, sekisho.CodeThrottled, "")
		f.clock.advance(31 * time.Second)
		_, err = f.SignIns.CheckPassword(ctx, name, "Wrong-Horse-1", host, netip.Addr{}, identity.Second{})
		wantCode(t, err, sekisho.CodeUnauthenticated, "")
		f.clock.advance(31 * time.Second)
		_, err = f.SignIns.CheckPassword(ctx, name, "Wrong-Horse-1", host, netip.Addr{}, identity.Second{})
		wantCode(t, err, sekisho.CodeThrottled, "") // twice as long now
	}
}

// Guesses from one address do not lock out the right password from another.
func TestLockoutIsPerSource(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	f.user(t, "alice")
	_, err := f.Logins.Create(ctx, "alice", "Correct-Horse-1", false)
	must(t, err)
	attacker, alice := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	for range 5 {
		_, err := f.SignIns.CheckPassword(ctx, "alice", "Wrong-Horse-1", host, attacker, identity.Second{})
		wantCode(t, err, sekisho.CodeUnauthenticated, "")
	}
	neighbour := netip.MustParseAddr("2001:db8::2") // from the same /64
	_, err = f.SignIns.CheckPassword(ctx, "Alice", "Correct-Horse-1", host, neighbour, identity.Second{})
	wantCode(t, err, sekisho.CodeThrottled, "")
	_, err = f.SignIns.CheckPassword(ctx, "alice", "Correct-Horse-1", host, alice, identity.Second{})
	must(t, err)
	_, err = f.SignIns.CheckPassword(ctx, "alice", "Correct-Horse-1", host, attacker, identity.Second{})
	wantCode(t, err, sekisho.CodeThrottled, "") // her success does not end the attacker's lockout
	// Others cannot keep her from changing her password either.
	must(t, f.Logins.ChangePassword(ctx, "alice", "Correct-Horse-1", "Correct-Horse-2"))
}

func TestMFACodesAreNotReusedAfterReenabling(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	f.user(t, "alice")
	f.user(t, "bob")
	dev, err := f.MFA.Create(ctx, "/", "phone", nil)
	must(t, err)
	code := func(offset time.Duration) string {
		c, err := totp.GenerateCode(dev.Seed, f.clock.Now().Add(offset))
		must(t, err)
		return c
	}
	first, second := code(-30*time.Second), code(0)
	must(t, f.MFA.Enable(ctx, "alice", dev.Serial, first, second))
	if err := f.MFA.Resync(ctx, "alice", dev.Serial, first, second); !errors.Is(err, identity.ErrMFACode) {
		t.Errorf("resynchronizing with used codes: %v", err)
	}
	must(t, f.MFA.Deactivate(ctx, "alice", dev.Serial))
	for _, user := range []string{"alice", "bob"} {
		if err := f.MFA.Enable(ctx, user, dev.Serial, first, second); !errors.Is(err, identity.ErrMFACode) {
			t.Errorf("enabling for %s with used codes: %v", user, err)
		}
	}
	f.clock.advance(30 * time.Second)
	must(t, f.MFA.Enable(ctx, "alice", dev.Serial, code(-30*time.Second), code(0)))
}

func TestExpiredPasswordsMustBeChanged(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	f.user(t, "alice")
	_, err := f.Logins.Create(ctx, "alice", "Correct-Horse-1", false)
	must(t, err)
	must(t, f.Settings.SetPasswordPolicy(ctx, &identity.PasswordPolicy{MinimumLength: 8, MaxAge: 24 * time.Hour}))
	s, err := f.SignIns.CheckPassword(ctx, "alice", "Correct-Horse-1", host, netip.Addr{}, identity.Second{})
	must(t, err)
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {24*time.Hour - time.Second, false}, {time.Second, true}} {
		f.clock.advance(tt.after)
		if got, err := f.SignIns.PasswordReset(ctx, s.Principal); err != nil || got != tt.want {
			t.Errorf("after another %s: %v, %v; want %v", tt.after, got, err, tt.want)
		}
	}
	if err := f.Logins.ChangePassword(ctx, "alice", "Correct-Horse-1", "Correct-Horse-1"); !errors.Is(
		err,
		identity.ErrPasswordPolicy,
	) {
		t.Errorf("the expired password as the new one: %v", err)
	}
	must(t, f.Logins.ChangePassword(ctx, "alice", "Correct-Horse-1", "Correct-Horse-2"))
	s, err = f.SignIns.CheckPassword(ctx, "alice", "Correct-Horse-2", host, netip.Addr{}, identity.Second{})
	must(t, err)
	if got, err := f.SignIns.PasswordReset(ctx, s.Principal); err != nil || got {
		t.Errorf("after the change: %v, %v", got, err)
	}
}

// The ID of a session begins with its owner's name and a hyphen.
func TestNamesThatAnotherUsersPatternCovers(t *testing.T) {
	t.Parallel()
	const unsafePattern = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:TerminateSession",` +
		`"Resource":"arn:aws:ssm:*:*:session/${aws:username}-*"%s}]}`
	for name, tt := range map[string]struct {
		document string
		covers   bool
	}{
		"unsafe pattern":     {fmt.Sprintf(unsafePattern, ""), true},
		"without the hyphen": {strings.Replace(fmt.Sprintf(unsafePattern, ""), "}-*", "}*", 1), true},
		"checks its own tag": {fmt.Sprintf(unsafePattern,
			`,"Condition":{"StringEquals":{"ssm:resourceTag/aws:ssmmessages:session-id":"${aws:userid}"}}`), false},
		"by unique ID":             {strings.Replace(fmt.Sprintf(unsafePattern, ""), "username", "userid", 1), false},
		"deny":                     {strings.Replace(fmt.Sprintf(unsafePattern, ""), "Allow", "Deny", 1), false},
		"another kind of resource": {strings.Replace(fmt.Sprintf(unsafePattern, ""), "session/", "document/", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			ctx := t.Context()
			_, ann := f.user(t, "ann")
			_, bob := f.user(t, "bob")
			_, err := f.Groups.Create(ctx, "/", "people")
			must(t, err)
			must(t, f.Groups.AddUser(ctx, "ann", "people"))
			must(t, f.Holders.PutInline(ctx, identity.KindGroup, "people", "own", tt.document))
			role, err := f.Roles.Create(ctx, identity.NewRole{Name: "ops", Trust: trusting(`{"AWS":"` + account + `"}`)})
			must(t, err)

			check := func(what string, err error, covers bool) {
				t.Helper()
				if got := sekisho.CodeOf(err); covers && got != sekisho.CodeInvalid || !covers && err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err = f.Users.Create(ctx, "/", "ann-b", "", nil)
			check("CreateUser", err, tt.covers)
			check("UpdateUser", f.Users.Update(ctx, "bob", "", "ann-c"), tt.covers)
			_, err = f.Users.Create(ctx, "/", "Ann-d", "", nil)
			check("another letter case", err, false)
			_, _, err = f.Credentials.AssumeRole(ctx, f.principal(t, bob), role, identity.SessionRequest{Name: "ann-laptop"})
			check("AssumeRole by another", err, tt.covers)
			_, _, err = f.Credentials.AssumeRole(ctx, f.principal(t, ann), role, identity.SessionRequest{Name: "ann-laptop"})
			check("AssumeRole by the user itself", err, false)
			_, _, err = f.Credentials.AssumeRole(ctx, f.principal(t, bob), role, identity.SessionRequest{Name: "ann"})
			check("AssumeRole by another under the user's name", err, tt.covers)
			_, _, err = f.Credentials.AssumeRole(ctx, f.principal(t, ann), role, identity.SessionRequest{Name: "ann"})
			check("AssumeRole by the user itself under its name", err, false)
			_, _, err = f.Credentials.FederationToken(ctx, f.principal(t, bob), identity.SessionRequest{Name: "ann-guest"})
			check("GetFederationToken by another", err, tt.covers)
			p, err := f.Users.Principal(ctx, "ann")
			must(t, err)
			statement, err := f.Sets.CoversSessions(ctx, &p, "ann-b")
			if err != nil || (statement != "") != tt.covers {
				t.Errorf("CoversSessions: %q, %v; want one: %v", statement, err, tt.covers)
			}
		})
	}
}

// TestGuessingAtAnotherUsersDevice: guessing at another user's device is refused,
// and locks out only users who guess at their own.
func TestGuessingAtAnotherUsersDevice(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	f.user(t, "alice")
	f.user(t, "bob")
	dev, err := f.MFA.Create(ctx, "/", "phone", nil)
	must(t, err)
	code := func(offset time.Duration) string {
		c, err := totp.GenerateCode(dev.Seed, f.clock.Now().Add(offset))
		must(t, err)
		return c
	}
	must(t, f.MFA.Enable(ctx, "alice", dev.Serial, code(-30*time.Second), code(0)))
	f.clock.advance(time.Minute)
	for range 10 {
		if _, err := f.MFA.Verify(ctx, "bob", dev.Serial, code(0)); !errors.Is(err, identity.ErrMFACode) {
			t.Fatalf("another's code: %v", err)
		}
		wantCode(t, f.MFA.Enable(ctx, "bob", dev.Serial, "000000", "000001"), sekisho.CodeConflict, "")
		wantCode(t, f.MFA.Resync(ctx, "bob", dev.Serial, "000000", "000001"), sekisho.CodeNotFound, "")
	}
	_, err = f.MFA.Verify(ctx, "alice", dev.Serial, code(0))
	must(t, err)
	for range 5 {
		if _, err := f.MFA.Verify(ctx, "alice", dev.Serial, "x"); !errors.Is(err, identity.ErrMFACode) {
			t.Fatalf("her own: %v", err)
		}
	}
	_, err = f.MFA.Verify(ctx, "alice", dev.Serial, code(0))
	wantCode(t, err, sekisho.CodeThrottled, "")
}

func TestAFailingStoreStopsRequestsAfterAWhile(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, k := f.user(t, "alice")
	f.store.fail = errors.New("the store is away")
	f.clock.advance(5 * time.Second)
	if _, _, err := f.Credentials.Credential(t.Context(), k.ID, ""); err != nil {
		t.Errorf("after 5 seconds: %v", err)
	}
	f.clock.advance(10 * time.Second)
	if _, _, err := f.Credentials.Credential(t.Context(), k.ID, ""); err == nil {
		t.Error("after 15 seconds the directory still answers from memory")
	}
}

func TestLastUsesAreGatheredThenWritten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	at := f.clock.Now()
	f.Credentials.TouchKey("AKIA1", "ssm", "us-east-1", at)
	f.Credentials.TouchKey("AKIA1", "iam", "us-east-1", at.Add(-time.Minute))
	for range 2 {
		uses, err := f.Uses.Last(t.Context(), "AKIA1", "AKIA2")
		if err != nil || len(uses) != 1 || uses["AKIA1"].Service != "ssm" || !uses["AKIA1"].At.Equal(at) {
			t.Errorf("uses = %v, %v", uses, err)
		}
		must(t, f.Uses.Flush(t.Context()))
	}
	if len(f.store.uses) != 1 {
		t.Errorf("the store has %v", f.store.uses)
	}
}

// BenchmarkRequest measures the work of the directory for each signed request.
func BenchmarkRequest(b *testing.B) {
	ring, err := keyring.Load(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	d, err := identity.New(b.Context(), identity.Config{Store: &memStore{}, Keyring: ring, Account: account})
	if err != nil {
		b.Fatal(err)
	}
	first, _, err := d.Bootstrap(b.Context(), "admin")
	if err != nil {
		b.Fatal(err)
	}
	node, err := d.Credentials.IssueNodeCredentials(b.Context(), "mi-0123456789abcdef0", identity.NodeRole, false,
		time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string][2]string{"key": {first.AccessKeyID, ""},
		"token": {node.AccessKeyID, node.SessionToken}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, p, err := d.Credentials.Credential(b.Context(), c[0], c[1])
				if err != nil {
					b.Fatal(err)
				}
				if _, err := d.Sets.Policies(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestANameReusedAtOnceIsAnotherUser(t *testing.T) {
	t.Parallel()
	f := setup(t)
	other := f.member(t)
	_, first := f.user(t, "alice")
	f.clock.advance(2 * time.Second)
	_, _, err := other.Credentials.Credential(t.Context(), first.ID, "")
	must(t, err)
	// The other member sees both changes at once.
	must(t, f.Users.Update(t.Context(), "alice", "", "alicia"))
	_, second := f.user(t, "alice")
	f.clock.advance(2 * time.Second)
	for key, name := range map[string]string{first.ID: "alicia", second.ID: "alice"} {
		_, p, err := other.Credentials.Credential(t.Context(), key, "")
		if err != nil || p.UserName != name {
			t.Errorf("key of %s: %+v, %v", name, p, err)
		}
	}
}

func FuzzSessionToken(f *testing.F) {
	ring, err := keyring.Load(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	d, err := identity.New(context.Background(), identity.Config{Store: &memStore{}, Keyring: ring, Account: account})
	if err != nil {
		f.Fatal(err)
	}
	if _, _, err := d.Bootstrap(context.Background(), "admin"); err != nil {
		f.Fatal(err)
	}
	c, err := d.Credentials.IssueNodeCredentials(context.Background(), "mi-0123456789abcdef0", identity.NodeRole, false,
		time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.AccessKeyID, "")
	f.Add(c.AccessKeyID, c.SessionToken[:40])
	f.Add("AKIA", "AAAA")
	f.Fuzz(func(t *testing.T, id, token string) {
		if id == c.AccessKeyID && token == c.SessionToken {
			return
		}
		if _, p, err := d.Credentials.Credential(t.Context(), id, token); err == nil {
			t.Errorf("%q %q is %s", id, token, p.ARN)
		}
	})
}

func TestARotationReachesEverySecret(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	_, k := f.user(t, "alice")
	_, err := f.MFA.Create(ctx, "/", "phone", nil)
	must(t, err)
	token, err := f.Credentials.SessionToken(ctx, f.principal(t, k), time.Hour, time.Time{})
	must(t, err)
	must(t, f.ring.Rotate())
	f.principal(t, k)
	for _, want := range []int{2, 0} {
		if n, err := f.Reseal(ctx); err != nil || n != want {
			t.Errorf("Reseal = %d, %v; want %d", n, err, want)
		}
	}
	f.principal(t, k)
	if _, _, err := f.Credentials.Credential(ctx, token.AccessKeyID, token.SessionToken); err != nil {
		t.Errorf("a session token from before the rotation: %v", err)
	}
}

// Principals with policies from the same sources share a compiled set, and
// others do not.
func TestCompiledPoliciesAreShared(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	_, err := f.Groups.Create(ctx, "/", "ops")
	must(t, err)
	must(t, f.Holders.PutInline(ctx, identity.KindGroup, "ops", "start", allowPolicy("ssm:StartSession")))
	sets := map[string]*policy.Set{}
	for _, name := range []string{"ann", "bob", "carl", "dora"} {
		u, k := f.user(t, name)
		must(t, f.Groups.AddUser(ctx, u.Name, "ops"))
		switch name {
		case "carl":
			must(t, f.Holders.PutInline(ctx, identity.KindUser, name, "more", allowPolicy("ssm:ResumeSession")))
		case "dora":
			must(t, f.Holders.PutInline(ctx, identity.KindUser, name, "start", allowPolicy("ssm:StartSession")))
		}
		set, err := f.Sets.Policies(ctx, f.principal(t, k))
		must(t, err)
		sets[name] = set
	}
	if sets["ann"] != sets["bob"] {
		t.Error("two members of one group have sets of their own")
	}
	if sets["ann"] == sets["carl"] || sets["ann"] == sets["dora"] {
		t.Error("users with policies of their own have the set of their group")
	}
	// A change of the group's policy reaches all of them.
	must(t, f.Holders.PutInline(ctx, identity.KindGroup, "ops", "start", allowPolicy("ssm:DescribeSessions")))
	for name := range sets {
		p, err := f.Sets.PrincipalOf(ctx, "arn:aws:iam::"+account+":user/"+name)
		must(t, err)
		if got, want := allows(t, f.Directory, p, "ssm:StartSession", "*"), name == "dora"; got != want {
			t.Errorf("%s after the change: %v, want %v", name, got, want)
		}
	}
}

func allowPolicy(action string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + action + `","Resource":"*"}]}`
}

package servertest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/servertest/authenticator"
	"sekisho/internal/servertest/idp"
)

// TestFirstRunIsEnforced: until the first administrator has a second factor or
// declines one, the console refuses everything else.
func TestFirstRunIsEnforced(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	p := password
	must(t, s.Directory.Logins.Update(t.Context(), "admin", &p, nil))
	b := s.Browser()
	a := b.SignIn("admin", password)
	var who struct{ FirstRun bool }
	a.Decode(t, &who)
	if !who.FirstRun {
		t.Errorf("the sign-in was answered %s", a.Body)
	}
	for _, target := range []string{"AmazonSSM.DescribeSessions", "AmazonSSM.StartSession", "Sekisho.ExplainAccess",
		"Sekisho.ListPasskeys"} {
		if a := b.Call(target, map[string]string{"State": "Active"}); a.Code() != "AccessDeniedException" ||
			!strings.Contains(a.Body, "second factor") {
			t.Errorf("%s: %d %s", target, a.Status, a.Body)
		}
	}
	// With an access key the administrator works as usual: first-run setup
	// belongs to the console.
	if a := s.JSON(s.Admin, "ssm", "DescribeSessions", map[string]string{"State": "Active"}); a.Status != http.StatusOK {
		t.Errorf("by key: %s", a.Body)
	}
	if a := b.Call("Sekisho.FinishFirstRun",
		map[string]string{"Statement": "no, thank you"}); a.Code() != "ValidationException" ||
		!strings.Contains(a.Body, identity.DeclineMFAStatement) {
		t.Errorf("another statement than the required one: %d %s", a.Status, a.Body)
	}
	if a := b.Call("Sekisho.FinishFirstRun",
		map[string]string{"Statement": identity.DeclineMFAStatement}); a.Status != http.StatusOK {
		t.Errorf("the required statement: %d %s", a.Status, a.Body)
	}
	if a := b.Call("AmazonSSM.DescribeSessions", map[string]string{"State": "Active"}); a.Status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.Status, a.Body)
	}
	if e := s.Events("FinishFirstRun"); len(e) == 0 || e[0].ErrorCode != "" ||
		e[0].RequestParameters["statement"] != identity.DeclineMFAStatement {
		t.Errorf("the trail says %+v", e)
	}
}

// TestPasskeyInTheConsole: a passkey is registered by a call, signs a user in,
// and is deleted by deactivate-mfa-device of the aws CLI.
func TestPasskeyInTheConsole(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("alice", servertest.Allow("*", "iam:*MFADevice*", "ssm:DescribeSessions"))
	_, err := s.Directory.Logins.Create(t.Context(), "alice", password, false)
	must(t, err)
	// Passkeys require a host name; they do not work for IP addresses.
	const name = "sekisho.test"
	named := func(b *servertest.Browser) *servertest.Browser { return b.At(name) }
	b := named(s.Browser())
	if a := b.SignIn("alice", password); a.Status != http.StatusOK {
		t.Fatalf("sign in: %d %s", a.Status, a.Body)
	}
	var begun struct {
		Options any
		State   string
	}
	b.Call("Sekisho.BeginPasskeyRegistration", map[string]string{}).Decode(t, &begun)
	key := authenticator.New(t, "https://"+name)
	var made struct{ SerialNumber string }
	b.Call("Sekisho.RegisterPasskey",
		map[string]any{"Name": "laptop", "State": begun.State, "Answer": raw(key.Create(begun.Options))}).
		Decode(t, &made)
	if !strings.HasPrefix(made.SerialNumber, "arn:aws:iam::"+servertest.Account+":u2f/user/alice/laptop-") {
		t.Errorf("registered as %q", made.SerialNumber)
	}
	var list struct {
		Passkeys []struct{ Name, HostName string }
	}
	b.Call("Sekisho.ListPasskeys", map[string]string{}).Decode(t, &list)
	if len(list.Passkeys) != 1 || list.Passkeys[0].Name != "laptop" || list.Passkeys[0].HostName != name {
		t.Errorf("passkeys %+v", list)
	}

	var options struct {
		Options any
		State   string
	}
	out := named(s.Browser())
	out.Request(http.MethodPost, "/console/api/passkey", map[string]string{}).Decode(t, &options)
	a := out.Request(
		http.MethodPost,
		"/console/api/session",
		map[string]any{"passkey": map[string]any{"state": options.State, "answer": raw(key.Get(options.Options))}},
	)
	if a.Status != http.StatusOK || !strings.Contains(a.Body, `"user":"alice"`) {
		t.Fatalf("by passkey: %d %s", a.Status, a.Body)
	}
	if a := out.Call("AmazonSSM.DescribeSessions", map[string]string{"State": "Active"}); a.Status != http.StatusOK {
		t.Errorf("signed in by passkey: %d %s", a.Status, a.Body)
	}

	var wanted struct {
		MFARequired, TOTP bool
		Passkey           *struct {
			Options any
			State   string
		}
	}
	second := named(s.Browser())
	second.SignIn("alice", password).Decode(t, &wanted)
	if !wanted.MFARequired || wanted.TOTP || wanted.Passkey == nil {
		t.Fatalf("password alone: %+v", wanted)
	}
	a = second.Request(http.MethodPost, "/console/api/session", map[string]any{
		"user": "alice", "password": password,
		"passkey": map[string]any{"state": wanted.Passkey.State, "answer": raw(key.Get(wanted.Passkey.Options))},
	})
	if a.Status != http.StatusOK {
		t.Fatalf("password and passkey: %d %s", a.Status, a.Body)
	}
	if a := out.Request(http.MethodGet, "/console/api/session", nil); a.Status != http.StatusOK {
		t.Errorf("before the passkey goes: %d", a.Status)
	}
	must(t, s.Directory.Passkeys.Delete(t.Context(), "alice", made.SerialNumber))
	if a := out.Request(http.MethodGet, "/console/api/session", nil); a.Status != http.StatusUnauthorized {
		t.Errorf("a sign-in outlived its passkey: %d", a.Status)
	}
	if a := second.Request(http.MethodGet, "/console/api/session", nil); a.Status != http.StatusOK {
		t.Errorf("a sign-in by password ended with the second factor: %d", a.Status)
	}
}

// raw is JSON in JSON.
type raw []byte

// MarshalJSON implements json.Marshaler.
func (r raw) MarshalJSON() ([]byte, error) { return r, nil }

// TestConsoleFederation: sign-in with an identity provider, and every attempt
// that must fail.
func TestConsoleFederation(t *testing.T) {
	t.Parallel()
	p := idp.Start(t)
	provider := "arn:aws:iam::" + servertest.Account + ":oidc-provider/" + strings.TrimPrefix(p.Issuer, "https://")
	s := servertest.StartWith(t, func(c *server.Config) {
		c.ProviderTransport = p.Transport()
		c.Federation = []webid.ConsoleProvider{{
			Name: "Example", Issuer: p.Issuer, ClientID: idp.Client, ClientSecret: idp.Secret, Scopes: []string{"email"},
			Role: "arn:aws:iam::" + servertest.Account + ":role/people",
		}}
	})
	ctx := t.Context()
	_, err := s.Directory.Providers.Create(ctx, p.Issuer, []string{idp.Client}, nil, nil)
	must(t, err)
	_, err = s.Directory.Roles.Create(
		ctx,
		identity.NewRole{
			Name: "people",
			Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + provider + `"},
		"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringLike":{"` + strings.TrimPrefix(p.Issuer, "https://") +
				`:email":"*@example.com"}}}]}`,
		},
	)
	must(t, err)
	must(
		t,
		s.Directory.Holders.PutInline(
			ctx,
			identity.KindRole,
			"people",
			"inline",
			servertest.Allow("*", "ssm:DescribeSessions"),
		),
	)

	b := s.Browser()
	var names struct{ Providers []string }
	b.Request(http.MethodGet, "/console/api/providers", nil).Decode(t, &names)
	if d := cmp.Diff([]string{"Example"}, names.Providers); d != "" {
		t.Error(d)
	}
	begin := func(b *servertest.Browser) *url.URL {
		t.Helper()
		var out struct{ Address string }
		b.Request(http.MethodPost, "/console/api/federation", map[string]string{"provider": "Example"}).Decode(t, &out)
		// The user signs in there and is redirected back.
		client := &http.Client{
			Transport:     p.Transport(),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		res, err := client.Get(out.Address)
		must(t, err)
		defer res.Body.Close()
		back, err := res.Location()
		must(t, err)
		if back.Host != s.Host || back.Path != "/console/federation" {
			t.Fatalf("redirected to %s", back)
		}
		return back
	}
	finish := func(b *servertest.Browser, back *url.URL) servertest.Answer {
		t.Helper()
		return b.Visit(back.RequestURI())
	}
	good := map[string]any{"sub": "carol-1", "email": "carol@example.com", "email_verified": true}

	p.Person(good)
	back := begin(b)
	a := finish(b, back)
	if a.Status != http.StatusSeeOther || a.Header.Get("Location") != "/console/" {
		t.Fatalf("signed in: %d %s %s", a.Status, a.Header.Get("Location"), a.Body)
	}
	a = b.Request(http.MethodGet, "/console/api/session", nil)
	if !strings.Contains(a.Body, `"arn":"arn:aws:sts::`+servertest.Account+`:assumed-role/people/carol@example.com"`) ||
		!strings.Contains(a.Body, `"user":"carol@example.com"`) {
		t.Errorf("signed in as %s", a.Body)
	}
	if a := b.Call("AmazonSSM.DescribeSessions", map[string]string{"State": "Active"}); a.Status != http.StatusOK {
		t.Errorf("an action that the role allows: %d %s", a.Status, a.Body)
	}
	if a := b.Call("AmazonSSM.StartSession",
		map[string]string{"Target": "mi-0123456789abcdef0"}); a.Code() != "AccessDeniedException" {
		t.Errorf("an action that the role does not allow: %d %s", a.Status, a.Body)
	}
	if e := s.Events("ConsoleLogin"); len(e) == 0 || e[0].UserIdentity.Type != "AssumedRole" {
		t.Errorf("the trail says %+v", e)
	}
	creds, err := signInWithBrowser(t, s, b, true)
	must(t, err)
	if a := s.JSON(creds.Credentials, "ssm", "DescribeSessions",
		map[string]string{"State": "Active"}); a.Status != http.StatusOK {
		t.Errorf("a program of a federated person: %d %s", a.Status, a.Body)
	}

	refused := func(what string, b *servertest.Browser, back *url.URL) {
		t.Helper()
		a := finish(b, back)
		if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/console/?federation=") {
			t.Errorf("%s: %d to %q: %s", what, a.Status, a.Header.Get("Location"), a.Body)
		}
		if a := b.Request(http.MethodGet, "/console/api/session", nil); a.Status != http.StatusUnauthorized {
			t.Errorf("%s: signed in as %s", what, a.Body)
		}
	}
	fresh := func() *servertest.Browser { return s.Browser() }
	x := fresh()
	back = begin(x)
	refused("another browser", fresh(), back)
	finish(x, back)
	y := fresh()
	begin(y)
	refused("the answer of another sign-in", y, back)
	z := fresh()
	back = begin(z)
	q := back.Query()
	q.Set("state", "x"+q.Get("state"))
	back.RawQuery = q.Encode()
	refused("another state", z, back)
	z = fresh()
	back = begin(z)
	back.RawQuery = "error=access_denied&state=" + url.QueryEscape(back.Query().Get("state"))
	refused("the provider's refusal", z, back)
	for what, claims := range map[string]map[string]any{
		"another nonce":        {"nonce": "x", "sub": "carol-1", "email": "carol@example.com", "email_verified": true},
		"another audience":     {"aud": "someone", "sub": "carol-1", "email": "carol@example.com", "email_verified": true},
		"not verified":         {"sub": "carol-1", "email": "carol@example.com", "email_verified": false},
		"verified as a string": {"sub": "carol-1", "email": "carol@example.com", "email_verified": "true"},
		"another user":         {"sub": "mallory", "email": "mallory@example.net", "email_verified": true},
		"no user":              {"sub": nil, "email": "carol@example.com", "email_verified": true},
	} {
		p.Person(claims)
		z := fresh()
		refused(what, z, begin(z))
	}
	if a := s.Browser().Request(http.MethodPost, "/console/api/federation",
		map[string]string{"provider": "Nobody"}); a.Status != http.StatusNotFound {
		t.Errorf("no such provider: %d", a.Status)
	}

	must(t, s.Directory.Providers.Delete(ctx, provider))
	if a := b.Request(http.MethodGet, "/console/api/session", nil); a.Status != http.StatusUnauthorized {
		t.Errorf("a sign-in outlived its provider: %d %s", a.Status, a.Body)
	}
}

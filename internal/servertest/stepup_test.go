package servertest_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sekisho/internal/client"
	"sekisho/internal/servertest"
	"sekisho/internal/servertest/authenticator"
	"sekisho/internal/wire/sigv4"
)

// fresh allows listing nodes for 15 minutes after a second factor.
const fresh = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:DescribeInstanceInformation",` +
	`"ssm:StartSession"],
	"Resource":"*","Condition":{"NumericLessThan":{"aws:MultiFactorAuthAge":"900"}}}]}`

// codeOf returns the next code of an authenticator app. The codes of enrolment
// are used up.
func codeOf(t *testing.T, seed string) string {
	t.Helper()
	code, err := totp.GenerateCode(seed, time.Now().Add(30*time.Second))
	must(t, err)
	return code
}

// refusalOf has the members of a refusal that programs read.
type refusalOf struct{ Reason, Failed string }

// A denial that a second factor would lift says so, and a code lifts it.
func TestSecondFactorOnDemand(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	alice := s.User("alice", fresh)
	seed := enrolTOTP(t, s, "alice")
	list := func(keys sigv4.Credentials) servertest.Answer {
		return s.JSON(keys, "ssm", "DescribeInstanceInformation", map[string]any{})
	}
	for name, a := range map[string]servertest.Answer{
		"list": list(alice), "session": s.JSON(alice, "ssm", "StartSession", map[string]string{"Target": n.ID}),
	} {
		var why refusalOf
		a.Decode(t, &why)
		if a.Code() != "AccessDeniedException" || why.Reason != "SecondFactorRequired" || why.Failed != "MFA" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	var unlike refusalOf
	other := s.JSON(alice, "ssm", "DescribeSessions", map[string]string{"State": "Active"})
	if other.Decode(t, &unlike); unlike.Reason != "" || unlike.Failed != "Who" {
		t.Errorf("a denial that a second factor cannot lift: %s", other.Body)
	}
	show := func(keys sigv4.Credentials, code string) (servertest.Answer, sigv4.Credentials) {
		a := s.JSON(keys, "sekisho", "ShowSecondFactor", map[string]string{"TokenCode": code})
		var out struct {
			Credentials struct {
				AccessKeyID                   string `json:"AccessKeyId"`
				SecretAccessKey, SessionToken string
			}
		}
		if a.Status == http.StatusOK {
			a.Decode(t, &out)
		}
		c := out.Credentials
		return a, sigv4.Credentials{
			AccessKeyID:     c.AccessKeyID,
			SecretAccessKey: c.SecretAccessKey,
			SessionToken:    c.SessionToken,
		}
	}
	if a, _ := show(alice, "000000"); a.Code() != "AccessDeniedException" {
		t.Errorf("a wrong code: %d %s", a.Status, a.Body)
	}
	another, _ := show(s.Admin, codeOf(t, seed))
	var noApp refusalOf
	if another.Decode(t, &noApp); another.Code() != "AccessDeniedException" || noApp.Reason != "NoAuthenticatorApp" {
		t.Errorf("another user's code: %d %s", another.Status, another.Body)
	}
	a, with := show(alice, codeOf(t, seed))
	if a.Status != http.StatusOK {
		t.Fatalf("the code: %d %s", a.Status, a.Body)
	}
	if a := list(with); a.Status != http.StatusOK {
		t.Errorf("with a second factor: %d %s", a.Status, a.Body)
	}
	if a, _ := show(with, codeOf(t, seed)); a.Code() != "AccessDeniedException" {
		t.Errorf("a code that was used: %d %s", a.Status, a.Body)
	}
	for _, e := range s.Events("ShowSecondFactor") {
		if code := e.RequestParameters["tokenCode"]; code == codeOf(t, seed) {
			t.Error("the audit trail has a code")
		}
	}
	// The credentials expire with the key that they were issued for.
	must(t, s.Directory.Keys.Delete(t.Context(), "alice", alice.AccessKeyID))
	if a := list(with); a.Status == http.StatusOK {
		t.Error("credentials outlast the access key that they were issued for")
	}
}

// A user without an authenticator app is asked for one code, not for another.
func TestClientWithoutAuthenticatorApp(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	roots := x509.NewCertPool()
	cert, err := x509.ParseCertificate(s.Certificate())
	must(t, err)
	roots.AddCert(cert)
	cl := client.New(client.Config{
		Endpoint: s.URL, Region: servertest.Region, Credentials: s.User("alice", fresh), Roots: roots,
	})
	defer cl.Close()
	asked := 0
	cl.SetSecondFactor(client.SecondFactor{Code: func(context.Context, error) (string, error) {
		asked++
		return "123456", nil
	}})
	if _, err := cl.Nodes(t.Context()); err == nil || asked != 1 {
		t.Errorf("the client asked for %d codes, want 1: %v", asked, err)
	}
}

// The client asks for a code, repeats the request, and keeps the credentials
// for the next command. Without a terminal the command does not ask.
func TestClientShowsSecondFactor(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	alice := s.User("alice", fresh)
	seed := enrolTOTP(t, s, "alice")
	c := newCommand(t, s)
	c.env["AWS_ENDPOINT_URL"], c.env["AWS_ACCESS_KEY_ID"], c.env["AWS_SECRET_ACCESS_KEY"] = s.URL, alice.AccessKeyID,
		alice.SecretAccessKey
	if exit, _, text := c.run("123456\n", "nodes"); exit != 4 {
		t.Errorf("without a terminal: exit code %d: %s", exit, text)
	}
	roots := x509.NewCertPool()
	cert, err := x509.ParseCertificate(s.Certificate())
	must(t, err)
	roots.AddCert(cert)
	getenv := func(k string) string { return c.env[k] }
	cfg := client.Config{Endpoint: s.URL, Region: servertest.Region, Credentials: alice, Roots: roots}
	cl := client.New(cfg)
	defer cl.Close()
	codes := []string{"000000", codeOf(t, seed)}
	cl.SetSecondFactor(client.SecondFactor{
		Code: func(_ context.Context, failed error) (string, error) {
			if (failed == nil) != (len(codes) == 2) {
				t.Errorf("the client asked for a code after error %v, with %d codes left", failed, len(codes))
			}
			code := codes[0]
			codes = codes[1:]
			return code, nil
		},
		Keep: func(creds client.TemporaryCredentials) error { return client.KeepSecondFactor(cfg, getenv, creds) },
	})
	if _, err := cl.Nodes(t.Context()); err != nil || len(codes) != 0 {
		t.Fatalf("nodes: %v, %d codes left", err, len(codes))
	}
	file := filepath.Join(c.env["HOME"], ".sekisho", "contexts.json")
	st, err := os.Stat(file)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the file of the credentials has the mode %v", st.Mode())
	}
	if exit, _, text := c.run("", "nodes"); exit != 0 {
		t.Errorf("the next command: exit code %d: %s", exit, text)
	}
}

// The console verifies a second factor again during a sign-in.
func TestConsoleShowsSecondFactor(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("alice", fresh)
	_, err := s.Directory.Logins.Create(t.Context(), "alice", password, false)
	must(t, err)
	b := s.Browser()
	if a := b.SignIn("alice", password); a.Status != http.StatusOK {
		t.Fatalf("sign-in: %d %s", a.Status, a.Body)
	}
	seed := enrolTOTP(t, s, "alice")
	list := func() servertest.Answer { return b.Call("AmazonSSM.DescribeInstanceInformation", map[string]any{}) }
	var why refusalOf
	if a := list(); a.Status == http.StatusOK {
		t.Fatal("a policy that requires a second factor allows a request without")
	} else if a.Decode(t, &why); why.Reason != "SecondFactorRequired" {
		t.Errorf("denied: %s", a.Body)
	}
	const path = "/console/api/session/factor"
	var offered struct{ TOTP bool }
	if b.Request(http.MethodPost, path, map[string]any{}).Decode(t, &offered); !offered.TOTP {
		t.Error("the console does not offer the authenticator app")
	}
	if a := b.Request(http.MethodPost, path, map[string]any{"code": "000000"}); a.Status != http.StatusForbidden {
		t.Errorf("a wrong code: %d %s", a.Status, a.Body)
	}
	if a := list(); a.Status == http.StatusOK {
		t.Error("a wrong code counts as a second factor")
	}
	if a := b.Request(http.MethodPost, path, map[string]any{"code": codeOf(t, seed)}); a.Status != http.StatusNoContent {
		t.Fatalf("the code: %d %s", a.Status, a.Body)
	}
	if a := list(); a.Status != http.StatusOK {
		t.Errorf("with a second factor: %d %s", a.Status, a.Body)
	}
	if e := s.Events("ConsoleSecondFactor"); len(e) != 2 {
		t.Errorf("the audit trail has %d events, want 2", len(e))
	}
}

// The console accepts a passkey as a second factor during a sign-in. It
// refuses one that belongs to another user, is used twice, or signs without
// user presence.
func TestConsoleShowsPasskey(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const name = "sekisho.test" // passkeys do not work for IP addresses
	type offer struct {
		TOTP    bool
		Passkey *struct {
			Options any
			State   string
		}
	}
	const path = "/console/api/session/factor"
	enrol := func(user string) (*servertest.Browser, *authenticator.Key) {
		t.Helper()
		s.User(user, strings.TrimSuffix(fresh, "]}")+
			`,{"Effect":"Allow","Action":"iam:*MFADevice*","Resource":"*"}]}`)
		_, err := s.Directory.Logins.Create(t.Context(), user, password, false)
		must(t, err)
		b := s.Browser().At(name)
		if a := b.SignIn(user, password); a.Status != http.StatusOK {
			t.Fatalf("sign-in: %d %s", a.Status, a.Body)
		}
		var begun struct {
			Options any
			State   string
		}
		b.Call("Sekisho.BeginPasskeyRegistration", map[string]string{}).Decode(t, &begun)
		key := authenticator.New(t, "https://"+name)
		a := b.Call("Sekisho.RegisterPasskey",
			map[string]any{"Name": "laptop", "State": begun.State, "Answer": raw(key.Create(begun.Options))})
		if a.Status != http.StatusOK {
			t.Fatalf("a passkey: %d %s", a.Status, a.Body)
		}
		return b, key
	}
	alice, key := enrol("alice")
	mallory, other := enrol("mallory")
	list := func() servertest.Answer {
		return alice.Call("AmazonSSM.DescribeInstanceInformation", map[string]any{})
	}
	ask := func(b *servertest.Browser) offer {
		t.Helper()
		var out offer
		b.Request(http.MethodPost, path, map[string]any{}).Decode(t, &out)
		if out.TOTP || out.Passkey == nil {
			t.Fatalf("the console offers %+v", out)
		}
		return out
	}
	show := func(state string, answer []byte) servertest.Answer {
		return alice.Request(http.MethodPost, path,
			map[string]any{"passkey": map[string]any{"state": state, "answer": raw(answer)}})
	}
	var why refusalOf
	if list().Decode(t, &why); why.Reason != "SecondFactorRequired" {
		t.Fatalf("before the passkey: %+v", why)
	}
	first, theirs := ask(alice).Passkey, ask(mallory).Passkey
	for name, a := range map[string]servertest.Answer{
		"another user's passkey":         show(first.State, other.Get(first.Options)),
		"another user's challenge":       show(theirs.State, other.Get(theirs.Options)),
		"a signature of another passkey": show(first.State, key.Forge(other, first.Options)),
		"no user present":                show(first.State, key.Without(authenticator.Present).Get(first.Options)),
	} {
		if a.Status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if a := list(); a.Status == http.StatusOK {
		t.Fatal("a refused passkey counts as a second factor")
	}
	again := ask(alice).Passkey
	answer := key.WithCounter(2).Get(again.Options)
	if a := show(again.State, answer); a.Status != http.StatusNoContent {
		t.Fatalf("the passkey: %d %s", a.Status, a.Body)
	}
	if a := list(); a.Status != http.StatusOK {
		t.Errorf("after the passkey: %d %s", a.Status, a.Body)
	}
	if a := show(again.State, answer); a.Status == http.StatusNoContent {
		t.Error("the same response of a passkey was accepted twice")
	}
}

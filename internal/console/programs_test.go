package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/identity"
)

// issuer issues credentials whose secret names the grant.
type issuer struct{}

func (issuer) OfSignIn(grant []byte, ttl time.Duration) (identity.TemporaryCredentials, error) {
	if ttl > 36*time.Hour || ttl < 15*time.Minute {
		return identity.TemporaryCredentials{}, sekisho.Errorf(sekisho.CodeInvalid, "duration %v", ttl)
	}
	return identity.TemporaryCredentials{
		AccessKeyID: "ASIAPROGRAM", SecretAccessKey: string(grant), SessionToken: "token", Expiration: time.Now().Add(ttl),
	}, nil
}

// waiting is the request of a program that waits for approval.
type waiting struct {
	f          *fixture
	DeviceCode string
	UserCode   string
}

func (f *fixture) beginProgram(t *testing.T, port int, opts ...option) *waiting {
	t.Helper()
	res := f.do(http.MethodPost, "/console/api/programs", fmt.Sprintf(`{"name":"laptop\u001b[2J","port":%d}`, port),
		opts...)
	w := &waiting{f: f}
	if err := json.NewDecoder(res.Body).Decode(w); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", res.Status, err)
	}
	return w
}

func (w *waiting) poll(browserCode string) *http.Response { return w.pollFor(browserCode, 3600) }

func (w *waiting) pollFor(browserCode string, seconds int) *http.Response {
	b, _ := json.Marshal(map[string]any{"deviceCode": w.DeviceCode, "browserCode": browserCode, "seconds": seconds})
	return w.f.do(http.MethodPost, "/console/api/programs/credentials", string(b))
}

func decide(b *browser, code string, approve bool) *http.Response {
	body, _ := json.Marshal(map[string]any{"code": code, "approve": approve})
	return b.do(http.MethodPost, "/console/api/programs/approve", string(body))
}

func TestProgramSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.beginProgram(t, 0)
	if res := w.poll(""); res.StatusCode != http.StatusAccepted {
		t.Errorf("before the approval: %s", res.Status)
	}
	b := f.signIn(t, "alice", "")
	res := b.do(http.MethodPost, "/console/api/programs/show", fmt.Sprintf(`{"code":%q}`, strings.ToLower(w.UserCode)))
	var shown struct {
		Name        string
		Same, Local bool
	}
	if err := json.NewDecoder(res.Body).Decode(&shown); err != nil || shown.Name != "laptop[2J" || !shown.Same ||
		shown.Local {
		t.Errorf("shown: %+v, %v", shown, err)
	}
	if res := decide(b, w.UserCode, true); res.StatusCode != http.StatusOK || field(t, res, "redirect") != "" {
		t.Fatalf("approval: %s", res.Status)
	}
	if e := f.trail.last(); e.Name != "ConsoleProgramApproved" || e.Principal.UserName != "alice" || e.Failure != "" {
		t.Errorf("audit of the approval: %+v", e)
	}
	if res := w.pollFor("", 1); res.StatusCode != http.StatusBadRequest {
		t.Errorf("for too short a time: %s", res.Status)
	}
	res = w.poll("") // an invalid duration does not use up the approval
	if res.StatusCode != http.StatusOK {
		t.Fatalf("after the approval: %s", res.Status)
	}
	if secret := field(t, res, "secretAccessKey"); !strings.Contains(secret, "AIDAALICE") {
		t.Errorf("the credentials are not alice's: %s", secret)
	}
	if e := f.trail.last(); e.Name != "ConsoleLogin" || e.Principal.AccessKeyID != "ASIAPROGRAM" {
		t.Errorf("audit of the sign-in: %+v", e)
	}
	if res := w.poll(""); res.StatusCode != http.StatusNotFound {
		t.Errorf("a second time: %s", res.Status)
	}
	if res := decide(b, w.UserCode, true); res.StatusCode != http.StatusNotFound {
		t.Errorf("a second approval: %s", res.Status)
	}
}

// A program on this machine gets credentials only with the code that the
// approving browser delivers to it.
func TestProgramSignInOnThisMachine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.beginProgram(t, 40123)
	res := decide(f.signIn(t, "alice", ""), w.UserCode, true)
	to, err := url.Parse(field(t, res, "redirect"))
	if err != nil || to.Scheme != "http" || to.Host != "127.0.0.1:40123" {
		t.Fatalf("redirected to %v, %v", to, err)
	}
	if res := w.poll("wrong"); res.StatusCode != http.StatusAccepted {
		t.Errorf("with a wrong code: %s", res.Status)
	}
	if res := w.poll(to.Query().Get("code")); res.StatusCode != http.StatusOK {
		t.Errorf("with the browser's code: %s", res.Status)
	}
	for k, v := range f.store.rows {
		if strings.Contains(k+string(v.data), to.Query().Get("code")) || strings.Contains(k+string(v.data), w.DeviceCode) {
			t.Error("the store holds a code itself")
		}
	}
}

func TestProgramSignInRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")

	w := f.beginProgram(t, 0)
	if res := decide(b, w.UserCode, false); res.StatusCode != http.StatusOK {
		t.Errorf("a refusal: %s", res.Status)
	}
	if res := w.poll(""); res.StatusCode != http.StatusForbidden {
		t.Errorf("after the refusal: %s", res.Status)
	}
	w = f.beginProgram(t, 0)
	if res := decide(&browser{f: f, cookie: b.cookie, csrf: "wrong"}, w.UserCode,
		true); res.StatusCode != http.StatusForbidden {
		t.Errorf("an approval without the page's token: %s", res.Status)
	}
	if res := f.do(http.MethodPost, "/console/api/programs/approve",
		`{"code":"`+w.UserCode+`","approve":true}`); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("an approval without a sign-in: %s", res.Status)
	}
	if res := w.poll(""); res.StatusCode != http.StatusAccepted {
		t.Errorf("after forged approvals: %s", res.Status)
	}
	if res := decide(b, "BBBB-BBBB", true); res.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown code: %s", res.Status)
	}
	// The sign-in of a browser is not valid for a program, nor the other way round.
	if res := (&waiting{f: f, DeviceCode: b.cookie.Value}).poll(""); res.StatusCode != http.StatusNotFound {
		t.Errorf("a cookie as a device code: %s", res.Status)
	}
	if res := b.call(); res.StatusCode != http.StatusOK {
		t.Errorf("the sign-in whose cookie was tried: %s", res.Status)
	}
	thief := &browser{f: f, cookie: &http.Cookie{Name: b.cookie.Name, Value: w.DeviceCode}, csrf: b.csrf}
	if res := thief.call(); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a device code as a cookie: %s", res.Status)
	}

	// The sign-in that approved ends before the program fetches its credentials.
	w = f.beginProgram(t, 0)
	if res := decide(b, w.UserCode, true); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	f.dir.mu.Lock()
	delete(f.dir.users, "alice")
	f.dir.mu.Unlock()
	if res := w.poll(""); res.StatusCode != http.StatusForbidden {
		t.Errorf("for a deleted user: %s", res.Status)
	}
}

// Two servers can receive the same request at the same time: only one issues
// credentials, and only one decision counts.
func TestProgramSignInWorksOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")
	w := f.beginProgram(t, 0)
	var other *http.Response
	f.store.deleting = func() { other = decide(b, w.UserCode, true) }
	if res := decide(b, w.UserCode, false); res.StatusCode != http.StatusNotFound {
		t.Errorf("the later of two decisions: %s", res.Status)
	}
	if other == nil || other.StatusCode != http.StatusOK {
		t.Fatalf("the earlier of two decisions: %v", other)
	}
	f.store.deleting = func() { other = w.poll("") }
	if res := w.poll(""); res.StatusCode != http.StatusNotFound {
		t.Errorf("the later of two polls: %s", res.Status)
	}
	if other.StatusCode != http.StatusOK {
		t.Errorf("the earlier of two polls: %s", other.Status)
	}
}

// A program that retries without end must not keep people from signing in.
func TestProgramSignInDoesNotLimitPasswords(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unknown := waiting{f: f, DeviceCode: strings.Repeat("A", 43)}
	limited := false
	for range 40 {
		f.do(http.MethodPost, "/console/api/programs", `{"name":"x","port":0}`)
		limited = limited || unknown.poll("").StatusCode == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("unknown codes are not limited")
	}
	f.signIn(t, "alice", "")
}

// Requests of programs and their polls are limited.
func TestProgramSignInIsLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.beginProgram(t, 0, from("192.0.2.1:1"))
	limited := false
	for range 10 {
		limited = limited || w.poll("").StatusCode == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("polls are not limited")
	}
	limited = false
	for range 40 {
		res := f.do(http.MethodPost, "/console/api/programs", `{"name":"x","port":0}`, from("192.0.2.9:1"))
		limited = limited || res.StatusCode == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("requests are not limited")
	}
	if rows := len(f.store.rows); rows > 60 {
		t.Errorf("%d rows are left", rows)
	}
	for _, bad := range []string{`{"port":70000}`, `{"port":-1}`, `{"x":1}`, `[]`} {
		if res := f.do(http.MethodPost, "/console/api/programs", bad); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", bad, res.Status)
		}
	}
}

// A caller with many addresses, such as all networks of an IPv6 prefix, cannot
// fill the store.
func TestProgramSignInIsLimitedOverAllSources(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	limited := 0
	for i := range 1400 {
		res := f.do(http.MethodPost, "/console/api/programs", `{"name":"x","port":0}`,
			from(fmt.Sprintf("[2001:db8:1:%x::1]:1", i)))
		if res.StatusCode == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited == 0 {
		t.Errorf("no request of 1400 sources was limited, and the store has %d rows", len(f.store.rows))
	}
}

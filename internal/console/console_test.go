package console_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/console"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
)

const (
	origin   = "https://sekisho.test"
	password = "correct-horse-battery"
	mfaCode  = "271828"
)

// store is a console.Store in memory.
type store struct {
	mu   sync.Mutex
	rows map[string]row
	// deleting, if set, runs before each deletion, as another server could act then.
	deleting func()
}

type row struct {
	data    []byte
	expires time.Time
}

func (s *store) PutConsoleSignIn(_ context.Context, hash, data []byte, expires, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.rows {
		if !v.expires.After(now) {
			delete(s.rows, k)
		}
	}
	s.rows[hex.EncodeToString(hash)] = row{data, expires}
	return nil
}

func (s *store) ConsoleSignIn(_ context.Context, hash []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rows[hex.EncodeToString(hash)]
	if !ok {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "no such sign-in")
	}
	return r.data, nil
}

func (s *store) UpdateConsoleSignIn(_ context.Context, hash, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := hex.EncodeToString(hash)
	if r, ok := s.rows[k]; ok {
		s.rows[k] = row{data, r.expires}
	}
	return nil
}

func (s *store) DeleteConsoleSignIn(_ context.Context, hash []byte) (bool, error) {
	if f := s.deleting; f != nil {
		s.deleting = nil
		f()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := hex.EncodeToString(hash)
	_, ok := s.rows[k]
	delete(s.rows, k)
	return ok, nil
}

// directory knows alice, and carol, who has a second factor.
type directory struct {
	mu       sync.Mutex
	users    map[string]string // name to user ID
	checked  []string
	firstRun bool
	broken   error
}

// grant is the value that the console stores for this directory.
type grant struct {
	User, ID string
	MFA      time.Time
}

func (d *directory) CheckPassword(
	_ context.Context,
	user, pass, _ string,
	_ netip.Addr,
	second identity.Second,
) (identity.SignIn, error) {
	d.mu.Lock()
	d.checked = append(d.checked, user)
	broken := d.broken
	d.mu.Unlock()
	if broken != nil {
		return identity.SignIn{}, broken
	}
	g := grant{User: user}
	d.mu.Lock()
	id, ok := d.users[user]
	d.mu.Unlock()
	if g.ID = id; !ok || pass != password {
		return identity.SignIn{}, sekisho.Errorf(sekisho.CodeUnauthenticated, "wrong")
	}
	if user == "carol" {
		if second.Code == "" && second.State == "" {
			return identity.SignIn{}, &identity.MFARequired{
				TOTP:    true,
				Passkey: &identity.Challenge{Options: "options", State: "sealed"},
			}
		}
		if second.Code != mfaCode && (second.State != "sealed" || string(second.Answer) != `{"id":"carols"}`) {
			return identity.SignIn{}, sekisho.Errorf(sekisho.CodeUnauthenticated, "wrong second factor")
		}
		g.MFA = time.Now()
	}
	return d.signIn(g)
}

func (d *directory) signIn(g grant) (identity.SignIn, error) {
	b, err := json.Marshal(g)
	if err != nil {
		return identity.SignIn{}, err
	}
	p, err := d.Granted(context.Background(), b)
	return identity.SignIn{Principal: p, Grant: b}, err
}

func (d *directory) BeginPasskeySignIn(context.Context, string) (*identity.Challenge, error) {
	return &identity.Challenge{Options: map[string]string{"challenge": "c"}, State: "alone"}, nil
}

func (d *directory) PasskeySignIn(_ context.Context, host, state string, answer []byte) (identity.SignIn, error) {
	if host != "sekisho.test" || state != "alone" || string(answer) != `{"id":"carols"}` {
		return identity.SignIn{}, sekisho.Errorf(sekisho.CodeUnauthenticated, "wrong")
	}
	return d.signIn(grant{User: "carol", ID: "AIDACAROL", MFA: time.Now()})
}

func (d *directory) Granted(_ context.Context, data []byte) (*sekisho.Principal, error) {
	var g grant
	if err := json.Unmarshal(data, &g); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, ok := d.users[g.User]; !ok || id != g.ID {
		return nil, sekisho.Errorf(sekisho.CodeUnauthenticated, "it is over")
	}
	return &sekisho.Principal{
		Type: sekisho.PrincipalUser, Account: "123456789012", UserName: g.User, UserID: g.ID, MFATime: g.MFA,
		ARN: "arn:aws:iam::123456789012:user/" + g.User, PolicyARN: "arn:aws:iam::123456789012:user/" + g.User,
	}, nil
}

func (d *directory) StepUpSignIn(
	context.Context,
	[]byte,
	string,
	netip.Addr,
	identity.Second,
) (identity.SignIn, error) {
	return identity.SignIn{}, sekisho.Errorf(sekisho.CodeDenied, "no second factor")
}

func (d *directory) PasswordReset(context.Context, *sekisho.Principal) (bool, error) {
	return false, nil
}

func (d *directory) FirstRun(_ context.Context, userID string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.firstRun && userID == "AIDAALICE", nil
}

func (d *directory) checks() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.checked)
}

// doors records the calls that arrive.
type doors struct {
	mu    sync.Mutex
	calls []doorCall
}

// authorizer allows every action but the denied ones.
type authorizer struct{ denied map[string]bool }

func (a *authorizer) Decide(
	_ context.Context,
	_ *authz.Facts,
	action, _ string,
	_ ...authz.Key,
) (authz.Verdict, error) {
	return authz.Verdict{Allowed: !a.denied[action]}, nil
}

type doorCall struct {
	Service, Path, Body, ARN string
	MFA                      bool
	Header                   http.Header
}

func (d *doors) ServeAs(w http.ResponseWriter, r *http.Request, p *sekisho.Principal, service string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(
		d.calls,
		doorCall{service, r.URL.String(), string(body), p.ARN, !p.MFATime.IsZero(), r.Header.Clone()},
	)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	io.WriteString(w, `{"ok":true}`)
}

// buckets records the S3 calls that arrive, like doors.
type buckets struct{ *doors }

func (b buckets) ServeAs(w http.ResponseWriter, r *http.Request, p *sekisho.Principal) {
	b.doors.ServeAs(w, r, p, "s3 "+r.Method)
}

// trail is an audit trail in memory.
type trail struct {
	mu     sync.Mutex
	events []console.AuditEvent
	broken error
}

func (t *trail) ConsoleEvent(_ context.Context, e console.AuditEvent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
	return t.broken
}

func (t *trail) last() console.AuditEvent {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.events[len(t.events)-1]
}

// fixture is a console and what it depends on.
type fixture struct {
	*console.Console
	store *store
	dir   *directory
	doors *doors
	authz *authorizer
	trail *trail
	feed  *console.ChangeFeed
	log   *bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		store: &store{rows: map[string]row{}},
		dir:   &directory{users: map[string]string{"alice": "AIDAALICE", "carol": "AIDACAROL"}},
		doors: &doors{}, authz: &authorizer{denied: map[string]bool{}}, trail: &trail{}, feed: &console.ChangeFeed{},
		log: &bytes.Buffer{},
	}
	f.restart(t)
	return f
}

// restart creates a new console over the same store.
func (f *fixture) restart(t *testing.T) {
	t.Helper()
	c, err := console.New(console.Config{
		Account: "123456789012", Region: "eu-central-1", Target: "mi-0123456789abcdef0",
		Directory: f.dir, Credentials: issuer{}, Doors: f.doors, Authorizer: f.authz, Buckets: buckets{f.doors},
		Store: f.store, Events: f.feed, Audit: f.trail,
		Log: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Console = c
}

type option func(*http.Request)

func header(k, v string) option {
	return func(r *http.Request) {
		if v == "" {
			r.Header.Del(k)
		} else {
			r.Header.Set(k, v)
		}
	}
}

func from(addr string) option { return func(r *http.Request) { r.RemoteAddr = addr } }

// do sends a request as the console's own page would.
func (f *fixture) do(method, target, body string, opts ...option) *http.Response {
	r := httptest.NewRequest(method, origin+target, strings.NewReader(body))
	r.Header.Set("Origin", origin)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, o := range opts {
		o(r)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Result()
}

func (f *fixture) trySignIn(user, pass, code string, opts ...option) *http.Response {
	b, _ := json.Marshal(map[string]string{"user": user, "password": pass, "code": code})
	return f.do(http.MethodPost, "/console/api/session", string(b), opts...)
}

// browser is a signed-in page.
type browser struct {
	f      *fixture
	cookie *http.Cookie
	csrf   string
}

func (f *fixture) signIn(t *testing.T, user, code string) *browser {
	t.Helper()
	res := f.trySignIn(user, password, code)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("sign in: %s: %s", res.Status, read(res))
	}
	for _, c := range res.Cookies() {
		if c.Name == console.CookieName {
			return &browser{f, c, field(t, res, "csrf")}
		}
	}
	t.Fatal("no cookie")
	return nil
}

func (b *browser) do(method, target, body string, opts ...option) *http.Response {
	all := append(
		[]option{func(r *http.Request) { r.AddCookie(b.cookie) }, header(console.CSRFHeader, b.csrf)},
		opts...)
	return b.f.do(method, target, body, all...)
}

func (b *browser) call(opts ...option) *http.Response {
	all := append([]option{
		header("Content-Type", "application/x-amz-json-1.1"),
		header("X-Amz-Target", "AmazonSSM.DescribeSessions"),
	}, opts...)
	return b.do(http.MethodPost, "/console/api/aws", `{"State":"Active"}`, all...)
}

func read(res *http.Response) string {
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

func field(t *testing.T, res *http.Response, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	s, _ := m[name].(string)
	return s
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	res := f.trySignIn("alice", password, "")
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	var got map[string]any
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"csrf", "expires", "accessKeyId"} {
		if got[k] == "" || got[k] == nil {
			t.Errorf("no %s", k)
		}
		delete(got, k)
	}
	want := map[string]any{
		"user": "alice", "arn": "arn:aws:iam::123456789012:user/alice",
		"account": "123456789012", "region": "eu-central-1", "target": "mi-0123456789abcdef0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	c := res.Cookies()[0]
	if c.Name != "__Host-sekisho" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode ||
		c.Path != "/" ||
		c.Domain != "" ||
		c.MaxAge != 12*3600 {
		t.Errorf("cookie %+v", c)
	}
	if e := f.trail.last(); e.Name != "ConsoleLogin" || e.Failure != "" || e.Principal.UserName != "alice" {
		t.Errorf("audit %+v", e)
	}
	for k, v := range f.store.rows {
		if strings.Contains(k+string(v.data), c.Value) {
			t.Error("the store holds the token itself")
		}
	}
}

func TestSignInRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unknown, wrong := f.trySignIn("nobody", password, ""), f.trySignIn("alice", "guess", "")
	u, w := read(unknown), read(wrong)
	if unknown.StatusCode != 401 || wrong.StatusCode != 401 || u != w {
		t.Errorf("unknown user: %d %s; wrong password: %d %s", unknown.StatusCode, u, wrong.StatusCode, w)
	}
	if f.dir.checks() != 2 {
		t.Errorf("%d password checks for 2 attempts: an unknown user must cost the same", f.dir.checks())
	}
	if e := f.trail.last(); e.Failure == "" || e.User != "" {
		t.Errorf("audit %+v", e)
	}
	if len(wrong.Cookies()) != 0 || len(f.store.rows) != 0 {
		t.Error("a refused sign-in left something behind")
	}

	checks := f.dir.checks()
	for name, res := range map[string]*http.Response{
		"foreign origin":   f.trySignIn("alice", password, "", header("Origin", "https://evil.test")),
		"no origin":        f.trySignIn("alice", password, "", header("Origin", "")),
		"null origin":      f.trySignIn("alice", password, "", header("Origin", "null")),
		"other port":       f.trySignIn("alice", password, "", header("Origin", origin+":444")),
		"plain http page":  f.trySignIn("alice", password, "", header("Origin", "http://sekisho.test")),
		"cross-site fetch": f.trySignIn("alice", password, "", header("Sec-Fetch-Site", "cross-site")),
		"same-site fetch":  f.trySignIn("alice", password, "", header("Sec-Fetch-Site", "same-site")),
	} {
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	for name, res := range map[string]*http.Response{
		"form body":      f.trySignIn("alice", password, "", header("Content-Type", "application/x-www-form-urlencoded")),
		"not JSON":       f.do("POST", "/console/api/session", "user=alice"),
		"unknown member": f.do("POST", "/console/api/session", `{"user":"alice","password":"x","admin":true}`),
		"two values":     f.do("POST", "/console/api/session", `{"user":"alice","password":"x"}{}`),
		"too large":      f.do("POST", "/console/api/session", `{"user":"`+strings.Repeat("a", 65<<10)+`"}`),
	} {
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	if f.dir.checks() != checks {
		t.Error("a password was checked for a request that is not a sign-in")
	}
}

func TestSecondFactor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	res := f.trySignIn("carol", password, "")
	if body := read(res); res.StatusCode != 401 || !strings.Contains(body, `"mfaRequired":true`) {
		t.Fatalf("%s %s", res.Status, body)
	}
	if res := f.trySignIn("carol", password, "000000"); res.StatusCode != 401 {
		t.Fatal(res.Status)
	}
	b := f.signIn(t, "carol", mfaCode)
	b.call()
	if !f.doors.calls[0].MFA {
		t.Error("the door does not see that a second factor was shown")
	}
}

func TestUnauditedSignInIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.trail.broken = errors.New("disk full")
	if res := f.trySignIn("alice", password, ""); res.StatusCode != 500 || len(res.Cookies()) != 0 {
		t.Errorf("%s, %d cookies", res.Status, len(res.Cookies()))
	}
}

func TestDirectoryFault(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.dir.broken = errors.New("database is locked at /secret/path")
	res := f.trySignIn("alice", password, "")
	if body := read(res); res.StatusCode != 500 || strings.Contains(body, "locked") {
		t.Errorf("%s %s", res.Status, body)
	}
	if !strings.Contains(f.log.String(), "database is locked") {
		t.Error("the fault is not in the log")
	}
}

func TestCall(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")
	res := b.call(
		header("Authorization", "AWS4-HMAC-SHA256 Credential=x"),
		header("X-Amz-Security-Token", "x"),
		header("User-Agent", "browser/1"),
	)
	if got := read(res); res.StatusCode != 200 || got != `{"ok":true}` {
		t.Fatalf("%s %s", res.Status, got)
	}
	want := doorCall{
		Service: "ssm", Path: "/", Body: `{"State":"Active"}`, ARN: "arn:aws:iam::123456789012:user/alice",
		Header: http.Header{
			"Content-Type": {"application/x-amz-json-1.1"},
			"X-Amz-Target": {"AmazonSSM.DescribeSessions"},
			"User-Agent":   {"browser/1"},
		},
	}
	if d := cmp.Diff(want, f.doors.calls[0]); d != "" {
		t.Error(d)
	}

	for service, opts := range map[string][]option{
		"sekisho": {header("X-Amz-Target", "Sekisho.GetSessionRecording")},
		"iam": {header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
			header(console.ServiceHeader, "iam")},
		"sts": {header("Content-Type", "application/x-www-form-urlencoded"), header(console.ServiceHeader, "sts")},
		"ec2": {header("Content-Type", "application/x-www-form-urlencoded"), header(console.ServiceHeader, "ec2")},
	} {
		if res := b.call(opts...); res.StatusCode != 200 {
			t.Errorf("%s: %s", service, res.Status)
		} else if got := f.doors.calls[len(f.doors.calls)-1].Service; got != service {
			t.Errorf("call for %s reached %s", service, got)
		}
	}
}

func TestCallRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")
	other := f.signIn(t, "alice", "")
	tests := map[string]struct {
		opts   []option
		status int
	}{
		"no cookie":                 {[]option{header("Cookie", "")}, 401},
		"garbled cookie":            {[]option{header("Cookie", console.CookieName+"=%%%")}, 401},
		"short cookie":              {[]option{header("Cookie", console.CookieName+"=AAAA")}, 401},
		"unknown cookie":            {[]option{header("Cookie", console.CookieName+"="+strings.Repeat("A", 43))}, 401},
		"no CSRF token":             {[]option{header(console.CSRFHeader, "")}, 403},
		"wrong CSRF token":          {[]option{header(console.CSRFHeader, "x")}, 403},
		"another user's CSRF token": {[]option{header(console.CSRFHeader, other.csrf)}, 403},
		"foreign origin":            {[]option{header("Origin", "https://evil.test")}, 403},
		"no origin":                 {[]option{header("Origin", "")}, 403},
		"cross-site fetch":          {[]option{header("Sec-Fetch-Site", "cross-site")}, 403},
		"unknown target":            {[]option{header("X-Amz-Target", "DynamoDB.Scan")}, 400},
		"no target":                 {[]option{header("X-Amz-Target", "")}, 400},
		"target no dot":             {[]option{header("X-Amz-Target", "AmazonSSM")}, 400},
		"unknown service": {
			[]option{header("Content-Type", "application/x-www-form-urlencoded"), header(console.ServiceHeader, "s3")},
			400,
		},
		"JSON by form name": {[]option{header("X-Amz-Target", ""), header(console.ServiceHeader, "iam")}, 400},
		"no content type":   {[]option{header("Content-Type", "")}, 400},
	}
	for name, tt := range tests {
		res := b.call(tt.opts...)
		body := read(res)
		if res.StatusCode != tt.status || !strings.Contains(body, `"__type"`) || !strings.Contains(body, `"message"`) {
			t.Errorf("%s: %s %s, want %d and an AWS error", name, res.Status, body, tt.status)
		}
	}
	if len(f.doors.calls) != 0 {
		t.Errorf("%d refused calls reached a door", len(f.doors.calls))
	}
	if res := b.do("POST", "/console/api/aws", strings.Repeat("x", 2<<20),
		header("Content-Type", "application/x-amz-json-1.1"),
		header("X-Amz-Target", "AmazonSSM.X")); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("oversized: %s", res.Status)
	}
}

func TestBucketCall(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "carol", mfaCode)
	res := b.do(http.MethodPost, "/console/api/s3", "body", header("Content-Type", "text/plain"),
		header(console.BucketHeader, "PUT /logs/a//b%20c.log?versionId=1"), header("Range", "bytes=0-9"),
		header("Authorization", "AWS4-HMAC-SHA256 nonsense"), header("X-Amz-Acl", "public-read"))
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", res.Status, read(res))
	}
	want := []doorCall{{
		Service: "s3 PUT", Path: "/logs/a//b%20c.log?versionId=1", Body: "body", ARN: "arn:aws:iam::123456789012:user/carol",
		MFA:    true,
		Header: http.Header{"Content-Type": {"text/plain"}, "Range": {"bytes=0-9"}},
	}}
	if diff := cmp.Diff(want, f.doors.calls); diff != "" {
		t.Error(diff)
	}

	f.dir.firstRun = true
	alice := f.signIn(t, "alice", "")
	for name, tc := range map[string]struct {
		who  *browser
		with []option
		want int
	}{
		"another site":    {b, []option{header("Origin", "https://elsewhere.test")}, http.StatusForbidden},
		"no CSRF token":   {b, []option{header(console.CSRFHeader, "")}, http.StatusForbidden},
		"no request line": {b, []option{header(console.BucketHeader, "")}, http.StatusBadRequest},
		"a complete URL": {b, []option{header(console.BucketHeader, "GET https://elsewhere.test/logs")},
			http.StatusBadRequest},
		"a DELETE":            {b, []option{header(console.BucketHeader, "DELETE /logs/key")}, http.StatusBadRequest},
		"an incomplete start": {alice, nil, http.StatusForbidden},
	} {
		res := tc.who.do(
			http.MethodPost,
			"/console/api/s3",
			"",
			append([]option{header(console.BucketHeader, "GET /logs")}, tc.with...)...)
		if res.StatusCode != tc.want {
			t.Errorf("%s: %s: %s", name, res.Status, read(res))
		}
	}
	if len(f.doors.calls) != 1 {
		t.Errorf("refused calls reached the door: %+v", f.doors.calls[1:])
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")
	if res := b.do("DELETE", "/console/api/session", "", header(console.CSRFHeader, "")); res.StatusCode != 403 {
		t.Errorf("without CSRF token: %s", res.Status)
	}
	if res := b.do("DELETE", "/console/api/session", ""); res.StatusCode != 204 || res.Cookies()[0].MaxAge >= 0 {
		t.Errorf("%s %v", res.Status, res.Cookies())
	}
	if res := b.do("GET", "/console/api/session", ""); res.StatusCode != 401 {
		t.Errorf("after signing out: %s", res.Status)
	}
	if e := f.trail.last(); e.Name != "ConsoleLogout" {
		t.Errorf("audit %+v", e)
	}
}

// TestSignInDoesNotAdoptACookie: a cookie that an attacker planted in a
// browser does not become signed in when the browser's user signs in.
func TestSignInDoesNotAdoptACookie(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	planted := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	res := f.trySignIn("alice", password, "", header("Cookie", console.CookieName+"="+planted))
	if res.StatusCode != http.StatusOK || len(res.Cookies()) != 1 || res.Cookies()[0].Value == planted {
		t.Fatalf("%s: %v", res.Status, res.Cookies())
	}
	if got := f.do("GET", "/console/api/session", "",
		header("Cookie", console.CookieName+"="+planted)); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("the planted cookie: %s", got.Status)
	}
}

func TestNewSignInReplacesTheOldOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old := f.signIn(t, "alice", "")
	other := f.signIn(t, "alice", "") // another browser
	res := f.trySignIn("carol", password, mfaCode, func(r *http.Request) { r.AddCookie(old.cookie) })
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if res := old.call(); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the replaced cookie: %s", res.Status)
	}
	if res := other.call(); res.StatusCode != http.StatusOK {
		t.Errorf("the cookie of another browser: %s", res.Status)
	}
}

func TestSignInSurvivesRestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")
	f.restart(t)
	if res := b.call(); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

func TestDeletedUserIsSignedOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")
	f.dir.mu.Lock()
	f.dir.users["alice"] = "AIDAALICEAGAIN"
	f.dir.mu.Unlock()
	if res := b.call(); res.StatusCode != 401 {
		t.Errorf("a new user of the same name: %s", res.Status)
	}
	f.dir.mu.Lock()
	delete(f.dir.users, "alice")
	f.dir.mu.Unlock()
	if res := b.call(); res.StatusCode != 401 {
		t.Errorf("deleted: %s", res.Status)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		idle := f.signIn(t, "alice", "")
		time.Sleep(59 * time.Minute)
		// Background calls of the page do not extend the sign-in.
		if res := idle.call(header(console.BackgroundHeader, "1")); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		time.Sleep(2 * time.Minute)
		if res := idle.call(); res.StatusCode != 401 {
			t.Errorf("idle for 61 minutes: %s", res.Status)
		}

		busy := f.signIn(t, "alice", "")
		for range 14 {
			time.Sleep(50 * time.Minute)
			if res := busy.call(); res.StatusCode != 200 {
				t.Fatal(res.Status)
			}
		}
		time.Sleep(21 * time.Minute)
		if res := busy.call(); res.StatusCode != 401 {
			t.Errorf("after 12 hours: %s", res.Status)
		}
		if len(f.store.rows) != 0 {
			t.Error("expired sign-ins are kept")
		}
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		// By user and source. Names that differ only in case are the same.
		for i := range 6 {
			name := []string{"alice", "Alice"}[i%2]
			if res := f.trySignIn(name, "guess", "", from("198.51.100.1:1")); res.StatusCode != 401 {
				t.Fatalf("attempt %d: %s", i, res.Status)
			}
		}
		checks := f.dir.checks()
		res := f.trySignIn("alice", password, "", from("198.51.100.1:1"))
		if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
			t.Errorf("seventh attempt: %s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
		}
		if f.dir.checks() != checks {
			t.Error("a throttled attempt had its password checked")
		}
		if e := f.trail.last(); e.Failure != "too many attempts" {
			t.Errorf("audit %+v", e)
		}
		if res := f.trySignIn("alice", password, "", from("203.0.113.9:1")); res.StatusCode != 200 {
			t.Errorf("the right password from another source: %s", res.Status)
		}
		time.Sleep(21 * time.Second)
		if res := f.trySignIn("alice", password, "", from("198.51.100.1:1")); res.StatusCode != 200 {
			t.Errorf("after waiting: %s", res.Status)
		}

		// By source, for all users. An IPv6 network counts as one source.
		for i := range 21 {
			res := f.trySignIn(
				"user"+string(rune('a'+i)),
				"guess",
				"",
				from("[2001:db8:1:2::"+string(rune('a'+i%6))+"]:1"),
			)
			if want := map[bool]int{true: 401, false: 429}[i < 20]; res.StatusCode != want {
				t.Fatalf("source attempt %d: %s, want %d", i, res.Status, want)
			}
		}
		if res := f.trySignIn("carol", password, mfaCode, from("[2001:db8:1:3::1]:1")); res.StatusCode != 200 {
			t.Errorf("another source: %s", res.Status)
		}

		// Successful sign-ins do not count.
		for range 30 {
			if res := f.trySignIn("carol", password, mfaCode, from("192.0.2.77:1")); res.StatusCode != 200 {
				t.Fatal(res.Status)
			}
		}
	})
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.signIn(t, "alice", "")
	for name, res := range map[string]*http.Response{
		"page":    f.do("GET", "/console/", ""),
		"route":   f.do("GET", "/console/nodes/mi-1", ""),
		"session": b.do("GET", "/console/api/session", ""),
		"refusal": f.do("GET", "/console/api/session", ""),
		"call":    b.call(),
		"unknown": f.do("GET", "/console/api/nothing", ""),
	} {
		h := res.Header
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'self'", "script-src 'self';", "frame-ancestors 'none'",
			"object-src 'none'", "connect-src 'self' wss://sekisho.test;"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: CSP lacks %q: %s", name, want, csp)
			}
		}
		for k, v := range map[string]string{
			"X-Content-Type-Options":    "nosniff",
			"Referrer-Policy":           "no-referrer",
			"X-Frame-Options":           "DENY",
			"Strict-Transport-Security": "max-age=31536000",
		} {
			if h.Get(k) != v {
				t.Errorf("%s: %s is %q", name, k, h.Get(k))
			}
		}
		if name != "page" && name != "route" && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be cached", name)
		}
	}
	for host, want := range map[string]bool{"localhost:8443": false, "127.0.0.1:8443": false, "[::1]:8443": false,
		"sekisho.test:8443": true} {
		res := f.do("GET", "/console/", "", func(r *http.Request) { r.Host = host })
		if got := res.Header.Get("Strict-Transport-Security") != ""; got != want {
			t.Errorf("HSTS for %s: %v", host, got)
		}
	}
	evil := f.do("GET", "/console/", "", func(r *http.Request) { r.Host = "x; script-src *" })
	if strings.Contains(evil.Header.Get("Content-Security-Policy"), "*") {
		t.Error("the Host header reaches the CSP unchecked")
	}
}

func TestWants(t *testing.T) {
	t.Parallel()
	html := header("Accept", "text/html,application/xhtml+xml")
	for name, tt := range map[string]struct {
		method, path string
		opts         []option
		want         bool
	}{
		"console":              {"GET", "/console/", nil, true},
		"console api":          {"POST", "/console/api/aws", nil, true},
		"no slash":             {"GET", "/console", nil, true},
		"browser":              {"GET", "/", []option{html}, true},
		"sdk":                  {"POST", "/", nil, false},
		"sdk get":              {"GET", "/", nil, false},
		"signed":               {"GET", "/", []option{html, header("Authorization", "AWS4")}, false},
		"presigned":            {"GET", "/?Action=GetCallerIdentity", []option{html}, false},
		"data channel":         {"GET", "/v1/data-channel/x", []option{html}, false},
		"another console path": {"GET", "/consoles", []option{html}, false},
	} {
		r := httptest.NewRequest(tt.method, origin+tt.path, nil)
		for _, o := range tt.opts {
			o(r)
		}
		if got := console.Wants(r); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	f := newFixture(t)
	if res := f.do("GET", "/", "", html); res.StatusCode != 302 || res.Header.Get("Location") != "/console/" {
		t.Errorf("root: %s %s", res.Status, res.Header.Get("Location"))
	}
}

func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.trySignIn("alice", "wrong-but-secret", "")
	b := f.signIn(t, "carol", mfaCode)
	b.call()
	f.dir.mu.Lock()
	f.dir.broken = errors.New("fault")
	f.dir.mu.Unlock()
	f.trySignIn("alice", password, mfaCode)
	f.trail.broken = errors.New("fault")
	b.do("DELETE", "/console/api/session", "")
	if f.log.Len() == 0 {
		t.Fatal("nothing was logged: this test shows nothing")
	}
	for name, secret := range map[string]string{
		"password": password, "wrong password": "wrong-but-secret", "code": mfaCode, "cookie": b.cookie.Value,
		"CSRF token": b.csrf,
	} {
		if strings.Contains(f.log.String(), secret) {
			t.Errorf("the log holds the %s", name)
		}
		for _, e := range f.trail.events {
			if strings.Contains(e.User+e.Failure+e.UserAgent, secret) {
				t.Errorf("the audit trail holds the %s", name)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	const properties, information = "ssm:DescribeInstanceProperties", "ssm:DescribeInstanceInformation"
	for name, c := range map[string]struct {
		denied []string
		node   string
	}{
		"may list nodes":                {nil, "mi-0123456789abcdef0"},
		"may list nodes as the CLI":     {[]string{properties}, "mi-0123456789abcdef0"},
		"may not list nodes in any way": {[]string{properties, information}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testEvents(t, c.denied, c.node)
		})
	}
}

// testEvents reads the change events of a page whose user is denied some
// actions. wantNode is the ID that the event of a changed node has.
func testEvents(t *testing.T, denied []string, wantNode string) {
	f := newFixture(t)
	for _, action := range denied {
		f.authz.denied[action] = true
	}
	if res := f.do("GET", "/console/api/events", ""); res.StatusCode != 401 {
		t.Errorf("signed out: %s", res.Status)
	}
	b := f.signIn(t, "alice", "")
	srv := httptest.NewServer(f)
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/console/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(b.cookie)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); res.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("%s %s", res.Status, ct)
	}
	lines := bufio.NewScanner(res.Body)
	expect := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "" {
				continue
			}
			if lines.Text() != want {
				t.Fatalf("got %q, want %q", lines.Text(), want)
			}
			return
		}
		t.Fatalf("stream ended before %q: %v", want, lines.Err())
	}
	// The subscription exists before the first byte is sent.
	expect("retry: 2000")
	f.feed.Publish(console.Event{Kind: "node", ID: "mi-0123456789abcdef0"})
	expect("event: node")
	f.doors.mu.Lock()
	if n := len(f.doors.calls); n != 0 {
		t.Errorf("listening made %d calls", n)
	}
	f.doors.mu.Unlock()
	expect(`data: {"id":"` + wantNode + `","kind":"node"}`)
	f.feed.Publish(console.Event{Kind: "session", ID: "alice-x"})
	expect("event: session")
	expect(`data: {"id":"","kind":"session"}`) // only users who may list sessions learn whose session it is
}

func TestChangeFeedDropsSlowSubscribers(t *testing.T) {
	t.Parallel()
	var feed console.ChangeFeed
	slow, cancelSlow := feed.Subscribe()
	defer cancelSlow()
	quick, cancelQuick := feed.Subscribe()
	got := 0
	for range 200 {
		feed.Publish(console.Event{Kind: "node"})
		<-quick
		got++
	}
	n := 0
	for range slow { // ends: the feed closed it
		n++
	}
	if n == 0 || n > 100 || got != 200 {
		t.Errorf("slow subscriber heard %d, quick one %d", n, got)
	}
	cancelQuick()
	if _, open := <-quick; open {
		t.Error("a cancelled subscription is open")
	}
	feed.Publish(console.Event{})
}

// Package console is the door for browsers. It serves the single-page console, signs users in with
// a cookie, pushes changes as server-sent events, and passes the page's AWS calls to the same doors
// as signed requests: same policy, same audit, same errors.
//
// A sign-in is an opaque random token in a host-only cookie; the store has only its SHA-256. The principal is read
// again for every request, so that a deleted user loses access immediately. Requests that change something, and every
// AWS call, must come from the console's own origin and carry a token derived from the cookie's secret, which no other
// site can read.
package console

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/ratelimit"
	"sekisho/internal/wire/httplimit"
)

// Prefix is the path prefix of the console.
const Prefix = "/console/"

// CookieName names the sign-in cookie. Its prefix makes browsers refuse it unless it is Secure,
// host-only and for the path "/".
const CookieName = "__Host-sekisho"

// CSRFHeader carries the token that GET and POST of the session resource return.
const CSRFHeader = "X-Sekisho-Csrf"

// ServiceHeader names the service of a query-protocol call.
const ServiceHeader = "X-Sekisho-Service"

// BucketHeader carries the request line of an S3 call: a method and a path with its query, as in
// "GET /logs?versions".
const BucketHeader = "X-Sekisho-S3"

// BackgroundHeader marks a request that the user did not cause (a refetch after an event): it does
// not count as activity.
const BackgroundHeader = "X-Sekisho-Background"

const (
	lifetime = 12 * time.Hour
	idle     = time.Hour
	// touchEvery bounds how often activity is stored.
	touchEvery = time.Minute

	maxSignInBody = 64 << 10 // an authenticator's response is the largest part
	maxCallBody   = 1 << 20
	// maxPasswordChecks bounds the memory that password hashing takes.
	maxPasswordChecks = 4
	maxStreamsPerUser = 16
)

// Directory checks who can sign in. [identity.Directory] is one.
type Directory interface {
	// CheckPassword verifies a user's password and, if one is enrolled, the second factor. It takes the same time for
	// users that do not exist. A missing second factor is an [*identity.MFARequired].
	CheckPassword(
		ctx context.Context,
		user, password, host string,
		source netip.Addr,
		second identity.Second,
	) (identity.SignIn, error)
	// BeginPasskeySignIn and PasskeySignIn sign in with only a passkey.
	BeginPasskeySignIn(ctx context.Context, host string) (*identity.Challenge, error)
	PasskeySignIn(ctx context.Context, host, state string, answer []byte) (identity.SignIn, error)
	// PasswordReset reports whether the user of a sign-in must change the password before anything
	// else.
	PasswordReset(ctx context.Context, p *sekisho.Principal) (bool, error)
	// StepUpSignIn verifies a second factor again during a sign-in. A missing second factor is
	// an [*identity.MFARequired].
	StepUpSignIn(
		ctx context.Context,
		grant []byte,
		host string,
		source netip.Addr,
		second identity.Second,
	) (identity.SignIn, error)
	// Granted reads the current principal of a sign-in. The error is unauthenticated
	// or expired after its end.
	Granted(ctx context.Context, grant []byte) (*sekisho.Principal, error)
	// FirstRun reports whether a user still has to complete first-run setup.
	FirstRun(ctx context.Context, userID string) (bool, error)
}

// Federation signs in users of other identity providers.
type Federation interface {
	// Providers returns the display names of the providers.
	Providers() []string
	// Begin returns the address to redirect the browser to, and the state that Finish needs.
	Begin(ctx context.Context, provider, redirect string) (address string, state []byte, err error)
	// Finish redeems the provider's answer.
	Finish(ctx context.Context, state []byte, answer url.Values, ask webid.AuthorizeFunc) (identity.SignIn, error)
}

// Credentials issues credentials for programs. [identity.Credentials] does.
type Credentials interface {
	// OfSignIn issues credentials with the identity of a sign-in.
	OfSignIn(grant []byte, ttl time.Duration) (identity.TemporaryCredentials, error)
}

// Doors are the AWS API doors.
type Doors interface {
	// ServeAs serves an AWS call of an already verified principal.
	ServeAs(w http.ResponseWriter, r *http.Request, p *sekisho.Principal, service string)
}

// Authorizer decides whether policy allows an action. [authz.Authorizer] is one.
type Authorizer interface {
	Decide(ctx context.Context, f *authz.Facts, action, resource string, keys ...authz.Key) (authz.Verdict, error)
}

// Buckets are the S3 door.
type Buckets interface {
	// ServeAs serves an S3 request, with a path-style address, of an already verified principal.
	ServeAs(w http.ResponseWriter, r *http.Request, p *sekisho.Principal)
}

// Store keeps sign-ins by the SHA-256 of their tokens. Their data is opaque to the store.
type Store interface {
	// PutConsoleSignIn adds a sign-in, and drops those that expired before now.
	PutConsoleSignIn(ctx context.Context, tokenHash, data []byte, expires, now time.Time) error
	// ConsoleSignIn returns a sign-in's data, or CodeNotFound.
	ConsoleSignIn(ctx context.Context, tokenHash []byte) (data []byte, err error)
	// UpdateConsoleSignIn replaces the data of a sign-in, if it exists.
	UpdateConsoleSignIn(ctx context.Context, tokenHash, data []byte) error
	// DeleteConsoleSignIn removes a sign-in. Of several callers, on one server or on several,
	// only one gets deleted = true.
	DeleteConsoleSignIn(ctx context.Context, tokenHash []byte) (deleted bool, err error)
}

// Event says that a node or a session changed. Pages then repeat their calls, which policy
// authorizes. An event carries only an ID; pages receive only the IDs of nodes, and only if their
// user can list nodes.
type Event struct {
	Kind string // node or session
	ID   string
}

// Events is a source of changes.
type Events interface {
	// Subscribe returns a channel of events and a function that ends the subscription. The channel
	// of a subscriber that is too slow is closed.
	Subscribe() (<-chan Event, func())
}

// AuditEvent is a sign-in, an attempt at one, or a sign-out.
type AuditEvent struct {
	Time      time.Time
	Name      string // ConsoleLogin, ConsoleLogout, ConsoleSecondFactor or ConsoleProgramApproved
	Principal *sekisho.Principal
	// User is the user name that was entered; empty if there is no such user, because people
	// sometimes type passwords into that field.
	User      string
	SourceIP  netip.Addr
	UserAgent string
	MFAUsed   bool
	Failure   string // reason for the refusal; empty for success
}

// Audit records sign-ins. If it returns an error, the sign-in is refused.
type Audit interface {
	ConsoleEvent(ctx context.Context, e AuditEvent) error
}

// Config is the configuration of a console. Fields are required unless marked optional.
type Config struct {
	Account   string
	Region    string
	Target    sekisho.NodeID // optional: the node of this machine, shown first
	Directory Directory
	// Credentials is nil if programs cannot sign in through the console.
	Credentials Credentials
	Doors       Doors
	// Authorizer decides which changes a user sees.
	Authorizer Authorizer
	Buckets    Buckets // optional
	Store      Store
	Events     Events
	Audit      Audit
	// Federation is nil if no identity provider is configured.
	Federation Federation
	// SignedOut is called with the access key ID of a sign-in that its user
	// ended. Optional.
	SignedOut func(ctx context.Context, accessKeyID string)
	// SourceIP returns the source address of a request. Optional; the default is the TCP peer.
	SourceIP func(*http.Request) netip.Addr
	Log      *slog.Logger
}

// Console serves the console. It is safe for concurrent use.
type Console struct {
	cfg    Config
	mux    *http.ServeMux
	assets assets

	bySource *ratelimit.Limiter[netip.Prefix]
	byUser   *ratelimit.Limiter[userAttempt]
	checks   chan struct{}
	streams  *counter
	polls    *ratelimit.Limiter[[32]byte]
	lookups  *ratelimit.Limiter[string]
	// begun limits, over all sources, what callers without a sign-in make the store keep, and
	// begunBySource the same for one source. Neither counts passwords: a program that retries
	// must not lock out the people behind its address.
	begun         *ratelimit.Limiter[begunKind]
	begunBySource *ratelimit.Limiter[begunFrom]
}

// begunKind is a kind of sign-in that begins before the caller is known. Each has
// its own limit, so that a flood of one does not stop the other.
type begunKind string

const (
	begunProgram    begunKind = "program"
	begunFederation begunKind = "federation"

	// maxBegun and begunPeriod keep the sign-ins of ten minutes below 15,000.
	maxBegun    = 1000
	begunPeriod = 50 * time.Millisecond
)

// New returns the console's handler.
func New(cfg Config) (*Console, error) {
	if cfg.Directory == nil || cfg.Doors == nil || cfg.Authorizer == nil || cfg.Store == nil || cfg.Events == nil ||
		cfg.Audit == nil ||
		cfg.Log == nil {
		return nil, errors.New("console: a required part of the configuration is missing")
	}
	if cfg.SourceIP == nil {
		cfg.SourceIP = httplimit.Peer
	}
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	c := &Console{
		cfg:    cfg,
		mux:    http.NewServeMux(),
		assets: a,
		// The burst allows for typing errors; the rate stops guessing.
		bySource: newLimiter[netip.Prefix](20, 6*time.Second),
		byUser:   newLimiter[userAttempt](6, 20*time.Second),
		checks:   make(chan struct{}, maxPasswordChecks),
		streams:  newCounter(maxStreamsPerUser),
		polls:    newLimiter[[32]byte](3, pollInterval),
		lookups:  newLimiter[string](10, 10*time.Second),
		begun:    newLimiter[begunKind](maxBegun, begunPeriod),

		begunBySource: newLimiter[begunFrom](20, 6*time.Second),
	}
	for _, r := range c.routes() {
		c.mux.HandleFunc(r.Pattern, r.handle)
	}
	return c, nil
}

// Access is what a route requires of its caller.
type Access string

// Values of Access.
const (
	// Public routes answer everybody: the page's files, and what there is to sign in with.
	Public Access = "Public"
	// SigningIn routes are part of signing in. What they accept is the permission: a password, a
	// passkey, an identity provider's answer, a program's code. Their rates are limited.
	SigningIn Access = "SigningIn"
	// SignedIn routes need the sign-in cookie. They change nothing.
	SignedIn Access = "SignedIn"
	// OwnPage routes need the cookie, and a request of the console's own page: its origin and the
	// token that only that page can read.
	OwnPage Access = "OwnPage"
)

// Route is a route of the console.
type Route struct {
	Pattern string // of [http.ServeMux]
	Access  Access
	handle  http.HandlerFunc
}

// Routes returns every route of the console.
func (c *Console) Routes() []Route { return c.routes() }

func (c *Console) routes() []Route {
	toPage := http.RedirectHandler(Prefix, http.StatusFound).ServeHTTP
	all := []Route{
		{"POST /console/api/session", SigningIn, c.signIn},
		{"GET /console/api/session", SignedIn, c.session},
		{"DELETE /console/api/session", OwnPage, c.signOut},
		{"POST /console/api/session/factor", OwnPage, c.stepUp},
		{"POST /console/api/passkey", SigningIn, c.beginPasskey},
		{"GET /console/api/providers", Public, c.providers},
		{"POST /console/api/federation", SigningIn, c.beginFederation},
		{"GET /console/federation", SigningIn, c.finishFederation},
		{"POST /console/api/aws", OwnPage, c.call},
		{"POST /console/api/s3", OwnPage, c.bucketCall},
		{"GET /console/api/events", SignedIn, c.events},
		{"/console/api/", Public, func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusNotFound, "The console has no such path.")
		}},
		{"/console/", Public, c.assets.ServeHTTP},
		{"GET /console", Public, toPage},
		{"GET /{$}", Public, toPage},
	}
	if c.cfg.Credentials != nil {
		all = append(all,
			Route{"POST /console/api/programs", SigningIn, c.beginProgram},
			Route{"POST /console/api/programs/credentials", SigningIn, c.programCredentials},
			Route{"POST /console/api/programs/show", OwnPage, c.showProgram},
			Route{"POST /console/api/programs/approve", OwnPage, c.approveProgram},
		)
	}
	return all
}

// Wants reports whether a request is for the console: it is under its
// prefix, or a browser opened the root of the server.
func Wants(r *http.Request) bool {
	if r.URL.Path == strings.TrimSuffix(Prefix, "/") || strings.HasPrefix(r.URL.Path, Prefix) {
		return true
	}
	return r.URL.Path == "/" && r.URL.RawQuery == "" &&
		(r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Authorization") == "" && r.Header.Get("X-Amz-Target") == "" &&
		strings.Contains(r.Header.Get("Accept"), "text/html")
}

// newLimiter returns a limiter of a burst of attempts, and one more per period.
func newLimiter[K comparable](burst int, period time.Duration) *ratelimit.Limiter[K] {
	return ratelimit.New[K](ratelimit.Config{Rate: 1 / period.Seconds(), Burst: burst})
}

// allowBegun reports whether a caller without a sign-in may begin one. If not, it has already
// answered the request.
func (c *Console) allowBegun(w http.ResponseWriter, r *http.Request, kind begunKind, now time.Time) bool {
	source := c.cfg.SourceIP(r)
	wait, ok := c.begunBySource.Reserve(begunFrom{kind, ratelimit.Source(source)})
	if ok {
		wait, ok = c.begun.Reserve(kind)
	}
	if !ok {
		c.tooMany(w, r, AuditEvent{Time: now, Name: "ConsoleLogin", SourceIP: source, UserAgent: r.UserAgent()}, wait)
	}
	return ok
}

// begunFrom is what sign-ins that began at one source are counted by.
type begunFrom struct {
	kind   begunKind
	source netip.Prefix
}

// userAttempt is what attempts on a user are counted by: guesses from one network must not
// lock out another.
type userAttempt struct {
	source netip.Prefix
	user   string // in lower case: no two user names differ only in case
}

// ServeHTTP serves the requests that Wants reports.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header(), r)
	c.mux.ServeHTTP(w, r)
}

// secure sets the security headers of every response.
func secure(h http.Header, r *http.Request) {
	connect := "'self'"
	if host := r.Host; hostForm(host) {
		// Browsers before 2023 do not count wss: as 'self'.
		connect += " wss://" + host
	}
	h.Set("Content-Security-Policy", "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "+
		"img-src 'self' data:; font-src 'self' data:; connect-src "+connect+"; "+
		"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set(
		"Permissions-Policy",
		"camera=(), microphone=(), geolocation=(), payment=(), usb=(), publickey-credentials-create=(self), "+
			"publickey-credentials-get=(self)",
	)
	h.Set("Cache-Control", "no-store")
	if !local(r.Host) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// hostForm reports whether s is safe as a host and port in a header.
func hostForm(s string) bool {
	for _, c := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", c) {
			return false
		}
	}
	return s != "" && len(s) <= 260
}

// local reports whether a host is this machine or a bare address. HSTS for localhost would affect
// every other program on this machine.
func local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

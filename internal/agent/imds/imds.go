// Package imds serves the instance metadata service on a node, from which programs get the node's
// ID, zone and tags, and credentials of its role.
//
// It answers only programs on the same machine, and no requests that a web page made through a
// browser. Version 2 requires a token; version 1, without one, is off by default.
package imds

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
)

// Credentials are those of the node's role.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Since, Expires                             time.Time
}

// Role is the node's role as the server knows it.
type Role struct {
	Name    string // of the role
	Account string
}

// Host describes the machine.
type Host struct {
	Name      string
	IPAddress string // may be empty
}

// Source provides the metadata. Its methods are called for every request, so they must cache
// expensive values. A [Denied] error is passed on to the caller.
type Source interface {
	Host(ctx context.Context) Host
	Tags(ctx context.Context) (map[string]string, error)
	Role(ctx context.Context) (Role, error)
	Credentials(ctx context.Context) (Credentials, error)
}

// Config is the configuration of a Server.
type Config struct {
	Node   sekisho.NodeID
	Region string
	Since  time.Time // when the machine became a node
	Source Source
	V1     bool // also answer requests without a token
	// Allowed are the OS users that can use the service; the zero value allows all.
	Allowed Allowed
	Log     *slog.Logger
}

// Server is the service.
type Server struct {
	cfg Config
	key [32]byte // of the tokens
}

// New returns a Server. Its tokens are valid as long as it exists.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg}
	rand.Read(s.key[:]) // never fails: see crypto/rand
	return s
}

// LinkLocal is the address at which programs expect the service.
var LinkLocal = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80)

// ParseAddress parses a listen address: a loopback address or 169.254.169.254.
func ParseAddress(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, sekisho.Errorf(sekisho.CodeInvalid, "%.100q is not an address and a port, such as %s.", s, LinkLocal)
	}
	if !a.Addr().Is4() || !a.Addr().IsLoopback() && a.Addr() != LinkLocal.Addr() {
		return a, sekisho.Errorf(
			sekisho.CodeInvalid,
			"The metadata service cannot listen on %[2]s, because it provides the node's credentials. Use an address in "+
				"127.0.0.0/8, or %[1]s.",
			LinkLocal.Addr(),
			a.Addr(),
		)
	}
	return a, nil
}

// Limits of a request.
const (
	maxHeader    = 8 << 10
	readTimeout  = 5 * time.Second
	writeTimeout = 15 * time.Second
	idleTimeout  = 30 * time.Second
	maxConns     = 64
	answerIn     = 10 * time.Second // includes the calls of the source to the server
)

// Serve answers on l until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		_ = srv.Close() // clients retry an answer that is cut off
	}()
	err := srv.Serve(newLocal(l, maxConns, s.cfg.Allowed, s.cfg.Log))
	if errors.Is(err, http.ErrServerClosed) {
		<-ended
		return nil
	}
	return err
}

const (
	tokenPath   = "/latest/api/token"
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTTL      = 21600 // seconds
)

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerIn)
	defer cancel()
	answer, err := s.answer(ctx, w.Header(), r)
	if err != nil {
		e, ok := errors.AsType[*failure](err)
		if !ok {
			s.cfg.Log.Warn("metadata request failed", "path", safetext.Line(r.URL.Path, 100), "error", err)
			e = fail(http.StatusServiceUnavailable, "The agent cannot reach its server.")
		}
		http.Error(w, e.text, e.status)
		return
	}
	kind := "text/plain"
	if strings.HasPrefix(answer, "{") {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	if _, err := io.WriteString(w, answer); err != nil {
		s.cfg.Log.Debug("could not deliver the metadata response", "error", err)
	}
}

// failure is an error that is returned to the caller.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func fail(status int, text string) *failure { return &failure{status, text} }

var errNotFound = fail(http.StatusNotFound, "Not found.")

func (s *Server) answer(ctx context.Context, header http.Header, r *http.Request) (string, error) {
	switch {
	case r.Header.Get("X-Forwarded-For") != "":
		// It came through a proxy, from an unknown client.
		return "", fail(http.StatusForbidden, "Forwarded requests are not answered.")
	case r.Header.Get("Origin") != "" || !localHost(r):
		return "", fail(http.StatusForbidden, "Requests from web pages are not answered.")
	case r.URL.Path == tokenPath:
		if r.Method != http.MethodPut {
			return "", fail(http.StatusMethodNotAllowed, "Use PUT to create a token.")
		}
		return s.makeToken(header, r.Header.Get(ttlHeader))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "", fail(http.StatusMethodNotAllowed, "Use GET to read metadata.")
	}
	token := r.Header.Get(tokenHeader)
	if token == "" && !s.cfg.V1 || token != "" && !s.validToken(token) {
		return "", fail(http.StatusUnauthorized, "A token is required: PUT "+tokenPath+".")
	}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/latest")
	if !ok {
		if r.URL.Path == "/" {
			return "latest", nil
		}
		return "", errNotFound
	}
	return s.look(ctx, strings.Trim(path, "/"))
}

// localHost reports whether the Host header is an address of the service. A name
// could be DNS rebinding.
func localHost(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a.IsLoopback() || a == LinkLocal.Addr())
}

// A token consists of its expiry time, random bytes, and a MAC of both. The server
// stores none, so tokens cannot exhaust its memory.
const (
	tokenBody = 8 + 8
	tokenSize = tokenBody + sha256.Size
)

func (s *Server) makeToken(header http.Header, ttl string) (string, error) {
	seconds, err := strconv.Atoi(ttl)
	if err != nil || seconds < 1 || seconds > maxTTL {
		return "", fail(http.StatusBadRequest, ttlHeader+" must be between 1 and "+strconv.Itoa(maxTTL)+".")
	}
	b := make([]byte, tokenBody, tokenSize)
	binary.BigEndian.PutUint64(b, uint64(time.Now().Add(time.Duration(seconds)*time.Second).Unix()))
	rand.Read(b[8:]) // never fails: see crypto/rand
	header.Set(ttlHeader, strconv.Itoa(seconds))
	return base64.URLEncoding.EncodeToString(s.mac(b)), nil
}

// mac appends the MAC of a token's body to it.
func (s *Server) mac(b []byte) []byte {
	h := hmac.New(sha256.New, s.key[:])
	h.Write(b)
	return h.Sum(b)
}

func (s *Server) validToken(text string) bool {
	b, err := base64.URLEncoding.DecodeString(text)
	if err != nil || len(b) != tokenSize || !hmac.Equal(s.mac(b[:tokenBody:tokenBody]), b) {
		return false
	}
	return time.Now().Unix() < int64(binary.BigEndian.Uint64(b))
}

// leaf returns the value of one path.
type leaf func(ctx context.Context, s *Server) (string, error)

func fixed(value func(s *Server) string) leaf {
	return func(_ context.Context, s *Server) (string, error) { return value(s), nil }
}

// leaves are the paths that have values. Their parents are listings.
func leaves() map[string]leaf {
	hostname := func(ctx context.Context, s *Server) (string, error) { return s.cfg.Source.Host(ctx).Name, nil }
	return map[string]leaf{
		"meta-data/instance-id":    fixed(func(s *Server) string { return string(s.cfg.Node) }),
		"meta-data/hostname":       hostname,
		"meta-data/local-hostname": hostname,
		"meta-data/local-ipv4": func(ctx context.Context, s *Server) (string,
			error) {
			return s.address(ctx)
		},
		"meta-data/placement/availability-zone": fixed(func(s *Server) string { return s.cfg.Region + "a" }),
		"meta-data/placement/region":            fixed(func(s *Server) string { return s.cfg.Region }),
		"meta-data/services/domain":             fixed(func(*Server) string { return "amazonaws.com" }),
		"meta-data/services/partition":          fixed(func(*Server) string { return "aws" }),
		"dynamic/instance-identity/document": func(ctx context.Context, s *Server) (string,
			error) {
			return s.document(ctx)
		},
	}
}

// Paths with variable contents.
const (
	tagsPath  = "meta-data/tags/instance"
	rolesPath = "meta-data/iam/security-credentials"
)

func (s *Server) look(ctx context.Context, path string) (string, error) {
	if strings.HasSuffix(path, "\x00") || len(path) > 1024 {
		return "", errNotFound
	}
	all := leaves()
	if l := all[path]; l != nil {
		return l(ctx, s)
	}
	switch {
	case path == tagsPath:
		tags, err := s.tags(ctx)
		return strings.Join(slices.Sorted(maps.Keys(tags)), "\n"), err
	case strings.HasPrefix(path, tagsPath+"/"):
		return s.tag(ctx, strings.TrimPrefix(path, tagsPath+"/"))
	case path == rolesPath:
		role, err := s.cfg.Source.Role(ctx)
		return role.Name, err
	case strings.HasPrefix(path, rolesPath+"/"):
		return s.credentials(ctx, strings.TrimPrefix(path, rolesPath+"/"))
	}
	return listing(path, append(slices.Collect(maps.Keys(all)), tagsPath+"/x", rolesPath+"/x"))
}

// listing lists the children of path; those with children end in a slash.
func listing(path string, all []string) (string, error) {
	if path != "" {
		path += "/"
	}
	names := map[string]bool{}
	for _, p := range all {
		if rest, ok := strings.CutPrefix(p, path); ok {
			name, _, deeper := strings.Cut(rest, "/")
			if deeper {
				name += "/"
			}
			names[name] = true
		}
	}
	if len(names) == 0 {
		return "", errNotFound
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), "\n"), nil
}

func (s *Server) address(ctx context.Context) (string, error) {
	if a := s.cfg.Source.Host(ctx).IPAddress; a != "" {
		return a, nil
	}
	return "", errNotFound
}

// Denied is the error of a Source whose call the server refused.
type Denied struct{ Reason string }

func (d *Denied) Error() string { return d.Reason }

func (s *Server) tags(ctx context.Context) (map[string]string, error) {
	tags, err := s.cfg.Source.Tags(ctx)
	if d, ok := errors.AsType[*Denied](err); ok {
		return nil, fail(http.StatusForbidden, d.Reason)
	}
	return tags, err
}

func (s *Server) tag(ctx context.Context, escaped string) (string, error) {
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return "", errNotFound
	}
	tags, err := s.tags(ctx)
	if err != nil {
		return "", err
	}
	v, ok := tags[key]
	if !ok {
		return "", errNotFound
	}
	return v, nil
}

func (s *Server) credentials(ctx context.Context, name string) (string, error) {
	role, err := s.cfg.Source.Role(ctx)
	if err != nil {
		return "", err
	}
	if name != role.Name {
		return "", errNotFound
	}
	c, err := s.cfg.Source.Credentials(ctx)
	if err != nil {
		return "", err
	}
	return text(struct {
		Code            string
		LastUpdated     time.Time
		Type            string
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      time.Time
	}{"Success", second(c.Since), "AWS-HMAC", c.AccessKeyID, c.SecretAccessKey, c.SessionToken, second(c.Expires)})
}

func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func (s *Server) document(ctx context.Context) (string, error) {
	role, err := s.cfg.Source.Role(ctx)
	if err != nil {
		return "", err
	}
	architecture := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	return text(struct {
		AccountID        string    `json:"accountId"`
		Architecture     string    `json:"architecture"`
		AvailabilityZone string    `json:"availabilityZone"`
		InstanceID       string    `json:"instanceId"`
		PendingTime      time.Time `json:"pendingTime"`
		PrivateIP        string    `json:"privateIp"`
		Region           string    `json:"region"`
		Version          string    `json:"version"`
	}{role.Account, architecture, s.cfg.Region + "a", string(s.cfg.Node), second(s.cfg.Since),
		s.cfg.Source.Host(ctx).IPAddress, s.cfg.Region, "2017-09-30"})
}

func text(v any) (string, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return string(b), err
}

// Package config reads the configuration file of sekishod. Unknown keys are errors. It reports all
// errors at once, each with its remedy.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Server is the configuration of sekishod serve. Changes take effect after a restart.
type Server struct {
	// Data is the directory of the database, keys and recordings.
	Data string `yaml:"data"`
	// Listen is host:port of the one TLS port.
	Listen string `yaml:"listen"`
	// Account is the 12-digit account ID in every ARN. It cannot be changed
	// once there is data.
	Account string `yaml:"account"`
	// Region is the region name in every ARN and signature.
	Region string `yaml:"region"`
	TLS    TLS    `yaml:"tls"`
	// TrustedProxies are the networks whose X-Forwarded-For the server trusts.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// ProxyProtocol are the networks of load balancers whose connections begin
	// with a PROXY protocol header, version 1 or 2.
	ProxyProtocol []string `yaml:"proxy_protocol"`
	// EndSessionsOnRevocation ends open sessions when the user, key or sign-in that started them is
	// revoked. The default is true.
	EndSessionsOnRevocation bool `yaml:"end_sessions_on_revocation"`
	// SignIn are the identity providers with which users can sign in to the console.
	SignIn []SignIn `yaml:"sign_in"`
	// StrictDocuments requires that policies also grant the default session document.
	StrictDocuments bool `yaml:"strict_documents"`
	// AgentsDir contains the agents that machines can download: see docs/quick-setup.md. Empty
	// means the directory of sekishod itself.
	AgentsDir string `yaml:"agents_dir"`
	// ResumeWithSessionToken lets a client that lost its connection resume
	// its session after its credentials have expired.
	ResumeWithSessionToken bool `yaml:"resume_with_session_token"`
	// RefuseLogRewrites prevents nodes from overwriting or deleting a session's log, even in
	// buckets with versioning.
	RefuseLogRewrites bool `yaml:"refuse_log_rewrites"`
	// AgentsPerSecond is the rate at which agents are admitted when many connect at once.
	AgentsPerSecond float64 `yaml:"agents_per_second"`
	// Connections bounds the connections of all clients together, UnauthenticatedConnections those
	// without an authenticated caller, and UnauthenticatedConnectionsPerAddress the latter per
	// source address (IPv6: per /64).
	Connections                          int `yaml:"max_connections"`
	UnauthenticatedConnections           int `yaml:"max_unauthenticated_connections"`
	UnauthenticatedConnectionsPerAddress int `yaml:"max_unauthenticated_connections_per_address"`
	// AdminListen is host:port of a plain HTTP listener for metrics, profiles
	// and draining, on a loopback address; empty for none.
	AdminListen string `yaml:"admin_listen"`
	// LogFormat is text or json.
	LogFormat string `yaml:"log_format"`
	// Webhooks receive events.
	Webhooks []Webhook `yaml:"webhooks"`
	// Database says where the state is.
	Database Database `yaml:"database"`
	// Cluster makes the server a member of a cluster.
	Cluster *Cluster `yaml:"cluster"`
	// Recordings says when recordings are removed.
	Recordings Recordings `yaml:"recordings"`
	// Audit says when audit records are exported and removed from the database.
	Audit Audit `yaml:"audit"`
	// Events says when events are removed from the listings.
	Events Events `yaml:"events"`
	// Commands says when commands of Run Command and their output are removed.
	Commands Commands `yaml:"commands"`
	// Witnesses keep the heads of the audit trail and the recordings where root on this server
	// cannot change them.
	Witnesses []Witness `yaml:"witnesses"`
}

// Recordings says when recordings are removed. The zero value keeps all of them.
type Recordings struct {
	MaxAgeDays int   `yaml:"max_age_days"` // since the end of the session
	MaxBytes   int64 `yaml:"max_bytes"`    // of all recordings; the oldest are removed first
	// Store keeps recordings outside the data directory.
	Store RecordingStore `yaml:"store"`
}

func (r *Recordings) form() error {
	if r.MaxAgeDays < 0 || r.MaxAgeDays > 36500 {
		return fmt.Errorf("recordings: max_age_days: %d is not between 0 (keep forever) and 36500", r.MaxAgeDays)
	}
	if r.MaxBytes < 0 {
		return fmt.Errorf("recordings: max_bytes: %d is negative", r.MaxBytes)
	}
	return r.Store.form()
}

// Audit says when audit records are exported and removed from the database. The zero value keeps
// all of them there.
type Audit struct {
	MaxAgeDays int `yaml:"max_age_days"`
}

func (a *Audit) form() error {
	if a.MaxAgeDays < 0 || a.MaxAgeDays > 36500 {
		return fmt.Errorf("audit: max_age_days: %d is not between 0 (keep forever) and 36500", a.MaxAgeDays)
	}
	return nil
}

// Events says when events are removed. An event that waits for a webhook stays.
type Events struct {
	MaxAgeDays int   `yaml:"max_age_days"` // 0 = until there are more than MaxRecords
	MaxRecords int64 `yaml:"max_records"`
}

// Bounds of retention.
const (
	maxRetentionDays = 36500
	minRecords       = 1000
	maxRecords       = 10_000_000
)

func (e *Events) form() error {
	var errs []error
	if e.MaxAgeDays < 0 || e.MaxAgeDays > maxRetentionDays {
		errs = append(errs, fmt.Errorf("events: max_age_days: %d is not between 0 (only max_records limits them) and %d",
			e.MaxAgeDays, maxRetentionDays))
	}
	if e.MaxRecords < minRecords || e.MaxRecords > maxRecords {
		errs = append(errs, fmt.Errorf("events: max_records: %d is not between %d and %d",
			e.MaxRecords, minRecords, maxRecords))
	}
	return errors.Join(errs...)
}

// Commands says when commands and their output are removed, if they are over.
type Commands struct {
	MaxAgeDays int `yaml:"max_age_days"` // since they were sent
	MaxRecords int `yaml:"max_records"`  // commands and invocations; the oldest are removed first
}

func (c *Commands) form() error {
	var errs []error
	if c.MaxAgeDays < 1 || c.MaxAgeDays > maxRetentionDays {
		errs = append(errs, fmt.Errorf("commands: max_age_days: %d is not between 1 and %d", c.MaxAgeDays, maxRetentionDays))
	}
	if c.MaxRecords < minRecords || c.MaxRecords > maxRecords {
		errs = append(errs, fmt.Errorf("commands: max_records: %d is not between %d and %d",
			c.MaxRecords, minRecords, maxRecords))
	}
	return errors.Join(errs...)
}

// WitnessBucket is a bucket with object lock that keeps heads.
type WitnessBucket struct {
	S3Store `yaml:",inline"`
	// RetainDays locks each object for so long; 0 leaves that to the bucket's default.
	RetainDays int `yaml:"retain_days"`
}

// Witness is one place that keeps heads: a file on another machine's mount, a receiver of POST
// requests, or a bucket with object lock.
type Witness struct {
	File string         `yaml:"file"` // absolute path
	URL  string         `yaml:"url"`  // https URL
	S3   *WitnessBucket `yaml:"s3"`
}

func (w *Witness) form() error {
	set := 0
	for _, is := range []bool{w.File != "", w.URL != "", w.S3 != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return errors.New("witnesses: set one of file, url and s3 for each")
	case w.S3 != nil:
		var errs []error
		w.S3.form(func(format string, args ...any) { errs = append(errs, fmt.Errorf("witnesses: "+format, args...)) })
		if w.S3.RetainDays < 0 || w.S3.RetainDays > 36500 {
			errs = append(errs, fmt.Errorf("witnesses: s3: retain_days: %d is not between 0 (the bucket's default) and 36500",
				w.S3.RetainDays))
		}
		return errors.Join(errs...)
	case w.File != "" && !filepath.IsAbs(w.File):
		return fmt.Errorf("witnesses: file: %q is not an absolute path", w.File)
	case w.URL != "" && !strings.HasPrefix(w.URL, "https://"):
		return fmt.Errorf("witnesses: url: %q is not an https:// URL", w.URL)
	}
	return nil
}

// SignIn is an OpenID Connect provider with which users can sign in to the console. The account
// must have an OpenID Connect provider with this issuer and client, and the role's trust policy
// must trust it.
type SignIn struct {
	Name             string   `yaml:"name"`   // as the sign-in page shows it
	Issuer           string   `yaml:"issuer"` // https URL
	ClientID         string   `yaml:"client_id"`
	ClientSecretFile string   `yaml:"client_secret_file"` // empty for a public client
	Role             string   `yaml:"role"`               // ARN of the role that users get
	Scopes           []string `yaml:"scopes"`             // in addition to openid
}

// ClientSecret reads the client's secret.
func (s *SignIn) ClientSecret() (string, error) {
	if s.ClientSecretFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(s.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("sign_in: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (s *SignIn) form() error {
	var errs []error
	if s.Name == "" {
		errs = append(errs, errors.New("sign_in: name: missing; the sign-in page shows it"))
	}
	if !strings.HasPrefix(s.Issuer, "https://") {
		errs = append(errs, fmt.Errorf("sign_in: issuer: %q is not an https:// URL", s.Issuer))
	}
	if s.ClientID == "" {
		errs = append(errs, errors.New("sign_in: client_id: missing; register Sekisho with the provider to get one"))
	}
	if !strings.HasPrefix(s.Role, "arn:aws:iam::") || !strings.Contains(s.Role, ":role/") {
		errs = append(errs, fmt.Errorf("sign_in: role: %q is not the ARN of a role", s.Role))
	}
	return errors.Join(errs...)
}

// TLS is the server's certificate.
type TLS struct {
	Certificate string `yaml:"certificate"` // PEM file: the certificate, then its chain
	Key         string `yaml:"key"`         // PEM file

	// ACME, if set, obtains the certificate instead.
	ACME *ACME `yaml:"acme"`
}

// ACME says which authority issues the server's certificate.
type ACME struct {
	Names       []string `yaml:"names"`        // DNS names
	Email       string   `yaml:"email"`        // for the authority's notices; optional
	Directory   string   `yaml:"directory"`    // URL; empty means DefaultACMEDirectory
	Root        string   `yaml:"root"`         // PEM file of a private authority; optional
	AcceptTerms bool     `yaml:"accept_terms"` // of the authority; required
}

// DefaultACMEDirectory is Let's Encrypt's.
const DefaultACMEDirectory = "https://acme-v02.api.letsencrypt.org/directory"

// dnsName is a name that an ACME authority can check without DNS records.
var dnsName = regexp.MustCompile(
	`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`,
)

// Form checks the settings without reading files.
func (t *TLS) Form() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	files := t.Certificate != "" || t.Key != ""
	switch a := t.ACME; {
	case a == nil && (t.Certificate == "" || t.Key == ""):
		bad("tls: certificate and key must both name PEM files, or acme an authority: agents and clients only connect " +
			"with TLS")
	case a == nil:
	case files:
		bad("tls: certificate and key have no effect with acme; remove one or the other")
	default:
		if len(a.Names) == 0 || len(a.Names) > 20 {
			bad("tls: acme: names: %d names; give 1 to 20 DNS names of this server", len(a.Names))
		}
		for _, n := range a.Names {
			if _, err := netip.ParseAddr(n); err == nil || !dnsName.MatchString(n) || len(n) > 253 {
				bad("tls: acme: names: %q is not a DNS name such as sekisho.example.com; "+
					"addresses and wildcards cannot be validated over TLS", n)
			}
		}
		if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
			bad("tls: acme: directory: %q is not an https:// URL", a.Directory)
		}
		if strings.ContainsAny(a.Email, " \t\r\n,:") || a.Email != "" && !strings.Contains(a.Email, "@") {
			bad("tls: acme: email: %q is not an e-mail address", a.Email)
		}
		if !a.AcceptTerms {
			bad("tls: acme: accept_terms: must be true: the authority requires that you accept its terms of service")
		}
	}
	return errs
}

// Check checks the files. The key must belong to the certificate, and only the
// owner and the group may read it.
func (t *TLS) Check() error {
	if t.ACME != nil {
		if t.ACME.Root == "" {
			return nil
		}
		b, err := os.ReadFile(t.ACME.Root)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(b) {
			err = fmt.Errorf("%s has no PEM certificate", t.ACME.Root)
		}
		if err != nil {
			return fmt.Errorf("tls: acme: root: %w", err)
		}
		return nil
	}
	var errs []error
	if _, err := tls.LoadX509KeyPair(t.Certificate, t.Key); err != nil {
		errs = append(errs, fmt.Errorf("tls: %w; both files must be PEM and belong together", err))
	}
	if st, err := os.Stat(t.Key); err == nil && st.Mode().Perm()&0o007 != 0 {
		errs = append(errs, fmt.Errorf("tls: other users can read %[1]s; run: chmod 600 %[1]s", t.Key))
	}
	return errors.Join(errs...)
}

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// regionPattern is what the SDKs accept as a region name.
var regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)

// Read reads and checks a configuration file.
func Read(path string) (*Server, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	c, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads a configuration and checks its form. It does not read the files that the
// configuration names; [Server.Check] does.
func Parse(b []byte) (*Server, error) {
	c := &Server{
		Listen:                  "0.0.0.0:8443",
		Region:                  "us-east-1",
		Data:                    "/var/lib/sekisho",
		EndSessionsOnRevocation: true,
		AgentsPerSecond:         100,
		LogFormat:               "text",
		Recordings: Recordings{
			Store: RecordingStore{CacheBytes: defaultCache, CheckRate: defaultCheckRate},
		},
		Events:                               Events{MaxRecords: 10_000},
		Commands:                             Commands{MaxAgeDays: 30, MaxRecords: 200_000},
		Connections:                          65536,
		UnauthenticatedConnections:           4096,
		UnauthenticatedConnectionsPerAddress: 256,
	}
	root, err := decode(b, c)
	if err != nil && root == nil {
		return nil, err
	}
	errs := []error{err}
	for _, e := range c.form() {
		errs = append(errs, withLine(root, e))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// form checks the settings without reading files or the network.
func (c *Server) form() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Data == "" {
		bad("data: missing; name the directory for the server's state")
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		bad("listen: %q is not host:port, such as 0.0.0.0:8443", c.Listen)
	}
	if len(c.Account) != 12 || strings.Trim(c.Account, "0123456789") != "" {
		bad("account: %q is not 12 digits; choose any, such as \"100000000000\" (in quotes)", c.Account)
	}
	if !regionPattern.MatchString(c.Region) || len(c.Region) > 63 {
		bad("region: %q is not of the form of a region name such as us-east-1, which clients require", c.Region)
	}
	errs = append(errs, c.TLS.Form()...)
	if !(c.AgentsPerSecond >= 1 && c.AgentsPerSecond <= 1e6) {
		bad("agents_per_second: %v is not between 1 and 1000000; 100 is usual", c.AgentsPerSecond)
	}
	if c.AdminListen != "" {
		if ap, err := netip.ParseAddrPort(c.AdminListen); err != nil || !ap.Addr().IsLoopback() {
			bad(
				"admin_listen: %q is not a loopback address and port such as 127.0.0.1:9090; this listener has no authentication",
				c.AdminListen,
			)
		}
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log_format: %q is neither text nor json", c.LogFormat)
	}
	for _, l := range []struct {
		name string
		n    int
	}{
		{"max_connections", c.Connections},
		{"max_unauthenticated_connections", c.UnauthenticatedConnections},
		{"max_unauthenticated_connections_per_address", c.UnauthenticatedConnectionsPerAddress},
	} {
		if l.n < 16 || l.n > 1<<24 {
			bad("%s: %d is not between 16 and 16777216", l.name, l.n)
		}
	}
	if _, err := c.Proxies(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.Balancers(); err != nil {
		errs = append(errs, err)
	}
	names := map[string]bool{}
	for _, p := range c.SignIn {
		if err := p.form(); err != nil {
			errs = append(errs, err)
		}
		if names[p.Name] {
			bad("sign_in: there are two providers named %q", p.Name)
		}
		names[p.Name] = true
	}
	if c.Cluster != nil {
		c.Cluster.form(bad)
		if c.Database.URL == "" {
			bad("cluster: the members of a cluster share a PostgreSQL database: set database.url, or remove cluster")
		}
		if c.Audit.MaxAgeDays > 0 {
			bad("audit: max_age_days: %d: a cluster keeps all audit records in the database, because the files of exported "+
				"records would be on different members; remove it", c.Audit.MaxAgeDays)
		}
	}
	for _, err := range []error{
		c.Database.form(), c.Audit.form(), c.Recordings.form(), c.Events.form(), c.Commands.form(),
	} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, w := range c.Witnesses {
		if err := w.form(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := c.webhooksForm(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// Proxies returns the trusted proxies' networks.
func (c *Server) Proxies() ([]netip.Prefix, error) {
	return networks("trusted_proxies", c.TrustedProxies)
}

// Balancers returns the networks whose connections use the PROXY protocol.
func (c *Server) Balancers() ([]netip.Prefix, error) {
	return networks("proxy_protocol", c.ProxyProtocol)
}

func networks(key string, list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, fmt.Errorf("%s: %q is neither an address nor a network such as 10.0.0.0/24", key, s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("%s: %q would let every client forge its address; name only the proxies", key, s)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// Check checks that the files and directories exist and are usable.
func (c *Server) Check() error {
	var errs []error
	if err := c.TLS.Check(); err != nil {
		errs = append(errs, err)
	}
	for _, p := range c.SignIn {
		if _, err := p.ClientSecret(); err != nil {
			errs = append(errs, err)
		}
	}
	for i := range c.Webhooks {
		if err := c.Webhooks[i].check(); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := c.Database.Postgres(); err != nil {
		errs = append(errs, err)
	}
	if c.Cluster != nil {
		if err := c.Cluster.check(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := c.Recordings.Store.check(); err != nil {
		errs = append(errs, err)
	}
	if c.AgentsDir != "" {
		if st, err := os.Stat(c.AgentsDir); err != nil {
			errs = append(
				errs,
				fmt.Errorf("agents_dir: %w; create it, or omit the setting to use the directory of sekishod", err),
			)
		} else if !st.IsDir() {
			errs = append(errs, fmt.Errorf("agents_dir: %s is not a directory", c.AgentsDir))
		}
	}
	if st, err := os.Stat(c.Data); err == nil && !st.IsDir() {
		errs = append(errs, fmt.Errorf("data: %s is not a directory", c.Data))
	} else if err == nil && st.Mode().Perm()&0o077 != 0 {
		errs = append(errs, fmt.Errorf("data: other users can read %[1]s; run: chmod 700 %[1]s", c.Data))
	}
	return errors.Join(errs...)
}

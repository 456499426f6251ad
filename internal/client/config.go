// Package client is the user's side of Sekisho: it calls the API, runs sessions
// in a terminal and plays recordings. It finds the server in the same variables
// and files as the aws command.
package client

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/wire/sigv4"
)

// Config is the address of the API and the credentials to call it with.
type Config struct {
	Endpoint    string // https://HOST[:PORT]
	KMSEndpoint string // of KMS; empty means Endpoint
	Region      string
	Credentials sigv4.Credentials
	Roots       *x509.CertPool // nil means the system's

	// accessKey is the access key that Credentials were issued for, together with a second factor.
	accessKey sigv4.Credentials

	bundle string // file that Roots were read from

	tlsSessions tls.ClientSessionCache
}

// Load reads the configuration as the aws command does: the AWS_ variables
// first, then the profile in ~/.aws. profile may be empty. The credentials of a
// named profile take precedence over those in the environment.
func Load(profile string, getenv func(string) string) (Config, error) {
	cfg, err := read(profile, getenv)
	if err != nil {
		return Config{}, err
	}
	if profile == "" && getenv("AWS_PROFILE") == "" && cfg.Credentials.AccessKeyID == "" {
		signedIn, err := loadContext(cfg.Endpoint, getenv)
		if err != nil || signedIn != nil {
			if signedIn == nil {
				signedIn = &Config{}
			}
			return *signedIn, err
		}
	}
	if err := cfg.withSecondFactor(getenv); err != nil {
		return Config{}, err
	}
	return cfg, cfg.check()
}

// loadContext returns the configuration of the current context, or of the one
// that SEKISHO_CONTEXT names. It is nil without such a context, or if the
// environment names another server.
func loadContext(endpoint string, getenv func(string) string) (*Config, error) {
	all, err := ReadContexts(getenv)
	if err != nil {
		return nil, err
	}
	c, err := all.Get(getenv("SEKISHO_CONTEXT"))
	if err != nil || c == nil || endpoint != "" && strings.TrimSuffix(endpoint, "/") != c.Endpoint {
		return nil, err
	}
	if !c.SignedIn(time.Now()) {
		return nil, sekisho.Errorf(sekisho.CodeUnauthenticated, "Your sign-in to %s has expired.", Printable(c.Endpoint)).
			WithHint("Run: sekisho login")
	}
	cfg, err := c.Config()
	if err != nil {
		return nil, err
	}
	return &cfg, nil
}

// ServerContext returns a context for the server that the environment or the profile
// names, without credentials. Its endpoint may be empty.
func ServerContext(profile string, getenv func(string) string) (*Context, error) {
	cfg, err := read(profile, getenv)
	if err != nil {
		return nil, err
	}
	c := &Context{Endpoint: strings.TrimSuffix(cfg.Endpoint, "/"), Region: cfg.Region}
	if cfg.bundle != "" {
		pem, err := os.ReadFile(cfg.bundle)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		c.CA = string(pem)
	}
	return c, nil
}

// read is Load without checking that the configuration is complete.
func read(profile string, getenv func(string) string) (Config, error) {
	named := profile != ""
	if !named {
		profile = getenv("AWS_PROFILE")
	}
	file, err := readProfile(profile, getenv)
	if err != nil {
		return Config{}, err
	}
	cfg := Config{
		Endpoint:    first(getenv("AWS_ENDPOINT_URL_SSM"), getenv("AWS_ENDPOINT_URL"), file["endpoint_url"]),
		KMSEndpoint: first(getenv("AWS_ENDPOINT_URL_KMS"), getenv("AWS_ENDPOINT_URL"), file["endpoint_url"]),
		Region:      first(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION"), file["region"], "us-east-1"),
	}
	fromFile := sigv4.Credentials{
		AccessKeyID: file["aws_access_key_id"], SecretAccessKey: file["aws_secret_access_key"],
		SessionToken: file["aws_session_token"],
	}
	fromEnv := sigv4.Credentials{
		AccessKeyID: getenv(
			"AWS_ACCESS_KEY_ID",
		), SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: getenv("AWS_SESSION_TOKEN"),
	}
	cfg.Credentials = fromEnv
	if fromEnv.AccessKeyID == "" || named && fromFile.AccessKeyID != "" {
		cfg.Credentials = fromFile
	}
	if bundle := first(getenv("AWS_CA_BUNDLE"), file["ca_bundle"], getenv("SSL_CERT_FILE")); bundle != "" {
		cfg.bundle = bundle
		if cfg.Roots, err = readRoots(bundle); err != nil {
			return Config{}, err
		}
	}
	return cfg, nil
}

func (c *Config) check() error {
	if c.Endpoint == "" {
		return sekisho.Errorf(sekisho.CodeInvalid, "No server is configured.").
			WithHint("Set AWS_ENDPOINT_URL, for example to https://sekisho.example.com.")
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return sekisho.Errorf(sekisho.CodeInvalid, "The endpoint %q is not an https:// URL.", Printable(c.Endpoint))
	}
	if c.Credentials.AccessKeyID == "" || c.Credentials.SecretAccessKey == "" {
		return sekisho.Errorf(sekisho.CodeUnauthenticated, "No credentials are configured.").
			WithHint("Sign in with sekisho login, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of " +
				"~/.aws/credentials.")
	}
	return nil
}

// tls returns the TLS configuration of all connections. TLS sessions are resumed, so a second
// connection to a server, such as the stream after the API call, does not verify the certificate
// again.
func (c *Config) tls() *tls.Config {
	return &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12, ClientSessionCache: c.tlsSessions}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func readRoots(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s contains no certificate.", Printable(name))
	}
	return pool, nil
}

// readProfile merges a profile's sections of the configuration and credentials
// files. The credentials file takes precedence.
func readProfile(profile string, getenv func(string) string) (map[string]string, error) {
	section := first(profile, "default")
	dir := filepath.Join(first(getenv("HOME"), getenv("USERPROFILE")), ".aws")
	configFile := first(getenv("AWS_CONFIG_FILE"), filepath.Join(dir, "config"))
	credentialsFile := first(getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(dir, "credentials"))
	values := make(map[string]string)
	found := false
	for _, src := range []struct{ name, section string }{
		{configFile, "profile " + section}, {configFile, section}, {credentialsFile, section},
	} {
		if src.name == configFile && src.section == section && section != "default" {
			continue // only "default" has no "profile" before its name
		}
		ok, err := readSection(src.name, src.section, values)
		if err != nil {
			return nil, err
		}
		found = found || ok
	}
	if profile != "" && !found {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"There is no profile %q in %s or %s.",
			Printable(profile),
			configFile,
			credentialsFile,
		)
	}
	return values, nil
}

// readSection adds the keys of one section of an INI file to values. It skips
// nested settings, which are indented.
func readSection(name, section string, values map[string]string) (found bool, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("profile: %w", err)
	}
	defer func() { _ = f.Close() }()
	in := false
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		line := scanner.Text()
		trimmed := strings.TrimSpace(line)
		if head, ok := strings.CutPrefix(trimmed, "["); ok {
			head, _, _ = strings.Cut(head, "]")
			in = strings.Join(strings.Fields(head), " ") == section
			found = found || in
			continue
		}
		key, value, ok := strings.Cut(trimmed, "=")
		if !in || !ok || line != strings.TrimLeft(line, " \t") || strings.HasPrefix(trimmed, "#") ||
			strings.HasPrefix(trimmed, ";") {
			continue
		}
		if i := strings.Index(value, " #"); i >= 0 {
			value = value[:i]
		}
		values[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
	}
	if err := scanner.Err(); err != nil {
		return false, fmt.Errorf("profile: %s: %w", name, err)
	}
	return found, nil
}

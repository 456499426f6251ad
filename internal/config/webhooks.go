package config

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"sekisho/internal/activity/event"
	"sekisho/internal/activity/webhook"
)

// Webhook is a receiver of events: see docs/events.md.
type Webhook struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	// SecretFile or SecretEnv is the file or environment variable with the secret that signs
	// deliveries; with both secrets during a rotation.
	SecretFile string `yaml:"secret_file"`
	SecretEnv  string `yaml:"secret_env"`
	// Events are the detail-types it receives; Pattern is an event pattern instead. With neither,
	// it receives all events.
	Events  []string       `yaml:"events"`
	Pattern map[string]any `yaml:"pattern"`
	// AllowNetworks are the private networks that its address can be in.
	AllowNetworks []string `yaml:"allow_networks"`
	// CA is a PEM file of authorities to trust for its certificate, instead of the system's.
	CA string `yaml:"ca"`
	// GiveUpAfter is how long delivery of an event is retried; 0 = 24h.
	GiveUpAfter time.Duration `yaml:"give_up_after"`
	// Concurrency is how many events are delivered at once; 0 = 4.
	Concurrency int `yaml:"concurrency"`
}

// Bounds of a webhook's settings.
const (
	maxSecretFile  = 4 << 10
	maxConcurrency = 64
	maxGiveUp      = 14 * 24 * time.Hour
)

var webhookName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// Secret reads the secret.
func (w *Webhook) Secret() (string, error) {
	if w.SecretEnv != "" {
		return os.Getenv(w.SecretEnv), nil
	}
	st, err := os.Stat(w.SecretFile)
	if err != nil {
		return "", err
	}
	if st.Size() > maxSecretFile {
		return "", fmt.Errorf("%s is larger than %d bytes", w.SecretFile, maxSecretFile)
	}
	b, err := os.ReadFile(w.SecretFile)
	return string(b), err
}

// Filter returns the pattern of the events it receives.
func (w *Webhook) Filter() (*event.Pattern, error) {
	if len(w.Pattern) == 0 {
		return event.OfTypes(w.Events)
	}
	if len(w.Events) > 0 {
		return nil, errors.New("set either events or pattern: a pattern can also select by detail-type")
	}
	b, err := json.Marshal(w.Pattern)
	if err != nil {
		return nil, err
	}
	return event.ParsePattern(b)
}

// Networks returns the private networks that its address can be in.
func (w *Webhook) Networks() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range w.AllowNetworks {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, fmt.Errorf("allow_networks: %q is neither an address nor a network such as 10.0.0.0/24", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("allow_networks: %q would allow every private network; name only the receiver's", s)
		}
		if err := webhook.CheckAllowed(p.Masked()); err != nil {
			return nil, fmt.Errorf("allow_networks: %w", err)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// Roots returns the authorities to trust for its certificate; nil = the system's.
func (w *Webhook) Roots() (*x509.CertPool, error) {
	if w.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(w.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("ca: %s contains no certificate", w.CA)
	}
	return pool, nil
}

// form checks the settings without reading files or the network.
func (w *Webhook) form() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("webhooks: %s: %w", w.Name, fmt.Errorf(format, args...)))
	}
	if !webhookName.MatchString(w.Name) {
		bad(
			"name: %q is not a name of lower-case letters, digits, - and _, under which undelivered events are stored", w.Name)
	}
	u, err := webhook.CheckURL(w.URL)
	if err != nil {
		bad("url: %w", err)
	} else if u.Scheme == "http" && len(w.AllowNetworks) == 0 {
		bad(
			"url: it must begin with https://, or with http:// for receivers on this machine with allow_networks: [127.0.0.1]")
	}
	if (w.SecretFile == "") == (w.SecretEnv == "") {
		bad(
			"set either secret_file or secret_env; create a secret with: echo whsec_$(openssl rand -base64 32)",
		)
	}
	if _, err := w.Filter(); err != nil {
		bad("%w", err)
	}
	allowed, err := w.Networks()
	if err != nil {
		bad("%w", err)
	}
	if u != nil {
		// A name is checked when it is dialled; an address can be checked now.
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && webhook.CheckAddress(a, allowed) != nil {
			bad("url: %w", webhook.CheckAddress(a, allowed))
		}
	}
	if w.GiveUpAfter < 0 || w.GiveUpAfter > 0 && w.GiveUpAfter < time.Minute || w.GiveUpAfter > maxGiveUp {
		bad("give_up_after: %s is not between 1m and %s", w.GiveUpAfter, maxGiveUp)
	}
	if w.Concurrency < 0 || w.Concurrency > maxConcurrency {
		bad("concurrency: %d is not between 1 and %d", w.Concurrency, maxConcurrency)
	}
	return errors.Join(errs...)
}

// check reads the files and variables that the webhook names.
func (w *Webhook) check() error {
	var errs []error
	text, err := w.Secret()
	if err == nil {
		_, err = webhook.ParseSecrets(text)
	}
	if err != nil {
		from := w.SecretFile
		if w.SecretEnv != "" {
			from = "environment variable " + w.SecretEnv
		}
		errs = append(errs, fmt.Errorf("webhooks: %s: secret of %s: %w", w.Name, from, err))
	}
	if st, err := os.Stat(w.SecretFile); err == nil && st.Mode().Perm()&0o007 != 0 {
		errs = append(
			errs,
			fmt.Errorf("webhooks: %s: other users can read %[2]s; run: chmod 600 %[2]s", w.Name, w.SecretFile),
		)
	}
	if _, err := w.Roots(); err != nil {
		errs = append(errs, fmt.Errorf("webhooks: %s: %w", w.Name, err))
	}
	return errors.Join(errs...)
}

// webhooksForm checks the form of all webhooks.
func (c *Server) webhooksForm() error {
	var errs []error
	names := map[string]bool{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		errs = append(errs, w.form())
		if folded := strings.ToLower(w.Name); names[folded] {
			errs = append(errs, fmt.Errorf("webhooks: there are two named %q", w.Name))
		} else {
			names[folded] = true
		}
	}
	return errors.Join(errs...)
}

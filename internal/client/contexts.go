package client

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/wire/sigv4"
)

// Contexts are the servers that the user has signed in to, with their
// credentials. They are kept in a file that only the user can read.
type Contexts struct {
	Current  string
	Contexts map[string]*Context
	// SecondFactors are credentials that were issued for an access key and a
	// second factor, by the ID of the key.
	SecondFactors map[string]*Context `json:",omitempty"`

	path string
}

// Context is one server, and the user's sign-in there.
type Context struct {
	Endpoint string
	Region   string
	CA       string `json:",omitempty"` // certificates of the server's authority, PEM
	User     string // ARN

	AccessKeyID     string `json:",omitempty"` // empty after sign-out
	SecretAccessKey string `json:",omitempty"`
	SessionToken    string `json:",omitempty"`
	Expires         time.Time
}

// contextsFile is the name of the file below the user's home.
const contextsFile = ".sekisho/contexts.json"

// maxContexts bounds the file.
const maxContexts = 1 << 20

// ReadContexts reads the user's contexts. A missing file yields no contexts.
func ReadContexts(getenv func(string) string) (*Contexts, error) {
	home := first(getenv("HOME"), getenv("USERPROFILE"))
	cs := &Contexts{Contexts: map[string]*Context{}}
	if home == "" {
		return cs, nil
	}
	cs.path = filepath.Join(home, filepath.FromSlash(contextsFile))
	st, err := os.Stat(cs.path)
	if errors.Is(err, fs.ErrNotExist) {
		return cs, nil
	}
	if err != nil {
		return nil, fmt.Errorf("contexts: %w", err)
	}
	if st.Size() > maxContexts {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s is too large (%d bytes).", cs.path, st.Size())
	}
	if !private(st.Mode()) {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s contains credentials, but other users can read it.", cs.path).
			WithHint("Run: chmod 600 %s", cs.path)
	}
	text, err := os.ReadFile(cs.path)
	if err != nil {
		return nil, fmt.Errorf("contexts: %w", err)
	}
	if err := json.Unmarshal(text, cs); err != nil {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s is damaged: %w.", cs.path, err).
			WithHint("Remove it and sign in again: sekisho login.")
	}
	if cs.Contexts == nil {
		cs.Contexts = map[string]*Context{}
	}
	return cs, nil
}

// Write replaces the file.
func (cs *Contexts) Write() error {
	if cs.path == "" {
		return sekisho.Errorf(sekisho.CodeInvalid, "Cannot store the sign-in: there is no home directory.").
			WithHint("Set HOME.")
	}
	text, err := json.MarshalIndent(cs, "", "  ")
	if err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	dir := filepath.Dir(cs.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	f, err := os.CreateTemp(dir, ".contexts-*") // mode 0600
	if err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), cs.path)
	}
	if err != nil {
		return fmt.Errorf("contexts: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// Names returns the names of the contexts in order.
func (cs *Contexts) Names() []string {
	var names []string
	for name := range cs.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Get returns a context by name; the current one if name is empty. Without a
// current context, the result is nil.
func (cs *Contexts) Get(name string) (*Context, error) {
	if name == "" && cs.Current == "" {
		return nil, nil
	}
	name = first(name, cs.Current)
	if c := cs.Contexts[name]; c != nil {
		return c, nil
	}
	known := "There are none."
	if names := cs.Names(); len(names) > 0 {
		known = "There are: " + Printable(strings.Join(names, ", ")) + "."
	}
	return nil, sekisho.Errorf(sekisho.CodeNotFound, "There is no context %s. %s", quoted(name), known).
		WithHint("Sign in with sekisho login.")
}

// Set stores a sign-in under a name and makes it current.
func (cs *Contexts) Set(name string, c *Context) { cs.Contexts[name], cs.Current = c, name }

// SignedIn reports whether the context has credentials that are still valid.
func (c *Context) SignedIn(now time.Time) bool { return c.AccessKeyID != "" && now.Before(c.Expires) }

// SignOut removes the credentials.
func (c *Context) SignOut() {
	c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expires = "", "", "", time.Time{}
}

// SetCredentials stores the credentials of a sign-in.
func (c *Context) SetCredentials(t TemporaryCredentials) {
	c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expires = t.AccessKeyID, t.SecretAccessKey, t.SessionToken,
		t.Expires
}

// Config returns the configuration of a client in this context.
func (c *Context) Config() (Config, error) {
	cfg := Config{
		Endpoint: c.Endpoint, Region: c.Region,
		Credentials: sigv4.Credentials{
			AccessKeyID:     c.AccessKeyID,
			SecretAccessKey: c.SecretAccessKey,
			SessionToken:    c.SessionToken,
		},
	}
	if c.CA != "" {
		cfg.Roots = x509.NewCertPool()
		if !cfg.Roots.AppendCertsFromPEM([]byte(c.CA)) {
			return Config{}, sekisho.Errorf(sekisho.CodeInvalid, "The context's certificate authority is damaged.").
				WithHint("Sign in again: sekisho login.")
		}
	}
	return cfg, nil
}

package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"sekisho"
	"sekisho/internal/wire/sigv4"
)

// reasonSecondFactor is the server's reason for a denial that a fresh second
// factor would turn into an allowed request.
const reasonSecondFactor = "SecondFactorRequired"

// reasonNoApp is the server's reason for refusing a code that no other code can replace.
const reasonNoApp = "NoAuthenticatorApp"

// SecondFactor lets a client present a second factor when a policy requires one.
type SecondFactor struct {
	// Code asks the user for a code. failed is the error of the previous code, or nil.
	Code func(ctx context.Context, failed error) (string, error)
	// Keep stores the credentials that the server issues for a code; may be nil.
	Keep func(TemporaryCredentials) error
}

// SetSecondFactor makes the client present a second factor when the server requires one, and repeat
// the request. It must be called before the first request.
func (c *Client) SetSecondFactor(f SecondFactor) { c.factor = &f }

// credentials returns the credentials to sign with.
func (c *Client) credentials() sigv4.Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg.Credentials
}

// wantsSecondFactor reports whether err is a denial that a second factor would
// turn into an allowed request, and the client can ask for one.
func (c *Client) wantsSecondFactor(err error) bool {
	api, ok := errors.AsType[*APIError](err)
	return ok && c.factor != nil && api.Reason == reasonSecondFactor
}

// stepUp exchanges a code for credentials with a fresh second factor and uses them from now on. used are the
// credentials of the request that was denied: if another request has replaced them meanwhile, stepUp does nothing.
func (c *Client) stepUp(ctx context.Context, used sigv4.Credentials) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	if c.credentials() != used {
		return nil
	}
	var failed error
	for range maxCodes {
		code, err := c.factor.Code(ctx, failed)
		if err != nil {
			return err
		}
		var out struct {
			Credentials struct {
				AccessKeyID     string `json:"AccessKeyId"`
				SecretAccessKey string
				SessionToken    string
				Expiration      Time
			}
		}
		err = c.callOnce(
			ctx,
			used,
			c.cfg.Endpoint,
			"sekisho",
			"Sekisho.ShowSecondFactor",
			struct{ TokenCode string }{code},
			&out,
		)
		if api, ok := errors.AsType[*APIError](err); ok && api.AccessDenied() && api.Reason != reasonNoApp {
			failed = err
			continue
		}
		if err != nil {
			return err
		}
		got := out.Credentials
		creds := sigv4.Credentials{
			AccessKeyID:     got.AccessKeyID,
			SecretAccessKey: got.SecretAccessKey,
			SessionToken:    got.SessionToken,
		}
		if slices.Contains([]string{creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken}, "") {
			return sekisho.Errorf(sekisho.CodeInvalid, "The server's response to the code contains no credentials.")
		}
		c.mu.Lock()
		c.cfg.Credentials = creds
		c.mu.Unlock()
		if c.factor.Keep != nil {
			return c.factor.Keep(TemporaryCredentials{creds, got.Expiration.Time})
		}
		return nil
	}
	return failed
}

// KeepSecondFactor stores credentials with a fresh second factor: in the context
// that the client uses, or with the access key that they were issued for.
func KeepSecondFactor(cfg Config, getenv func(string) string, creds TemporaryCredentials) error {
	all, err := ReadContexts(getenv)
	if err != nil {
		return err
	}
	for _, c := range all.Contexts {
		if c.AccessKeyID == cfg.Credentials.AccessKeyID && c.Endpoint == cfg.Endpoint {
			c.SetCredentials(creds)
			return all.Write()
		}
	}
	if cfg.Credentials.SessionToken != "" {
		return nil // temporary credentials of the environment: their owner renews them
	}
	now := time.Now()
	for key, c := range all.SecondFactors {
		if !c.SignedIn(now) {
			delete(all.SecondFactors, key)
		}
	}
	if all.SecondFactors == nil {
		all.SecondFactors = map[string]*Context{}
	}
	kept := &Context{Endpoint: cfg.Endpoint}
	kept.SetCredentials(creds)
	all.SecondFactors[cfg.Credentials.AccessKeyID] = kept
	return all.Write()
}

// withSecondFactor replaces an access key with the credentials that were issued for it and a second
// factor, if they are still valid.
func (c *Config) withSecondFactor(getenv func(string) string) error {
	if c.Credentials.SessionToken != "" {
		return nil
	}
	all, err := ReadContexts(getenv)
	if err != nil {
		return err
	}
	kept := all.SecondFactors[c.Credentials.AccessKeyID]
	if kept != nil && kept.Endpoint == c.Endpoint && kept.SignedIn(time.Now()) {
		c.accessKey = c.Credentials
		c.Credentials = sigv4.Credentials{
			AccessKeyID:     kept.AccessKeyID,
			SecretAccessKey: kept.SecretAccessKey,
			SessionToken:    kept.SessionToken,
		}
	}
	return nil
}

// AccessKey returns the configuration with the access key itself, if its
// credentials with a second factor are used in its place.
func (c Config) AccessKey() Config {
	if c.accessKey.AccessKeyID != "" {
		c.Credentials = c.accessKey
	}
	return c
}

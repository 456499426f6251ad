// Package doortest sets up doors on a fresh account for tests: any doors by
// [Base.API], and the IAM and STS doors behind a real HTTP server by [Start],
// which tests call with AWS's own client library.
package doortest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/api"
	"sekisho/internal/api/iam"
	"sekisho/internal/api/sts"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/wire/sigv4"
)

// Account and Region are those of the server.
const (
	Account = "123456789012"
	Region  = "us-east-1"
)

// Trail keeps audit events in memory.
type Trail = audittest.Trail

// Storage opens a keyring and a database that live as long as the test.
func Storage(t *testing.T) (*keyring.Ring, *sqlstore.DB) {
	t.Helper()
	ring, err := keyring.Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return ring, db
}

// Base is what a door depends on: storage, an account with an administrator,
// and a trail.
type Base struct {
	Ring      *keyring.Ring
	DB        *sqlstore.DB
	Directory *identity.Directory
	Admin     sigv4.Credentials // of the first administrator
	Trail     *Trail
}

// NewBase creates a fresh account whose clock is now; nil means the real one.
func NewBase(t *testing.T, now func() time.Time) *Base {
	t.Helper()
	ring, db := Storage(t)
	dir, err := identity.New(t.Context(), identity.Config{Store: db.Identities, Keyring: ring, Account: Account, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	first, made, err := dir.Bootstrap(t.Context(), "admin")
	if err != nil || !made {
		t.Fatalf("Bootstrap: %v, %v", made, err)
	}
	return &Base{
		Ring: ring, DB: db, Directory: dir, Trail: &Trail{},
		Admin: sigv4.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey},
	}
}

// API returns an API server with doors on the account.
func (b *Base) API(doors ...*api.Door) *api.Server { return api.New(b.Config(doors...)) }

// Config is the configuration of an API server with doors on the account. It
// knows no nodes.
func (b *Base) Config(doors ...*api.Door) api.Config {
	return api.Config{
		Doors: doors, Credentials: b.Directory.Credentials, Authorizer: authz.New(b.Directory.Sets), Trail: b.Trail,
		Account: Account, Region: Region, Log: slog.New(slog.DiscardHandler),
	}
}

// CallJSON makes a call of a JSON service, signed by c, and returns the error
// code, "" for success. out may be nil. target is the service's prefix and the
// operation, as in "TrentService.CreateKey".
func CallJSON(t *testing.T, h http.Handler, c sigv4.Credentials, service, target, body string, out any) (code string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://h.example/", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", target)
	sigv4.Sign(req, c, Region, service, time.Now(), sigv4.HashBody([]byte(body)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		var e struct {
			Type string `json:"__type"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Type == "" {
			t.Fatalf("%s: %d %s", target, w.Code, w.Body)
		}
		return e.Type
	}
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			t.Fatal(err)
		}
	}
	return ""
}

// WantError checks the code, the HTTP status and the message of the error that
// a client of AWS's library received.
func WantError(t *testing.T, err error, code string, status int, text string) {
	t.Helper()
	var apiErr smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &apiErr) || !errors.As(err, &response) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if apiErr.ErrorCode() != code || response.HTTPStatusCode() != status ||
		!strings.Contains(apiErr.ErrorMessage(), text) {
		t.Errorf("got %s %d %q, want %s %d %q",
			apiErr.ErrorCode(), response.HTTPStatusCode(), apiErr.ErrorMessage(), code, status, text)
	}
}

// Server is a running server.
type Server struct {
	Directory *identity.Directory
	Admin     aws.Credentials // of the first administrator
	Trail     *Trail
	URL       string
}

// Start starts a server whose clock is now; nil means the real one.
func Start(t *testing.T, now func() time.Time) *Server {
	t.Helper()
	return StartFederated(t, now, nil)
}

// StartFederated is Start with a transport that reaches identity providers.
func StartFederated(t *testing.T, now func() time.Time, transport http.RoundTripper) *Server {
	t.Helper()
	b := NewBase(t, now)
	verifier := webid.New(webid.Config{Directory: b.Directory, Transport: transport, Now: now})
	web := httptest.NewServer(b.API(iam.New(b.Directory), sts.New(b.Directory, verifier)))
	t.Cleanup(web.Close)
	return &Server{
		Directory: b.Directory, Trail: b.Trail, URL: web.URL,
		Admin: aws.Credentials{AccessKeyID: b.Admin.AccessKeyID, SecretAccessKey: b.Admin.SecretAccessKey},
	}
}

func (s *Server) config(c aws.Credentials) aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: &s.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil }),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// IAM returns an IAM client.
func (s *Server) IAM(c aws.Credentials) *awsiam.Client { return awsiam.NewFromConfig(s.config(c)) }

// STS returns an STS client.
func (s *Server) STS(c aws.Credentials) *awssts.Client { return awssts.NewFromConfig(s.config(c)) }

// Package doortest runs the IAM and STS doors on a fresh account behind a real
// HTTP server, for tests that call them with AWS's own client library.
package doortest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"

	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/api"
	"sekisho/internal/api/iam"
	"sekisho/internal/api/sts"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/store/sqlstore"
)

// Account and Region are those of the server.
const (
	Account = "123456789012"
	Region  = "us-east-1"
)

// Server is a running server.
type Server struct {
	Directory *identity.Directory
	Admin     aws.Credentials // of the first administrator
	Trail     *Trail
	URL       string
}

// Trail keeps audit events in memory.
type Trail = audittest.Trail

// Start starts a server whose clock is now; nil means the real one.
func Start(t *testing.T, now func() time.Time) *Server {
	t.Helper()
	return StartFederated(t, now, nil)
}

// StartFederated is Start with a transport that reaches identity providers.
func StartFederated(t *testing.T, now func() time.Time, transport http.RoundTripper) *Server {
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
	dir, err := identity.New(t.Context(), identity.Config{Store: db.Identities, Keyring: ring, Account: Account, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	first, made, err := dir.Bootstrap(t.Context(), "admin")
	if err != nil || !made {
		t.Fatalf("Bootstrap: %v, %v", made, err)
	}
	s := &Server{
		Directory: dir,
		Admin:     aws.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey},
		Trail:     &Trail{},
	}
	verifier := webid.New(webid.Config{Directory: dir, Transport: transport, Now: now})
	web := httptest.NewServer(api.New(api.Config{
		Doors: []*api.Door{iam.New(dir), sts.New(dir, verifier)}, Credentials: dir.Credentials, Authorizer: authz.New(dir.Sets),
		Trail: s.Trail, Account: Account, Region: Region, Log: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(web.Close)
	s.URL = web.URL
	return s
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
